"""Pictures from files, in grey. Needs Pillow.

Files are not believed: only a few formats are read, a large picture is made smaller while it is
decoded or piece by piece, and whatever a decoder raises says that the picture is damaged.
"""

import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from xpnet.errors import DataError, one_line, reason_of
from xpnet.typing import HostArray, Shape

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: dict[str, tuple[str, int]] = {
    "PNG": ("PngImagePlugin", 135_000_000),
    "JPEG": ("JpegImagePlugin", 270_000_000),
    "GIF": ("GifImagePlugin", 135_000_000),
    "BMP": ("BmpImagePlugin", 135_000_000),
    "PPM": ("PpmImagePlugin", 135_000_000),
    "WEBP": ("WebPImagePlugin", 60_000_000),
    "TIFF": ("TiffImagePlugin", 135_000_000),
}
"""The formats that are read, each with the module of Pillow, and how many pixels there may be.

They are what cameras, scanners, browsers and paint programs write. Pillow has some thirty others:
EPS would start Ghostscript, which runs programs, and the decoders of the rest are seldom used and
seldom tested. The numbers keep the memory below 1 GB. A JPEG can be decoded at an eighth of its
size, so that a photograph of 200 megapixels takes little; one that comes in several scans, such as
a progressive one, is in memory as a whole (`_LARGEST_WHOLE`), and WebP is there several times over.
"""

