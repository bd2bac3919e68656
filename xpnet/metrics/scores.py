"""Precision, recall and F1, of classes and of labels."""

from typing import NamedTuple

from xpnet.losses import one_hot
from xpnet.typing import Array, DType, Namespace

AVERAGES = (None, "macro", "micro", "weighted")


class Scores(NamedTuple):
    """Precision, recall and F1, each of shape (C,) for classes, or () for an average.

    Attributes
    ----------
    precision
        Of what was predicted as the class, the fraction that is: TP / (TP + FP).
    recall
        Of what is of the class, the fraction that was predicted as it: TP / (TP + FN).
    f1
        Their harmonic mean, 2 TP / (2 TP + FP + FN).
    support
        How many samples are of the class, TP + FN; of an average, all together.
    """

    precision: Array
    recall: Array
    f1: Array
    support: Array


def class_counts(
    xp: Namespace,
    target: Array,
    predicted: Array,
    n_classes: int | None = None,
    *,
    dtype: DType = None,
) -> tuple[Array, Array, Array]:
    """What `scores_of_counts` is made from; the counts of parts of a set can be added.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    target, predicted
        Labels and predictions, integers of shape (N,) from 0 to C - 1; or, of several labels,
        rows of 0 and 1 of shape (N, C).
    n_classes
        The number of classes C; not needed for rows.
    dtype
        The floating-point dtype of the counts; float32 if None, which every device has, and in
        which they are exact up to 2**24.

    Returns
    -------
    hits, predicted, support
        For each class, shape (C,): how often it was predicted rightly, how often it was predicted,
        how often it is there.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or `n_classes` is missing.
    """
    dtype = xp.float32 if dtype is None else dtype
    if target.shape != predicted.shape or target.ndim not in (1, 2):
        raise ValueError(
            f"labels and predictions must have one shape, (N,) of classes or (N, C) of rows; "
            f"got {tuple(target.shape)} and {tuple(predicted.shape)}"
        )
    if target.ndim == 1:
        if n_classes is None:
            raise ValueError(
                "labels of shape (N,) do not say how many classes there are: n_classes"
            )
        rows = one_hot(xp, target, n_classes, dtype)
        columns = one_hot(xp, predicted, n_classes, dtype)
    else:
        rows, columns = xp.astype(target, dtype), xp.astype(predicted, dtype)
    return xp.sum(rows * columns, axis=0), xp.sum(columns, axis=0), xp.sum(rows, axis=0)


def scores_of_counts(
    xp: Namespace, hits: Array, predicted: Array, support: Array, *, average: str | None = None
) -> Scores:
    """Precision, recall and F1 from the counts that `class_counts` gives; 0 where they are 0 / 0.

    Parameters
    ----------
    xp
        The array namespace of the counts.
    hits, predicted, support
        Floating-point counts, shape (C,).
    average
        As in `precision_recall_f1`.

    Raises
    ------
    ValueError
        If there is no such average.
    """
    if average not in AVERAGES:
        raise ValueError(
            f"average must be one of {', '.join(map(repr, AVERAGES))}; got {average!r}"
        )
    if average == "micro":
        hits, predicted, support = xp.sum(hits), xp.sum(predicted), xp.sum(support)
    # Where a denominator is 0, so is the numerator; all others are at least 1.
    scores = Scores(
        hits / xp.maximum(predicted, 1.0),
        hits / xp.maximum(support, 1.0),
        2 * hits / xp.maximum(predicted + support, 1.0),
        support,
    )
    if average in (None, "micro"):
        return scores
    total = xp.sum(support)
    if average == "macro":
        share: Array | float = 1 / support.shape[0]
    else:
        share = support / xp.maximum(total, 1.0)
    precision, recall, f1 = (xp.sum(score * share) for score in scores[:3])
    return Scores(precision, recall, f1, total)


def precision_recall_f1(
    xp: Namespace,
    target: Array,
    predicted: Array,
    n_classes: int | None = None,
    *,
    average: str | None = None,
    dtype: DType = None,
) -> Scores:
    """Precision, recall and F1 of each class, or an average of them.

    Parameters
    ----------
    xp, target, predicted, n_classes, dtype
        As in `class_counts`: labels (N,), or rows of 0 and 1 (N, C) for several labels.
    average
        None for one of each class; `"macro"`, their mean over all C classes; `"weighted"`, the mean
        with the numbers of samples as weights; `"micro"`, from the counts of all classes added,
        which for labels (N,) makes all three the accuracy.

    Returns
    -------
    scores
        `Scores`, in `dtype`. What would be 0 / 0 is 0: the precision of a class that was never
        predicted, the recall of one that is not there.

    Raises
    ------
    ValueError
        As `class_counts` and `scores_of_counts`.

    References
    ----------
    As scikit-learn's `precision_recall_fscore_support` with `labels=range(C)` and
    `zero_division=0`.
    """
    counts = class_counts(xp, target, predicted, n_classes, dtype=dtype)
    return scores_of_counts(xp, *counts, average=average)
