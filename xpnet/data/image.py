"""A picture from a file, as the network was trained to see it. Needs Pillow."""

import math
import os

import numpy as np

from xpnet.errors import DataError
from xpnet.typing import HostArray, Shape


def read_image(
    path: str | os.PathLike[str], shape: Shape, *, maximum: float, invert: bool = False
) -> HostArray:
    """Read a picture in grey, fitted to a size.

    The picture is turned upright as its EXIF data says, made grey, scaled so that the whole of it
    fits, and padded to the wanted proportions with its background.

    Parameters
    ----------
    path
        A PNG, JPEG or other file that Pillow reads.
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
        If the file is missing or not a picture, Pillow is not installed, or the wanted shape is
        not two sizes.
    """
    if len(shape) != 2:
        raise DataError(f"{path}: the network takes samples of shape {shape}, not images")
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError("reading pictures needs Pillow: pip install 'xpnet[image]'") from error
    paper = 255 if invert else 0
    try:
        with Image.open(path) as file:
            # Pillow warns of it, once; threads share what becomes of a warning.
            if math.prod(file.size) > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError(f"{file.size[0]} x {file.size[1]} pixels")
            if file.mode == "F":
                raise ValueError("grey values in floating point have no agreed white")
            picture = ImageOps.exif_transpose(file).convert("RGBA")
            ground = Image.new("RGBA", picture.size, (paper, paper, paper, 255))
            grey = Image.alpha_composite(ground, picture).convert("L")
            fitted = ImageOps.pad(
                grey, (shape[1], shape[0]), method=Image.Resampling.LANCZOS, color=paper
            )
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: the picture is too large ({error})") from error
    pixels = np.asarray(fitted, dtype=np.float64) / 255
    return maximum * (1 - pixels if invert else pixels)
