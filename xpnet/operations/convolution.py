"""Convolution and its two gradients, as products of matrices.

The pixels of each window, its kernel by kernel by channels numbers, are made one row of a matrix,
the columns of the literature ("im2col"): then the convolution is the product of that matrix and the
weight, and the gradient by the weight that of its transpose and the gradient of the output. The
gradient by the input is a convolution again, of the gradient of the output, whose pixels are moved
apart by the stride, with the kernel turned by 180 degrees; or, where there are more outputs than
inputs, the gradient of the columns is made by a product, and its slices are added up in their
places. So nothing is ever scattered.

As all networks do, what is called convolution does not turn its kernel: it is a cross-correlation.

References
----------
Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
processing", 2006, https://inria.hal.science/inria-00112631
"""

import math
from collections.abc import Iterator

from xpnet.operations.own import own
from xpnet.operations.slices import (
    padded,
    picture_size,
    put_back_columns,
    slices,
    spread,
    surrounded,
)
from xpnet.typing import Array, Namespace
from xpnet.windows import Pair, Windows

MOST_COLUMNS = 4_000_000
"""So many numbers are in the columns of a part of a batch, about, or those of one sample: 16 MB in
float32. Columns have each pixel as often as there are windows with it, so that those of a whole
batch would take more memory than all the rest of a training."""


