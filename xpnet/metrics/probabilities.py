"""How good predicted probabilities are."""

from array_api_compat import device

from xpnet.checks import positive_integer
from xpnet.losses import one_hot
from xpnet.metrics.classification import class_labels, predicted_classes
from xpnet.typing import Array, Namespace


def log_loss(xp: Namespace, p: Array, target: Array) -> Array:
    """The mean of -log p[label], from probabilities: shape (), in their dtype.

    From logits, `softmax_cross_entropy` gives the same without the detour, and more exactly.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    p
        Probabilities, shape (B, C), which sum to 1 in each row.
    target
        Integer labels, shape (B,), or one-hot rows (or probabilities), shape (B, C).

    Notes
    -----
    Probabilities are kept between the machine precision e of their dtype and 1 - e, so that a 0 for
    the right class counts as -log e and not as infinity; as scikit-learn's `log_loss`.
    """
    smallest = 2.0**-52 if p.dtype == xp.float64 else 2.0**-23
    if target.ndim == 1:
        y = one_hot(xp, target, p.shape[1], p.dtype)
    else:
        y = xp.astype(target, p.dtype, copy=False)
    kept = xp.minimum(xp.maximum(p, smallest), 1 - smallest)
    return xp.sum(y * xp.log(kept)) / -p.shape[0]


def calibration_bins(
    xp: Namespace, p: Array, target: Array, *, n_bins: int = 15
) -> tuple[Array, Array, Array]:
    """Samples by their confidence, in bins: what a reliability diagram is drawn from.

    The confidence of a sample is the probability of the class that is predicted. The bins have
    equal width; bin b holds confidences above b / n_bins, up to and with (b + 1) / n_bins. The
    sums of parts of a set can be added.

    Parameters
    ----------
    xp
        The array namespace of both arrays.
    p
        Probabilities, shape (B, C).
    target
        Integer labels, shape (B,), or one-hot rows, shape (B, C).
    n_bins
        The number of bins, positive.

    Returns
    -------
    count, confidence, correct
        For each bin, shape (n_bins,), in the dtype of p: the number of samples, the sum of their
        confidences, and how many were predicted rightly.

    Raises
    ------
    ValueError
        If `n_bins` is not a positive integer.
    """
    n_bins = positive_integer("calibration_bins: n_bins", n_bins)
    labels = class_labels(xp, target)
    right = xp.astype(xp.astype(predicted_classes(xp, p), labels.dtype) == labels, p.dtype)
    confidence = xp.max(p, axis=-1)
    edges = xp.arange(1, n_bins, dtype=p.dtype, device=device(p)) / n_bins
    # Counted, and not compared with both edges of each bin: a sum may be rounded to above 1.
    number = xp.sum(xp.astype(confidence[:, None] > edges[None, :], xp.int32), axis=-1)
    inside = one_hot(xp, number, n_bins, p.dtype)
    return (
        xp.sum(inside, axis=0),
        xp.sum(inside * confidence[:, None], axis=0),
        xp.sum(inside * right[:, None], axis=0),
    )


def expected_calibration_error(
    xp: Namespace, p: Array, target: Array, *, n_bins: int = 15
) -> Array:
    """How far confidence is from accuracy: sum over bins of (n_b / N) abs(acc_b - conf_b).

    n_b is the number of samples of a bin, acc_b the fraction of them that was predicted rightly,
    and conf_b the mean of their confidences. 0 is what a network has whose "90 %" is right in 90 of
    100 cases; an empty bin adds nothing. The value depends on the number of bins.

    Parameters and errors as in `calibration_bins`; shape (), in the dtype of p.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017,
    https://arxiv.org/abs/1706.04599
    """
    _, confidence, correct = calibration_bins(xp, p, target, n_bins=n_bins)
    return xp.sum(xp.abs(correct - confidence)) / p.shape[0]
