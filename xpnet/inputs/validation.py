"""A part of the training set that is not trained on: which samples, and a way to look at them."""

import heapq
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import DataError, counted
from xpnet.inputs.chunks import chunks
from xpnet.inputs.samples import Streamed
from xpnet.inputs.weighted import Weighted
from xpnet.random import Seed, stream
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


def split_rows(classes: HostArray | None, n: int, fraction: float, seed: Seed) -> list[HostArray]:
    """Which of `n` samples are trained on, and which are kept for validation.

    Parameters
    ----------
    classes
        The class of each sample, shape (n,): each then has its share of the validation set, rounded
        to one sample up or down, and of each at least one sample is left to train on; what classes
        are too small for, larger ones give. None where the targets are no classes.
    n, fraction
        round(n * fraction) samples are kept, at least one, and at most all but one.
    seed
        The seed of the run. The stream is that of the purpose `"validation"`.

    Returns
    -------
    train, validation
        Row numbers, each in ascending order.

    Raises
    ------
    DataError
        If there are not enough samples for both.
    """
    wanted = min(max(1, round(n * fraction)), n - 1)
    order = stream(seed, "validation").permutation(n)
    groups = [order]
    if classes is not None:
        # A stable sort: within a class the random order stays.
        by_class = order[np.argsort(classes[order], kind="stable")]
        groups = np.split(by_class, np.flatnonzero(np.diff(classes[by_class])) + 1)
    counts = _shares([len(group) for group in groups], wanted)
    if not wanted or sum(counts) < wanted:
        most = f"{counted(sum(counts), 'sample')} can" if sum(counts) else "none can"
        raise DataError(
            f"training set: {fraction:g} of {counted(n, 'sample')} cannot be kept for validation, "
            f"because nothing, or of a class nothing, would be left to train on ({most} be kept); "
            "give more samples, or validation=(x, y)"
        )
    kept = np.zeros(n, dtype=bool)
    for group, count in zip(groups, counts, strict=True):
        kept[group[:count]] = True
    return [np.flatnonzero(~kept), np.flatnonzero(kept)]


def _shares(sizes: list[int], wanted: int) -> list[int]:
    """How many of each group make `wanted` in proportion: the largest remainders are rounded up.

    Of each group one is left. What groups are too small for is taken from those of which most is
    left; less than `wanted` where there is not enough.
    """
    total = sum(sizes)
    counts = [min(size * wanted // total, size - 1) for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(sizes[i] * wanted % total), i))
    missing = wanted - sum(counts)
    for i in by_remainder:
        if missing and counts[i] + 1 < sizes[i]:
            counts[i] += 1
            missing -= 1
    left = [
        (count + 1 - size, i) for i, (count, size) in enumerate(zip(counts, sizes, strict=True))
    ]
    heapq.heapify(left)
    while missing and left[0][0] < 0:
        free, i = left[0]
        heapq.heapreplace(left, (free + 1, i))
        counts[i] += 1
        missing -= 1
    return counts


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
