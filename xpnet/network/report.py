"""A report on a network: all that is usually asked of one, in one pass over the samples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import counted
from xpnet.layers import softmax
from xpnet.losses import binary_cross_entropy, softmax_cross_entropy
from xpnet.metrics import (
    calibration_bins,
    class_counts,
    class_labels,
    confusion_matrix,
    predicted_classes,
    predicted_labels,
    scores_of_counts,
    top_k_accuracy,
)
from xpnet.typing import Array, HostArray


@dataclass(frozen=True)
class ScoreRow:
    """Precision, recall and F1 of a class, or an average of them; see `xpnet.metrics.Scores`."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationReport:
    """How well classes, or several labels, are predicted; `print` shows it as a table.

    Attributes
    ----------
    count
        The number of samples.
    classes
        A `ScoreRow` for each class.
    macro, weighted, micro
        The averages over the classes: the mean, the mean weighted by the numbers of samples, and
        that from the counts of all classes together.
    accuracy
        The fraction of samples whose class is predicted rightly; of several labels, of entries.
    log_loss
        The mean cross-entropy, without any weights or label smoothing that were used in training.
    k, top_k_accuracy
        How often the label is among the k most probable classes; None for several labels.
    calibration_error
        The expected calibration error of the probability of the predicted class; None for several
        labels. See `xpnet.metrics.expected_calibration_error`.
    exact_match
        The fraction of samples of which all labels are predicted rightly; None for classes.
    """

    count: int
    classes: tuple[ScoreRow, ...]
    macro: ScoreRow
    weighted: ScoreRow
    micro: ScoreRow
    accuracy: float
    log_loss: float
    k: int | None = None
    top_k_accuracy: float | None = None
    calibration_error: float | None = None
    exact_match: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        content = asdict(self)
        return {**content, "classes": list(content["classes"])}

    def __str__(self) -> str:
        rows = [*self.classes, self.macro, self.weighted, self.micro]
        width = max(8, *(len(row.name) for row in rows))
        lines = [f"{'':<{width}}  precision  recall      f1  support"]
        for number, row in enumerate(rows):
            lines += [""] if number == len(self.classes) else []
            lines.append(
                f"{row.name:<{width}}  {row.precision:9.4f}  {row.recall:6.4f}  {row.f1:6.4f}  "
                f"{row.support:7,}"
            )
        figures = {
            "accuracy": self.accuracy,
            f"top-{self.k} accuracy": self.top_k_accuracy,
            "all labels right": self.exact_match,
            "log-loss": self.log_loss,
            "calibration error": self.calibration_error,
        }
        told = [f"{name} {value:.4f}" for name, value in figures.items() if value is not None]
        return "\n".join([*lines, "", f"{', '.join(told)} ({counted(self.count, 'sample')})"])


@dataclass(frozen=True)
class RegressionReport:
    """How near predicted values are to the targets; see `xpnet.metrics`.

    Attributes
    ----------
    count
        The number of samples.
    mean_squared_error, root_mean_squared_error, mean_absolute_error
        Means over samples and outputs, and the root of the first.
    r2
        The coefficient of determination, of several outputs the mean.
    """

    count: int
    mean_squared_error: float
    root_mean_squared_error: float
    mean_absolute_error: float
    r2: float

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        figures = [
            ("mean squared error", self.mean_squared_error),
            ("its root", self.root_mean_squared_error),
            ("mean absolute error", self.mean_absolute_error),
            ("R²", self.r2),
        ]
        lines = [f"{name:<19}  {value:.6g}" for name, value in figures]
        return "\n".join([*lines, f"{'samples':<19}  {self.count:,}"])


Report = ClassificationReport | RegressionReport

Parts = Iterable[tuple[Array, Array]]
"""Outputs of a network with their targets, chunk by chunk, on the device."""


def report_on_classes(
    backend: Backend, parts: Parts, *, names: Sequence[str] | None, top_k: int, n_bins: int
) -> ClassificationReport:
    """The report on outputs that are logits of classes; parameters as in `Network.report`."""
    xp, sums = backend.xp, _Sums(backend)
    for output, target in parts:
        n, n_classes = output.shape
        k = min(top_k, n_classes)
        labels = class_labels(xp, target)
        predicted = xp.astype(predicted_classes(xp, output), labels.dtype, copy=False)
        p = softmax(xp, output)
        _, confidence, correct = calibration_bins(xp, p, labels, n_bins=n_bins)
        mean, _ = softmax_cross_entropy(xp, output, target, need_grad=False)
        sums.add(
            n,
            *class_counts(xp, labels, predicted, n_classes, dtype=backend.dtype),
            n * top_k_accuracy(xp, output, labels, k),
            n * mean,
            confidence,
            correct,
        )
    count, hits, predicted, support, within, loss, confidence, correct = sums.values
    return ClassificationReport(
        count,
        *_rows(hits, predicted, support, names),
        accuracy=float(hits.sum()) / count,
        log_loss=float(loss) / count,
        k=k,
        top_k_accuracy=round(float(within)) / count,
        calibration_error=float(np.abs(correct - confidence).sum()) / count,
    )


