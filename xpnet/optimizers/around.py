"""What may be asked for around an update rule, whatever the rule: clipping, decay, averages.

`Optimizer.update` has the order in which they come.
"""

from functools import reduce

from xpnet.operations import unit_of_squares
from xpnet.typing import Array, Grads, Namespace, Params


def clipped(xp: Namespace, grads: Grads, *, norm: float | None, value: float | None) -> Grads:
    """Gradients within a limit: of each element (`value`), or of the norm of all (`norm`)."""
    if value is not None:
        return {
            name: xp.minimum(xp.maximum(gradient, -value), value)
            for name, gradient in grads.items()
        }
    return grads if norm is None else _clipped_by_norm(xp, grads, norm)


def _clipped_by_norm(xp: Namespace, grads: Grads, limit: float) -> Grads:
    sizes = [xp.max(xp.abs(gradient)) for gradient in grads.values() if 0 not in gradient.shape]
    if not sizes:
        return grads
    unit = unit_of_squares(xp, reduce(xp.maximum, sizes))
    grads = {name: gradient / unit for name, gradient in grads.items()}
    norm = xp.sqrt(sum(xp.sum(gradient * gradient) for gradient in grads.values()))
    # As in torch: the small number keeps a norm of 0 from dividing.
    factor = xp.minimum(limit / (norm + 1e-6 / unit), unit)
    return {name: gradient * factor for name, gradient in grads.items()}


def shrinkage(rate: Array, weight_decay: float) -> Array | None:
    """What decoupled weight decay multiplies a parameter by in a step; None without."""
    return 1.0 - rate * weight_decay if weight_decay else None


def with_decay(
    parameter: Array, gradient: Array, l2: float, shrink: Array | None
) -> tuple[Array, Array]:
    """Consumes `parameter`: its decay, through the gradient (`l2`) and beside it (`shrink`)."""
    if l2:
        gradient = gradient + l2 * parameter
    if shrink is not None:
        parameter *= shrink
    return parameter, gradient


def averaged(
    averages: dict[str, Array], params: Params, weights: Array, decay: float | None
) -> tuple[dict[str, Array], Array]:
    """Consumes `averages`: moving averages of the parameters, and the sum of their weights.

    With n the sum of the weights 1, d, d², ... of all steps so far,
    n = d n + 1 and average += (parameter - average) / n. So after the first step the average is the
    parameter, whatever it was before, and no step has more weight than it should.
    """
    weights = weights * decay + 1.0
    for name, parameter in params.items():
        averages[name] += (parameter - averages[name]) / weights
    return averages, weights
