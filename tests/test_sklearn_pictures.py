"""The estimator for pictures: scikit-learn's interface for arrays of pictures."""

import pickle
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import xpnet
from xpnet import Conv2D, Dense, Flatten, ReLU, Sequential
from xpnet.models import small_cnn
from xpnet.sklearn import ConvClassifier, MLPClassifier

pytestmark = [
    pytest.mark.installed,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

DATA = load_digits()
X, Y = (DATA.images / 16).astype(np.float32)[:400], DATA.target[:400]
OPTIONS = {"batch_size": 32, "max_iter": 2, "random_state": 0}
LINEAR = Sequential(flatten=Flatten((8, 8, 1)), fc=Dense(64, 10))


@pytest.fixture(scope="module")
def fitted():
    return ConvClassifier("small_cnn", **OPTIONS).fit(X[:300], Y[:300])


def test_it_learns_pictures(fitted):
    assert fitted.score(X[300:], Y[300:]) > 0.8
    assert fitted.predict_proba(X[:3]).shape == (3, 10)
    np.testing.assert_allclose(fitted.predict_proba(X[:3]).sum(axis=1), 1, rtol=1e-5)
    assert (fitted.sample_shape_, fitted.n_features_in_) == ((8, 8), 64)
    assert [w.shape for w in fitted.coefs_][:2] == [(3, 3, 1, 32), (3, 3, 32, 32)]
    assert len(fitted.batch_norm_) == 4


def test_a_dense_layer_is_what_the_other_estimator_fits():
    """From the same weights, with the same batches and penalty, it comes to the same."""
    shared = {**OPTIONS, "alpha": 0.1, "max_iter": 3, "shuffle": False, "solver": "sgd"}
    options = {**shared, "learning_rate_init": 0.1, "momentum": 0, "warm_start": True}
    other = MLPClassifier((), **options).fit(X.reshape(-1, 64), Y)
    one = ConvClassifier(LINEAR, **options).fit(X, Y)
    for estimator in (one, other):
        estimator.coefs_[0][...] = np.random.default_rng(0).normal(size=(64, 10)) / 8
        estimator.intercepts_[0][...] = 0
    one.fit(X, Y)
    other.fit(X.reshape(-1, 64), Y)
    np.testing.assert_allclose(one.loss_curve_[-3:], other.loss_curve_[-3:], rtol=1e-5)
    np.testing.assert_allclose(one.coefs_[0], other.coefs_[0], rtol=1e-4, atol=1e-6)


def test_kernels_are_penalised_as_the_weights_of_dense_layers():
    """A step of plain descent takes learning_rate * alpha / n of a kernel away, and of no bias."""
    model = Sequential(
        conv=Conv2D(1, 2, 3), act=ReLU(), flatten=Flatten((8, 8, 2)), fc=Dense(128, 10)
    )
    options = {"solver": "sgd", "momentum": 0, "max_iter": 1, "random_state": 0, "batch_size": 400}
    plain = ConvClassifier(model, alpha=0.0, learning_rate_init=0.5, **options).fit(X, Y)
    other = ConvClassifier(model, alpha=40.0, learning_rate_init=0.5, **options).fit(X, Y)
    start = ConvClassifier(model, alpha=0.0, learning_rate_init=1e-30, **options).fit(X, Y)
    for initial, without, with_it in zip(start.coefs_, plain.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(without - with_it, 0.05 * initial, rtol=1e-3, atol=1e-6)
    for without, with_it in zip(plain.intercepts_, other.intercepts_, strict=True):
        np.testing.assert_allclose(without, with_it, rtol=1e-5, atol=1e-7)


def test_clone_pickle_and_parameters(fitted):
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    assert not hasattr(again, "coefs_")
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(X[:20]), fitted.predict_proba(X[:20]))
    assert "hidden_layer_sizes" not in fitted.get_params()


def test_it_becomes_a_network_that_is_loaded_again(fitted, tmp_path):
    fitted.to_network().save(tmp_path / "network.safetensors")
    network = xpnet.load(tmp_path / "network.safetensors", backend="numpy")
    assert network.sample_shape == (8, 8)
    np.testing.assert_array_equal(network.predict(X[:50]), fitted.predict(X[:50]))


def test_calls_of_partial_fit_are_the_epochs_of_fit(fitted):
    parts = ConvClassifier("small_cnn", **OPTIONS)
    for _ in range(2):
        parts.partial_fit(X[:300], Y[:300], classes=range(10))
    for one, other in zip(parts.coefs_, fitted.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_integers_are_pixels():
    pixels = (255 * X).round().astype(np.uint8)
    one = ConvClassifier(LINEAR, **OPTIONS).fit(pixels, Y)
    other = ConvClassifier(LINEAR, **OPTIONS).fit(pixels * np.float32(1 / 255), Y)
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    np.testing.assert_array_equal(one.to_network().predict(pixels), one.predict(pixels))


def test_objects_are_what_they_hold():
    pixels = (255 * X).round().astype(np.uint8)
    one = ConvClassifier(LINEAR, **OPTIONS).fit(pixels[:64].astype(object), Y[:64])
    other = ConvClassifier(LINEAR, **OPTIONS).fit(pixels[:64], Y[:64])
    np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
    with pytest.raises(ValueError, match=r"samples: .* real number"):
        one.predict(np.full((1, 8, 8), {}, dtype=object))


def test_rows_of_others_become_arrays_first():
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(DATA.data)
    with pytest.raises(ValueError, match=r"as by X\.toarray\(\)\.reshape\(\(-1, 8, 8\)\)"):
        ConvClassifier().fit(sparse, DATA.target)
    frame = pytest.importorskip("pandas").DataFrame(DATA.data)
    with pytest.raises(ValueError, match=r"as by X\.to_numpy\(\)\.reshape\(\(-1, 8, 8\)\)"):
        ConvClassifier().fit(frame, DATA.target)


def test_weights_of_0_leave_samples_out():
    weight = np.ones(96)
    weight[64:] = 0
    options = {**OPTIONS, "shuffle": False, "alpha": 0}
    one = ConvClassifier(LINEAR, **options).fit(X[:96], Y[:96], weight)
    other = ConvClassifier(LINEAR, **options).fit(X[:64], Y[:64])
    np.testing.assert_allclose(one.coefs_[0], other.coefs_[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
def test_early_stopping_scores_pictures(scoring):
    model = ConvClassifier(LINEAR, early_stopping=True, scoring=scoring, **OPTIONS).fit(X, Y)
    assert len(model.validation_scores_) == 2
    held = ConvClassifier(LINEAR, **OPTIONS).fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert len(held.validation_loss_curve_) == 2


def test_pipelines_and_cross_validation():
    rows = DATA.data[:200]
    pictures = FunctionTransformer(lambda x: (x / 16).reshape(-1, 8, 8))
    pipeline = make_pipeline(pictures, ConvClassifier(LINEAR, **OPTIONS)).fit(rows, Y[:200])
    assert pipeline.predict(rows).shape == (200,)
    assert cross_val_score(ConvClassifier(LINEAR, **OPTIONS), X, Y, cv=2).shape == (2,)


def test_models_of_ones_own():
    from_function = ConvClassifier(partial(small_cnn, activation=xpnet.Tanh()), **OPTIONS)
    from_function.fit(X[:64], Y[:64])
    assert from_function.to_network().model["act1"] == xpnet.Tanh()
    colours = np.repeat(X[:64, ..., None], 3, axis=-1)
    assert (
        ConvClassifier("resnet8", **OPTIONS).fit(colours, Y[:64] > 4).predict(colours).dtype == bool
    )


def test_warm_start_goes_on(fitted):
    model = clone(fitted).set_params(warm_start=True).fit(X[:64], Y[:64])
    before = [w.copy() for w in model.coefs_]
    model.fit(X[:64], Y[:64])
    assert not np.array_equal(before[0], model.coefs_[0])
    with pytest.raises(ValueError, match="is another than that of what was fitted: give"):
        model.set_params(model="resnet8").fit(X[:64], Y[:64])
    np.testing.assert_array_equal(model.coefs_[0].shape, before[0].shape)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            DATA.data,
            r"\(N, 8, 8\), as those .* got shape \(1797, 64\): .*X\.reshape\(\(-1, 8, 8\)\)",
        ),
        (X[:, :7], r"got shape \(400, 7, 8\)$"),
        (X[0], r"give a single picture as X\[None\]"),
    ],
)
def test_what_is_not_such_pictures_is_refused(fitted, x, message):
    with pytest.raises(ValueError, match=message):
        fitted.predict(x)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match=r"as by X\.reshape\(\(-1, 8, 8\)\); in a pipe"):
        ConvClassifier().fit(DATA.data, DATA.target)
    with pytest.raises(ValueError, match="lenet5 takes pictures of 12 x 12 pixels or more"):
        ConvClassifier().fit(X, Y)
    with pytest.raises(ValueError, match="need 10 outputs, and the model gives"):
        ConvClassifier(Sequential(flatten=Flatten(), fc=Dense(64, 4))).fit(X, Y)
    with pytest.raises(ValueError, match="solver"):
        ConvClassifier(solver="lbfgs").fit(X, Y)
