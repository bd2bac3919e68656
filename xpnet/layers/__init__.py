"""The layers. To add one, see `xpnet.layers.base.Layer` and CONTRIBUTING.md."""

from xpnet.layers.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from xpnet.layers.base import EVALUATION, Context, Layer
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.constraints import CONSTRAINTS, Constraint, MaxNorm
from xpnet.layers.container import Container
from xpnet.layers.dense import Dense
from xpnet.layers.description import LAYERS, build_layer, describe_layer
from xpnet.layers.dropout import Dropout
from xpnet.layers.flatten import Flatten
from xpnet.layers.layer_norm import LayerNorm
from xpnet.layers.residual import Residual
from xpnet.layers.softmax import Softmax, log_softmax, softmax

_LAYERS: tuple[type[Layer], ...] = (
    BatchNorm, Dense, Dropout, ELU, Flatten, GELU, LayerNorm, LeakyReLU, ReLU, Residual, SiLU,
    Sigmoid, Softmax, Softplus, Tanh,
)  # fmt: skip
LAYERS.update({layer.__name__: layer for layer in _LAYERS})

__all__ = [
    "ACTIVATIONS",
    "CONSTRAINTS",
    "ELU",
    "EVALUATION",
    "GELU",
    "LAYERS",
    "BatchNorm",
    "Constraint",
    "Container",
    "Context",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxNorm",
    "ReLU",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "build_layer",
    "describe_layer",
    "log_softmax",
    "softmax",
]
