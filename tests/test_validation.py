"""A validation set: given, or split off the training set."""

import numpy as np
import pytest
from conftest import require

from xpnet import (
    Checkpoint,
    CheckpointError,
    DataError,
    fit,
    load_dataset,
    mlp,
    open_backend,
    softmax_cross_entropy,
)
from xpnet.data.splitting import split_rows
from xpnet.inputs.samples import Streamed
from xpnet.inputs.validation import Rows, classes_of
from xpnet.random import stream

DIGITS = load_dataset("digits").limited(200)
X, Y = DIGITS.train.images.reshape(200, 64) / 16, DIGITS.train.labels.astype(np.int64)
OPTIONS = {"epochs": 2, "batch_size": 32, "seed": 3}
MODEL = mlp(64, 12, 10, dropout=0.2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 1 / 3, 0.5, 0.9])
def test_classes_have_the_shares_that_sklearn_gives_them(seed, fraction):
    """scikit-learn draws which remainders are rounded up, so one sample a class may differ."""
    sk = pytest.importorskip("sklearn.model_selection")
    rng = stream(seed, "classes")
    y = rng.choice(7, size=500, p=rng.dirichlet(np.ones(7)) * 0.9 + 0.1 / 7)
    train, kept = split_rows(y, 500, fraction, seed)
    if len(kept) < 7:  # fewer than classes: scikit-learn refuses
        expected = np.bincount(y, minlength=7) * fraction
    else:
        splitter = sk.StratifiedShuffleSplit(1, test_size=len(kept), random_state=seed)
        expected = np.bincount(y[next(splitter.split(y, y))[1]], minlength=7)
    assert len(kept) == round(500 * fraction)
    assert abs(np.bincount(y[kept], minlength=7) - expected).max() <= 1
    share = np.bincount(y, minlength=7) * len(kept) / 500
    assert abs(np.bincount(y[kept], minlength=7) - share).max() < 1
    np.testing.assert_array_equal(np.sort(np.concatenate([train, kept])), np.arange(500))
    assert (np.diff(train) > 0).all()
    assert (np.diff(kept) > 0).all()


