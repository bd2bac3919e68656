"""Schedules: how the learning rate changes in the course of a training.

A schedule is a frozen dataclass with one method, `factors`, which gives a number for every step of
a run: that of the optimizer is multiplied by it. All are computed on the host, in float64, before
the first step. So a schedule may be any function, and a step only looks its number up.

What a schedule counts is said in epochs, the passes over the training set, fractions included; the
factor changes with every step unless it says otherwise.

`ReduceOnPlateau` follows what is measured after an epoch instead, and has no such table.
"""

from xpnet.schedules.base import Schedule, WarmedUp
from xpnet.schedules.courses import Constant, Cosine, Exponential, OneCycle, Polynomial, Step
from xpnet.schedules.plateau import Plateau, ReduceOnPlateau

SCHEDULES: dict[str, type[Schedule] | type[ReduceOnPlateau]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "cosine": Cosine,
    "one-cycle": OneCycle,
    "plateau": ReduceOnPlateau,
}
"""The schedules by the name that the command line gives them."""

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Exponential",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmedUp",
]