def report_on_labels(
    backend: Backend, parts: Parts, *, names: Sequence[str] | None
) -> ClassificationReport:
    """The report on outputs that are logits of several labels, which hold from 1/2 upwards."""
    xp, sums = backend.xp, _Sums(backend)
    for output, target in parts:
        n = output.shape[0]
        truth = xp.astype(target > 0.5, xp.int32)
        predicted = predicted_labels(xp, output)
        right = truth == predicted
        mean, _ = binary_cross_entropy(xp, output, target, need_grad=False)
        sums.add(
            n,
            *class_counts(xp, truth, predicted, dtype=backend.dtype),
            xp.sum(xp.astype(right, xp.int32)),
            xp.sum(xp.astype(xp.all(right, axis=1), xp.int32)),
            n * mean,
        )
    count, hits, predicted, support, right, exact, loss = sums.values
    return ClassificationReport(
        count,
        *_rows(hits, predicted, support, names),
        accuracy=float(right) / (count * hits.shape[0]),
        log_loss=float(loss) / count,
        exact_match=float(exact) / count,
    )


def report_on_values(backend: Backend, parts: Parts) -> RegressionReport:
    """The report on outputs that are values."""
    xp, sums, shift = backend.xp, _Sums(backend), None
    for output, target in parts:
        # The variance is summed around the mean of the first chunk: of y² little would be left.
        shift = xp.mean(target, axis=0, keepdims=True) if shift is None else shift
        difference, moved = output - target, target - shift
        sums.add(
            output.shape[0],
            xp.sum(difference * difference, axis=0),
            xp.sum(xp.abs(difference), axis=0),
            xp.sum(moved, axis=0),
            xp.sum(moved * moved, axis=0),
        )
    count, squares, absolute, moved, moved_squares = sums.values
    total = moved_squares - moved * moved / count
    missed = (squares > 0).astype(np.float64)
    varies = total > 0
    ratio = np.where(varies, squares / np.where(varies, total, 1.0), missed)
    mean_square = float(squares.mean()) / count
    return RegressionReport(
        count, mean_square, math.sqrt(mean_square), float(absolute.mean()) / count,
        float(1 - ratio.mean()),
    )  # fmt: skip


def count_confusions(backend: Backend, parts: Parts, n_classes: int) -> HostArray:
    """How often each class was taken for each, of predicted classes with their targets."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    # In parts: the one-hot rows of all samples at once could take more memory than they.
    for predicted, target in parts:
        labels = class_labels(backend.xp, target)
        part = confusion_matrix(backend.xp, labels, predicted, n_classes)
        counts += backend.to_numpy(part)
    return counts


class _Sums:
    """The number of samples, and sums over chunks, in float64 on the host."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.values: list[Any] = []

    def add(self, count: int, *parts: Array) -> None:
        """Add the sums of a chunk."""
        found = [count, *(self._backend.to_numpy(p).astype(np.float64) for p in parts)]
        before = self.values or [0] * len(found)
        self.values = [a + b for a, b in zip(before, found, strict=True)]


def _rows(
    hits: HostArray, predicted: HostArray, support: HostArray, names: Sequence[str] | None
) -> tuple[tuple[ScoreRow, ...], ScoreRow, ScoreRow, ScoreRow]:
    """The rows of the classes, and those of the averages macro, weighted and micro."""
    names = [str(i) for i in range(hits.shape[0])] if names is None else list(names)
    if len(names) != hits.shape[0]:
        wanted = counted(hits.shape[0], "class")
        raise ValueError(f"names must be one for each of {wanted}, got {names!r}")
    each = scores_of_counts(np, hits, predicted, support)
    columns = [column.tolist() for column in each]
    classes = tuple(
        ScoreRow(name, precision, recall, f1, int(n))
        for name, precision, recall, f1, n in zip(names, *columns, strict=True)
    )

    def average(kind: str) -> ScoreRow:
        found = scores_of_counts(np, hits, predicted, support, average=kind)
        precision, recall, f1, n = map(float, found)
        return ScoreRow(kind, precision, recall, f1, int(n))

    return classes, average("macro"), average("weighted"), average("micro")
