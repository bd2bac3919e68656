"""The layers. To add one, see `xpnet.layers.base.Layer` and CONTRIBUTING.md."""

from xpnet.layers.activations import ACTIVATIONS, ReLU, Sigmoid, Tanh
from xpnet.layers.base import EVALUATION, Context, Layer
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout
from xpnet.layers.flatten import Flatten
from xpnet.layers.softmax import Softmax, log_softmax, softmax

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer for layer in (Dense, Dropout, Flatten, ReLU, Sigmoid, Softmax, Tanh)
}
"""The layers by name, for saved networks."""

__all__ = [
    "ACTIVATIONS",
    "EVALUATION",
    "LAYERS",
    "Context",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "log_softmax",
    "softmax",
]
