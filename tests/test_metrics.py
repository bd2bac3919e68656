"""Metrics against scikit-learn."""

import numpy as np
import pytest

from xpnet.metrics import class_labels, confusion_matrix, count_correct, predicted_classes
from xpnet.random import stream


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
