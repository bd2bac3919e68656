"""The layers of an estimator, and their arrays by the names that scikit-learn gives them."""

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.errors import counted
from xpnet.initializers import xavier_uniform
from xpnet.layers import ACTIVATIONS, BatchNorm, Dense, Dropout, Layer, Sequential, Sigmoid
from xpnet.random import Seed, stream
from xpnet.sklearn.settings import Settings
from xpnet.typing import Array, Generator, HostArray, Shape

Activations = Sequence[Layer | None]
"""The layer after each hidden layer, none for the identity; and once more the last of them."""


def activations(given: Any, n_hidden: int) -> Activations:
    """The activations by the parameter of that name: one for all hidden layers, or one for each.

    The last of them stands for the output layer, which has none: its initial arrays are drawn as
    those of the layer before, as in scikit-learn.

    Raises
    ------
    ValueError
        If one is not known, or there are not as many as hidden layers.
    TypeError
        If one is neither a name nor a layer.
    """
    if isinstance(given, str | Layer):
        return [_activation(given)] * (n_hidden + 1)
    found = [_activation(one) for one in given]
    if len(found) != n_hidden:
        there = "is" if n_hidden == 1 else "are"
        raise ValueError(
            f"activation has {counted(len(found), 'entry', 'entries')}, and there {there} "
            f"{counted(n_hidden, 'hidden layer')}: give one for each, or a single one for all of "
            "them"
        )
    return [*found, found[-1] if found else None]


def _activation(given: Any) -> Layer | None:
    if isinstance(given, str):
        if given not in _BY_NAME:
            raise ValueError(f"activation must be one of {', '.join(_BY_NAME)}; got {given!r}")
        return _BY_NAME[given]
    if isinstance(given, type) and issubclass(given, Layer):
        raise TypeError(f"activation must be one such as {given.__name__}(), got the class")
    if not isinstance(given, Layer):
        raise TypeError(f"activation must be a name or a layer of xpnet.layers, got {given!r}")
    if given.parameter_shapes() or given.buffers() or given.output_shape((3,)) != (3,):
        raise ValueError(
            f"activation must be a layer without arrays, which keeps the shape of its input, such "
            f"as LeakyReLU(0.2); got {given!r}"
        )
    return given


_BY_NAME: dict[str, Layer | None] = {
    "identity": None,
    "logistic": Sigmoid(),
    **{name: layer() for name, layer in ACTIVATIONS.items()},
}
"""scikit-learn's names, and those of `xpnet.layers.ACTIVATIONS`."""


@dataclass(frozen=True)
class Structure:
    """Which layers an estimator has.

    Attributes
    ----------
    sizes
        From the features to the outputs.
    between
        What is behind each hidden layer.
    dropout, batch_norm
        As the parameters of these names.
    """

    sizes: Sequence[int]
    between: Activations
    dropout: float
    batch_norm: bool

    @property
    def sample_shape(self) -> Shape:
        """The shape of one sample."""
        return (self.sizes[0],)

    @classmethod
    def of(cls, settings: Settings, sizes: Sequence[int]) -> "Structure":
        """That which the parameters of an estimator ask for, with these `sizes`.

        Raises
        ------
        ValueError, TypeError
            If they ask for none that there is.
        """
        between = activations(settings.activation, len(sizes) - 2)
        return cls(sizes, between, settings.dropout, settings.batch_norm)

    def model(self, *, drawn: bool = True) -> Sequential:
        """Its layers; see `build_model`."""
        return build_model(
            self.sizes, self.between, dropout=self.dropout, batch_norm=self.batch_norm, drawn=drawn
        )

    def initial_biases(self, seed: Seed) -> dict[str, HostArray]:
        """The biases that are drawn; see `initial_biases`."""
        return initial_biases(self.model(), self.between, seed)


