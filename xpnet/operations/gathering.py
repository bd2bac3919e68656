"""Rows by computed indices that are known to be in range."""

from xpnet.typing import Array, Namespace


def gather_rows(xp: Namespace, x: Array, indices: Array) -> Array:
    """Rows of an array by indices that nobody has to check.

    Parameters
    ----------
    xp
        The array namespace of both.
    x
        Shape (N, ...).
    indices
        Integers from 0 to N - 1, shape (M,): kept in this range by what has made them.

    Returns
    -------
    rows
        Shape (M, ...). For indices out of range a backend may take other rows, or raise.
    """
    own = getattr(xp, "gather_rows", None)
    return xp.take(x, indices, axis=0) if own is None else own(x, indices)