def test_the_split_follows_from_the_seed():
    first, again, other = (split_rows(Y, 200, 0.2, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_each_sample_is_as_likely_as_any_other_to_be_kept():
    counts = np.zeros(20)
    for seed in range(400):
        counts[split_rows(np.arange(20) % 2, 20, 0.3, seed)[1]] += 1
    # Binomial (400, 0.3): five standard deviations are 46.
    assert abs(counts - 120).max() < 46


def test_of_each_class_something_is_left_to_train_on():
    y = np.array([0] * 6 + [1, 2, 3])
    train, kept = split_rows(y, 9, 0.5, 0)
    assert set(y[train]) == {0, 1, 2, 3}
    assert len(kept) >= 3
    with pytest.raises(DataError, match=r"0\.5 of 3 samples cannot be kept for validation"):
        split_rows(np.arange(3), 3, 0.5, 0)
    with pytest.raises(DataError, match="of 1 sample cannot be kept"):
        split_rows(None, 1, 0.5, 0)
    train, kept = split_rows(None, 3, 0.99, 0)
    assert (len(train), len(kept)) == (1, 2)


def test_a_fraction_is_the_same_as_two_sets(training_backend):
    check_that_a_fraction_is_two_sets(training_backend, Y)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_a_fraction_of_one_hot_rows_has_shares_of_each_class(name):
    """The rows are chosen on the host, by the classes that are read from the device."""
    require(name)
    check_that_a_fraction_is_two_sets(open_backend(name, None, "float64"), np.eye(10)[Y])


def check_that_a_fraction_is_two_sets(backend, y):
    train, kept = split_rows(Y, 200, 0.25, 3)
    options = {**OPTIONS, "backend": backend}
    network = fit(MODEL, (X, y), validation=0.25, test=(X[:9], y[:9]), **options)
    expected = fit(
        MODEL, (X[train], y[train]), validation=(X[kept], y[kept]), test=(X[:9], y[:9]), **options
    )
    for name in ("train_loss", "train_accuracy", "validation_accuracy", "test_loss"):
        np.testing.assert_allclose(network.history[name], expected.history[name], rtol=1e-12)
    np.testing.assert_allclose(
        network.history["validation_loss"], expected.history["validation_loss"], rtol=1e-12
    )
    found = network.evaluate(X[kept], y[kept])
    assert network.history[-1].validation_loss == pytest.approx(found.loss, rel=1e-12)
    assert network.history[-1].validation_accuracy == found.accuracy


def test_streamed_samples_are_split_as_well(tmp_path, monkeypatch):
    pixels = DIGITS.train.images
    np.save(tmp_path / "x.npy", pixels)
    expected = fit(MODEL, (pixels, Y), validation=0.2, backend="numpy", **OPTIONS)
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    network = fit(MODEL, (mapped, Y), validation=0.2, backend="numpy", **OPTIONS)
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        assert network.history[name] == expected.history[name]


def test_rows_are_taken_when_they_are_asked_for(training_backend):
    rows = np.array([5, 1, 4, 1])
    x = training_backend.asarray(X)
    for source in (x, Streamed(training_backend, X)):
        view = Rows(training_backend, source, rows)
        assert view.shape == (4, 64)
        assert view.ndim == 2
        assert view.dtype == x.dtype
        for key in (slice(1, 3), (slice(1, 3), ...)):
            np.testing.assert_array_equal(training_backend.to_numpy(view[key]), X[[1, 4]])


def test_what_are_classes(backend):
    def found(y):
        return classes_of(backend, backend.asarray(y))

    np.testing.assert_array_equal(found(Y), Y)
    np.testing.assert_array_equal(found(np.eye(10)[Y]), Y)
    assert found(np.array([0.5, 1.5])) is None
    assert found(np.array([[0.5, 0.5], [1.0, 0.0]])) is None
    assert found(np.array([[1.0, 1.0], [1.0, 0.0]])) is None
    assert found(np.array([[2.0, -1.0], [1.0, 0.0]])) is None


def test_without_a_validation_set_there_are_no_figures():
    record = fit(MODEL, (X, Y), epochs=1, backend="numpy").history[0]
    assert record.validation_loss is None
    assert record.validation_accuracy is None
    assert "validation" not in str(record)
    record = fit(MODEL, (X, Y), epochs=1, backend="numpy", validation=0.1).history[0]
    assert f"validation loss {record.validation_loss:.4f}" in str(record)


@pytest.mark.parametrize("wrong", [0, 1, 0.0, 1.0, -0.1, 1.5, float("nan"), True, "0.1"])
def test_what_is_no_fraction_is_refused(wrong):
    with pytest.raises(ValueError, match="validation must be a pair"):
        fit(MODEL, (X, Y), validation=wrong, backend="numpy")


def test_a_validation_set_is_checked():
    with pytest.raises(DataError, match=r"validation must be a pair \(x, y\)"):
        fit(MODEL, (X, Y), validation=(X, Y, Y, Y), backend="numpy")
    with pytest.raises(DataError, match="validation set: sample weights must be finite, not neg"):
        fit(MODEL, (X, Y), validation=(X, Y, Y - 1.0), backend="numpy")
    with pytest.raises(DataError, match="validation set: 200 inputs need labels"):
        fit(MODEL, (X, Y), validation=(X, Y[:-1]), backend="numpy")
    with pytest.raises(DataError, match="the validation set uint8"):
        fit(MODEL, (X, Y), validation=(X.astype(np.uint8), Y), backend="numpy")


def test_nothing_is_copied_for_a_fraction():
    """The batches come from the array that was given."""
    backend = open_backend("numpy", None, "float64")
    from xpnet.inputs.sets import given_samples, load_sets

    sets = load_sets(
        backend, MODEL, given_samples((X, Y), None, 0.5, None), 0, softmax_cross_entropy
    )
    assert np.shares_memory(sets.x, X)
    assert sets.n_samples == 100


@pytest.mark.parametrize("streamed", [False, True])
def test_samples_of_the_other_sets_have_weights(tmp_path, monkeypatch, streamed):
    weights = np.random.default_rng(0).uniform(0.5, 2, size=50)
    weights[:9] = 0
    held, x = (X[:50], Y[:50], weights), X
    if streamed:
        monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
        np.save(tmp_path / "x.npy", X)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
        held = (x[:50], *held[1:])
    network = fit(MODEL, (X, Y), validation=held, test=list(held), backend="numpy", **OPTIONS)
    plain = fit(MODEL, (X, Y), backend="numpy", **OPTIONS)
    assert network.history["train_loss"] == plain.history["train_loss"]
    found, last = network.evaluate(X[:50], Y[:50]), network.history[-1]
    p = np.asarray(network.predict_proba(X[:50]), dtype=np.float64)
    expected = -(weights * np.log(p[np.arange(50), Y[:50]])).sum() / 50
    assert last.validation_loss == pytest.approx(expected, rel=1e-5)
    assert last.test_loss == last.validation_loss
    assert last.validation_accuracy == found.accuracy


def test_a_loss_without_weights_takes_none_in_the_other_sets():
    def loss(xp, output, target, *, need_grad=True):
        raise AssertionError

    with pytest.raises(TypeError, match=r"test=\(x, y, weights\) needs a loss that takes weight"):
        fit(MODEL, (X, Y), test=(X, Y, np.ones(200)), loss=loss, backend="numpy")


def test_a_training_goes_on_with_the_weights_of_its_other_sets(tmp_path):
    weights, path = np.linspace(1, 2, 200), tmp_path / "run"
    sets = {"validation": (X, Y, weights), "callbacks": [Checkpoint(path)]}
    fit(MODEL, (X, Y), stop_after=1, backend="numpy", **sets, **OPTIONS)
    with pytest.raises(CheckpointError, match="validation set was"):
        fit(MODEL, (X, Y), resume=path, backend="numpy", validation=(X, Y), **OPTIONS)
    network = fit(
        MODEL, (X, Y), resume=path, backend="numpy", validation=(X, Y, weights), **OPTIONS
    )
    plain = fit(MODEL, (X, Y), validation=(X, Y, weights), backend="numpy", **OPTIONS)
    assert network.history["validation_loss"] == plain.history["validation_loss"]
