"""Which samples are kept back for early stopping."""

import math
from typing import Any

import numpy as np

from xpnet.inputs.validation import split_rows
from xpnet.random import Seed
from xpnet.sklearn.problem import Problem
from xpnet.typing import HostArray

_MOST_NAMED = 10


def rows_held(
    estimator: Any, problem: Problem, target: HostArray, seed: Seed
) -> tuple[HostArray, HostArray]:
    """The rows to train on, and those to keep: of each class its share.

    Raises
    ------
    ValueError
        If as many as are asked for cannot be kept, or nothing is left.
    """
    n, fraction = target.shape[0], estimator.validation_fraction
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
        _check_enough(estimator, classes, wanted)
    rows, kept = split_rows(classes, n, wanted / n, seed)
    return rows, kept


def _classes(problem: Problem, target: HostArray) -> HostArray | None:
    """The class of each sample, as an integer; None where there are none, as of several labels."""
    if problem.kind == "values" or (target.ndim == 2 and target.shape[1] > 1):
        return None
    return target.reshape(-1).astype(np.int64)


def _check_enough(estimator: Any, classes: HostArray, wanted: int) -> None:
    """Check that so many samples can be kept, and of each class one is left to train on."""
    numbers, sizes = np.unique(classes, return_counts=True)
    most, smallest, n = int(np.sum(sizes - 1)), int(sizes.min()), len(classes)
    few = estimator._labels.classes[numbers[sizes == 1]].tolist()
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
        f"validation_fraction={estimator.validation_fraction:g} of {n} samples are {wanted} to be "
        f"kept for early stopping, and of {len(numbers)} classes at most {most} can be kept if one "
        f"of each is left to train on. {of_few}Give more samples of them or leave them out, {lower}"
        f"or give a validation set: fit(..., validation_data=(X, y))"
    )


def _listed(names: list[Any]) -> str:
    """A list of names, cut where it is long."""
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    more = len(names) - _MOST_NAMED
    return f"[{shown}]" if more <= 0 else f"[{shown}, and {more} more]"
