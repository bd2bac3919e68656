"""Pooling: pictures with fewer pixels, of which each is the largest or the mean of several."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from xpnet.errors import ExportError
from xpnet.fields import checked_by
from xpnet.layers.base import Context, Layer
from xpnet.layers.pictures import PICTURE_AXES, TORCH_PADS, picture_shape
from xpnet.layers.places import (
    OnnxPlace,
    TorchPlace,
    with_channels_first,
    with_channels_last,
)
from xpnet.operations import (
    average_pooling,
    average_pooling_gradient,
    global_average_pooling,
    global_average_pooling_gradient,
    max_pooling,
    max_pooling_gradient,
)
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape
from xpnet.windows import Pair, Windows, checked_padding, pair


@dataclass(frozen=True)
class Pool2D(Layer):
    """What max pooling and average pooling have in common.

    Parameters
    ----------
    size
        The height and width of a window: a positive integer, or two.
    stride
        How far apart windows begin, down and to the right: a positive integer, or two; the size if
        None, so that windows neither overlap nor leave gaps.
    padding
        `"valid"` for none: pixels at the right and below that fill no window are left out. `"same"`
        for so much that there are ceil(n / stride) windows along n pixels, as in TensorFlow and
        JAX; where it is odd, one more behind than in front. Or an integer, or two for the height
        and the width: so much on both sides; less than the size, so that there is a pixel in each
        window.
    """

    size: int | Pair = field(default=2, metadata=checked_by(pair))
    stride: int | Pair | None = field(default=None, metadata=checked_by(pair, optional=True))
    padding: str | int | Pair = field(default="valid", metadata=checked_by(checked_padding))

    def __post_init__(self) -> None:
        super().__post_init__()
        windows = self.windows
        if isinstance(windows.padding, str):
            return
        for given, size in zip(windows.padding, windows.kernel, strict=True):
            if given >= size:
                raise ValueError(
                    f"{type(self).__name__}: padding must be less than the size, {size}, got "
                    f"{given}: there would be windows with nothing but padding"
                )

    @property
    def windows(self) -> Windows:
        """The windows, over pictures of any size."""
        return Windows.of(self.size, self.stride or self.size, self.padding)

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        kind = type(self).__name__
        height, width, channels = picture_shape(kind, shape)
        if None in (height, width):
            return shape
        self.windows.check(kind, (height, width))
        return (*self.windows.output_size((height, width)), channels)

    def _checked(self, x: Array) -> Windows:
        # A shape is known before anything is computed, also where this is compiled.
        self.output_shape(tuple(x.shape[1:]))
        return self.windows

    def _onnx_windows(self, place: OnnxPlace) -> dict[str, object]:
        """The attributes of an operator that pools."""
        windows, shape = self.windows, place.shape
        attributes: dict[str, object] = {"kernel_shape": windows.kernel, "strides": windows.stride}
        if windows.padding == "same" and shape is None:
            return {**attributes, "auto_pad": "SAME_UPPER"}
        (top, bottom), (left, right) = windows.pads(
            (0, 0) if shape is None else (shape[0], shape[1])
        )
        return {**attributes, "pads": [top, left, bottom, right]}

    def _torch(self, place: TorchPlace, text: str) -> str:
        place.define(TORCH_PADS)
        place.define(text)
        windows = self.windows
        return f"{type(self).__name__}({windows.kernel}, {windows.stride}, {windows.padding!r})"

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(2), (2, 4, 5, 2)
        yield cls((3, 2), (2, 1), "same"), (2, 4, 3, 2)
        yield cls(3, 2, (1, 2)), (2, 5, 4, 1)

    @abstractmethod
    def flops(self, shape: Shape) -> int: ...


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """The largest number in each window, of each channel by itself: (B, H, W, C) to (B, H', W', C).

    Where several pixels of a window are the largest, the first in row order takes the gradient, on
    every library; where there are NaN, y is NaN and the first of them takes it. Padding never is
    the largest. With overlapping windows a pixel takes the sum of what it takes in each.

    Parameters
    ----------
    size
        The height and width of a window: a positive integer, or two.
    stride
        How far apart windows begin, down and to the right: a positive integer, or two; the size if
        None, so that windows neither overlap nor leave gaps.
    padding
        `"valid"` for none: pixels at the right and below that fill no window are left out. `"same"`
        for so much that there are ceil(n / stride) windows along n pixels, as in TensorFlow and
        JAX; where it is odd, one more behind than in front. Or an integer, or two for the height
        and the width: so much on both sides, and less than the size.

    Raises
    ------
    ValueError
        If an argument is out of range, samples come in that are no pictures (H, W, C), or such that
        there is no window.

    References
    ----------
    Scherer, Müller and Behnke, "Evaluation of pooling operations in convolutional architectures for
    object recognition", 2010, https://doi.org/10.1007/978-3-642-15825-4_10

    Examples
    --------
    >>> from xpnet import MaxPool2D
    >>> MaxPool2D(2).output_shape((5, 4, 3)), MaxPool2D(2, padding="same").output_shape((5, 4, 3))
    ((2, 2, 3), (3, 2, 3))
    """

    def flops(self, shape: Shape) -> int:
        return (math.prod(self.windows.kernel) - 1) * math.prod(self.output_shape(shape) or ())

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = max_pooling(xp, x, self._checked(x))
        return y, (x, y)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        x, y = cache
        return (max_pooling_gradient(xp, x, y, dy, self.windows) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        first = with_channels_first(place, x, PICTURE_AXES)
        y = place.node("MaxPool", first, part="pooled", **self._onnx_windows(place))
        return with_channels_last(place, y, PICTURE_AXES)

    def torch(self, place: TorchPlace) -> str:
        return self._torch(place, _TORCH_MAX)


@dataclass(frozen=True)
class AveragePool2D(Pool2D):
    """The mean of each window, of each channel by itself: (B, H, W, C) to (B, H', W', C).

    It is the mean of the pixels that are there: padding is not counted, as in TensorFlow, and with
    `count_include_pad=False` in PyTorch. Each pixel takes the gradient of a window divided by their
    number.

    Parameters
    ----------
    size, stride, padding
        As for `MaxPool2D`.

    Raises
    ------
    ValueError
        If an argument is out of range, samples come in that are no pictures (H, W, C), or such that
        there is no window.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    1998, https://doi.org/10.1109/5.726791

    Examples
    --------
    >>> from xpnet import AveragePool2D
    >>> AveragePool2D(3, stride=2).output_shape((7, 7, 3))
    (3, 3, 3)
    """

    def flops(self, shape: Shape) -> int:
        return math.prod(self.windows.kernel) * math.prod(self.output_shape(shape) or ())

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return average_pooling(xp, x, self._checked(x)), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (average_pooling_gradient(xp, x, dy, self.windows) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        first = with_channels_first(place, x, PICTURE_AXES)
        if place.dtype == "float32":
            y = place.node("AveragePool", first, part="pooled", **self._onnx_windows(place))
            return with_channels_last(place, y, PICTURE_AXES)
        # Runtimes have it in float32 alone. It is a product with a matrix along each axis.
        if place.shape is None:
            raise ExportError(
                f"layer {place.name or 'AveragePool2D'!r}: in float64 the shape of its samples has "
                f"to be known: set network.sample_shape, such as (28, 28), or take dtype='float32'"
            )
        down, right = (_means(self.windows, axis, place.shape) for axis in (0, 1))
        across = list(zip(*right, strict=True))
        rows = place.node("MatMul", place.constant("rows", down), first, part="down")
        y = place.node("MatMul", rows, place.constant("columns", across), part="pooled")
        return with_channels_last(place, y, PICTURE_AXES)

    def torch(self, place: TorchPlace) -> str:
        return self._torch(place, _TORCH_AVERAGE)


@dataclass(frozen=True)
class GlobalAveragePool2D(Layer):
    """The mean of each channel over the whole picture: (B, H, W, C) to (B, C).

    Each pixel takes dy / (H W). In front of the last `Dense` it takes the place of `Flatten`, and
    pictures of any size may come in.

    Raises
    ------
    ValueError
        If samples come in that are no pictures (H, W, C).

    References
    ----------
    Lin, Chen and Yan, "Network in network", 2014, https://arxiv.org/abs/1312.4400
    """

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        return (picture_shape("GlobalAveragePool2D", shape)[-1],)

    def flops(self, shape: Shape) -> int:
        return math.prod(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        self.output_shape(tuple(x.shape[1:]))
        return global_average_pooling(xp, x), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (global_average_pooling_gradient(xp, x, dy) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(), (3, 2, 4, 3)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.opset < 18:
            return place.node("ReduceMean", x, axes=[1, 2], keepdims=0)
        return place.node("ReduceMean", x, place.constant("axes", [1, 2]), keepdims=0)

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH_GLOBAL)
        return "GlobalAveragePool2D()"


def _means(windows: Windows, axis: int, shape: Shape) -> list[list[float]]:
    """The matrix that takes pixels along an axis to the means of windows, (windows, pixels)."""
    size, stride = (shape[0], shape[1]), windows.stride[axis]
    before, _ = windows.pads(size)[axis]
    rows = []
    for i in range(windows.output_size(size)[axis]):
        first = i * stride - before
        inside = range(max(first, 0), min(first + windows.kernel[axis], size[axis]))
        rows.append([(pixel in inside) / len(inside) for pixel in range(size[axis])])
    return rows


_TORCH_MAX = '''
class MaxPool2D(nn.Module):
    """Max pooling with channels last."""

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: str | tuple[int, int]
    ) -> None:
        super().__init__()
        self.options = size, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = padded(x.permute(0, 3, 1, 2), *self.options, float("-inf"))
        return nn.functional.max_pool2d(x, *self.options[:2]).permute(0, 2, 3, 1)
'''

_TORCH_AVERAGE = '''
class AveragePool2D(nn.Module):
    """Average pooling with channels last, which does not count the padding."""

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: str | tuple[int, int]
    ) -> None:
        super().__init__()
        self.options = size, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        total, count = (
            nn.functional.avg_pool2d(
                padded(part, *self.options, 0.0), *self.options[:2], divisor_override=1
            )
            for part in (x, torch.ones_like(x[:1, :1]))
        )
        return (total / count).permute(0, 2, 3, 1)
'''

_TORCH_GLOBAL = '''
class GlobalAveragePool2D(nn.Module):
    """The mean of each channel, with channels last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2))
'''