def build_model(
    sizes: Sequence[int],
    between: Activations,
    *,
    dropout: float = 0.0,
    batch_norm: bool = False,
    drawn: bool = True,
) -> Sequential:
    """Dense layers `fc1`, `fc2`, ... of these sizes, from the features to the outputs.

    Between two of them are `bn1` (where asked for), `act1` and `drop1` (where asked for). A dense
    layer in front of a batch norm has no bias: that of the batch norm takes its place. Unless
    weights are to be `drawn`, they begin as zeros, for where there are others already.
    """
    layers: dict[str, Layer] = {}
    last = len(sizes) - 1
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
        hidden, activation = i < last, between[i - 1]
        draw = logistic_uniform if isinstance(activation, Sigmoid) else xavier_uniform
        draw = draw if drawn else _zeros
        layers[f"fc{i}"] = Dense(n_in, n_out, draw, bias=not (hidden and batch_norm))
        if hidden and batch_norm:
            layers[f"bn{i}"] = BatchNorm(n_out)
        if hidden and activation is not None:
            layers[f"act{i}"] = activation
        if hidden and dropout:
            layers[f"drop{i}"] = Dropout(dropout)
    return Sequential(**layers)


def logistic_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(2 / (fan_in + fan_out)): scikit-learn's choice for logistic layers."""
    limit = math.sqrt(2 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def _zeros(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    return np.zeros((fan_in, fan_out))


def initial_biases(model: Sequential, between: Activations, seed: Seed) -> dict[str, HostArray]:
    """The biases of the dense layers, drawn from the range of their weights as in scikit-learn."""
    dense = [(name, layer) for name, layer in model.layers.items() if isinstance(layer, Dense)]
    biases = {}
    for (name, layer), activation in zip(dense, between, strict=True):
        if layer.bias:
            factor = 2.0 if isinstance(activation, Sigmoid) else 6.0
            limit = math.sqrt(factor / (layer.n_in + layer.n_out))
            rng = stream(seed, "initialization", name, "bias")
            biases[f"{name}.bias"] = rng.uniform(-limit, limit, layer.n_out)
    return biases


def coefficient_names(model: Layer) -> tuple[list[str], list[str]]:
    """The names of the parameters that are `coefs_`, and of those that are `intercepts_`."""
    names = list(model.parameter_shapes())
    return [n for n in names if _key(n) == "weight"], [n for n in names if _key(n) == "bias"]


def _key(name: str) -> str:
    """What a layer itself calls a parameter, of which `name` is the whole name."""
    return name.rpartition(".")[2]


def norm_arrays(model: Layer, arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """What is left for `batch_norm_`: scale, mean and variance of each batch norm, in order."""
    norms = norm_names(model)
    return [{key: arrays[f"{name}.{key}"] for key in keys} for name, keys in norms.items()]


def norm_names(model: Layer) -> dict[str, list[str]]:
    """The arrays that are neither weight nor bias, by the layer that has them."""
    norms: dict[str, list[str]] = {}
    for full in (*model.parameter_shapes(), *model.buffers()):
        name, _, key = full.rpartition(".")
        if key not in ("weight", "bias"):
            norms.setdefault(name, []).append(key)
    return norms


def arrays_of(estimator: Any) -> dict[str, Array]:
    """The arrays of a fitted estimator by the names that its model has for them."""
    weights, biases, norms = estimator._kept.names
    arrays = dict(zip(weights, estimator.coefs_, strict=True))
    arrays |= dict(zip(biases, estimator.intercepts_, strict=True))
    for name, own in zip(norms, getattr(estimator, "batch_norm_", ()), strict=True):
        arrays |= {f"{name}.{key}": value for key, value in own.items()}
    return arrays


def layer_sizes(n_features: int, hidden: Any, n_outputs: int) -> list[int]:
    """All sizes from the features to the outputs.

    Raises
    ------
    ValueError
        If a hidden layer is not larger than 0.
    TypeError
        If one is no integer.
    """
    hidden = list(hidden) if hasattr(hidden, "__iter__") else [hidden]
    try:
        sizes = [operator.index(size) for size in hidden]
    except TypeError as error:
        raise TypeError(f"hidden_layer_sizes must be integers, got {hidden}") from error
    if min(sizes, default=1) <= 0:
        raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
    return [n_features, *sizes, n_outputs]
