"""Operations that an array library may do in a better way than by the standard's functions.

Each is written here once, in the standard, and is used where the library has none of its own. A
backend that has one puts it into its namespace (`with_overrides`); the tests hold every one against
the version here.
"""

from xpnet.typing import Array, Namespace


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
