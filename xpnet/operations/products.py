"""Products of matrices that an update may take up while they are made; norms without overflow."""

from typing import NamedTuple

from xpnet.typing import Array, Namespace


class Unmade(NamedTuple):
    """The gradient of a weight or a bias that has not been made: what it is made of.

    An update that only subtracts it can do that while it is made (`subtract_product`), with its
    rate in `dy`, which is small.

    Attributes
    ----------
    xt
        The transposed inputs (m, B) of the layer, for the weight xt dy; None for the bias, which is
        the sum of dy over the batch.
    dy
        The gradient of the loss by the outputs, (B, n).
    """

    xt: Array | None
    dy: Array


def weight_gradient(xp: Namespace, xt: Array, dy: Array) -> Array:
    """The gradient of a weight, the product xt dy; or `Unmade` in a step that takes it so.

    Parameters
    ----------
    xp
        The array namespace of both. In a step of plain gradient descent it has `Unmade` as its
        `unmade_gradient`.
    xt, dy
        Shapes (m, B) and (B, n).
    """
    unmade = getattr(xp, "unmade_gradient", None)
    return xp.matmul(xt, dy) if unmade is None else unmade(xt, dy)


def bias_gradient(xp: Namespace, dy: Array) -> Array:
    """The gradient of a bias, the sum of dy over the batch; `Unmade` as in `weight_gradient`."""
    unmade = getattr(xp, "unmade_gradient", None)
    return xp.sum(dy, axis=0) if unmade is None else unmade(None, dy)


def subtract_product(xp: Namespace, c: Array, a: Array, b: Array) -> Array:
    """Consumes `c`: c - a b, the step of plain gradient descent for a weight.

    The product of a BLAS can subtract from a matrix while it is made; by the standard's functions
    it has to be written to memory, which for a large weight takes as long again.

    Parameters
    ----------
    xp
        The array namespace of all arrays.
    c, a, b
        Shapes (m, n), (m, k) and (k, n), of one floating-point dtype.

    Returns
    -------
    c
        The result, in place where the library writes in place.
    """
    own = getattr(xp, "subtract_product", None)
    if own is not None:
        return own(c, a, b)
    c -= xp.matmul(a, b)
    return c


def unit_of_squares(xp: Namespace, largest: Array) -> Array:
    """What to divide numbers by before their squares are added up, so that no sum overflows.

    1, which changes no bit, where the largest magnitude is 2 to the power of 40 or less: so many
    squares of it are within float32. Beyond that a part of the largest magnitude, and not itself,
    because XLA divides by multiplying, and the reciprocal of the largest number is 0 to it. Squares
    may still vanish: those of numbers that are nothing beside what a norm is compared with.

    Parameters
    ----------
    xp
        The array namespace of `largest`.
    largest
        The largest magnitude, or several; floating point, any shape.

    Returns
    -------
    unit
        Same shape and dtype. A norm of what has been divided by it is to be multiplied by it.
    """
    return xp.where(largest > 2.0**40, largest * 2.0**-20, xp.ones_like(largest))
