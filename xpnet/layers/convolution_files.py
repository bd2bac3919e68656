"""Convolutions in the files of others: nodes of ONNX, and modules of PyTorch."""

import math
from itertools import product
from typing import Any, Protocol

from xpnet.errors import ExportError
from xpnet.layers.pictures import PICTURE_AXES, TORCH_PADS
from xpnet.layers.places import (
    OnnxPlace,
    TorchPlace,
    with_channels_first,
    with_channels_last,
)
from xpnet.typing import HostArray, Shape
from xpnet.windows import Pair, Windows


class ConvolutionLike(Protocol):
    """What is read of a convolution."""

    @property
    def n_in(self) -> int: ...
    @property
    def n_out(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def windows(self) -> Windows: ...

    def kernel_shape(self) -> Shape:
        """The shape of a kernel, without channels."""

    def output_shape(self, shape: Shape | None) -> Shape:
        """As in `Layer`."""


def onnx_convolution(layer: ConvolutionLike, place: OnnxPlace, x: str) -> str:
    """The nodes of a convolution, with channels first inside of it."""
    axes = len(layer.kernel_shape())
    if place.dtype == "float64":
        return _by_columns(layer, place, x)
    windows = layer.windows
    attributes: dict[str, Any] = {
        "kernel_shape": windows.kernel[-axes:],
        "strides": windows.stride[-axes:],
        "dilations": windows.dilation[-axes:],
        "group": layer.groups,
    }
    size = _size(place)
    if windows.padding == "same" and size is None:
        attributes["auto_pad"] = "SAME_UPPER"
    else:
        pads = windows.pads(size or (0, 0))[-axes:]
        attributes["pads"] = [before for before, _ in pads] + [behind for _, behind in pads]
    first = with_channels_first(place, x, axes + 1)
    # From (kernel, channels, outputs) to (outputs, channels, kernel).
    order = [axes + 1, axes, *range(axes)]
    weight = place.node("Transpose", place.parameter("weight"), part="kernels", perm=order)
    arrays = [weight, *([place.parameter("bias")] if layer.bias else [])]
    y = place.node("Conv", first, *arrays, part="convolved", **attributes)
    return with_channels_last(place, y, axes + 1)


def _size(place: OnnxPlace) -> Pair | None:
    """The height and width of the pictures that come in; None if they are not known."""
    shape = place.shape
    if shape is None or None in shape:
        return None
    return (shape[0], shape[1]) if len(shape) == PICTURE_AXES else (1, shape[0])


def _by_columns(layer: ConvolutionLike, place: OnnxPlace, x: str) -> str:
    """The same in float64, in which runtimes have no `Conv`: columns by `Gather`, one product."""
    size, windows = _size(place), layer.windows
    if size is None:
        raise ExportError(
            f"layer {place.name or type(layer).__name__!r}: in float64 the shape of its samples "
            f"has to be known: set network.sample_shape, such as (28, 28), or take dtype='float32'"
        )

    def shaped(tensor: str, part: str, *shape: int) -> str:
        return place.node(
            "Reshape", tensor, place.constant(f"{part}_shape", [0, *shape]), part=part
        )

    pads = windows.pads(size)
    pictures = shaped(x, "pictures", *size, layer.n_in)
    around = _padded(place, pictures, pads)
    height, width = (n + sum(both) for n, both in zip(size, pads, strict=True))
    pixels = shaped(around, "pixels", height * width, layer.n_in)
    places = place.constant("places", _places(windows, windows.output_size(size), width))
    taken = place.node("Gather", pixels, places, part="taken", axis=1)
    inner = math.prod(windows.kernel) * layer.n_in
    columns = shaped(taken, "columns", math.prod(windows.output_size(size)), inner)
    matrix = place.constant("matrix", _whole_matrix(layer, place.array("weight")))
    y = place.node("MatMul", columns, matrix, part="product")
    if layer.bias:
        y = place.node("Add", y, place.parameter("bias"), part="shifted")
    shape = layer.output_shape(place.shape)
    return place.node("Reshape", y, place.constant("shape", [0, *shape]))


def _padded(place: OnnxPlace, x: str, pads: tuple[Pair, Pair]) -> str:
    (top, bottom), (left, right) = pads
    values = [0, top, left, 0, 0, bottom, right, 0]
    if not any(values):
        return x
    if place.opset < 11:
        return place.node("Pad", x, part="padded", pads=values)
    return place.node("Pad", x, place.constant("pads", values), part="padded")


def _places(windows: Windows, size: Pair, width: int) -> list[int]:
    """Where the pixels of each window are in pictures of a width, written row by row."""
    (down, right), (below, beside) = windows.stride, windows.dilation
    return [
        (i * down + u * below) * width + j * right + v * beside
        for i, j, u, v in product(*map(range, (*size, *windows.kernel)))
    ]


def _whole_matrix(layer: ConvolutionLike, weight: HostArray) -> HostArray:
    """The weight as a matrix from all channels to all outputs; 0 from one group to another."""
    channels, outputs = layer.n_in // layer.groups, layer.n_out // layer.groups
    pixels = math.prod(layer.kernel_shape())
    parts = weight.reshape(pixels, 1, channels, layer.n_out)
    whole = parts.repeat(layer.groups, axis=1)
    for group, other in product(range(layer.groups), repeat=2):
        if group != other:
            whole[:, group, :, other * outputs : (other + 1) * outputs] = 0
    return whole.reshape(pixels * layer.n_in, layer.n_out)


def torch_convolution(layer: ConvolutionLike, place: TorchPlace) -> str:
    """The text of a convolution as a module, which has channels first inside of it."""
    axes = len(layer.kernel_shape())
    place.keep("weight", place.array("weight").transpose(axes + 1, axes, *range(axes)))
    if layer.bias:
        place.keep("bias", place.array("bias"))
    place.define(TORCH_PADS)
    place.define(_TORCH_PICTURES if axes > 1 else _TORCH_SEQUENCES)
    windows = layer.windows
    padding = windows.padding
    if axes == 1 and not isinstance(padding, str):
        padding = (0, padding[1])
    return (
        f"{type(layer).__name__}({padding!r}, {layer.n_in}, {layer.n_out}, "
        f"{windows.kernel[-axes:]}, stride={windows.stride[-axes:]}, "
        f"dilation={windows.dilation[-axes:]}, groups={layer.groups}, bias={layer.bias})"
    )


_TORCH_PICTURES = '''
class Conv2D(nn.Conv2d):
    """Convolution with channels last."""

    def __init__(self, around: str | tuple[int, int], *arguments: int, **options: int) -> None:
        super().__init__(*arguments, **options)
        self.around = around

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spans = tuple((k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation))
        x = padded(x.permute(0, 3, 1, 2), spans, self.stride, self.around, 0.0)
        return super().forward(x).permute(0, 2, 3, 1)
'''

_TORCH_SEQUENCES = '''
class Conv1D(nn.Conv1d):
    """Convolution of sequences with channels last."""

    def __init__(self, around: str | tuple[int, int], *arguments: int, **options: int) -> None:
        super().__init__(*arguments, **options)
        self.around = around

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spans = 1, (self.kernel_size[0] - 1) * self.dilation[0] + 1
        x = padded(x.permute(0, 2, 1)[:, :, None], spans, (1, self.stride[0]), self.around, 0.0)
        return super().forward(x[:, :, 0]).permute(0, 2, 1)
'''
