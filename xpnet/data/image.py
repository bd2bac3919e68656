"""A picture from a file, as the network was trained to see it. Needs Pillow.

Files are not believed: only a few formats are read, a large picture is made smaller while it is
decoded or piece by piece, and whatever a decoder raises says that the picture is damaged.
"""

import io
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from xpnet.errors import DataError, one_line, reason_of
from xpnet.typing import HostArray, Shape

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: dict[str, tuple[str, int]] = {
    "PNG": ("PngImagePlugin", 100_000_000),
    "JPEG": ("JpegImagePlugin", 270_000_000),
    "GIF": ("GifImagePlugin", 100_000_000),
    "BMP": ("BmpImagePlugin", 100_000_000),
    "PPM": ("PpmImagePlugin", 100_000_000),
    "WEBP": ("WebPImagePlugin", 40_000_000),
    "TIFF": ("TiffImagePlugin", 40_000_000),
}
"""The formats that are read, each with the module of Pillow, and how many pixels there may be.

They are what cameras, scanners, browsers and paint programs write. Pillow has some thirty others:
EPS would start Ghostscript, which runs programs, and the decoders of the rest are seldom used and
seldom tested. The numbers keep the memory below 1 GB. A JPEG can be decoded at an eighth of its
size, so that a photograph of 200 megapixels takes little; one that comes in several scans, such as
a progressive one, is in memory as a whole (`_LARGEST_WHOLE`), and WebP and TIFF are there several
times over.
"""

_LARGEST_WHOLE = 405_000_000
"""So many values a JPEG may have that is in memory as a whole: 135 megapixels of three colours."""
_LARGEST_PIPED = 1 << 28
_LARGEST_WANTED = 1 << 22
_LARGE = 1 << 22
"""From so many pixels on a picture is made smaller by means, and then scaled as others are."""
_PIECE = 1 << 20
_KEPT = 4
"""How many times as wide and high as wanted it then still is: more than the scaling can tell.

Where what is wanted is large itself it is twice, since memory counts.
"""
_UPRIGHT = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""The `Image.Transpose` that turns a picture of an EXIF orientation upright."""


def read_image(
    path: str | os.PathLike[str], shape: Shape, *, maximum: float, invert: bool = False
) -> HostArray:
    """Read a picture in grey, fitted to a size.

    The picture is turned upright as its EXIF data says, made grey, scaled so that the whole of it
    fits, and padded to the wanted proportions with its background. Of several pictures in a file
    the first is taken.

    Parameters
    ----------
    path
        A PNG, JPEG, GIF, BMP, PPM, WebP or TIFF file; see `FORMATS` for how large it may be.
    shape
        The wanted (height, width).
    maximum
        The value of a white pixel.
    invert
        Whether to swap black and white, for dark ink on white paper: MNIST and its relatives are
        white on black. Transparent parts count as paper.

    Returns
    -------
    pixels
        float64 from 0 to `maximum`, of the wanted shape.

    Raises
    ------
    DataError
        If the file is missing, damaged or not a picture, the picture is too large, Pillow is not
        installed, or the wanted shape is not two sizes.
    """
    check_image_shape(shape)
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError("reading pictures needs Pillow: pip install 'xpnet[image]'") from error
    try:
        with Path(path).open("rb") as file:
            fitted = _fitted(_open(file), (shape[1], shape[0]), paper=255 if invert else 0)
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
    pixels = np.asarray(fitted, dtype=np.float64) / 255
    return maximum * (1 - pixels if invert else pixels)


def check_image_shape(shape: Shape | None) -> None:
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


def _open(file: IO[bytes]) -> "Image":
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


def _fitted(picture: "Image", size: tuple[int, int], *, paper: int) -> "Image":
    """In grey, upright, scaled to lie within (width, height), and padded."""
    from PIL import Image

    if picture.format in ("JPEG", "MPO") and math.prod(picture.size) > _LARGE:
        picture.draft(None, _drafted(picture.size, size))
    picture.load()
    orientation = _orientation(picture)
    turned = orientation in (5, 6, 7, 8)
    grey = _grey(picture, size[::-1] if turned else size, paper)
    if orientation in _UPRIGHT:
        grey = grey.transpose(Image.Transpose(_UPRIGHT[orientation]))
    width, height = picture.size[::-1] if turned else picture.size
    if width * size[1] > height * size[0]:
        within = size[0], max(1, round(height / width * size[0]))
    else:
        within = max(1, round(width / height * size[1])), size[1]
    scaled = grey.resize(within, Image.Resampling.LANCZOS)
    padded = Image.new("L", size, paper)
    padded.paste(scaled, tuple(round((a - b) / 2) for a, b in zip(size, within, strict=True)))
    return padded


def _drafted(picture: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a picture still is `_kept` times as large as it will be, however turned."""
    width, height = picture
    upright = min(size[0] / width, size[1] / height)
    turned = min(size[1] / width, size[0] / height)
    scale = _kept(size) * max(upright, turned)
    return max(1, math.ceil(scale * width)), max(1, math.ceil(scale * height))


def _kept(size: tuple[int, int]) -> int:
    return _KEPT if math.prod(size) <= _PIECE else 2


def _orientation(picture: "Image") -> int | None:
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # damaged, as the pixels need not be
        return None
    return orientation if orientation in _UPRIGHT else None


def _grey(picture: "Image", size: tuple[int, int], paper: int) -> "Image":
    """In grey; where the picture is large, piece by piece and smaller, down to `_KEPT` sizes."""
    from PIL import Image

    width, height = picture.size
    if width * height <= _LARGE:
        return _grey_piece(picture, picture.format, paper)
    kept = _kept(size)
    across, down = max(1, width // (kept * size[0])), max(1, height // (kept * size[1]))
    small = Image.new("L", (-(-width // across), -(-height // down)))
    for left, top, right, bottom in _pieces(width, height, across, down):
        piece = picture.crop((left, top, right, bottom))
        grey = _grey_piece(piece, picture.format, paper)
        small.paste(grey.reduce((across, down)), (left // across, top // down))
    return small


def _pieces(width: int, height: int, across: int, down: int) -> Iterator[tuple[int, int, int, int]]:
    """The boxes of pieces of bounded size, which begin at multiples of `across` and `down`."""
    wide = across * max(1, math.isqrt(_PIECE) // across)
    high = down * max(1, _PIECE // (wide * down))
    for top in range(0, height, high):
        for left in range(0, width, wide):
            yield left, top, min(left + wide, width), min(top + high, height)


def _grey_piece(piece: "Image", kind: str | None, paper: int) -> "Image":
    """A picture, or a piece of one, in 8 bits of grey on paper."""
    from PIL import Image

    if piece.mode == "F" or (piece.mode == "I" and kind == "TIFF"):
        raise DataError(f"cannot be read as a picture ({piece.mode}: values without a white)")
    if piece.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        values = np.asarray(piece)
        grey = np.clip(values >> 8, 0, 255).astype(np.uint8)
        grey[values == piece.info.get("transparency", -1)] = paper
        return Image.fromarray(grey)
    ground = Image.new("RGBA", piece.size, (paper, paper, paper, 255))
    return Image.alpha_composite(ground, piece.convert("RGBA")).convert("L")
