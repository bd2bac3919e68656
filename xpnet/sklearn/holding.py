"""The samples of a training, and which of them are kept back for early stopping."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.data.splitting import split_rows
from xpnet.errors import counted
from xpnet.inputs.samples import Streamed
from xpnet.inputs.validation import Rows, some_rows
from xpnet.inputs.weighted import Weighted
from xpnet.network.state import load_array
from xpnet.random import Seed
from xpnet.sklearn.checking import load_target, taken_rows
from xpnet.sklearn.problem import Problem
from xpnet.typing import HostArray

_MOST_NAMED = 10


@dataclass(frozen=True)
class CheckedSamples:
    """Samples and targets as an estimator is given them, checked.

    Attributes
    ----------
    x
        The samples on the backend.
    target
        What the loss takes, on the host.
    weight
        What each counts for in the training, with its class; None where all count the same.
    own_weight
        The same without the classes.
    pair
        The samples where they were, and the targets as they were given.
    """

    x: Any
    target: HostArray
    weight: HostArray | None
    own_weight: HostArray | None
    pair: tuple[Any, Any]


@dataclass(frozen=True)
class Held:
    """A validation set: samples and targets on the backend, and what a score is made from.

    The weights with the targets have a mean of 1. Those of classes are not among them.
    """

    x: Any
    y: Any
    target: HostArray
    weight: HostArray | None
    scored: tuple[Any, Any] | None = None
    """Samples on the host and their targets as they were given, where a scorer wants them."""

    @classmethod
    def weighted(
        cls,
        work: Backend,
        x: Any,
        y: Any,
        target: HostArray,
        weight: HostArray | None,
        scored: tuple[Any, Any] | None,
    ) -> "Held":
        """With the weights of the samples, where they have any, at the targets."""
        if weight is not None:
            y = Weighted(y, load_array(work, weight / (weight.mean() or 1.0)))
        return cls(x, y, target, weight, scored)


@dataclass(frozen=True)
class TrainingSet:
    """What steps are taken on: `x`, `y` on the backend, their `rows` (None for all), and `held`.

    `counts` says of each row of `y` whether its weight is not 0; None where there are no others.
    `weights` are those of the rows, on the host; None where there are none.
    """

    x: Any
    y: Any
    n_samples: int
    rows: HostArray | None = None
    held: Held | None = None
    counts: HostArray | None = None
    weights: HostArray | None = None

    @property
    def any_counts(self) -> bool:
        """Whether there is a sample that counts."""
        return self.counts is None or bool(self.counts.any())


def whole_set(
    work: Backend, samples: CheckedSamples, problem: Problem, held: Held | None
) -> TrainingSet:
    """All samples, to train on."""
    x, weight = samples.x, samples.weight
    streamed = isinstance(x, Streamed)
    if streamed:
        # What goes with streamed samples is taken in parts as well.
        dtype = "int64" if problem.kind == "classes" else work.dtype_name
        y: Any = Streamed(work, samples.target.astype(dtype))
    else:
        y = load_target(work, samples.target, problem.kind)
    counts = None
    if weight is not None:
        y = Weighted(y, Streamed(work, weight) if streamed else load_array(work, weight))
        counts = None if weight.all() else weight != 0
    return TrainingSet(x, y, x.shape[0], None, held, counts, weight)


def split_set(
    work: Backend,
    samples: CheckedSamples,
    problem: Problem,
    seed: Seed,
    *,
    fraction: float,
    scored: bool,
) -> TrainingSet:
    """The samples, of which this fraction is held back.

    Raises
    ------
    ValueError
        If it cannot be, or what is held or is left counts for nothing.
    """
    whole = whole_set(work, samples, problem, None)
    rows, kept = rows_held(problem, samples.target, seed, fraction)
    own = None if samples.own_weight is None else samples.own_weight[kept]
    _check_counts("left to train on", None if whole.counts is None else whole.counts[rows])
    _check_counts("kept for early stopping", own)
    target = whole.y.target if isinstance(whole.y, Weighted) else whole.y
    held = Held.weighted(
        work, Rows(work, whole.x, kept), some_rows(work, target, kept), samples.target[kept], own,
        taken_rows(*samples.pair, kept) if scored else None,
    )  # fmt: skip
    return TrainingSet(whole.x, whole.y, len(rows), rows, held, whole.counts, whole.weights)


def _check_counts(what: str, weight: HostArray | None) -> None:
    if weight is not None and not weight.any():
        raise ValueError(
            f"the samples {what} have weight 0, all of them: give more samples that count, or "
            f"another validation_fraction"
        )


def rows_held(
    problem: Problem, target: HostArray, seed: Seed, fraction: float
) -> tuple[HostArray, HostArray]:
    """The rows to train on, and those to keep: of each class its share.

    Raises
    ------
    ValueError
        If as many as are asked for cannot be kept, or nothing is left.
    """
    n = target.shape[0]
    wanted = math.ceil(fraction * n)
    if wanted >= n:
        raise ValueError(
            f"With n_samples={n}, test_size={fraction} and train_size=None, the resulting "
            f"train set will be empty. Adjust any of the aforementioned parameters."
        )
    classes = _classes(problem, target)
    if wanted < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    if classes is not None:
        _check_enough(problem, fraction, classes, wanted)
    rows, kept = split_rows(classes, n, wanted / n, seed)
    return rows, kept


def _classes(problem: Problem, target: HostArray) -> HostArray | None:
    """The class of each sample, as an integer; None where there are none, as of several labels."""
    if problem.kind == "values" or (target.ndim == 2 and target.shape[1] > 1):
        return None
    return target.reshape(-1).astype(np.int64)


def _check_enough(problem: Problem, fraction: float, classes: HostArray, wanted: int) -> None:
    """Check that so many samples can be kept, and of each class one is left to train on."""
    numbers, sizes = np.unique(classes, return_counts=True)
    most, smallest, n = int(np.sum(sizes - 1)), int(sizes.min()), len(classes)
    assert problem.labels is not None
    few = problem.labels.classes[numbers[sizes == 1]].tolist()
    of_few = f"Classes with too few members are: {_listed(few)}. " if few else ""
    # Of two classes the one would not be among what the score is of.
    if len(numbers) == 2 and few:
        raise ValueError(
            f"The least populated classes in y have only {smallest} member, of which none can be "
            f"kept for early stopping. {of_few}Give more samples of it, or a validation set: "
            f"fit(..., validation_data=(X, y))"
        )
    if most >= wanted:
        return
    # Rounded down, so that it is not too much again.
    lower = f"lower validation_fraction to {int(most / n * 1e4) / 1e4}, " if most >= 2 else ""
    raise ValueError(
        f"validation_fraction={fraction:g} of {counted(n, 'sample')} "
        f"{'is' if wanted == 1 else 'are'} {wanted} to be kept for early stopping, and of "
        f"{counted(len(numbers), 'class')} at most {most} can be kept if one "
        f"of each is left to train on. {of_few}Give more samples of them or leave them out, {lower}"
        f"or give a validation set: fit(..., validation_data=(X, y))"
    )


def _listed(names: list[Any]) -> str:
    """A list of names, cut where it is long."""
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return f"[{shown}]" if more <= 0 else f"[{shown}, and {more} more]"
