"""Metrics against scikit-learn."""

import warnings

import numpy as np
import pytest

from xpnet import metrics
from xpnet.metrics import (
    accuracy,
    calibration_bins,
    class_labels,
    confusion_matrix,
    count_correct,
    count_correct_labels,
    expected_calibration_error,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision_recall_f1,
    predicted_classes,
    predicted_labels,
    r2_score,
    top_k_accuracy,
)
from xpnet.random import stream

pytestmark = pytest.mark.numerics


def example(n=200, c=5):
    p = stream(0, "p").dirichlet(np.ones(c), size=n)
    labels = stream(0, "labels").integers(c, size=n)
    return p, labels


def test_count_correct_equals_sklearn(backend):
    sk = pytest.importorskip("sklearn.metrics")
    p, labels = example()
    expected = sk.accuracy_score(labels, p.argmax(axis=1), normalize=False)
    for target in (
        backend.asarray(labels, dtype=backend.index_dtype),
        backend.asarray(np.eye(5)[labels]),
    ):
        correct = count_correct(backend.xp, backend.asarray(p), target)
        assert int(backend.to_numpy(correct)) == expected


def test_confusion_matrix_equals_sklearn(backend):
    sk = pytest.importorskip("sklearn.metrics")
    p, labels = example()
    xp = backend.xp
    counts = confusion_matrix(
        xp,
        backend.asarray(labels, dtype=backend.index_dtype),
        predicted_classes(xp, backend.asarray(p)),
        5,
    )
    expected = sk.confusion_matrix(labels, p.argmax(axis=1))
    np.testing.assert_array_equal(backend.to_numpy(counts), expected)
    assert counts.dtype == backend.index_dtype


def test_the_first_of_equal_values_wins(backend):
    p = backend.asarray(np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]))
    assert backend.to_numpy(predicted_classes(backend.xp, p)).tolist() == [0, 1]


def test_class_labels_of_one_hot_rows(backend):
    rows = backend.asarray(np.eye(4)[[3, 1, 0]])
    assert backend.to_numpy(class_labels(backend.xp, rows)).tolist() == [3, 1, 0]


def on(backend, array):
    """A host array on a backend, in its own dtype for it."""
    dtype = backend.index_dtype if array.dtype.kind == "i" else backend.dtype
    return backend.asarray(array, dtype=dtype)


def value(backend, x):
    assert x.shape == ()
    return float(backend.to_numpy(x))


def test_accuracy_equals_sklearn(backend):
    sk = pytest.importorskip("sklearn.metrics")
    p, labels = example()
    found = accuracy(backend.xp, on(backend, p), on(backend, labels))
    assert found.dtype == backend.dtype
    assert value(backend, found) == sk.accuracy_score(labels, p.argmax(axis=1))


@pytest.mark.parametrize("k", [1, 2, 4, 5, 9])
def test_top_k_accuracy_equals_sklearn(backend, k):
    sk = pytest.importorskip("sklearn.metrics")
    p, labels = example()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns that k >= C gives 1
        expected = sk.top_k_accuracy_score(labels, p, k=k, labels=range(5))
    for target in (labels, np.eye(5)[labels]):
        found = top_k_accuracy(backend.xp, on(backend, p), on(backend, target), k)
        assert value(backend, found) == pytest.approx(expected, rel=1e-15)


def test_top_k_accuracy_of_equal_values_and_nan(backend):
    z = np.array([[1.0, 1, 1], [1, 1, 1], [2, 1, 1], [np.nan, 0, 1], [-np.inf, 0, 1]])
    labels = np.array([1, 2, 2, 0, 0])
    found = [
        value(backend, top_k_accuracy(backend.xp, on(backend, z), on(backend, labels), k)) * 5
        for k in (1, 2, 3)
    ]
    # Of equal values the first come first; a NaN is never right, an infinity is a number.
    np.testing.assert_allclose(found, [0, 1, 4])


def scores_by_sklearn(target, predicted, average):
    sk = pytest.importorskip("sklearn.metrics")
    return sk.precision_recall_fscore_support(
        target, predicted, labels=range(6), average=average, zero_division=0
    )


@pytest.mark.parametrize("average", [None, "macro", "micro", "weighted"])
@pytest.mark.parametrize("kind", ["labels", "rows"])
def test_precision_recall_f1_equal_sklearn(backend, average, kind):
    """Class 5 is never there and never predicted, class 4 never predicted, class 3 never there."""
    labels = stream(0, "labels").choice([0, 1, 2, 4], size=120)
    predicted = stream(0, "predicted").choice([0, 1, 2, 3], size=120)
    if kind == "rows":
        labels = (stream(0, "rows").uniform(size=(120, 6)) < [0.5, 0.2, 0.9, 0, 0.3, 0]).astype(int)
        noise = stream(0, "other").uniform(size=(120, 6))
        predicted = (noise < [0.5, 0.4, 0.8, 0.1, 0, 0]).astype(int)
    expected = scores_by_sklearn(labels, predicted, average)
    found = precision_recall_f1(
        backend.xp,
        on(backend, labels),
        on(backend, predicted),
        None if kind == "rows" else 6,
        average=average,
        dtype=backend.dtype,
    )
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        assert ours.dtype == backend.dtype
        np.testing.assert_allclose(backend.to_numpy(ours), theirs, rtol=1e-14)
    support = backend.to_numpy(found.support)
    np.testing.assert_array_equal(support, labels.sum() if kind == "rows" and average else
                                  120 if average else expected[3])  # fmt: skip


