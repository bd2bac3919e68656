"""Schedules: how the learning rate changes in the course of a training.

A schedule is a frozen dataclass with one method, `factors`, which gives a number for every step of
a run: that of the optimizer is multiplied by it. All are computed on the host, in float64, before
the first step. So a schedule may be any function, and a step only looks its number up.

What a schedule counts is said in epochs, the passes over the training set, fractions included; the
factor changes with every step unless it says otherwise.

`ReduceOnPlateau` follows what is measured after an epoch instead, and has no such table.
"""

from xpnet.descriptions import named_classes
from xpnet.schedules.base import Schedule as Schedule
from xpnet.schedules.base import WarmedUp as WarmedUp
from xpnet.schedules.plateau import Plateau as Plateau

# In the order in which the command line lists them.
# isort: off
from xpnet.schedules.courses import Constant as Constant
from xpnet.schedules.courses import Step as Step
from xpnet.schedules.courses import Exponential as Exponential
from xpnet.schedules.courses import Polynomial as Polynomial
from xpnet.schedules.courses import Cosine as Cosine
from xpnet.schedules.courses import OneCycle as OneCycle
from xpnet.schedules.plateau import ReduceOnPlateau as ReduceOnPlateau

SCHEDULES: dict[str, type[Schedule] | type[ReduceOnPlateau]] = {
    **named_classes(globals(), Schedule),
    **named_classes(globals(), ReduceOnPlateau),
}
"""The schedules by the name that the command line gives them."""
