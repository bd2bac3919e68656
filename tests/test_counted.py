"""Numbers in messages: one of a thing is not several."""

import logging
import re

import numpy as np
import pytest

import xpnet
from xpnet import DataError, Dataset, EarlyStopping, SoftmaxCrossEntropy, Split, mlp
from xpnet.errors import counted
from xpnet.schedules import Cosine

X, Y = np.zeros((4, 2)), np.zeros(4, dtype=int)
MASKED = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("number", "what", "expected"),
    [
        (0, "sample", "0 samples"),
        (1, "sample", "1 sample"),
        (2, "epoch", "2 epochs"),
        (1, "class", "1 class"),
        (3, "class", "3 classes"),
        (np.int64(12_345_678), "byte", "12,345,678 bytes"),
        (1.0, "epoch", "1 epoch"),
        (0.5, "epoch", "0.5 epochs"),
    ],
)
def test_a_number_of_things(number, what, expected):
    assert counted(number, what) == expected


def test_a_plural_of_its_own():
    assert [counted(n, "axis", "axes") for n in (1, 2)] == ["1 axis", "2 axes"]


def one_class():
    return Dataset("a", Split(X[:1], Y[:1]), None, n_classes=1).describe()


def evaluated():
    return str(xpnet.fit(mlp(2, 2), (X, Y), epochs=1, backend="numpy").evaluate(X[:1], Y[:1] + 1))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(one_class, "of 2, 1 class$"), (evaluated, r"\(1 error in 1\)$")],
    ids=["data set", "evaluation"],
)
def test_what_is_said_of_one(make, expected):
    assert re.search(expected, make())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": (X[:1], Y)}, r"1 input needs labels of shape \(1,\)"),
        ({"loss": SoftmaxCrossEntropy(class_weight=(1.0,))}, "class_weight has 1 number, but"),
        ({"data": (X[:1], Y[:1]), "validation": 0.5}, r"0.5 of 1 sample cannot be kept"),
        ({"optimizer": xpnet.SGD(schedule=Cosine(warmup=1))}, "a warm-up of 1 epoch leaves"),
        ({"data": (np.ma.masked_equal(MASKED, 3), Y)}, "1 of 8 values is masked, and"),
    ],
    ids=["labels", "weights", "validation", "warm-up", "masked"],
)
def test_errors_of_one(options, message):
    with pytest.raises((DataError, ValueError), match=message):
        xpnet.fit(mlp(2, 2), **{"data": (X, Y), **options}, epochs=1, backend="numpy")


def test_a_log_of_one(caplog):
    caplog.set_level(logging.INFO, "xpnet")
    stopping = EarlyStopping("train_loss", patience=1, min_delta=100)
    xpnet.fit(mlp(2, 2), (X, Y), epochs=5, backend="numpy", callbacks=[stopping])
    assert "train_loss has not improved for 1 epoch: the training ends" in caplog.text
