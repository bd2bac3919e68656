"""torch's own convolution and its gradients, and that of max pooling, with channels last.

What torch calls channels last are pictures (B, C, H, W) that lie in memory as ours, (B, H, W, C),
do: so nothing but the order of the axes is changed on the way there and back.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from xpnet.typing import Array
from xpnet.windows import Pair, Windows


def convolution_output(x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """`xpnet.operations.convolution_output`."""
    import torch

    x, padding = _with_padding(x, windows)
    y = torch.nn.functional.conv2d(
        _channels_second(x), _outputs_first(weight), None, windows.stride, padding,
        windows.dilation, groups,
    )  # fmt: skip
    return _channels_last(y)


def convolution_weight_gradient(x: Array, dy: Array, windows: Windows, groups: int) -> Array:
    """`xpnet.operations.convolution_weight_gradient`."""
    shape = (*windows.kernel, x.shape[3] // groups, dy.shape[3])
    x, padding = _with_padding(x, windows)
    # Of the weight only the shape and the order in memory are read.
    weight = x.new_empty(shape)
    dw = _backward(dy, x, weight, windows, padding, groups, (False, True, False))[1]
    # The order that weights have: an optimizer goes over both at once.
    return dw.permute(2, 3, 1, 0).contiguous()


def convolution_input_gradient(
    dy: Array, weight: Array, windows: Windows, size: Pair, groups: int
) -> Array:
    """`xpnet.operations.convolution_input_gradient`."""
    (top, bottom), (left, right) = pads = windows.pads(size)
    channels = weight.shape[2] * groups
    around = _both_sides(pads)
    if around is None:
        x = dy.new_empty((dy.shape[0], size[0] + top + bottom, size[1] + left + right, channels))
        dx = _backward(dy, x, weight, windows, (0, 0), groups, (True, False, False))[0]
        return _without_padding(_channels_last(dx), pads)
    x = dy.new_empty((dy.shape[0], *size, channels))
    dx = _backward(dy, x, weight, windows, around, groups, (True, False, False))[0]
    return _channels_last(dx)


def max_pooling_gradient(x: Array, y: Array, dy: Array, windows: Windows) -> Array:
    """`xpnet.operations.max_pooling_gradient`, on the CPU.

    torch finds the largest again, for its indices: the first where several are equal, but the last
    NaN, and where all are -inf it may be padding. In such windows they are found in another way.
    """
    import torch

    pads = windows.pads((x.shape[1], x.shape[2]))
    bare = _padded(x, pads, -math.inf)
    indices = _largest(bare, windows)
    if y.numel() and not bool(y.amin() > -math.inf):
        odd = ~(_channels_second(y) > -math.inf)
        rank = torch.where(torch.isnan(x), 2.0, 1.0).to(x.dtype)
        indices = torch.where(odd, _largest(_padded(rank, pads, 0.0), windows), indices)
    dx = torch.ops.aten.max_pool2d_with_indices_backward(
        _channels_second(dy), _channels_second(bare), windows.kernel, windows.stride, (0, 0),
        windows.dilation, False, indices,
    )  # fmt: skip
    return _without_padding(_channels_last(dx), pads)


OVERRIDES: dict[str, dict[str, Callable[..., Array]]] = {
    "cpu": {
        "convolution_output": convolution_output,
        "convolution_weight_gradient": convolution_weight_gradient,
        "convolution_input_gradient": convolution_input_gradient,
        # Elsewhere it would be added up in no fixed order, and asking for NaN would wait. (torch's
        # own max pooling is no gain: of 6 channels it takes four times as long as maxima do.)
        "max_pooling_gradient": max_pooling_gradient,
    },
    "cuda": {
        "convolution_output": convolution_output,
        "convolution_weight_gradient": convolution_weight_gradient,
        "convolution_input_gradient": convolution_input_gradient,
    },
}
"""By kind of device."""


def _largest(x: Array, windows: Windows) -> Array:
    """Where the largest number of each window is, as torch counts; (B, C, H', W')."""
    import torch

    indices: Array = torch.nn.functional.max_pool2d(
        _channels_second(x), windows.kernel, windows.stride, 0, windows.dilation,
        return_indices=True,
    )[1]  # fmt: skip
    return indices


def _backward(
    dy: Array, x: Array, weight: Array, windows: Windows, padding: Pair, groups: int,
    wanted: tuple[bool, bool, bool],
) -> Sequence[Any]:  # fmt: skip
    """The gradients by the input, the weight and the bias, of which some are wanted."""
    import torch

    gradients: Sequence[Any] = torch.ops.aten.convolution_backward(
        _channels_second(dy), _channels_second(x), _outputs_first(weight), None, windows.stride,
        padding, windows.dilation, False, (0, 0), groups, wanted,
    )  # fmt: skip
    return gradients


def _with_padding(x: Array, windows: Windows) -> tuple[Array, Pair]:
    """The pictures, and the padding that torch is to put on both sides.

    Where there is more on one side than on the other, it is around the pictures already.
    """
    pads = windows.pads((x.shape[1], x.shape[2]))
    around = _both_sides(pads)
    if around is not None:
        return x, around
    return _padded(x, pads, 0.0), (0, 0)


def _padded(x: Array, pads: tuple[Pair, Pair], value: float) -> Array:
    """The pictures with padding of a value around them."""
    import torch

    (top, bottom), (left, right) = pads
    if not any((top, bottom, left, right)):
        return x
    padded: Array = torch.nn.functional.pad(x, (0, 0, left, right, top, bottom), value=value)
    return padded


def _without_padding(dx: Array, pads: tuple[Pair, Pair]) -> Array:
    """The pictures alone; not a view, whose numbers would not lie together."""
    (top, bottom), (left, right) = pads
    rows, columns = dx.shape[1] - top - bottom, dx.shape[2] - left - right
    return dx[:, top : top + rows, left : left + columns, :].contiguous()


def _both_sides(pads: tuple[Pair, Pair]) -> Pair | None:
    """The padding of each axis, if there is as much in front of it as behind."""
    (top, bottom), (left, right) = pads
    return (top, left) if top == bottom and left == right else None


def _channels_second(pictures: Array) -> Array:
    """Pictures (B, H, W, C) as torch has them, (B, C, H, W)."""
    return pictures.permute(0, 3, 1, 2)


def _channels_last(pictures: Array) -> Array:
    """Pictures (B, C, H, W) as (B, H, W, C), which lie in this order in memory."""
    # Where there is one channel, torch may have taken them for such with channels first.
    return pictures.permute(0, 2, 3, 1).contiguous()


def _outputs_first(weight: Array) -> Array:
    """A weight (height, width, C / groups, O) as torch has it, (O, C / groups, height, width)."""
    import torch

    return weight.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
