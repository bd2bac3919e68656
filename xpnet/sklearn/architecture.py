"""The layers of an estimator, and their arrays by the names that scikit-learn gives them."""

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.initializers import xavier_uniform
from xpnet.layers import BatchNorm, Dense, Dropout, Layer, ReLU, Sigmoid, Tanh
from xpnet.model import Sequential
from xpnet.random import Seed, stream
from xpnet.typing import Array, Generator, HostArray

ACTIVATIONS: dict[str, Layer | None] = {
    "identity": None,
    "logistic": Sigmoid(),
    "tanh": Tanh(),
    "relu": ReLU(),
}
"""The layer after each hidden layer; none for the identity."""


def build_model(
    sizes: Sequence[int],
    activation: str,
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
    draw = logistic_uniform if activation == "logistic" else xavier_uniform
    draw = draw if drawn else _zeros
    between = ACTIVATIONS[activation]
    layers: dict[str, Layer] = {}
    last = len(sizes) - 1
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
        hidden = i < last
        layers[f"fc{i}"] = Dense(n_in, n_out, draw, bias=not (hidden and batch_norm))
        if hidden and batch_norm:
            layers[f"bn{i}"] = BatchNorm(n_out)
        if hidden and between is not None:
            layers[f"act{i}"] = between
        if hidden and dropout:
            layers[f"drop{i}"] = Dropout(dropout)
    return Sequential(**layers)


def logistic_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(2 / (fan_in + fan_out)): scikit-learn's choice for logistic layers."""
    limit = math.sqrt(2 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def _zeros(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    return np.zeros((fan_in, fan_out))


def initial_biases(model: Sequential, activation: str, seed: Seed) -> dict[str, HostArray]:
    """The biases of the dense layers, drawn from the range of their weights as in scikit-learn."""
    factor = 2.0 if activation == "logistic" else 6.0
    biases = {}
    for name, layer in model.layers.items():
        if isinstance(layer, Dense) and layer.bias:
            limit = math.sqrt(factor / (layer.n_in + layer.n_out))
            rng = stream(seed, "initialization", name, "bias")
            biases[f"{name}.bias"] = rng.uniform(-limit, limit, layer.n_out)
    return biases


def coefficient_names(model: Sequential) -> tuple[list[str], list[str]]:
    """The names of the parameters that are `coefs_`, and of those that are `intercepts_`."""
    numbers = [name[2:] for name in model.layers if name.startswith("fc")]
    normed = [f"bn{i}" in model.layers for i in numbers]
    biases = [f"{'bn' if bn else 'fc'}{i}.bias" for i, bn in zip(numbers, normed, strict=True)]
    return [f"fc{i}.weight" for i in numbers], biases


def norm_arrays(model: Sequential, arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """What is left for `batch_norm_`: scale, mean and variance of each batch norm, in order."""
    return [
        {key: arrays[f"{name}.{key}"] for key in ("scale", "mean", "variance")}
        for name in model.layers
        if name.startswith("bn")
    ]


def arrays_of(estimator: Any) -> dict[str, Array]:
    """The arrays of a fitted estimator by the names that its model has for them."""
    weights, biases = coefficient_names(estimator._model)
    arrays = dict(zip(weights, estimator.coefs_, strict=True))
    arrays |= dict(zip(biases, estimator.intercepts_, strict=True))
    norms = [name for name in estimator._model.layers if name.startswith("bn")]
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
