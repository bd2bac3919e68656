"""NumPy's functions with less around them, for arrays that are small.

A training step of a small network calls some forty functions on arrays of a few hundred to a few
thousand numbers, and each call takes longer than its arithmetic. These give what the functions of
the same name in the standard give, by the shorter way: a method or a ufunc in the place of a
function in Python that finds it, and for sums and maxima what NumPy has fast loops for. Times are
of float32, (64, 128) unless said otherwise.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import numpy as xp

from xpnet.typing import DType, HostArray
from xpnet.windows import Pair, Windows

_FEW_CHANNELS = 16

_LONGEST_DOT = 4096
"""Longer sums are NumPy's, which adds pairwise and so loses fewer digits."""


def take(x: HostArray, indices: HostArray, /, *, axis: int | None = None) -> HostArray:
    """As in the standard: 0.7 µs for 2.8."""
    return x.take(indices, axis=axis)


def gather_rows(x: HostArray, indices: HostArray) -> HostArray:
    """Rows by indices that are in range: half of the time of a look at each of them first.

    See `xpnet.operations.gather_rows`.
    """
    # What records goes on with constants too, and makes a loop of it, which clips.
    recorded: Any = indices if type(x) is np.ndarray else x
    if type(recorded) is not np.ndarray:
        return recorded.recording.gather(x, indices)
    return x.take(indices, axis=0, mode="clip")


def astype(
    x: HostArray, dtype: DType, /, *, copy: bool = True, device: str | None = None
) -> HostArray:
    """As in the standard: 0.8 µs for 1.5."""
    if device is not None:
        return xp.astype(x, dtype, copy=copy, device=device)
    return x.astype(dtype, copy=copy)


def max(
    x: HostArray, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
) -> HostArray:
    """As in the standard: 2.8 µs for 6.8."""
    options: Any = {"axis": axis, "keepdims": keepdims}
    return np.maximum.reduce(x, **options)


def sum(
    x: HostArray,
    /,
    *,
    axis: int | tuple[int, ...] | None = None,
    dtype: DType = None,
    keepdims: bool = False,
) -> HostArray:
    """As in the standard: over rows or columns a product with ones, 1.5 µs for 8."""
    if dtype is not None or x.ndim != 2 or x.dtype.char not in "fd":
        return xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)
    rows, columns = x.shape
    if axis == 0 and rows <= _LONGEST_DOT:
        total = np.dot(_ones(rows, x.dtype), x)
        return total[None, :] if keepdims else total
    if axis in (1, -1) and columns <= _LONGEST_DOT:
        total = np.dot(x, _ones(columns, x.dtype))
        return total[:, None] if keepdims else total
    options: Any = {"axis": axis, "keepdims": keepdims}
    return np.add.reduce(x, **options)


def maximum(x1: Any, x2: Any, /) -> HostArray:
    """As in the standard: 4 µs for 8, since NumPy has a vector loop for two arrays alone."""
    if type(x2) is float and x1.dtype.char in "fd":
        x2 = np.full(x1.shape, x2, x1.dtype) if x2 else np.zeros(x1.shape, x1.dtype)
    return np.maximum(x1, x2)


def matmul(x1: HostArray, x2: HostArray, /) -> HostArray:
    """As in the standard: of two matrices by `dot`, 1.1 µs for 2.5 where they are tiny."""
    return np.dot(x1, x2) if x1.ndim == 2 == x2.ndim else np.matmul(x1, x2)


def window_columns(x: HostArray, windows: Windows) -> HostArray:
    """The pixels of each window as one copy of a view: a third of the time of slices put together.

    See `xpnet.operations.convolution`: (B, H, W, C) to (B, H', W', pixels of a kernel, C), where
    there is no padding. In memory those numbers lie together of which more do in the pictures: the
    pixels of a window along the width, or the windows. Of grey pictures and kernels of 5 that takes
    a fifth of the time; BLAS has both orders.
    """
    if not x.flags.c_contiguous:
        x = x.copy()
    batch, height, width, channels = x.shape
    size = windows.output_size((height, width))
    (kh, kw), (down, right), (below, beside) = windows.kernel, windows.stride, windows.dilation
    picture, row, pixel, channel = x.strides
    strides = (picture, row * down, pixel * right, row * below, pixel * beside, channel)
    shape = (batch, *size, kh, kw, channels)
    view: HostArray = _of_kind(np.ndarray(shape, x.dtype, x, 0, strides), x)
    if size[1] <= (kw if beside == 1 else 1) * channels:
        return view.reshape(batch, *size, kh * kw, channels)
    apart = view.transpose(3, 4, 5, 0, 1, 2).copy()
    return apart.reshape(kh * kw, channels, batch, *size).transpose(2, 3, 4, 0, 1)


def surrounded(x: HostArray, pads: Sequence[Pair], value: float) -> HostArray:
    """Pictures with so many pixels of a value around them: one copy, for one for each axis."""
    batch, height, width, channels = x.shape
    (top, bottom), (left, right) = pads
    shape = (batch, top + height + bottom, left + width + right, channels)
    whole = np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    np.positive(x, out=whole[:, top : top + height, left : left + width, :])
    return _of_kind(whole, x)


def added_columns(columns: HostArray, windows: Windows, size: Pair) -> HostArray:
    """The pixels of windows added in their places in pictures of a size.

    See `xpnet.operations.slices`; (B, H', W', pixels of a kernel, C). Where there are few channels,
    the pixels of a window along the width are added together, and then the rows: with a kernel of 5
    and 6 channels in 0.3 of the time.
    """
    batch, height, width, pixels, channels = columns.shape
    (kh, kw), (_, right), (_, beside) = windows.kernel, windows.stride, windows.dilation
    if channels >= _FEW_CHANNELS or beside > 1 or width > 4 * kw:
        parts = [columns[:, :, :, pixel, :] for pixel in range(pixels)]
        return added_windows(parts, windows, size)
    each = columns.reshape(batch, height, width, kh, kw, channels)
    rows = np.zeros((batch, height, kh, size[1], channels), columns.dtype)
    for j in range(width):
        place = rows[:, :, :, j * right : j * right + kw, :]
        np.add(place, each[:, :, j], out=place)
    rows = _of_kind(rows, columns)
    down = Windows((kh, 1), (windows.stride[0], 1), "valid", (windows.dilation[0], 1))
    return added_windows([rows[:, :, i] for i in range(kh)], down, size)


def added_windows(parts: Sequence[HostArray], windows: Windows, size: Pair) -> HostArray:
    """Slices of windows added in their places in pictures of a size: no copy for each of them.

    See `xpnet.operations.slices`; each part is (B, H', W', C).
    """
    batch, height, width, channels = parts[0].shape
    whole = np.zeros((batch, *size, channels), parts[0].dtype)
    for (rows, columns), part in zip(windows.places((height, width)), parts, strict=True):
        place = whole[:, rows, columns, :]
        np.add(place, part, out=place)
    return _of_kind(whole, parts[0])


def _of_kind(x: HostArray, like: HostArray) -> HostArray:
    """A plain array as what records goes on with it, where it is given such."""
    if type(like) is np.ndarray:
        return x
    x = x.view(type(like))
    x.__array_finalize__(like)
    return x


@lru_cache(maxsize=64)
def _ones(count: int, dtype: DType) -> HostArray:
    ones = np.ones(count, dtype)
    ones.flags.writeable = False
    return ones


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(take, gather_rows, astype, max, sum, maximum, matmul),
        *(window_columns, surrounded, added_windows, added_columns),
    )
}
"""By the standard's names, and those of `xpnet.operations`."""
