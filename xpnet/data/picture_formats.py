"""The formats of pictures that are read, and how large a picture may be. Needs Pillow."""

import io
from importlib import import_module
from typing import IO, TYPE_CHECKING

from xpnet.errors import DataError

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


def open_format(file: IO[bytes]) -> "Image":
    """The picture, not decoded yet, if it is of one of the formats and not too large."""
    from PIL import Image

    if not file.seekable():
        file = io.BytesIO(file.read(_LARGEST_PIPED))
    file.seek(0)  # as Pillow does
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