def convolution_output(
    xp: Namespace, x: Array, weight: Array, windows: Windows, *, groups: int = 1
) -> Array:
    """y[b, i, j, o] = the sum of weight[u, v, c, o] x[b, i s + u d - p, j s + v d - p, c].

    The sum is over the pixels (u, v) of the kernel and the channels c of the group of o, with the
    stride s, the dilation d and the padding p; pixels of the padding are 0.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    x
        Pictures (B, H, W, C), floating point.
    weight
        Shape (kernel height, kernel width, C / groups, O).
    windows
        The pixels that go with each pixel of the output.
    groups
        Into how many parts, one after the other, the channels are divided that come in and that go
        out: each is of the same part alone.

    Returns
    -------
    y
        Shape (B, H', W', O), of the dtype of x.
    """
    found = own(xp, "convolution_output", x, weight, windows, groups)
    if found is not None:
        return found
    matrix = _matrices(xp, weight, groups)
    parts = [
        _multiplied(xp, _padded_columns(xp, x[rows, ...], windows), matrix)
        for rows in _parts(x.shape[0], _column_count(x, windows))
    ]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def convolution_weight_gradient(
    xp: Namespace, x: Array, dy: Array, windows: Windows, *, groups: int = 1
) -> Array:
    """The gradient of `convolution_output` by its weight: columns of x, transposed, times dy.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    x
        What came in, (B, H, W, C).
    dy
        The gradient of the loss by the output, (B, H', W', O).
    windows, groups
        As in `convolution_output`.

    Returns
    -------
    dw
        Shape (kernel height, kernel width, C / groups, O). Parts of a batch are added in their
        order.
    """
    found = own(xp, "convolution_weight_gradient", x, dy, windows, groups)
    if found is not None:
        return found
    total: Array | None = None
    for rows in _parts(x.shape[0], _column_count(x, windows)):
        columns = _padded_columns(xp, x[rows, ...], windows)
        across = xp.matrix_transpose(_grouped(xp, columns, groups))
        part = xp.matmul(across, _grouped(xp, dy[rows, ...][:, :, :, None, :], groups))
        total = part if total is None else total + part
    shape = (*windows.kernel, x.shape[3] // groups)
    if groups == 1:
        return xp.reshape(total, (*shape, dy.shape[3]))
    by_group = xp.reshape(total, (groups, *shape, dy.shape[3] // groups))
    return xp.reshape(xp.permute_dims(by_group, (1, 2, 3, 0, 4)), (*shape, dy.shape[3]))


def convolution_input_gradient(
    xp: Namespace, dy: Array, weight: Array, windows: Windows, size: Pair, *, groups: int = 1
) -> Array:
    """The gradient of `convolution_output` by its input.

    dx[b, r, s, c] = the sum of weight[u, v, c, o] dy[b, i, j, o] over all windows (i, j) that have
    this pixel, which it is the pixel (u, v) of.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    dy
        The gradient of the loss by the output, (B, H', W', O).
    weight
        As in `convolution_output`.
    windows, groups
        As in `convolution_output`.
    size
        The height and width of the pictures that came in.

    Returns
    -------
    dx
        Shape (B, H, W, C).
    """
    found = own(xp, "convolution_input_gradient", dy, weight, windows, size, groups)
    if found is not None:
        return found
    n_in, n_out = weight.shape[2] * groups, weight.shape[3]
    if n_out > n_in:
        back, width, matrix = _by_slices, n_in, _matrices(xp, weight, groups)
        matrix, pixels = xp.matrix_transpose(matrix), windows.output_size(size)
    else:
        back, width, matrix = _by_columns, n_out, _turned(xp, weight, groups)
        pixels = size
    # The narrower of both makes fewer columns.
    parts = [
        back(xp, dy[rows, ...], matrix, windows, size)
        for rows in _parts(dy.shape[0], math.prod((*pixels, *windows.kernel, width)))
    ]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def _by_slices(xp: Namespace, dy: Array, matrix: Array, windows: Windows, size: Pair) -> Array:
    """The gradient by the input: that of its columns, whose slices are added in their places."""
    batch, height, width, _ = dy.shape
    rows, kernel = batch * height * width, math.prod(windows.kernel)
    if matrix.ndim == 2:
        columns = xp.matmul(xp.reshape(dy, (rows, dy.shape[3])), matrix)
        n_in = matrix.shape[1] // kernel
    else:
        groups, outputs, inner = matrix.shape
        each = xp.permute_dims(xp.reshape(dy, (rows, groups, outputs)), (1, 0, 2))
        apart = xp.reshape(xp.matmul(each, matrix), (groups, rows, kernel, inner // kernel))
        columns, n_in = xp.permute_dims(apart, (1, 2, 0, 3)), groups * inner // kernel
    whole = xp.reshape(columns, (batch, height, width, kernel, n_in))
    return put_back_columns(xp, whole, windows, (batch, *size, n_in))


def _by_columns(xp: Namespace, dy: Array, matrix: Array, windows: Windows, size: Pair) -> Array:
    """The gradient by the input: columns of dy times the kernel that has been turned."""
    back = Windows(windows.kernel, (1, 1), "valid", windows.dilation)
    return _multiplied(xp, _columns(xp, _moved_apart(xp, dy, windows, size), back), matrix)


def _turned(xp: Namespace, weight: Array, groups: int) -> Array:
    """The matrices of a kernel turned by 180 degrees, from its outputs to its inputs."""
    height, width, channels, n_out = weight.shape
    turned = xp.flip(weight, axis=(0, 1))
    if groups == 1:
        return _matrices(xp, xp.permute_dims(turned, (0, 1, 3, 2)), 1)
    outputs = n_out // groups
    turned = xp.reshape(turned, (height, width, channels, groups, outputs))
    turned = xp.permute_dims(turned, (0, 1, 4, 3, 2))
    turned = xp.reshape(turned, (height, width, outputs, groups * channels))
    return _matrices(xp, turned, groups)


def channel_sums(xp: Namespace, dy: Array) -> Array:
    """The sum of each channel over all pixels of all pictures: the gradient of a bias.

    Over the pictures first, and then over the pixels, which loses fewer digits than one sum of all.

    Parameters
    ----------
    xp
        The array namespace of `dy`.
    dy
        Shape (B, H, W, C).

    Returns
    -------
    sums
        Shape (C,).
    """
    batch, height, width, channels = dy.shape
    pictures = xp.sum(xp.reshape(dy, (batch, height * width * channels)), axis=0)
    return xp.sum(xp.reshape(pictures, (height * width, channels)), axis=0)


def _parts(count: int, columns: int) -> Iterator[slice]:
    """The samples of a batch in parts, by how many numbers of columns one sample has."""
    rows = max(1, MOST_COLUMNS // columns)
    return (slice(start, min(start + rows, count)) for start in range(0, max(count, 1), rows))


def _column_count(x: Array, windows: Windows) -> int:
    """How many numbers the columns of one of the pictures are."""
    return math.prod((*windows.output_size(picture_size(x.shape)), *windows.kernel, x.shape[3]))


def _padded_columns(xp: Namespace, x: Array, windows: Windows) -> Array:
    """The pixels of each window, shape (B, H', W', pixels of a kernel, C); padding is 0."""
    found = own(xp, "padded_columns", x, windows)
    return _columns(xp, padded(xp, x, windows, 0.0), windows) if found is None else found


def _columns(xp: Namespace, x: Array, windows: Windows) -> Array:
    """The same, where the padding is there."""
    bare = Windows(windows.kernel, windows.stride, "valid", windows.dilation)
    found = own(xp, "window_columns", x, bare)
    if found is not None:
        return found
    if windows.kernel == (1, 1):
        (only,) = slices(x, bare, x.shape)
        return only[:, :, :, None, :]
    return xp.stack(list(slices(x, bare, x.shape)), axis=3)


def _grouped(xp: Namespace, columns: Array, groups: int) -> Array:
    """Columns (B, H', W', pixels, C) as a matrix (B H' W', pixels C), or one for each group."""
    batch, height, width, pixels, channels = columns.shape
    rows = batch * height * width
    if groups == 1:
        return xp.reshape(columns, (rows, pixels * channels))
    apart = xp.reshape(columns, (rows, pixels, groups, channels // groups))
    each = xp.permute_dims(apart, (2, 0, 1, 3))
    return xp.reshape(each, (groups, rows, pixels * channels // groups))


def _matrices(xp: Namespace, weight: Array, groups: int) -> Array:
    """A weight as the matrix that columns are multiplied by, or one for each group."""
    height, width, channels, n_out = weight.shape
    inner = height * width * channels
    if groups == 1:
        return xp.reshape(weight, (inner, n_out))
    return xp.permute_dims(xp.reshape(weight, (inner, groups, n_out // groups)), (1, 0, 2))


def _multiplied(xp: Namespace, columns: Array, matrix: Array) -> Array:
    """Columns times what `_matrices` gave: the pictures that go out."""
    batch, height, width = columns.shape[:3]
    if matrix.ndim == 2:
        flat = xp.matmul(_grouped(xp, columns, 1), matrix)
        return xp.reshape(flat, (batch, height, width, matrix.shape[1]))
    groups, _, n_out = matrix.shape
    each = xp.matmul(_grouped(xp, columns, groups), matrix)
    return xp.reshape(xp.permute_dims(each, (1, 0, 2)), (batch, height, width, groups * n_out))


def _moved_apart(xp: Namespace, dy: Array, windows: Windows, size: Pair) -> Array:
    """Pixels moved apart by the stride, in so many zeros that the windows over them are `size`."""
    pads = []
    for axis in (1, 2):
        k = axis - 1
        span, stride, n = windows.spans[k], windows.stride[k], size[k]
        (before, _), length = windows.pads(size)[k], (dy.shape[axis] - 1) * stride + 1
        if stride > 1:
            dy = spread(xp, [dy], axis, stride, 1, length)
        front = span - 1 - before
        behind = n + span - 1 - front - length
        # Less than none, where there was more padding than a window reaches over.
        inside = slice(max(-front, 0), length - max(-behind, 0))
        dy = dy[:, inside, ...] if axis == 1 else dy[:, :, inside, ...]
        pads.append((max(front, 0), max(behind, 0)))
    return surrounded(xp, dy, pads, 0.0)
