"""Pooling: the largest or the mean of what is in each window of a picture, and their gradients.

Written in slices: with windows of k pixels the slice i has what is i-th in every window, so that a
maximum of k slices is the maximum of all windows. The gradients go back without scatter: what each
slice has got is spread by the stride, moved to its place, and added.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

from array_api_compat import device

from xpnet.typing import Array, Namespace
from xpnet.windows import Pair, Windows


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
    own = getattr(xp, "max_pooling", None)
    if own is not None:
        return own(x, windows)
    y, *others = _slices(_padded(xp, x, windows, -math.inf), windows, x.shape)
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
    own = getattr(xp, "max_pooling_gradient", None)
    if own is not None:
        return own(x, y, dy, windows)
    parts = list(_slices(_padded(xp, x, windows, -math.inf), windows, x.shape))
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
    return _put_back(xp, taken, windows, x.shape)


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
    own = getattr(xp, "average_pooling", None)
    if own is not None:
        return own(x, windows)
    total, *others = _slices(_padded(xp, x, windows, 0.0), windows, x.shape)
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
    own = getattr(xp, "average_pooling_gradient", None)
    if own is not None:
        return own(x, dy, windows)
    share = dy / _counts(xp, x, windows)
    return _put_back(xp, [share] * math.prod(windows.kernel), windows, x.shape)


def global_average_pooling(xp: Namespace, x: Array) -> Array:
    """The mean of each channel over all pixels: (B, H, W, C) becomes (B, C)."""
    batch, height, width, channels = x.shape
    return xp.mean(xp.reshape(x, (batch, height * width, channels)), axis=1)


def global_average_pooling_gradient(xp: Namespace, x: Array, dy: Array) -> Array:
    """The gradient of `global_average_pooling` by its input: dy / (H W) in each pixel."""
    share = dy / (x.shape[1] * x.shape[2])
    # Not by broadcast_to, whose result has elements that share their memory.
    return share[:, None, None, :] + xp.zeros_like(x)


def _slices(padded: Array, windows: Windows, shape: Sequence[int]) -> Iterator[Array]:
    """Of all windows the first pixel, the second, ...: in row order, each (B, H', W', C)."""
    (rows, columns), (down, right) = windows.output_size(_size(shape)), windows.stride
    for i, j in _offsets(windows):
        yield padded[
            :,
            i : i + (rows - 1) * down + 1 : down,
            j : j + (columns - 1) * right + 1 : right,
            :,
        ]


def _size(shape: Sequence[int]) -> Pair:
    """The height and width of pictures in an array of this shape."""
    return shape[1], shape[2]


def _offsets(windows: Windows) -> Iterator[tuple[int, int]]:
    """Where the pixels of a window are from its first one, in row order."""
    (height, width), (down, right) = windows.kernel, windows.dilation
    for i, j in product(range(height), range(width)):
        yield i * down, j * right


def _padded(xp: Namespace, x: Array, windows: Windows, value: float) -> Array:
    """The pictures with their padding around them, of one value."""
    for axis, (before, after) in enumerate(windows.pads(_size(x.shape)), start=1):
        x = _extended(xp, x, axis, before, after, value)
    return x


def _extended(
    xp: Namespace, x: Array, axis: int, before: int, after: int, value: float = 0.0
) -> Array:
    """So many numbers of one value put in front of an axis, and behind it."""
    parts = [x]
    for count, place in ((before, 0), (after, 2)):
        if count:
            shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
            more = xp.full(shape, value, dtype=x.dtype, device=device(x))
            parts.insert(place, more)
    return x if len(parts) == 1 else xp.concat(parts, axis=axis)


def _inside(xp: Namespace, x: Array, windows: Windows) -> list[Array] | None:
    """For each slice 1 where it has a pixel, and 0 where padding; None where there is no padding.

    Shape (1, H', W', 1). Made of an array that is where x is, and not on the host: what is copied
    to a device in a step cannot be recorded.
    """
    if not any(before or after for before, after in windows.pads(_size(x.shape))):
        return None
    ones = xp.ones_like(x[:1, :, :, :1])
    return list(_slices(_padded(xp, ones, windows, 0.0), windows, x.shape))


def _counts(xp: Namespace, x: Array, windows: Windows) -> Array | float:
    """How many pixels of each window are no padding: a number, or an array (1, H', W', 1)."""
    inside = _inside(xp, x, windows)
    if inside is None:
        return float(math.prod(windows.kernel))
    count, *others = inside
    for part in others:
        count = count + part
    return count


def _put_back(
    xp: Namespace, parts: Sequence[Array], windows: Windows, shape: Sequence[int]
) -> Array:
    """What each slice has got, back in the pixels that it came from; without the padding."""
    (height, width), size = windows.kernel, _size(shape)
    pads = windows.pads(size)
    long = [sum(around) + n for around, n in zip(pads, size, strict=True)]
    strides, dilations = windows.stride, windows.dilation
    rows = [
        _spread(xp, parts[i * width : (i + 1) * width], 2, strides[1], dilations[1], long[1])
        for i in range(height)
    ]
    dx = _spread(xp, rows, 1, strides[0], dilations[0], long[0])
    (top, _), (left, _) = pads
    return dx[:, top : top + size[0], left : left + size[1], :]


def _spread(
    xp: Namespace, parts: Sequence[Array], axis: int, stride: int, dilation: int, length: int
) -> Array:
    """The sum of parts along an axis: number t of part i goes to t stride + i dilation.

    With t stride + i dilation = q stride + r there is a lane for each r from 0 to stride - 1, in
    which parts are moved and added; put side by side the lanes are the axis, of this length.
    """
    count = -(-length // stride)
    n = parts[0].shape[axis]
    lanes = []
    for r in range(stride):
        lane: Array | None = None
        for i, part in enumerate(parts):
            moved, rest = divmod(i * dilation, stride)
            if rest == r:
                placed = _extended(xp, part, axis, moved, count - moved - n)
                lane = placed if lane is None else lane + placed
        if lane is None:
            lane = xp.zeros_like(_extended(xp, parts[0], axis, 0, count - n))
        lanes.append(lane[:, :, None, ...] if axis == 1 else lane[:, :, :, None, ...])
    shape = list(parts[0].shape)
    shape[axis] = count * stride
    whole = lanes[0] if stride == 1 else xp.concat(lanes, axis=axis + 1)
    whole = xp.reshape(whole, tuple(shape))
    return whole[:, :length, ...] if axis == 1 else whole[:, :, :length, ...]
