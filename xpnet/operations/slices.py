"""Windows of pictures in slices: the slice i has what is i-th in every window.

Padding put around pictures, slices of them, and what each slice has got brought back to where it
came from, without scatter: spread by the stride, moved to its place, and added.
"""

from collections.abc import Iterator, Sequence

from array_api_compat import device

from xpnet.operations.own import own
from xpnet.typing import Array, Namespace
from xpnet.windows import Pair, Windows


def slices(padded: Array, windows: Windows, shape: Sequence[int]) -> Iterator[Array]:
    """Of all windows the first pixel, the second, ...: in row order, each (B, H', W', C)."""
    for rows, columns in windows.places(windows.output_size(picture_size(shape))):
        yield padded[:, rows, columns, :]


def picture_size(shape: Sequence[int]) -> Pair:
    """The height and width of pictures in an array of this shape."""
    return shape[1], shape[2]


def padded(xp: Namespace, x: Array, windows: Windows, value: float) -> Array:
    """The pictures with their padding around them, of one value."""
    return surrounded(xp, x, windows.pads(picture_size(x.shape)), value)


def surrounded(xp: Namespace, x: Array, pads: Sequence[Pair], value: float) -> Array:
    """The pictures with so many pixels of a value in front of and behind each axis."""
    found = own(xp, "surrounded", x, pads, value) if any(map(any, pads)) else None
    if found is not None:
        return found
    for axis, (before, after) in enumerate(pads, start=1):
        x = extended(xp, x, axis, before, after, value)
    return x


def extended(
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


def put_back(
    xp: Namespace, parts: Sequence[Array], windows: Windows, shape: Sequence[int]
) -> Array:
    """What each slice has got, back in the pixels that it came from; without the padding.

    A pixel gets the sum of what it has in all windows, in an order that is the library's.
    """
    size = picture_size(shape)
    whole = _padded_size(windows, size)
    found = own(xp, "added_windows", parts, windows, whole)
    dx = _added_windows(xp, parts, windows, whole) if found is None else found
    return _bare(dx, windows, size)


def put_back_columns(
    xp: Namespace, columns: Array, windows: Windows, shape: Sequence[int]
) -> Array:
    """As `put_back`, of the slices of one array (B, H', W', pixels of a kernel, C)."""
    size = picture_size(shape)
    dx = own(xp, "added_columns", columns, windows, _padded_size(windows, size))
    if dx is not None:
        return _bare(dx, windows, size)
    parts = [columns[:, :, :, pixel, :] for pixel in range(columns.shape[3])]
    return put_back(xp, parts, windows, shape)


def _padded_size(windows: Windows, size: Pair) -> Pair:
    """The size of pictures with their padding."""
    height, width = (n + sum(around) for n, around in zip(size, windows.pads(size), strict=True))
    return height, width


def _bare(dx: Array, windows: Windows, size: Pair) -> Array:
    """Pictures without their padding."""
    (top, _), (left, _) = windows.pads(size)
    return dx[:, top : top + size[0], left : left + size[1], :]


def _added_windows(xp: Namespace, parts: Sequence[Array], windows: Windows, size: Pair) -> Array:
    """The slices of windows over pictures of a size, their padding included, added up in them."""
    (height, width), strides, dilations = windows.kernel, windows.stride, windows.dilation
    rows = [
        spread(xp, parts[i * width : (i + 1) * width], 2, strides[1], dilations[1], size[1])
        for i in range(height)
    ]
    return spread(xp, rows, 1, strides[0], dilations[0], size[0])


def spread(
    xp: Namespace, parts: Sequence[Array], axis: int, stride: int, dilation: int, length: int
) -> Array:
    """The sum of parts along an axis: number t of part i goes to t stride + i dilation.

    With t stride + i dilation = q stride + r there is a lane for each r from 0 to stride - 1, in
    which parts are moved and added; put side by side the lanes are the axis, of this length.
    """
    stride = min(stride, length)  # which a stride further than that does as well, for one window
    count = -(-length // stride)
    n = parts[0].shape[axis]
    lanes = []
    for r in range(stride):
        lane: Array | None = None
        for i, part in enumerate(parts):
            moved, rest = divmod(i * dilation, stride)
            if rest == r:
                placed = extended(xp, part, axis, moved, count - moved - n)
                lane = placed if lane is None else lane + placed
        if lane is None:
            lane = xp.zeros_like(extended(xp, parts[0], axis, 0, count - n))
        lanes.append(lane[:, :, None, ...] if axis == 1 else lane[:, :, :, None, ...])
    shape = list(parts[0].shape)
    shape[axis] = count * stride
    whole = lanes[0] if stride == 1 else xp.concat(lanes, axis=axis + 1)
    whole = xp.reshape(whole, tuple(shape))
    return whole[:, :length, ...] if axis == 1 else whole[:, :, :length, ...]
