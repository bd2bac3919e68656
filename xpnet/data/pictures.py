"""Pictures from files, in grey or in colour. Needs Pillow.

Files are not believed: only a few formats are read, a large picture is made smaller while it is
decoded or piece by piece, and whatever a decoder raises says that the picture is damaged.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from xpnet.data.picture_formats import open_format
from xpnet.errors import DataError, one_line, reason_of
from xpnet.files import check_file
from xpnet.typing import HostArray

if TYPE_CHECKING:
    from PIL.Image import Image

PictureFile = str | os.PathLike[str] | IO[bytes]
"""The path of a file with a picture; or the file, open, such as one of an archive."""

_MOST = 1 << 21
"""Of so many pixels a picture may be; a larger one is made smaller, by means."""
_PIECE = 1 << 20
_BY_COLOUR = ("CMYK", "YCbCr", "LAB", "HSV", "P")
_IN_GREY = ("1", "L", "LA", "La")
_SIDEWAYS = (5, 6, 7, 8)
_UPRIGHT: dict[int, Callable[[HostArray], HostArray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What turns a picture of an EXIF orientation upright."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was read.

    Attributes
    ----------
    pixels
        Upright, and of a large picture smaller. In grey uint8 or uint16, shape (height, width); in
        colour uint8, shape (height, width, 3): red, green and blue.
    size
        The (height, width) of the upright picture in its file.
    """

    pixels: HostArray
    size: tuple[int, int]

    @property
    def in_bytes(self) -> HostArray:
        """The pixels from 0 to 255, uint8."""
        if self.pixels.dtype == np.uint8:
            return self.pixels
        return ((self.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


@dataclass(frozen=True)
class PictureHead:
    """What a file says of its picture.

    Attributes
    ----------
    size
        The (height, width) of the upright picture.
    coloured
        Whether it has colours; a palette has, whatever is in it.
    """

    size: tuple[int, int]
    coloured: bool


def read_picture(
    path: PictureFile, *, invert: bool | None = None, colour: bool = False
) -> HostArray:
    """Read a picture, in grey if nothing else is said.

    The picture is turned upright as its EXIF data says. One of more than some two megapixels is
    made smaller, by means. Of several pictures in a file the first is taken.

    Parameters
    ----------
    path
        A PNG, JPEG, GIF, BMP, PPM, WebP or TIFF file, or one that is open for reading bytes; see
        `FORMATS` in `xpnet.data.picture_formats` for how large it may be.
    invert
        Whether the ink is dark, if it is known: transparent parts are then white, or black. If
        None, they are what the rest is not: white behind dark ink. Where little is transparent, it
        is as bright as the rest.
    colour
        Whether it is read in colour; a picture in grey has the same value in each then.

    Returns
    -------
    pixels
        In grey shape (height, width): uint8, or uint16 where the file has 16 bits of grey. In
        colour shape (height, width, 3), uint8: red, green and blue.

    Raises
    ------
    DataError
        If the file is missing, damaged or not a picture, the picture is too large, or Pillow is not
        installed.
    """
    return open_picture(path, invert=invert, colour=colour).pixels


def open_picture(
    file: PictureFile, *, name: str = "", invert: bool | None = None, colour: bool = False
) -> Picture:
    """As `read_picture`, with the size that the picture has in its file.

    Parameters
    ----------
    file, invert, colour
        As of `read_picture`.
    name
        What it is called in messages; if empty, by its path.
    """
    with _opened(file, name) as picture:
        return _read(picture, invert, colour)


def read_head(file: PictureFile, *, name: str = "") -> PictureHead:
    """What a file says of its picture, without the pixels where these need not be looked at.

    Parameters, and errors, as of `open_picture`.
    """
    with _opened(file, name) as picture:
        size = picture.size if _orientation(picture) in _SIDEWAYS else picture.size[::-1]
        return PictureHead(size, picture.mode not in _IN_GREY and picture.mode[0] not in "IF")


def check_pillow(what: str = "") -> None:
    """Check that Pillow is there.

    Raises
    ------
    DataError
        If it is not; `what` is what was to be read.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"{what and f'{what}: '}reading pictures needs Pillow: pip install 'xpnet[image]'"
        ) from error


@contextmanager
def _opened(source: PictureFile, name: str) -> Iterator["Image"]:
    """A picture, not decoded yet; whatever is wrong with it is said with its name."""
    check_pillow()
    name = name or _name_of(source)
    try:
        with _file(source) as file:
            yield open_format(file)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except MemoryError as error:
        raise DataError(f"{name}: the picture does not fit into memory") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read as a picture ({reason_of(error)})") from error
    # A decoder that meets what its author did not think of raises anything: struct.error,
    # IndexError, KeyError, SyntaxError, NotImplementedError, OverflowError, ...
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{name}: cannot be read as a picture ({reason})") from error


def _name_of(source: PictureFile) -> str:
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "")
    return os.fspath(path) if isinstance(path, str | os.PathLike) and path else "the picture"


def _file(source: PictureFile) -> AbstractContextManager[IO[bytes]]:
    """The file; one that is open already is left so."""
    if not isinstance(source, str | os.PathLike):
        return nullcontext(source)
    check_file(source)
    return Path(source).open("rb")


def _read(picture: "Image", invert: bool | None, colour: bool) -> Picture:
    width, height = picture.size
    if picture.format in ("JPEG", "MPO") and width * height > _MOST:
        scale = math.sqrt(_MOST / (width * height))
        picture.draft(None, (max(1, math.ceil(scale * width)), max(1, math.ceil(scale * height))))
    picture.load()
    orientation = _orientation(picture)
    if orientation in _SIDEWAYS:
        width, height = height, width
    ground = _ground(picture, invert) if _may_be_transparent(picture) else 0
    pixels = np.asarray(_smaller(picture, ground, colour))
    if pixels.dtype == np.float32:  # of 16 bits, and made smaller
        pixels = pixels.round().astype(np.uint16)
    if orientation is not None:
        pixels = _UPRIGHT[orientation](pixels)
    read = Picture(np.ascontiguousarray(pixels), (height, width))
    if colour and pixels.ndim == 2:
        return Picture(np.repeat(read.in_bytes[..., None], 3, axis=2), read.size)
    return read


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


def _smaller(picture: "Image", ground: int, colour: bool) -> "Image":
    """In grey or in colour; where the picture is large, piece by piece and smaller."""
    from PIL import Image

    width, height = picture.size
    if width * height <= _MOST:
        return _piece(picture, picture.format, ground, colour)
    factor = math.ceil(math.sqrt(width * height / _MOST))
    across, down = min(factor, width), min(factor, height)
    # More in one direction only where the picture is a mere line.
    across = max(across, -(-width // max(1, _MOST // -(-height // down))))
    down = max(down, -(-height // max(1, _MOST // -(-width // across))))
    small: Image.Image | None = None
    for box in _pieces(width, height, across, down):
        piece = _piece(picture.crop(box), picture.format, ground, colour)
        if piece.mode.startswith("I"):
            piece = Image.fromarray(np.asarray(piece, dtype=np.float32))
        if small is None:
            small = Image.new(piece.mode, (-(-width // across), -(-height // down)))
        small.paste(piece.reduce((across, down)), (box[0] // across, box[1] // down))
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


def _piece(piece: "Image", kind: str | None, ground: int, colour: bool) -> "Image":
    """A picture, or a piece of one, on the ground: in 8 or 16 bits of grey, or in three colours."""
    from PIL import Image

    if piece.mode == "F" or (piece.mode == "I" and kind == "TIFF"):
        raise DataError(f"cannot be read as a picture ({piece.mode}: values without a white)")
    if piece.mode.startswith("I"):
        values = np.asarray(piece)
        grey = np.clip(values, 0, 65535).astype(np.uint16)
        grey[values == piece.info.get("transparency", -1)] = 257 * ground
        return Image.fromarray(grey)
    wanted = "RGB" if colour else "L"
    if _may_be_transparent(piece):
        layer = Image.new("RGBA", piece.size, (ground, ground, ground, 255))
        return Image.alpha_composite(layer, piece.convert("RGBA")).convert(wanted)
    if piece.mode in _BY_COLOUR:
        piece = piece.convert("RGB")
    return piece if piece.mode == wanted else piece.convert(wanted)
