"""A part of the training set that is not trained on: which samples, and a way to look at them."""

from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.inputs.chunks import chunks
from xpnet.inputs.samples import Streamed
from xpnet.inputs.weighted import Weighted
from xpnet.typing import Array, HostArray, Shape

_CHECKED_ROWS = 1 << 16


class Rows:
    """Some rows of an array, in the place of the array where all that is done is `x[slice, ...]`.

    They are taken when they are asked for: nothing is copied before.

    Parameters
    ----------
    backend
        Where the rows are wanted.
    x
        An array there, or `Streamed`.
    rows
        The row numbers, on the host.
    """

    def __init__(self, backend: Backend, x: Array, rows: HostArray) -> None:
        self.shape: Shape = (len(rows), *x.shape[1:])
        self.ndim = x.ndim
        self.dtype = x.dtype
        self._xp, self._x = backend.xp, x
        streamed = isinstance(x, Streamed)
        self._rows = rows if streamed else backend.asarray(rows, dtype=backend.index_dtype)

    def __getitem__(self, key: Any) -> Array:
        """The rows of a slice, or of `(slice, ...)`, as a device array."""
        rows = self._rows[key[0] if isinstance(key, tuple) else key]
        if isinstance(self._x, Streamed):
            return self._x[rows]
        return self._xp.take(self._x, rows, axis=0)


def some_rows(backend: Backend, y: Any, rows: HostArray) -> Any:
    """Targets as `Rows`; with their weights, where they have any."""
    if isinstance(y, Weighted):
        return Weighted(Rows(backend, y.target, rows), Rows(backend, y.weight, rows))
    return Rows(backend, y, rows)


def check_fraction(fraction: Any) -> float:
    """A fraction of the training set.

    Raises
    ------
    ValueError
        If it is no number between 0 and 1.
    """
    is_number = isinstance(fraction, float | np.floating)
    if not is_number or not 0 < fraction < 1:
        raise ValueError(
            f"validation must be a pair (x, y), or the fraction of the training set that is kept "
            f"for it, between 0 and 1 (such as 0.1); got {fraction!r}"
        )
    return float(fraction)


def classes_of(backend: Backend, y: Array) -> HostArray | None:
    """The classes of integer labels (N,) or one-hot rows (N, C); None for all other targets."""
    if y.ndim == 1:
        if not backend.xp.isdtype(y.dtype, "integral"):
            return None
        return backend.to_numpy(y[: y.shape[0], ...])
    found = []
    for part in chunks(y.shape[0], _CHECKED_ROWS):
        rows = backend.to_numpy(y[part, ...])
        if not (((rows == 0) | (rows == 1)).all() and (rows.sum(axis=1) == 1).all()):
            return None
        found.append(rows.argmax(axis=1))
    return np.concatenate(found)
