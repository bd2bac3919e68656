"""Optimizers: how gradients change parameters, in order of complexity.

To add one, see `xpnet.optimizers.base.Optimizer` and CONTRIBUTING.md.
"""

from xpnet.optimizers.adam import Adam, AdamW
from xpnet.optimizers.base import Optimizer
from xpnet.optimizers.lion import Lion
from xpnet.optimizers.rmsprop import RMSprop
from xpnet.optimizers.sgd import SGD, Momentum, Nesterov

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
}
"""The optimizers by the name that the command line gives them."""

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adam",
    "AdamW",
    "Lion",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
]