def test_scores_are_in_float32_unless_told(backend):
    labels = on(backend, np.array([0, 1, 1]))
    scores = precision_recall_f1(backend.xp, labels, labels, 2)
    assert all(score.dtype == backend.xp.float32 for score in scores)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, z: precision_recall_f1(np, y, y), "do not say how many classes"),
        (
            lambda y, z: precision_recall_f1(np, y, z, 3),
            r"one shape.*\(4,\) and \(4, 3\)",
        ),
        (lambda y, z: precision_recall_f1(np, y, y, 3, average="mean"), "average must be one of"),
        (lambda y, z: top_k_accuracy(np, z, y, 0), "k must be a positive integer, got 0"),
        (lambda y, z: calibration_bins(np, z, y, n_bins=0), "n_bins must be a positive integer"),
        (lambda y, z: mean_squared_error(np, y, z), "must have one shape"),
        (lambda y, z: r2_score(np, z[:, :1], y), "must have one shape"),
    ],
)
def test_arguments_of_metrics_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.array([0, 1, 2, 0]), np.zeros((4, 3)))


def test_log_loss_equals_sklearn(backend):
    sk = pytest.importorskip("sklearn.metrics")
    p, labels = example()
    p[0] = np.eye(5)[labels[0]]  # quite sure, and right
    p[1] = np.eye(5)[(labels[1] + 1) % 5]  # quite sure, and wrong
    expected = sk.log_loss(labels, p)
    for target in (labels, np.eye(5)[labels]):
        found = log_loss(backend.xp, on(backend, p), on(backend, target))
        assert found.dtype == backend.dtype
        assert value(backend, found) == pytest.approx(expected, rel=1e-13)


def calibration_error_by_a_loop(p, labels, n_bins):
    """As it is written in the paper, bin by bin: those in (b / M, (b + 1) / M]."""
    error = 0.0
    for b in range(n_bins):
        inside = [
            (max(row), int(np.argmax(row)) == label)
            for row, label in zip(p.tolist(), labels.tolist(), strict=True)
            if b / n_bins < max(row) <= (b + 1) / n_bins
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            right = sum(r for _, r in inside) / len(inside)
            error += len(inside) / len(p) * abs(right - confidence)
    return error


@pytest.mark.parametrize("n_bins", [1, 2, 10, 15])
def test_calibration_error_equals_a_loop(backend, n_bins):
    p, labels = example()
    p[:3] = np.eye(5)[labels[:3]]  # a confidence of 1
    p[3:6] = [0.5, 0.5, 0, 0, 0]  # on the edge of two bins
    found = expected_calibration_error(
        backend.xp, on(backend, p), on(backend, labels), n_bins=n_bins
    )
    expected = calibration_error_by_a_loop(p, labels, n_bins)
    assert value(backend, found) == pytest.approx(expected, rel=1e-12)


def test_a_confidence_on_an_edge_is_in_the_bin_below(backend):
    p = on(backend, np.array([[0.5, 0.5], [0.75, 0.25], [0.25, 0.76]]))
    sums = calibration_bins(backend.xp, p, on(backend, np.array([0, 0, 0])), n_bins=4)
    counts, confidence, correct = (backend.to_numpy(values).tolist() for values in sums)
    assert counts == [0, 1, 1, 1]
    assert confidence == [0, 0.5, 0.75, 0.76]
    assert correct == [0, 1, 1, 0]


def test_a_confidence_that_is_rounded_to_above_1_is_in_the_last_bin(backend):
    p = on(backend, np.array([[1 + 1e-7, 0.0]]))
    counts, _, _ = calibration_bins(backend.xp, p, on(backend, np.array([0])), n_bins=4)
    assert backend.to_numpy(counts).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("shape", [(40,), (40, 3)])
def test_errors_of_values_equal_sklearn(backend, shape):
    sk = pytest.importorskip("sklearn.metrics")
    y = stream(0, "y").normal(2, 3, size=shape)
    found = y + stream(0, "noise").normal(size=shape)
    if len(shape) == 2:
        y[:, 1] = 7.0  # does not vary, and is not met
        y[:, 2] = found[:, 2] = 7.0  # does not vary, and is met
    for ours, theirs in (
        (mean_squared_error, sk.mean_squared_error),
        (mean_absolute_error, sk.mean_absolute_error),
        (r2_score, sk.r2_score),
    ):
        result = ours(backend.xp, on(backend, found), on(backend, y))
        assert result.dtype == backend.dtype
        assert value(backend, result) == pytest.approx(theirs(y, found), rel=1e-12)


def test_labels_that_hold(backend):
    z = on(backend, np.array([[0.1, -0.1], [0.0, 5.0]]))
    assert backend.to_numpy(predicted_labels(backend.xp, z)).tolist() == [[1, 0], [0, 1]]
    y = on(backend, np.array([[1.0, 1.0], [0.0, 0.9]]))
    assert int(backend.to_numpy(count_correct_labels(backend.xp, z, y))) == 3


def test_every_metric_reads_nothing():
    """On arrays that refuse to be read, as those of a step."""
    from xpnet.conformance.examples import run_metrics
    from xpnet.conformance.recording import Recorder, RecordingBackend

    found = run_metrics(RecordingBackend(Recorder()))
    shown = {name.split(" of ")[0] for name in found}
    helpers = {"Scores", "class_counts", "class_labels", "scores_of_counts", "calibration_bins",
               "predicted_classes", "predicted_labels", "precision_recall_f1"}  # fmt: skip
    assert set(metrics.__all__) - helpers <= shown
