"""What is measured of a classifier. Functions of arrays; nothing is read on the host."""

from xpnet.losses import one_hot
from xpnet.typing import Array, Namespace


def predicted_classes(xp: Namespace, output: Array) -> Array:
    """The class of the largest logit or probability in each row: (B, C) to integers (B,).

    Of equal values the first wins, as NumPy's argmax has it.
    """
    return xp.argmax(output, axis=-1)


def class_labels(xp: Namespace, target: Array) -> Array:
    """Integer labels (B,) from labels or from one-hot rows (B, C)."""
    return target if target.ndim == 1 else xp.argmax(target, axis=-1)


def count_correct(xp: Namespace, output: Array, target: Array) -> Array:
    """The number of samples whose predicted class is the label: integer, shape ().

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    output
        Logits or probabilities, shape (B, C).
    target
        Integer labels, shape (B,), or one-hot rows, shape (B, C).
    """
    labels = class_labels(xp, target)
    hits = xp.astype(predicted_classes(xp, output), labels.dtype, copy=False) == labels
    return xp.sum(xp.astype(hits, labels.dtype))


def confusion_matrix(xp: Namespace, target: Array, predicted: Array, n_classes: int) -> Array:
    """How often each class was taken for each: entry (i, j) counts label i predicted as j.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    target, predicted
        Integer labels and predictions from 0 to n_classes - 1, shape (N,).
    n_classes
        The number of classes C.

    Returns
    -------
    counts
        Shape (C, C), with the dtype of `target`; the sum is N, the trace the correct ones.

    Notes
    -----
    Counted as a product of one-hot matrices: an indexed increment is not in the array-API
    standard, and on a GPU adds in no fixed order. Made in float32, which every device has, the
    counts are exact up to 2**24: give more samples than that in parts.
    """
    rows = one_hot(xp, target, n_classes, xp.float32)
    columns = one_hot(xp, predicted, n_classes, xp.float32)
    return xp.astype(xp.matmul(rows.T, columns), target.dtype)
