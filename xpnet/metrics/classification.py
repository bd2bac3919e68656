"""Which classes and labels are predicted, and how many rightly."""

from array_api_compat import device

from xpnet.checks import positive_integer
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


def accuracy(xp: Namespace, output: Array, target: Array) -> Array:
    """The fraction of samples whose predicted class is the label: shape (), dtype of the output.

    Parameters as in `count_correct`.
    """
    return xp.astype(count_correct(xp, output, target), output.dtype) / output.shape[0]


def top_k_accuracy(xp: Namespace, output: Array, target: Array, k: int) -> Array:
    """The fraction of samples whose label is among the k classes of the largest output.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    output
        Logits or probabilities, shape (B, C).
    target
        Integer labels, shape (B,), or one-hot rows, shape (B, C).
    k
        A positive integer; 1 gives `accuracy`, and from C on the result is 1.

    Returns
    -------
    fraction
        Shape (), in the dtype of the output.

    Raises
    ------
    ValueError
        If k is not a positive integer.

    Notes
    -----
    Of equal values the first wins, as in `predicted_classes`. Nothing is sorted: a label is among
    the k first if fewer than k classes come before it. A label whose output is NaN is never right.
    """
    k = positive_integer("top_k_accuracy: k", k)
    n_samples, n_classes = output.shape
    labels = class_labels(xp, target)[:, None]
    classes = xp.arange(n_classes, dtype=labels.dtype, device=device(output))[None, :]
    at_label = classes == labels
    own = xp.sum(xp.where(at_label, output, xp.zeros_like(output)), axis=-1, keepdims=True)
    before = (output > own) | ((output == own) & (classes < labels))
    rank = xp.sum(xp.astype(before, xp.int32), axis=-1)
    right = (rank < k) & (own == own)[:, 0]
    return xp.sum(xp.astype(right, output.dtype)) / n_samples


def predicted_labels(xp: Namespace, output: Array) -> Array:
    """Which of several labels hold: 1 where the logit is above 0, else 0; int32, (B, C).

    A logit of 0 is a probability of 1/2. Of probabilities give `p - 0.5`.
    """
    return xp.astype(output > 0, xp.int32)


def count_correct_labels(xp: Namespace, output: Array, target: Array) -> Array:
    """The number of entries that are predicted rightly, of several labels: integer, shape ().

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    output
        Logits, shape (B, C).
    target
        Which labels hold, of the same shape: 0 and 1, or probabilities, which hold above 1/2.
    """
    return xp.sum(xp.astype((output > 0) == (target > 0.5), xp.int32))


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
