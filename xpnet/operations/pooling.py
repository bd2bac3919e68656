"""Pooling: the largest or the mean of what is in each window of a picture, and their gradients.

Written in slices: with windows of k pixels the maximum of k slices is that of all windows.
"""

import math

from xpnet.operations.own import own
from xpnet.operations.slices import padded, picture_size, put_back, slices
from xpnet.typing import Array, Namespace
from xpnet.windows import Windows


def max_pooling(xp: Namespace, x: Array, windows: Windows) -> Array:
    """The largest number in each window, of each channel by itself.

    Padding never is the largest, and a NaN in a window is, as in `maximum`.

    Parameters
    ----------
    xp
        The array namespace of `x`.
    x
        Floating point, shape (B, H, W, C).
    windows
        Which pixels are in which window; in each is one at least that is not padding.

    Returns
    -------
    y
        Shape (B, H', W', C), of the dtype of x.
    """
    found = own(xp, "max_pooling", x, windows)
    if found is not None:
        return found
    y, *others = slices(padded(xp, x, windows, -math.inf), windows, x.shape)
    for part in others:
        y = xp.maximum(y, part)
    return y


def max_pooling_gradient(xp: Namespace, x: Array, y: Array, dy: Array, windows: Windows) -> Array:
    """The gradient of `max_pooling` by its input.

    Of several pixels that are the largest in a window, the first in row order takes the gradient,
    and where there are NaN the first of these. A pixel of several windows takes the sum of what it
    takes in each.

    Parameters
    ----------
    xp
        The array namespace of all arrays.
    x, y
        What came in and what went out, shapes (B, H, W, C) and (B, H', W', C).
    dy
        The gradient of the loss by y.
    windows
        As in `max_pooling`.

    Returns
    -------
    dx
        The gradient by x, of its shape.
    """
    found = own(xp, "max_pooling_gradient", x, y, dy, windows)
    if found is not None:
        return found
    parts = list(slices(padded(xp, x, windows, -math.inf), windows, x.shape))
    inside = _inside(xp, x, windows)
    nothing = xp.zeros_like(dy)
    free: Array | None = None
    taken = []
    for i, part in enumerate(parts):
        if free is not None and inside is None and i == len(parts) - 1:
            here = free  # one of them has to take it
        else:
            # A NaN is not equal to itself.
            largest = xp.logical_or(part == y, part != part)
            if inside is not None:
                # Where all pixels are -inf, as the padding is.
                largest = xp.logical_and(largest, inside[i] > 0)
            here = largest if free is None else xp.logical_and(largest, free)
            others = xp.logical_not(largest)
            free = others if free is None else xp.logical_and(free, others)
        taken.append(xp.where(here, dy, nothing))
    return put_back(xp, taken, windows, x.shape)


def average_pooling(xp: Namespace, x: Array, windows: Windows) -> Array:
    """The mean of the pixels in each window, of each channel by itself, without the padding.

    The sum in row order, divided by the number of pixels that are not padding.

    Parameters
    ----------
    xp
        The array namespace of `x`.
    x
        Floating point, shape (B, H, W, C).
    windows
        Which pixels are in which window; in each is one at least that is not padding.

    Returns
    -------
    y
        Shape (B, H', W', C), of the dtype of x.
    """
    found = own(xp, "average_pooling", x, windows)
    if found is not None:
        return found
    total, *others = slices(padded(xp, x, windows, 0.0), windows, x.shape)
    for part in others:
        total = total + part
    return total / _counts(xp, x, windows)


def average_pooling_gradient(xp: Namespace, x: Array, dy: Array, windows: Windows) -> Array:
    """The gradient of `average_pooling` by its input: each pixel takes its share in each window.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    x
        What came in, (B, H, W, C), of which only the shape counts.
    dy
        The gradient of the loss by the output, (B, H', W', C).
    windows
        As in `average_pooling`.

    Returns
    -------
    dx
        The gradient by x, of its shape.
    """
    found = own(xp, "average_pooling_gradient", x, dy, windows)
    if found is not None:
        return found
    share = dy / _counts(xp, x, windows)
    return put_back(xp, [share] * math.prod(windows.kernel), windows, x.shape)


def global_average_pooling(xp: Namespace, x: Array) -> Array:
    """The mean of each channel over all pixels: (B, H, W, C) becomes (B, C)."""
    batch, height, width, channels = x.shape
    return xp.mean(xp.reshape(x, (batch, height * width, channels)), axis=1)


def global_average_pooling_gradient(xp: Namespace, x: Array, dy: Array) -> Array:
    """The gradient of `global_average_pooling` by its input: dy / (H W) in each pixel."""
    share = dy / (x.shape[1] * x.shape[2])
    # Not by broadcast_to, whose result has elements that share their memory.
    return share[:, None, None, :] + xp.zeros_like(x)


def _inside(xp: Namespace, x: Array, windows: Windows) -> list[Array] | None:
    """For each slice 1 where it has a pixel, and 0 where padding; None where there is no padding.

    Shape (1, H', W', 1). Made of an array that is where x is, and not on the host: what is copied
    to a device in a step cannot be recorded.
    """
    if not any(before or after for before, after in windows.pads(picture_size(x.shape))):
        return None
    ones = xp.ones_like(x[:1, :, :, :1])
    return list(slices(padded(xp, ones, windows, 0.0), windows, x.shape))


def _counts(xp: Namespace, x: Array, windows: Windows) -> Array | float:
    """How many pixels of each window are no padding: a number, or an array (1, H', W', 1)."""
    inside = _inside(xp, x, windows)
    if inside is None:
        return float(math.prod(windows.kernel))
    count, *others = inside
    for part in others:
        count = count + part
    return count
