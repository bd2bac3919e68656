"""Optimizers: how gradients change parameters, in order of complexity.

To add one, see `xpnet.optimizers.base.Optimizer` and CONTRIBUTING.md. Each has its line here; what
else is known of it, its class says.
"""

from xpnet.descriptions import named_classes
from xpnet.optimizers.base import Optimizer as Optimizer

# In the order in which the command line lists them.
# isort: off
from xpnet.optimizers.sgd import SGD as SGD
from xpnet.optimizers.sgd import Momentum as Momentum
from xpnet.optimizers.sgd import Nesterov as Nesterov
from xpnet.optimizers.rmsprop import RMSprop as RMSprop
from xpnet.optimizers.adam import Adam as Adam
from xpnet.optimizers.adam import AdamW as AdamW
from xpnet.optimizers.lion import Lion as Lion

OPTIMIZERS: dict[str, type[Optimizer]] = named_classes(globals(), Optimizer)
"""The optimizers by the name that the command line gives them."""
