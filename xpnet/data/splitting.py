"""Which samples of a data set are kept for validation, or for a test, drawn by a seed."""

import heapq

import numpy as np

from xpnet.errors import DataError, counted
from xpnet.random import Seed, stream
from xpnet.typing import HostArray


def split_rows(
    classes: HostArray | None, n: int, fraction: float, seed: Seed, *, purpose: str = "validation"
) -> list[HostArray]:
    """Which of `n` samples are trained on, and which are kept for validation, or for the test.

    Parameters
    ----------
    classes
        The class of each sample, shape (n,): each then has its share of what is kept, rounded
        to one sample up or down, and of each at least one sample is left to train on; what classes
        are too small for, larger ones give. None where the targets are no classes.
    n, fraction
        round(n * fraction) samples are kept, at least one, and at most all but one.
    seed
        The seed of the run. The stream is that of the purpose.
    purpose
        What they are kept for, `"validation"` or `"test"`.

    Returns
    -------
    train, kept
        Row numbers, each in ascending order.

    Raises
    ------
    DataError
        If there are not enough samples for both.
    """
    wanted = min(max(1, round(n * fraction)), n - 1)
    order = stream(seed, purpose).permutation(n)
    groups = [order]
    if classes is not None:
        # A stable sort: within a class the random order stays.
        by_class = order[np.argsort(classes[order], kind="stable")]
        groups = np.split(by_class, np.flatnonzero(np.diff(classes[by_class])) + 1)
    counts = _shares([len(group) for group in groups], wanted)
    if not wanted or sum(counts) < wanted:
        most = f"{counted(sum(counts), 'sample')} can" if sum(counts) else "none can"
        raise DataError(
            f"training set: {fraction:g} of {counted(n, 'sample')} cannot be kept for {purpose}, "
            f"because nothing, or of a class nothing, would be left to train on ({most} be kept); "
            f"give more samples, or {purpose}=(x, y)"
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
