"""Training: the step, the epochs, and the function that puts everything together."""

from xpnet.training.fit import fit
from xpnet.training.step import initial_state, make_step

__all__ = [
    "fit",
    "initial_state",
    "make_step",
]
