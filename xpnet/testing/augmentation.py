"""What an augmentation keeps to: the checks of `check_augmentation`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import numpy as xp

from xpnet.augment import Augmentation, Random
from xpnet.random import Seed, derive, stream
from xpnet.testing.report import Check
from xpnet.typing import HostArray, Shape

_CLASSES = 4
_STEP = 3


class _Runs:
    """An augmentation on batches of one set of samples.

    Parameters
    ----------
    augmentation
        The augmentation.
    x, y
        A batch of pictures (B, H, W, C), or of other samples, and targets: rows where the
        augmentation changes them.
    """

    def __init__(self, augmentation: Augmentation, x: HostArray, y: HostArray) -> None:
        self.augmentation, self.x, self.y = augmentation, x, y

    def __call__(
        self,
        rows: Any = None,
        *,
        dtype: str = "float64",
        step: int = _STEP,
        other_seed: bool = False,
        copies: tuple[HostArray, HostArray] | None = None,
    ) -> tuple[HostArray, HostArray]:
        """What becomes of some rows of the batch, which are given to it with those in front."""
        n, k = self.x.shape[0], self.augmentation.neighbours
        rows = np.arange(n) if rows is None else rows
        numbers = np.arange(rows[0] - k, rows[-1] + 1) % n
        host = self.augmentation.constants(self.x.shape[1:], dtype)
        random = Random(
            seed=derive(int(other_seed), "augmentation"),
            step=step,
            rows=numbers.astype(np.int32),
            dtype=np.dtype(dtype),
            index_dtype=np.dtype(np.int64),
            constants={name: np.array(value) for name, value in host.items()},
        )
        x, y = copies or (self.x[numbers].astype(dtype), self.y[numbers])
        if self.augmentation.changes_targets:
            y = y.astype(dtype, copy=False)
        return self.augmentation.apply(xp, x, y, random)


def augmentation_rules(augmentation: Augmentation, shape: Shape, seed: Seed) -> Iterator[Check]:
    """What an augmentation keeps to, on random samples of a shape."""
    n, k = 7, augmentation.neighbours
    x = stream(seed, "x").uniform(size=(n, *shape))
    labels = stream(seed, "y").integers(_CLASSES, size=n)
    targets = np.eye(_CLASSES)[labels] if augmentation.changes_targets else labels
    runs = _Runs(augmentation, x, targets)
    got, targets = runs()
    yield _rule("shape", got.shape == x.shape, f"gives {got.shape} for {x.shape}")
    same = targets.shape == runs.y.shape
    yield _rule("targets", same, f"gives {targets.shape} for {runs.y.shape}")
    finite = bool(np.isfinite(got).all())
    yield _rule("finite", finite, "gives NaN or infinite numbers")

    rows = (np.arange(n + k) - k) % n
    given = x[rows].copy(), runs.y[rows].copy()
    before = given[0].copy(), given[1].copy()
    runs(copies=given)
    kept = all(np.array_equal(a, b) for a, b in zip(given, before, strict=True))
    yield _rule("arguments", kept, "writes to its arguments")

    again = runs()
    yield _rule("repeatable", _equal(again, (got, targets)), "gives something else the second time")
    parts = [runs(np.arange(0, 3)), runs(np.arange(3, n))]
    whole = tuple(np.concatenate(pair) for pair in zip(*parts, strict=True))
    yield _rule(
        "parts", _equal(whole, (got, targets)), "of a part of the batch is not that part of it"
    )
    other = [runs(step=_STEP + 1)[0], runs(other_seed=True)[0]]
    moved = any(not np.array_equal(got, one) for one in other)
    yield _rule("random", moved, "is the same for another step and another seed")
    single, _ = runs(dtype="float32")
    yield _rule("float32", single.dtype == np.float32, f"float32 becomes {single.dtype}")
    if single.shape == got.shape:
        near = float(np.abs(single - got).max()) < 1e-3 * max(1.0, float(np.abs(got).max()))
        yield _rule("precision", near, "is another picture in float32 than in float64")
    if augmentation.changes_targets:
        sums = targets.sum(axis=1)
        even = bool(np.allclose(sums, 1) and (targets > -1e-12).all())
        yield _rule("distributions", even, "makes rows of targets that are no distributions")


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-12)
        for a, b in zip(one, other, strict=True)
    )


def _rule(what: str, ok: bool, detail: str) -> Check:
    return Check(what, ok, detail="" if ok else detail)
