"""Losses: functions `(xp, output, target, *, need_grad=True) -> (loss, d_output)`.

`loss` is the mean over the samples as an array without axes; `d_output` is its gradient with
respect to the network's output, of the output's shape, or None where it was not asked for. A
function of your own with this signature is a loss like these.
"""

from collections.abc import Callable

from array_api_compat import device

from xpnet.typing import Array, DType, Namespace

Loss = Callable[..., tuple[Array, Array | None]]


def one_hot(xp: Namespace, labels: Array, n_classes: int, dtype: DType) -> Array:
    """Rows with a one at the label and zeros elsewhere.

    Parameters
    ----------
    xp
        The array namespace of `labels`.
    labels
        Integers from 0 to n_classes - 1, shape (B,).
    n_classes
        The number of classes C.
    dtype
        The floating-point dtype of the result.

    Returns
    -------
    y
        Shape (B, C), on the device of `labels`. A label out of range makes a row of zeros: data
        is validated where it enters, not here, because reading an array would stall a GPU.
    """
    # `labels.device` would do, but for an array that is being traced, which has none.
    classes = xp.arange(n_classes, dtype=labels.dtype, device=device(labels))
    return xp.astype(labels[:, None] == classes[None, :], dtype)


def softmax_cross_entropy(
    xp: Namespace, output: Array, target: Array, *, need_grad: bool = True
) -> tuple[Array, Array | None]:
    """Cross-entropy of the softmax: the mean over the samples of -log p[label], from logits.

    Softmax and logarithm are taken together (as in `log_softmax`), so that nothing overflows and no
    logarithm of 0 is taken, as long as the differences of the logits do not overflow.

    Parameters
    ----------
    xp
        The array namespace of all arrays.
    output
        Logits, shape (B, C).
    target
        Labels: integers of shape (B,), or one-hot rows (or probabilities, which sum to 1 in each
        row) of shape (B, C).
    need_grad
        Whether the gradient is wanted.

    Returns
    -------
    loss, d_output
        The mean loss, shape (), and (softmax(output) - y) / B, shape (B, C), where y is the
        one-hot target.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    n_samples, n_classes = output.shape
    if target.ndim == 1:
        y = one_hot(xp, target, n_classes, output.dtype)
    else:
        y = xp.astype(target, output.dtype, copy=False)
    if y.shape != output.shape:
        raise ValueError(
            f"softmax_cross_entropy: output of shape {tuple(output.shape)} needs labels of shape "
            f"({n_samples},) or one-hot rows of shape {(n_samples, n_classes)}, "
            f"got {tuple(target.shape)}"
        )
    # The largest exponent is 0, and the logarithm is of a sum of at least 1.
    z = output - xp.max(output, axis=-1, keepdims=True)
    p = xp.exp(z)
    total = xp.sum(p, axis=-1, keepdims=True)
    z -= xp.log(total)
    loss = xp.sum(y * z) / -n_samples
    if not need_grad:
        return loss, None
    p /= total
    p -= y
    p /= n_samples
    return loss, p
