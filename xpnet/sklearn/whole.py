"""The layers of an estimator for pictures: a whole network, by name or as it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet.data import taken_shape
from xpnet.errors import counted
from xpnet.layers import Layer, Reshape, Sequential
from xpnet.models import build_model
from xpnet.random import Seed
from xpnet.sklearn.architecture import Activations
from xpnet.sklearn.fitted import Fitted
from xpnet.typing import HostArray, Shape

_INPUT = "pixels"
"""What the layer is called that makes pictures of rows."""


@dataclass(frozen=True)
class NetworkStructure:
    """The layers of a network that is asked for as a whole; what `Structure` is for an MLP.

    Attributes
    ----------
    network
        Its layers, which take rows of pixels.
    batch_norm
        Whether it has arrays beside weights and biases.
    sample_shape
        The shape of one sample.
    """

    network: Sequential
    batch_norm: bool
    sample_shape: Shape
    between: ClassVar[Activations] = ()

    def model(self, *, drawn: bool = True) -> Sequential:
        """Its layers, which draw their weights themselves."""
        return self.network

    def initial_biases(self, seed: Seed) -> dict[str, HostArray]:
        """None: the layers begin with zeros."""
        return {}


def make_network_structure(
    asked: str | Layer | Callable[[Shape, int], Layer],
    shape: Shape,
    n_outputs: int,
    before: Fitted | None,
) -> NetworkStructure:
    """The layers that are asked for, which must be those of before where the training goes on.

    Parameters
    ----------
    asked
        A name of `xpnet.models.MODELS`; layers; or a function of the shape of a sample and the
        number of outputs that gives layers.
    shape
        The shape of one sample.
    n_outputs
        What the targets and the loss need.
    before
        What was fitted; None where the training begins.

    Raises
    ------
    ValueError
        If there is no such network, it does not take such samples, has another number of outputs,
        or is not that of before.
    TypeError
        If the function gives no layer.
    """
    network = _network(asked, shape, n_outputs)
    output = network.output_shape(taken_shape(network.input_shape(), shape))
    if output is not None and output != (n_outputs,):
        raise ValueError(
            f"the targets and the loss need {counted(n_outputs, 'output')}, and the model gives "
            f"{output}: let its last layer have {counted(n_outputs, 'output')}"
        )
    first = Reshape(taken_shape(network.input_shape(), shape))
    model = Sequential(**{_INPUT: first, "network": network})
    if isinstance(network, Sequential) and type(network) is Sequential and _INPUT not in network:
        model = Sequential(**{_INPUT: first, **network.layers})  # the names stay short
    if before is not None and before.model != model:
        raise ValueError(
            "the model, the shape of the pictures or the number of classes is another than that of "
            "what was fitted: give what was given before, or fit with warm_start=False"
        )
    names = {name.rpartition(".")[2] for name in (*model.parameter_shapes(), *model.buffers())}
    return NetworkStructure(model, not names <= {"weight", "bias"}, shape)


def _network(asked: Any, shape: Shape, n_outputs: int) -> Layer:
    if isinstance(asked, str):
        return build_model(asked, shape, n_outputs)
    network = asked if isinstance(asked, Layer) else asked(shape, n_outputs)
    if not isinstance(network, Layer):
        raise TypeError(f"model must give a layer such as Sequential(...), got {network!r:.200}")
    return network
