"""What weights must keep to after every update."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from xpnet.descriptions import build_from_fields, describe_fields
from xpnet.errors import shown
from xpnet.fields import Checked, number
from xpnet.operations import unit_of_squares
from xpnet.typing import Array, Namespace

Constraint: TypeAlias = Callable[[Namespace, Array], Array]
"""`(xp, weight) -> weight`, which may consume the weight, of shape (n_in, n_out), or (height,
width, n_in, n_out) of a convolution."""


@dataclass(frozen=True)
class MaxNorm(Checked):
    """No unit's incoming weights are longer than `limit`: longer columns are scaled down to it.

    w_j = w_j min(1, limit / ||w_j||) for each column w_j of the weight, with the Euclidean norm. It
    is Keras' `MaxNorm` with `axis=0`, but for the small number that Keras adds to the norm. Weights
    are drawn as ever: it is after the first update that they are within the limit.

    Parameters
    ----------
    limit
        The longest norm, positive; 3 or 4 are usual, together with dropout.

    Raises
    ------
    ValueError
        If the limit is not a positive number.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent
    neural networks from overfitting", 2014, section 5.1,
    https://jmlr.org/papers/v15/srivastava14a.html
    """

    # With 0 a weight of zeros would be multiplied by 0 / 0.
    limit: float = field(metadata=number(above=0))

    def __call__(self, xp: Namespace, weight: Array) -> Array:
        """Consumes `weight`, of which the last axis is that of the units."""
        if weight.ndim > 2:  # of a convolution
            columns = xp.reshape(weight, (math.prod(weight.shape[:-1]), weight.shape[-1]))
            return xp.reshape(self(xp, columns), weight.shape)
        unit = unit_of_squares(xp, xp.max(xp.abs(weight), axis=0, keepdims=True))
        weight /= unit
        norms = xp.sqrt(xp.sum(weight * weight, axis=0, keepdims=True))
        # Exactly the unit up to the limit, and never a division by 0.
        weight *= self.limit / xp.maximum(norms, self.limit / unit)
        return weight


def constrained(
    xp: Namespace, constraints: Mapping[str, Constraint], params: dict[str, Array]
) -> dict[str, Array]:
    """Consumes `params`: the parameters within what they must keep to.

    Raises
    ------
    TypeError
        If a constraint gives anything else than a parameter of the same shape and dtype.
    """
    for name, constraint in constraints.items():
        shape, dtype = params[name].shape, params[name].dtype
        kept = constraint(xp, params[name])
        if getattr(kept, "shape", None) != shape or getattr(kept, "dtype", None) != dtype:
            raise TypeError(
                f"the constraint of {name} must give an array of its shape {tuple(shape)} and "
                f"dtype {dtype}, got {_in_words(kept)}"
            )
        params[name] = kept
    return params


def _in_words(x: Any) -> str:
    """An array by its shape and dtype, and not by its numbers, which may not be there yet."""
    if not hasattr(x, "shape"):
        return shown(x)
    return f"one of shape {tuple(x.shape)} and dtype {x.dtype}"


CONSTRAINTS: dict[str, type[Any]] = {
    "MaxNorm": MaxNorm,
}
"""The constraints by name, for saved networks."""


def describe_constraint(constraint: Constraint) -> dict[str, Any]:
    """A constraint as JSON values, from which `build_constraint` makes an equal one."""
    kind = type(constraint)
    if CONSTRAINTS.get(kind.__name__) is kind:
        return {"constraint": kind.__name__, "options": describe_fields(constraint)}
    return {"constraint": "custom", "options": {}}


def build_constraint(description: dict[str, Any]) -> Constraint:
    """The inverse of `describe_constraint`, for xpnet's own constraints.

    Raises
    ------
    ValueError
        If it is not one of them, or its options are not allowed.
    """
    kind = description["constraint"]
    if kind not in CONSTRAINTS:
        raise ValueError(
            f"the constraint {shown(kind)} is not one of xpnet's ({', '.join(CONSTRAINTS)}): "
            f"give the model to load(..., model=...)"
        )
    constraint: Constraint = build_from_fields(CONSTRAINTS[kind], description["options"])
    return constraint
