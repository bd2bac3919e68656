"""Targets with a weight for each sample."""

from typing import Any, NamedTuple

from xpnet.typing import Array


class Weighted(NamedTuple):
    """What stands in the place of targets where samples have weights.

    A tuple, because those who compile a step know what to do with one. Its parts have as many rows;
    either may be `Streamed`.

    Attributes
    ----------
    target
        The targets.
    weight
        The weight of each sample, shape (N,), in the backend's dtype.
    """

    target: Array
    weight: Array


def rows_of(y: Any, rows: Any) -> Any:
    """`y[rows]`, of the weights as well where there are any."""
    if isinstance(y, Weighted):
        return Weighted(y.target[rows], y.weight[rows])
    return y[rows]
