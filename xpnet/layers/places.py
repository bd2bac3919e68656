"""What a layer is given to write itself down: its place in an ONNX graph, or in a PyTorch module.

Who writes the files makes these; a layer asks no more of them than what is here.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from xpnet.typing import HostArray, Shape


class OnnxPlace(Protocol):
    """One layer in a graph of ONNX: what `Layer.onnx` is given.

    Tensors are named after the layer. The layer adds nodes and returns the name of the tensor that
    holds the output, such as `place.node("Relu", x)`.

    Attributes
    ----------
    name
        The names of the layer, from the outermost container inwards, joined by dots, such as
        `res1.block.fc1`; empty for the model itself.
    opset
        The version of the operators.
    dtype
        `"float32"` or `"float64"`: of all tensors. In float64 fewer operators are of use:
        attributes such as a slope or an epsilon are float32 always, LayerNormalization may compute
        in float32, and runtimes lack Elu, PRelu, Softplus and Erf.
    shape
        The shape of one sample that comes in, without the batch; None if it is not known.
    """

    name: str
    opset: int
    dtype: str
    shape: Shape | None

    def array(self, key: str) -> HostArray:
        """A parameter or buffer of the layer, by the name that the layer gives it."""

    def node(self, operator: str, *inputs: str, part: str | None = None, **attributes: Any) -> str:
        """Add a node of a standard operator; returns the tensor that it writes.

        Parameters
        ----------
        operator
            Its name, such as `"Gemm"`.
        inputs
            The tensors that it reads.
        part
            What it computes, in a word, where it is not the output of the layer.
        attributes
            Its attributes, as in the list of operators, https://onnx.ai/onnx/operators/.

        Raises
        ------
        ExportError
            If the operator came into ONNX after the opset of the graph.
        """

    def need_opset(self, opset: int, what: str) -> None:
        """Refuse an opset below this one; `what` says what of the layer is not in it.

        Raises
        ------
        ExportError
            If the graph has an older opset; the message has the layer and the lowest it can have.
        """

    def parameter(self, key: str) -> str:
        """The tensor of a parameter or buffer of the layer."""

    def number(self, value: float) -> str:
        """The tensor of a number."""

    def constant(self, part: str, value: HostArray | Sequence[Any]) -> str:
        """The tensor of a constant, called after the layer and what it is, in a word."""

    def last_axis(self, x: str) -> int | None:
        """The last axis of a tensor as the opset takes it; None if that is not known."""

    def erf(self, x: str) -> str:
        """The error function of a tensor, in either dtype."""

    def layer(self, key: str, layer: Any, x: str) -> str:
        """The nodes of a layer inside of this one; returns the tensor of its output."""


class TorchPlace(Protocol):
    """One layer in a module of PyTorch: what `Layer.torch` is given.

    The layer hands over its arrays and returns the text that makes the module, such as
    `"nn.ReLU()"`.

    Attributes
    ----------
    name
        The names of the layer, from the outermost container inwards, joined by dots.
    shape
        The shape of one sample that comes in, without the batch; None if it is not known.
    """

    name: str
    shape: Shape | None

    def array(self, key: str) -> HostArray:
        """A parameter or buffer of the layer, by the name that the layer gives it."""

    def keep(self, key: str, array: HostArray | int) -> None:
        """Put an array into the state dict, by the name that PyTorch's module gives it."""

    def define(self, text: str) -> None:
        """Put the text of a class in front of the module, once."""

    def layer(self, key: str, layer: Any, shape: Shape | None = None) -> str:
        """The text of a layer inside of this one, which is given samples of a shape, if known."""


def scale_and_shift(place: OnnxPlace, centred: str, variance: str, epsilon: float) -> str:
    """The nodes of scale times centred / sqrt(variance + epsilon), plus the bias of a layer."""
    shifted = place.node("Add", variance, place.number(epsilon), part="shifted")
    deviation = place.node("Sqrt", shifted, part="deviation")
    normal = place.node("Div", centred, deviation, part="normal")
    scaled = place.node("Mul", normal, place.parameter("scale"), part="scaled")
    return place.node("Add", scaled, place.parameter("bias"))


def with_channels_first(place: OnnxPlace, x: str, axes: int) -> str:
    """A tensor of samples of so many axes with the last one first, as operators of pictures ask."""
    if axes == 1:
        return x
    return place.node("Transpose", x, part="first", perm=[0, axes, *range(1, axes)])


def with_channels_last(place: OnnxPlace, x: str, axes: int) -> str:
    """The inverse of `with_channels_first`: what a layer gives."""
    return x if axes == 1 else place.node("Transpose", x, perm=[0, *range(2, axes + 1), 1])