_LARGEST_WHOLE = 405_000_000
"""So many values a JPEG may have that is in memory as a whole: 135 megapixels of three colours."""
_LARGEST_PIPED = 1 << 28
_LARGEST_WANTED = 1 << 22
_MOST = 1 << 21
"""Of so many pixels a picture may be; a larger one is made smaller, by means."""
_PIECE = 1 << 20
_BY_COLOUR = ("CMYK", "YCbCr", "LAB", "HSV", "P")
_SIDEWAYS = (5, 6, 7, 8)
_UPRIGHT: dict[int, Callable[[HostArray], HostArray]] = {
    2: np.fliplr,
    3: lambda grey: np.rot90(grey, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda grey: np.rot90(grey, -1),
    7: lambda grey: np.rot90(grey, 2).T,
    8: np.rot90,
}
"""What turns a picture of an EXIF orientation upright."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was read.

    Attributes
    ----------
    grey
        uint8 or uint16, shape (height, width): upright, and of a large picture smaller.
    size
        The (height, width) of the upright picture in its file.
    """

    grey: HostArray
    size: tuple[int, int]


def read_picture(path: str | os.PathLike[str], *, invert: bool | None = None) -> HostArray:
    """Read a picture in grey.

    The picture is turned upright as its EXIF data says, and made grey. One of more than some two
    megapixels is made smaller, by means. Of several pictures in a file the first is taken.

    Parameters
    ----------
    path
        A PNG, JPEG, GIF, BMP, PPM, WebP or TIFF file; see `FORMATS` for how large it may be.
    invert
        Whether the ink is dark, if it is known: transparent parts are then white, or black. If
        None, they are what the rest is not: white behind dark ink. Where little is transparent, it
        is as bright as the rest.

    Returns
    -------
    grey
        Shape (height, width): uint8, or uint16 where the file has 16 bits of grey.

    Raises
    ------
    DataError
        If the file is missing, damaged or not a picture, the picture is too large, or Pillow is not
        installed.
    """
    return open_picture(path, invert=invert).grey


def open_picture(path: str | os.PathLike[str], *, invert: bool | None = None) -> Picture:
    """As `read_picture`, with the size that the picture has in its file."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError("reading pictures needs Pillow: pip install 'xpnet[image]'") from error
    try:
        with Path(path).open("rb") as file:
            return _read(open_format(file), invert)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: the picture does not fit into memory") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a picture ({reason_of(error)})") from error
    # A decoder that meets what its author did not think of raises anything: struct.error,
    # IndexError, KeyError, SyntaxError, NotImplementedError, OverflowError, ...
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{path}: cannot be read as a picture ({reason})") from error


def check_picture_shape(shape: Shape | None) -> None:
    """Check that samples of a shape are pictures.

    Raises
    ------
    DataError
        If they are not, or the shape is not known.
    """
    if shape is None or len(shape) != 2:
        known = "of unknown shape" if shape is None else f"of shape {one_line(shape)}"
        raise DataError(
            f"the network takes samples {known}, not pictures of one grey value a pixel"
        )
    if math.prod(shape) > _LARGEST_WANTED:
        raise DataError(
            f"the network takes pictures of {shape[0]} x {shape[1]} pixels, more than the "
            f"{_LARGEST_WANTED:,} that pictures are fitted to"
        )


def open_format(file: IO[bytes]) -> "Image":
    """The picture, not decoded yet, if it is of one of the formats and not too large."""
    from importlib import import_module

    from PIL import Image

    if not file.seekable():
        file = io.BytesIO(file.read(_LARGEST_PIPED))
    prefix = file.read(16)
    # Not Image.open, which would ask all formats that the program has loaded, and warn of a large
    # picture by a global limit, of all threads.
    for name, (module, _) in FORMATS.items():
        import_module(f"PIL.{module}")
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(prefix)
        if accepted and not isinstance(accepted, str):
            file.seek(0)
            picture: Image.Image = factory(file, "")
            break
    else:
        raise DataError(f"cannot be read as a picture (not one of {', '.join(FORMATS)})")
    _, largest = FORMATS[name]
    if name == "JPEG" and _has_scans(picture, file):
        largest = _LARGEST_WHOLE // max(3, len(picture.getbands()))
    width, height = picture.size
    if width * height > largest:
        raise DataError(
            f"the picture is too large: {width:,} x {height:,} pixels, and of a {name} may be "
            f"{largest:,}: make it smaller"
        )
    return picture


def _has_scans(picture: "Image", file: IO[bytes]) -> bool:
    """Whether a JPEG, which is opened, comes in several scans: colour by colour, or finer each."""
    if picture.info.get("progressive"):
        return True
    bands, after = len(picture.getbands()), file.tell()
    # Before it is the head of the first scan: its length, and how many colours it has.
    file.seek(after - (6 + 2 * bands))
    return file.read(3) != bytes((0, 6 + 2 * bands, bands))


def _read(picture: "Image", invert: bool | None) -> Picture:
    width, height = picture.size
    if picture.format in ("JPEG", "MPO") and width * height > _MOST:
        scale = math.sqrt(_MOST / (width * height))
        picture.draft(None, (max(1, math.ceil(scale * width)), max(1, math.ceil(scale * height))))
    picture.load()
    orientation = _orientation(picture)
    if orientation in _SIDEWAYS:
        width, height = height, width
    ground = _ground(picture, invert) if _may_be_transparent(picture) else 0
    grey = np.asarray(_grey(picture, ground))
    if grey.dtype == np.float32:  # of 16 bits, and made smaller
        grey = grey.round().astype(np.uint16)
    if orientation is not None:
        grey = _UPRIGHT[orientation](grey)
    return Picture(np.ascontiguousarray(grey), (height, width))


def _orientation(picture: "Image") -> int | None:
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # damaged, as the pixels need not be
        return None
    return orientation if orientation in _UPRIGHT else None


def _may_be_transparent(picture: "Image") -> bool:
    return "transparency" in picture.info or picture.mode in ("LA", "PA", "La", "RGBA", "RGBa")


def _ground(picture: "Image", invert: bool | None) -> int:
    """What lies behind a picture that is transparent: 0 is black and 255 white."""

    if invert is not None:
        return 255 * invert
    counts = np.zeros(256)
    seen = 0
    for box in _pieces(picture.width, picture.height):
        piece = picture.crop(box)
        if piece.mode.startswith("I"):
            values = np.asarray(piece)
            opaque = values != picture.info["transparency"]
            counts += np.bincount((values[opaque] >> 8).clip(0, 255), minlength=256)
        else:
            layers = piece.convert("RGBA")
            grey = np.asarray(layers.convert("RGB").convert("L")).ravel()
            counts += np.bincount(grey, np.asarray(layers.getchannel("A")).ravel() / 255, 256)
        seen += math.prod(piece.size)
    opaque_part = counts.sum()
    if opaque_part > seen / 2:  # a page that was cut out: what is behind it is as it is
        return int(np.searchsorted(counts.cumsum(), opaque_part / 2))
    return 255 if (counts * np.arange(256)).sum() < 127.5 * opaque_part else 0


def _grey(picture: "Image", ground: int) -> "Image":
    """In grey; where the picture is large, piece by piece and smaller."""
    from PIL import Image

    width, height = picture.size
    if width * height <= _MOST:
        return _grey_piece(picture, picture.format, ground)
    factor = math.ceil(math.sqrt(width * height / _MOST))
    across, down = min(factor, width), min(factor, height)
    # More in one direction only where the picture is a mere line.
    across = max(across, -(-width // max(1, _MOST // -(-height // down))))
    down = max(down, -(-height // max(1, _MOST // -(-width // across))))
    small: Image.Image | None = None
    for box in _pieces(width, height, across, down):
        grey = _grey_piece(picture.crop(box), picture.format, ground)
        if grey.mode.startswith("I"):
            grey = Image.fromarray(np.asarray(grey, dtype=np.float32))
        if small is None:
            small = Image.new(grey.mode, (-(-width // across), -(-height // down)))
        small.paste(grey.reduce((across, down)), (box[0] // across, box[1] // down))
    assert small is not None
    return small


def _pieces(
    width: int, height: int, across: int = 1, down: int = 1
) -> Iterator[tuple[int, int, int, int]]:
    """The boxes of pieces of bounded size, which begin at multiples of `across` and `down`."""
    wide = across * max(1, math.isqrt(_PIECE) // across)
    high = down * max(1, _PIECE // (wide * down))
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def _grey_piece(piece: "Image", kind: str | None, ground: int) -> "Image":
    """A picture, or a piece of one, in 8 or 16 bits of grey on the ground."""
    from PIL import Image

    if piece.mode == "F" or (piece.mode == "I" and kind == "TIFF"):
        raise DataError(f"cannot be read as a picture ({piece.mode}: values without a white)")
    if piece.mode.startswith("I"):
        values = np.asarray(piece)
        grey = np.clip(values, 0, 65535).astype(np.uint16)
        grey[values == piece.info.get("transparency", -1)] = 257 * ground
        return Image.fromarray(grey)
    if not _may_be_transparent(piece):
        return piece.convert("RGB").convert("L") if piece.mode in _BY_COLOUR else piece.convert("L")
    layer = Image.new("RGBA", piece.size, (ground, ground, ground, 255))
    return Image.alpha_composite(layer, piece.convert("RGBA")).convert("L")
