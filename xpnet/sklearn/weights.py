"""What samples count for: by weights of their own, and by those of their classes."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.class_weight import compute_class_weight

from xpnet.errors import counted
from xpnet.losses import LossFunction, accepts_weight
from xpnet.sklearn.checking import hosted
from xpnet.sklearn.private import check_sample_weight
from xpnet.typing import HostArray

_LARGEST = 2.0**64
"""Weights whose largest is above this, or below its inverse, are taken by their ratios alone."""


def check_weights(sample_weight: Any, n_samples: int) -> HostArray | None:
    """The weights of the samples on the host, float64 (N,); None where there are none.

    Raises
    ------
    ValueError
        If there is not a finite number for each sample, or all are 0.
    """
    if sample_weight is None:
        return None
    placeholder = np.empty((n_samples, 1))
    checked: HostArray = check_sample_weight(hosted(sample_weight), placeholder, dtype=np.float64)
    if not checked.any():  # scikit-learn looks for it since 1.9
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return in_range(checked)


def check_takes_weight(loss: LossFunction, weight: HostArray | None) -> None:
    """Check that a loss takes weights, where there are any.

    Raises
    ------
    TypeError
        If it does not.
    """
    if weight is not None and not accepts_weight(loss):
        raise TypeError(
            f"weights of samples or classes need a loss that takes weight=..., and {loss!r} does "
            f"not"
        )


def in_range(weight: HostArray) -> HostArray:
    """Weights whose sums neither overflow nor vanish in float32.

    The scale of weights cancels in the loss, sum(w_i l_i) / sum(w_i), but not if the weights are
    infinite or 0. In the penalty it does not cancel, as in scikit-learn: so weights are left as
    they are where they can be, and all others divided by their mean, whatever the dtype.
    """
    largest = float(np.abs(weight).max(initial=0.0))
    if largest == 0 or 1 / _LARGEST <= largest <= _LARGEST:
        return weight
    # In two steps: the sum of the largest numbers of float64 is infinite, 1e-320 has few digits.
    weight = np.ldexp(weight, -int(np.frexp(largest)[1]))
    return np.asarray(weight / np.abs(weight).mean())


def in_dtype(weight: HostArray, dtype: str) -> HostArray:
    """Weights in the dtype of the work: those that are not normal there are 0, on every library."""
    rounded = weight.astype(dtype)
    rounded[np.abs(rounded) < np.finfo(dtype).smallest_normal] = 0
    return rounded


def check_some_count(weight: HostArray, *, incremental: bool) -> None:
    """Check that a sample counts, but for the parts of `partial_fit`, which may have none.

    Raises
    ------
    ValueError
        If none does.
    """
    if not incremental and not weight.any():
        raise ValueError("no sample counts, since class_weight or sample_weight is 0 for each")


def check_class_weight_of_parts(class_weight: Any) -> None:
    """Check that a `class_weight` does without seeing all samples.

    Raises
    ------
    ValueError
        If it does not.
    """
    if "balanced" in (class_weight if isinstance(class_weight, list) else [class_weight]):
        raise ValueError(
            "class_weight='balanced' needs all samples, and partial_fit has a part of them: give a "
            "dictionary, such as that of sklearn.utils.class_weight.compute_class_weight("
            "'balanced', ...)"
        )


def weights_by_class(
    class_weight: Any, y: Any, classes: HostArray, weight: HostArray | None
) -> HostArray:
    """The weights of the classes of samples, float64 (N,), by the parameter `class_weight`.

    Parameters
    ----------
    class_weight
        A dictionary or `"balanced"`; for several labels also a list of one of these (or None) for
        each label, whose numbers are multiplied.
    y
        Checked targets: classes (N,), or rows of 0 and 1 (N, labels), which may be sparse.
    classes
        All classes that are known: samples of some may be missing in `y`.
    weight
        The weights of the samples, by which those of a class are counted; None where all are 1.

    Raises
    ------
    ValueError
        If `class_weight` does not fit the classes.
    """
    if y.ndim == 1 and isinstance(class_weight, list):
        raise ValueError(
            "class_weight is a list, which is for several labels: give a dictionary from the "
            "classes to numbers, or 'balanced'"
        )
    if y.ndim == 1:
        found = _of_column(class_weight, y, classes, weight)
    else:
        found = _of_labels(class_weight, y, weight)
    if not np.isfinite(found).all():
        raise ValueError(f"class_weight must be of finite numbers, got {class_weight!r}")
    return found


def _of_labels(class_weight: Any, y: Any, weight: HostArray | None) -> HostArray:
    """The product of the weights by each label, of which 0 and 1 are always known."""
    n_labels = y.shape[1]
    if isinstance(class_weight, dict):
        raise ValueError(
            "class_weight should be a list of dicts, one for each label, or 'balanced', where "
            "samples have several labels"
        )
    each = class_weight if isinstance(class_weight, list) else [class_weight] * n_labels
    if len(each) != n_labels:
        raise ValueError(
            f"number of elements in class_weight should match that of the labels: there are "
            f"{len(each)} for {counted(n_labels, 'label')}"
        )
    product = np.ones(y.shape[0])
    for label, own in enumerate(each):
        column = y[:, [label]].toarray()[:, 0] if issparse(y) else np.asarray(y)[:, label]
        product *= _of_column(own, column, np.union1d([0, 1], column), weight)
    return product


def _of_column(
    class_weight: Any, y: HostArray, classes: HostArray, weight: HostArray | None
) -> HostArray:
    if isinstance(class_weight, str) and class_weight == "balanced":
        present, codes = np.unique(y, return_inverse=True)
        counts = np.bincount(codes.reshape(-1), weights=weight, minlength=len(present))
        # Samples of weight 0 are not there, and a class that has no others is none.
        there = counts != 0
        shares = np.zeros(len(present))
        shares[there] = counts.sum() / (there.sum() * counts[there])
        return np.asarray(shares[codes.reshape(-1)])
    own = compute_class_weight(class_weight, classes=classes, y=y)
    return np.asarray(own[np.searchsorted(classes, y)], dtype=np.float64)
