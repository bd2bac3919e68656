"""The layers. To add one, see `xpnet.layers.base.Layer` and CONTRIBUTING.md.

Each has its line here; what else is known of it, its class says.
"""

from xpnet.descriptions import named_classes

# The activations in the order in which the command line lists them.
# isort: off
from xpnet.layers.activations import ReLU as ReLU
from xpnet.layers.activations import Tanh as Tanh
from xpnet.layers.activations import Sigmoid as Sigmoid
from xpnet.layers.activations import LeakyReLU as LeakyReLU
from xpnet.layers.activations import ELU as ELU
from xpnet.layers.activations import GELU as GELU
from xpnet.layers.activations import SiLU as SiLU
from xpnet.layers.activations import Softplus as Softplus
from xpnet.layers.batch_norm import BatchNorm as BatchNorm
from xpnet.layers.convolution import Conv1D as Conv1D
from xpnet.layers.convolution import Conv2D as Conv2D
from xpnet.layers.dense import Dense as Dense
from xpnet.layers.dropout import Dropout as Dropout
from xpnet.layers.flatten import Flatten as Flatten
from xpnet.layers.layer_norm import LayerNorm as LayerNorm
from xpnet.layers.noise import GaussianNoise as GaussianNoise
from xpnet.layers.pooling import AveragePool2D as AveragePool2D
from xpnet.layers.pooling import GlobalAveragePool2D as GlobalAveragePool2D
from xpnet.layers.mixture import Mixture as Mixture
from xpnet.layers.pooling import MaxPool2D as MaxPool2D
from xpnet.layers.reshape import Permute as Permute
from xpnet.layers.reshape import Reshape as Reshape
from xpnet.layers.residual import Residual as Residual
from xpnet.layers.sequential import Sequential as Sequential
from xpnet.layers.softmax import Softmax as Softmax

# isort: on
from xpnet.layers.activations import Activation as Activation
from xpnet.layers.base import EVALUATION as EVALUATION
from xpnet.layers.base import Context as Context
from xpnet.layers.base import Layer as Layer
from xpnet.layers.constraints import CONSTRAINTS as CONSTRAINTS
from xpnet.layers.constraints import Constraint as Constraint
from xpnet.layers.constraints import MaxNorm as MaxNorm
from xpnet.layers.container import Container as Container
from xpnet.layers.description import LAYERS as LAYERS
from xpnet.layers.description import build_layer as build_layer
from xpnet.layers.description import describe_layer as describe_layer
from xpnet.layers.softmax import log_softmax as log_softmax
from xpnet.layers.softmax import softmax as softmax

LAYERS.update(
    {
        name: value
        for name, value in list(globals().items())
        if isinstance(value, type)
        and issubclass(value, Layer)
        and value.forward is not Layer.forward  # what others are made of has none
    }
)

ACTIVATIONS: dict[str, type[Activation]] = named_classes(globals(), Activation)
"""The activations by the name that the command line gives them."""
