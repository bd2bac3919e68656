"""Cross-entropy of the softmax, for classes of which one is right."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

from array_api_compat import device

from xpnet.checks import positive_integer
from xpnet.errors import counted, shown
from xpnet.fields import checked_by
from xpnet.losses.base import (
    Example,
    Loss,
    LossFunction,
    column_of_weights,
    fraction,
    is_weight,
)
from xpnet.typing import Array, DType, Namespace


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


def _class_weight(name: str, given: Any) -> tuple[Any, ...]:
    """The weights as a tuple of numbers, or of pairs (class, number); hashable."""
    is_mapping = isinstance(given, Mapping)
    items = list(given.items() if is_mapping else given if isinstance(given, tuple | list) else ())
    if is_mapping or all(isinstance(item, tuple | list) and len(item) == 2 for item in items):
        labels, weights = [label for label, _ in items], [weight for _, weight in items]
    else:
        labels, weights = [], items
    whole = all(isinstance(label, Integral) and int(label) >= 0 for label in labels)
    if not whole or not all(map(is_weight, weights)) or not any(weights):
        raise ValueError(
            f"{name} must be one number for each class, or a mapping from class to number, with "
            f"numbers that are finite, not negative and not all 0 (see balanced_class_weight); "
            f"got {shown(given)}"
        )
    floats = list(map(float, weights))
    return tuple(sorted(zip(map(int, labels), floats, strict=True))) if labels else tuple(floats)


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of the softmax: the mean over the samples of -log p[label], from logits.

    Softmax and logarithm are taken together (as in `log_softmax`), so that nothing overflows and no
    logarithm of 0 is taken, as long as the differences of the logits do not overflow. The gradient
    is (softmax(output) - y) / B, where y is the one-hot target.

    Parameters
    ----------
    label_smoothing
        A part e of the target is spread over all C classes: y (1 - e) + e / C. From 0 (none) to
        below 1; 0.1 is common. It keeps logits from growing without end.
    class_weight
        What the loss of a sample of each class is multiplied by: C numbers that are not negative,
        or a mapping from class to number, with 1 for classes that are not in it. See
        `balanced_class_weight`. The loss of a sample is -sum_c w_c y_c log p_c, also where y is
        smoothed, as in PyTorch, but the sum over the samples is divided by their number, and not by
        the sum of their weights.

    Notes
    -----
    Targets: integer labels of shape (B,), or rows of shape (B, C): one-hot, or probabilities. As in
    PyTorch, the loss of a row y is -sum_c y_c log p_c whatever the sum of the row is, and its
    gradient is sum_c(y_c) p - y. So a row of zeros, as where samples are padded or have no label,
    has no part in a training without label smoothing; where the targets enter, in `fit`, negative
    entries are refused.

    Raises
    ------
    ValueError
        If an option is not allowed; when called, if the shapes do not fit.

    References
    ----------
    Label smoothing: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception
    architecture for computer vision", 2016, https://arxiv.org/abs/1512.00567
    """

    label_smoothing: float = field(default=0.0, metadata=checked_by(fraction))
    class_weight: Mapping[int, float] | Sequence[Any] | None = field(
        default=None, metadata=checked_by(_class_weight, in_dtype=True, optional=True)
    )

    name = "softmax_cross_entropy"
    target_kind: ClassVar[str] = "classes"
    applies: ClassVar[str | None] = "the softmax"

    def loaded(self, asarray: Callable[[Any], Array], n_outputs: int | None) -> LossFunction:
        if n_outputs == 1:
            raise ValueError(
                "SoftmaxCrossEntropy: the softmax of one output is always 1, so "
                "the loss would be 0: give the network 2 outputs for two classes, or take "
                "BinaryCrossEntropy() as the loss, with targets 0 and 1"
            )
        if self.class_weight is None or n_outputs is None:
            return self.__call__
        return partial(self.__call__, class_weight=asarray(self._class_weights(n_outputs)))

    def __call__(
        self,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        weight: Array | None = None,
        need_grad: bool = True,
        class_weight: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """The mean loss, shape (), and its gradient, shape (B, C); see `Loss`.

        `class_weight` is that of the loss as an array of shape (C,), where it is on the device
        already, as after `loaded`.
        """
        n_samples, n_classes = output.shape
        if target.ndim == 1:
            y = one_hot(xp, target, n_classes, output.dtype)
        else:
            y = xp.astype(target, output.dtype, copy=False)
        if y.shape != output.shape:
            raise ValueError(
                f"softmax_cross_entropy: output of shape {tuple(output.shape)} needs labels of "
                f"shape ({n_samples},) or one-hot rows of shape {(n_samples, n_classes)}, "
                f"got {tuple(target.shape)}"
            )
        if self.label_smoothing:
            y = (1 - self.label_smoothing) * y + self.label_smoothing / n_classes
        weighted = weight is not None or self.class_weight is not None
        if weighted:
            y = self._weigh(xp, y, weight, class_weight)
        # The largest exponent is 0, and the logarithm is of a sum of at least 1.
        z = output - xp.max(output, axis=-1, keepdims=True)
        p = xp.exp(z)
        total = xp.sum(p, axis=-1, keepdims=True)
        z -= xp.log(total)
        loss = xp.sum(y * z) / -n_samples
        if not need_grad:
            return loss, None
        p /= total
        if weighted or target.ndim == 2:
            # Rows need not sum to 1; where they do, as one-hot rows, no bit changes.
            p *= xp.sum(y, axis=-1, keepdims=True)
        p -= y
        p /= n_samples
        return loss, p

    def _weigh(
        self, xp: Namespace, y: Array, weight: Array | None, class_weight: Array | None
    ) -> Array:
        """The target rows, multiplied by the weights of their classes and samples."""
        if self.class_weight is not None:
            if class_weight is None:
                numbers = list(self._class_weights(y.shape[1]))
                class_weight = xp.asarray(numbers, dtype=y.dtype, device=device(y))
            y = y * class_weight
        if weight is not None:
            y = y * column_of_weights(xp, "softmax_cross_entropy", weight, y)
        return y

    def _class_weights(self, n_classes: int) -> tuple[float, ...]:
        """The weight of each class."""
        given: Any = self.class_weight
        if isinstance(given[0], tuple):
            pairs = dict(given)
            if max(pairs) < n_classes:
                return tuple(pairs.get(label, 1.0) for label in range(n_classes))
            problem = f"names class {max(pairs)}"
        elif len(given) == n_classes:
            return tuple(given)
        else:
            problem = f"has {counted(len(given), 'number')}"
        raise ValueError(
            f"SoftmaxCrossEntropy: class_weight {problem}, but the network has "
            f"{counted(n_classes, 'output')}"
        )

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield cls(), "labels", False
        yield cls(), "one-hot rows", False
        yield cls(), "labels", True
        yield cls(label_smoothing=0.1), "labels", False
        yield cls(class_weight=(1, 2, 0.5, 0)), "labels", False
        yield cls(0.2, {1: 3.0}), "one-hot rows", True

    def torch(self) -> str:
        options = 'reduction="none"'
        if self.label_smoothing:
            options += f", label_smoothing={self.label_smoothing!r}"
        given: Any = self.class_weight
        if given is not None:
            weights = repr(list(given))
            if isinstance(given[0], tuple):
                weights = f"[{dict(given)!r}.get(i, 1.0) for i in range(output.shape[1])]"
            options += f", weight=output.new_tensor({weights})"
        return f"F.cross_entropy(output, target, {options})"


softmax_cross_entropy = SoftmaxCrossEntropy()


def balanced_class_weight(labels: Any, n_classes: int) -> tuple[float, ...]:
    """Weights that give every class the same total weight: N / (C N_c) for class c.

    N is the number of samples, N_c that of class c, C the number of classes. The weights of all
    samples sum to N, so that the loss keeps its size.

    Parameters
    ----------
    labels
        Integer labels from 0 to n_classes - 1, or text, of which the classes are sorted as in
        `fit`; shape (N,), of any array library or a list. They are read on the host.
    n_classes
        The number of classes.

    Raises
    ------
    ValueError
        If a class has no sample, or a label is not a class.

    References
    ----------
    As `class_weight="balanced"` in scikit-learn, after King and Zeng, "Logistic regression in rare
    events data", 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868

    Examples
    --------
    >>> from xpnet.losses import SoftmaxCrossEntropy, balanced_class_weight
    >>> balanced_class_weight([0, 0, 0, 1], 2)
    (0.6666666666666666, 2.0)
    >>> loss = SoftmaxCrossEntropy(class_weight=balanced_class_weight([0, 0, 0, 1], 2))
    """
    n_classes = positive_integer("n_classes", n_classes)
    if getattr(labels, "ndim", 1) != 1:
        raise ValueError(
            f"balanced_class_weight: labels must be integers of shape (N,), got shape "
            f"{tuple(labels.shape)}; for one-hot rows give argmax(rows, axis=1)"
        )
    as_list = getattr(labels, "tolist", None)
    if as_list is None:
        counts = Counter(label if isinstance(label, str) else int(label) for label in labels)
    else:
        counts = Counter(as_list())
    if counts and all(isinstance(label, str) for label in counts):
        counts = Counter(dict(enumerate(counts[label] for label in sorted(counts))))
    wrong = [label for label in counts if label not in range(n_classes)]
    missing = [label for label in range(n_classes) if label not in counts]
    if wrong or missing:
        what = f"found label {shown(wrong[0])}" if wrong else f"class {missing[0]} has no sample"
        raise ValueError(
            f"balanced_class_weight: labels must be integers from 0 to {n_classes - 1} with a "
            f"sample of each class; {what}"
        )
    n_samples = sum(counts.values())
    return tuple(n_samples / (n_classes * counts[label]) for label in range(n_classes))
