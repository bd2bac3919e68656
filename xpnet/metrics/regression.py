"""How near predicted values are to the targets."""

import math

from xpnet.typing import Array, Namespace


def mean_squared_error(xp: Namespace, output: Array, target: Array) -> Array:
    """The mean of (output - target)² over samples and outputs: shape ().

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    output, target
        Values of one shape, (B,) or (B, C).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _check_shapes(output, target)
    difference = output - target
    return xp.sum(difference * difference) / math.prod(output.shape)


def mean_absolute_error(xp: Namespace, output: Array, target: Array) -> Array:
    """The mean of abs(output - target) over samples and outputs: shape ().

    Parameters and errors as in `mean_squared_error`.
    """
    _check_shapes(output, target)
    return xp.sum(xp.abs(output - target)) / math.prod(output.shape)


def r2_score(xp: Namespace, output: Array, target: Array) -> Array:
    """The coefficient of determination: 1 - sum (y - output)² / sum (y - mean y)², shape ().

    1 for a perfect prediction, 0 for what predicts the mean of the targets, and below for worse. Of
    several outputs the mean. Where the targets do not vary, it is 1 if they are met exactly and
    else 0, as scikit-learn's `r2_score`.

    Parameters and errors as in `mean_squared_error`.
    """
    _check_shapes(output, target)
    difference = output - target
    varied = target - xp.mean(target, axis=0, keepdims=True)
    residual = xp.sum(difference * difference, axis=0)
    total = xp.sum(varied * varied, axis=0)
    constant = total == 0
    ratio = residual / xp.where(constant, xp.ones_like(total), total)
    missed = xp.astype(residual > 0, residual.dtype)
    return xp.mean(1 - xp.where(constant, missed, ratio))


def _check_shapes(output: Array, target: Array) -> None:
    if output.shape != target.shape:
        # (B,) and (B, 1) would broadcast to (B, B).
        raise ValueError(
            f"output and target must have one shape, got {tuple(output.shape)} and "
            f"{tuple(target.shape)}"
        )
