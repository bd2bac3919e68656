"""The scale of samples: what pixels are divided by, and a warning where that is in doubt."""

import math
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import DataWarning
from xpnet.inputs.samples import Streamed, dtype_name, parts_of
from xpnet.streams import warn
from xpnet.typing import Array

_BRIGHTEST = (255.0, 65535.0)
"""The largest numbers of pixels of 8 and 16 bits."""

_SAMPLED_ROWS, _SAMPLED_VALUES = 1 << 12, 1 << 22
"""At most so much is looked at of samples that stay in their file, spread over all of it."""


def find_pixel_maximum(
    backend: Backend, x: Array, given: float | None, *, stacklevel: int
) -> float:
    """What the integers of a training set are divided by: 255 for uint8, 1 for what is no pixels.

    uint8 of which the largest is 1 is no picture, but flags, and divided by 1. Wider integers are
    pixels if they go from 0 or more to 255, or to 65535: of pictures, which have two axes or more,
    if the largest is over half of that, and of rows, if it is just that.

    Parameters
    ----------
    backend
        Where the samples are.
    x
        The samples. Of those in a file, or in a sparse matrix that is made dense in parts, a few
        thousand are looked at.
    given
        What is known of the pixels, as by a `Dataset`; it is not changed.
    stacklevel
        Which caller a warning is shown at, as in `warnings.warn`.

    Warns
    -----
    DataWarning
        If integers are, or would be, divided, and the largest is 1; or if floating-point numbers go
        from 0 or more to 255 (to half a step) or to 65535, or a `Dataset` has such integers with a
        `pixel_maximum` of 1.
    """
    xp, name = backend.xp, dtype_name(x)
    maximum = given or (255.0 if name == "uint8" else 1.0)
    if xp.isdtype(x.dtype, "bool"):
        return maximum
    exact = xp.isdtype(x.dtype, "integral")
    divided = exact and maximum != 1
    high = _largest(backend, x, 1.0 if divided else _BRIGHTEST[-1] + 0.5)
    brightest = next((m for m in _BRIGHTEST if abs(high - m) <= 0.5), None)
    message = ""
    if divided and high == 1 and given is None:
        maximum = 1.0
        message = (
            f"the samples are {name}, but the largest is 1, so they are taken as they are, and not "
            f"as pixels, which are divided by 255: give x.astype('float32') to say so, or pixels "
            f"in a Dataset with their pixel_maximum"
        )
    elif divided and high == 1:
        message = (
            f"the samples are {name} and divided by pixel_maximum={maximum:g}, but the largest is "
            f"1: if that is white, make the Dataset with pixel_maximum=1"
        )
    elif exact and not divided and given is None:
        maximum = _white_of(high, is_picture=x.ndim > 2)
    elif not divided and brightest is not None:
        message = (
            f"the samples are {name}, which is taken as it is, and go up to {brightest:g} as "
            f"pixels do: networks train well on numbers around 1, so give x / {brightest:g}, or "
            f"integers in a Dataset with pixel_maximum={brightest:g} (uint8 needs neither)"
        )
    if message:
        warn(message, DataWarning, stacklevel=stacklevel + 1)
    return maximum


def _white_of(high: float, *, is_picture: bool) -> float:
    """What integers up to `high` are divided by, if they are pixels; else 1."""
    for white in _BRIGHTEST:
        if high == white or (is_picture and white / 2 < high < white):
            return white
    return 1.0


def _largest(backend: Backend, x: Array, limit: float) -> float:
    """The largest number; infinity as soon as one is negative or above the limit."""
    xp, largest = backend.xp, 0.0
    every: list[Any] = list(parts_of(x))
    if isinstance(x, Streamed):
        count = min(x.shape[0], _SAMPLED_ROWS, _SAMPLED_VALUES // max(1, math.prod(x.shape[1:])))
        every = [np.linspace(0, x.shape[0] - 1, max(1, count)).astype(np.int64)]
    for rows in every:
        part = xp.astype(x[(rows, ...)], backend.dtype)
        largest = max(largest, float(backend.to_numpy(xp.max(part))))
        if largest > limit or float(backend.to_numpy(xp.min(part))) < 0:
            return math.inf
    return largest
