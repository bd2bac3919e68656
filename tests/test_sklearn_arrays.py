"""The estimators of xpnet.sklearn on every array library: arrays in, arrays out."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from array_api_compat import array_namespace, device
from conftest import require
from estimators import LABELS, TARGETS, WEIGHTS, X, quietly
from scipy import special
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from xpnet.backends import backend_of, open_backend
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries

# Labels that are not their own numbers in the order of the classes.
Y = {**TARGETS, "binary": TARGETS["binary"] * 3 - 1, "multiclass": LABELS * 2}


def make(case, **options):
    cls = MLPRegressor if case in ("value", "values") else MLPClassifier
    options = {"hidden_layer_sizes": (8,), "max_iter": 3, "batch_size": 16, **options}
    return cls(random_state=5, **options)


def arrays(backend, case):
    dtype = backend.dtype if case in ("value", "values") else backend.index_dtype
    with backend.scope():
        return backend.asarray(X, dtype=backend.dtype), backend.asarray(Y[case], dtype=dtype)


@pytest.mark.parametrize(
    ("case", "solver"),
    [
        ("binary", "sgd"), ("multiclass", "adam"), ("multiclass", "lbfgs"), ("multilabel", "sgd"),
        ("value", "lbfgs"), ("values", "adam"),
    ],
)  # fmt: skip
def test_one_seed_one_result_where_the_samples_live(training_backend, case, solver):
    backend = training_backend
    reference = quietly(make(case, solver=solver).fit, X, Y[case])
    x, y = arrays(backend, case)
    with backend.scope():  # of JAX, whose float64 has to be switched on
        model = quietly(make(case, solver=solver, dtype="float64").fit, x, y)
        assert model.loss_ == pytest.approx(reference.loss_, rel=1e-9)
        for name in ("coefs_", "intercepts_"):
            for own, expected in zip(getattr(model, name), getattr(reference, name), strict=True):
                assert backend.holds(own)
                np.testing.assert_allclose(backend.to_numpy(own), expected, rtol=1e-7, atol=1e-9)
        for name in ("predict", "predict_proba", "predict_log_proba"):
            if hasattr(model, name):
                found, expected = getattr(model, name)(x), getattr(reference, name)(X)
                assert backend.holds(found)
                assert array_namespace(found) is array_namespace(x)
                assert device(found) == device(x)
                np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-7, atol=1e-8)
        if hasattr(model, "classes_"):
            assert backend.holds(model.classes_)
        assert isinstance(model.score(x, y), float)
        assert model.score(x, y) == pytest.approx(reference.score(X, Y[case]))


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict"])
def test_float32_stays_float32(name):
    require(name)
    backend = open_backend(name, dtype="float32")
    x = backend.asarray(X.astype(np.float32))
    model = quietly(make("multiclass").fit, x, backend.asarray(Y["multiclass"]))
    for array in (*model.coefs_, *model.intercepts_, model.predict_proba(x)):
        assert array.dtype == backend.dtype
    reference = quietly(make("multiclass").fit, X.astype(np.float32), Y["multiclass"])
    np.testing.assert_allclose(
        backend.to_numpy(model.predict_proba(x)), reference.predict_proba(X.astype(np.float32)),
        rtol=1e-3, atol=1e-5,
    )  # fmt: skip


def test_integers_are_computed_with_in_the_dtype_of_the_library():
    require("torch")
    import torch

    x = torch.randint(0, 9, (40, 3))
    y = x[:, 0] > 4
    model = quietly(make("binary").fit, x, y)
    assert model.coefs_[0].dtype == torch.float32
    assert model.predict(x).dtype == torch.bool
    assert quietly(make("binary").fit, x.numpy(), y.numpy()).coefs_[0].dtype == np.float64
    half = quietly(make("binary").fit, x.numpy().astype(np.float16), y.numpy())
    assert half.coefs_[0].dtype == np.float64


def test_labels_that_are_strings_stay_on_the_host(training_backend):
    names = np.array(["a", "b", "c"])[LABELS]
    x, _ = arrays(training_backend, "multiclass")
    with training_backend.scope():
        model = quietly(make("multiclass", solver="lbfgs").fit, x, names)
        predicted = model.predict(x)
        assert model.score(x, names) > 0.1
    assert isinstance(predicted, np.ndarray)
    assert set(predicted) <= set(names)
    assert model.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("first", [7, 2**40 + 7], ids=["small", "large"])
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "int64"])
def test_labels_that_a_library_has_not_stay_what_they_are(training_backend, dtype, first):
    """JAX has integers of 32 bits, and torch takes no elements from unsigned ones."""
    if first > np.iinfo(dtype).max:
        return
    labels = np.array([first, first + 1, 9], dtype=dtype)[LABELS]
    backend = type(training_backend)(None, "float32")
    x = backend.asarray(X, dtype=backend.dtype)
    model = quietly(make("multiclass", max_iter=60, learning_rate_init=0.02).fit, x, labels)
    np.testing.assert_array_equal(backend.to_numpy(model.classes_), np.unique(labels))
    predicted = backend.to_numpy(model.predict(x))
    assert (predicted == labels).mean() > 0.9
    assert model.score(x, labels) == (predicted == labels).mean()
    np.testing.assert_array_equal(model.predict(X.astype(np.float32)), predicted)
    assert backend.holds(model.classes_) or (backend.name, first) == ("jax", 2**40 + 7)
    elsewhere = quietly(make("multiclass", max_iter=60, learning_rate_init=0.02).fit, X, labels)
    assert (backend.to_numpy(elsewhere.predict(x)) == labels).mean() > 0.9


def test_the_backend_can_be_another_one(other_backend):
    """Then arrays and predictions still follow the samples."""
    reference = quietly(make("multiclass").fit, X, Y["multiclass"])
    model = quietly(make("multiclass", backend=other_backend).fit, X, Y["multiclass"])
    for own, expected in zip(model.coefs_, reference.coefs_, strict=True):
        assert isinstance(own, np.ndarray)
        np.testing.assert_allclose(own, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), reference.predict(X))
    assert isinstance(model.classes_, np.ndarray)
    backend = open_backend(other_backend, dtype="float64")
    with backend.scope():
        moved = model.predict_proba(backend.asarray(X))
        assert backend.holds(moved)
    np.testing.assert_allclose(backend.to_numpy(moved), reference.predict_proba(X), rtol=1e-6)
    options = {"backend": other_backend, "dtype": "float32", "solver": "lbfgs"}
    assert quietly(make("value", **options).fit, X, Y["value"]).predict(X).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["binary", "multiclass", "multilabel"])
def test_tiny_probabilities_have_all_their_digits(training_backend, case, dtype):
    """And their logarithms do, where they are rounded to 0 themselves."""
    backend = type(training_backend)(None, dtype)
    model = quietly(make(case, hidden_layer_sizes=(), max_iter=1, dtype=dtype).fit, X, Y[case])
    x = np.linspace(-80, 80, 13)[:, None] * np.eye(1, 6)
    weight = np.ones((6, 1)) * [1.0, -0.5, 0.25][: model.n_outputs_]
    z = x @ weight
    if case == "multiclass":
        expected = special.log_softmax(z, axis=1)
    else:
        expected = special.log_expit(np.hstack([-z, z]) if case == "binary" else z)
    with backend.scope():
        model.coefs_ = [backend.asarray(weight, dtype=backend.dtype)]
        model.intercepts_ = [backend.asarray(0 * weight[0], dtype=backend.dtype)]
        x = backend.asarray(x, dtype=backend.dtype)
        found = backend.to_numpy(model.predict_log_proba(x))
        p = backend.to_numpy(model.predict_proba(x))
    rtol = 2e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(p, np.exp(expected), rtol=100 * rtol, atol=1e-37)


def test_partial_fit_goes_on_as_without_a_break(training_backend):
    """And again after a pickle, a copy, or by joblib: with the steps of the optimizer so far."""
    backend = training_backend
    x, y = arrays(backend, "multiclass")
    classes = [0, 2, 4]
    options = {"dtype": "float64", "learning_rate_init": 0.05}
    with backend.scope():
        model, expected = (make("multiclass", **options) for _ in range(2))
        for _ in range(2):
            model.partial_fit(x, y, classes=classes)
        for _ in range(4):
            expected.partial_fit(x, y, classes=classes)
        copies = [model, copy.deepcopy(model)]
        if backend.name == "numpy":
            file = io.BytesIO()
            joblib.dump(model, file)
            file.seek(0)
            copies.append(joblib.load(file))
        if backend.name == "torch":
            copies.append(pickle.loads(pickle.dumps(model)))
        for other in copies:
            for _ in range(2):
                other.partial_fit(x, y)
            assert other.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-12)
            for own, theirs in zip(other.coefs_, expected.coefs_, strict=True):
                np.testing.assert_allclose(
                    backend.to_numpy(own), backend.to_numpy(theirs), rtol=1e-10
                )


def test_what_is_wrong_is_said_in_scikit_learns_words(training_backend):
    backend = training_backend
    x, y = arrays(backend, "multiclass")
    bad = X.copy()
    bad[3, 2] = np.nan
    with backend.scope():
        model = quietly(make("multiclass", solver="lbfgs").fit, x, y)
        for wrong, message in (
            (backend.asarray(bad), "Input X contains NaN"),
            (x[:, 0], "Expected 2D array, got 1D array instead"),
            (x[:, :2], "X has 2 features, but MLPClassifier is expecting 6 features as input"),
            (x[:0, :], "Found array with 0 sample"),
        ):
            with pytest.raises(ValueError, match=message):
                model.predict(wrong)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            make("multiclass").fit(backend.asarray(bad), y)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            make("multiclass").fit(x, y[:7])
        with pytest.raises(ValueError, match="requires y to be passed"):
            make("multiclass").fit(x, None)


def test_sample_weights_may_live_elsewhere(training_backend):
    x, y = arrays(training_backend, "multiclass")
    expected = quietly(make("multiclass", solver="lbfgs").fit, X, Y["multiclass"], WEIGHTS)
    with training_backend.scope():
        for own in (WEIGHTS, training_backend.asarray(WEIGHTS)):
            model = quietly(make("multiclass", solver="lbfgs", dtype="float64").fit, x, y, own)
            assert model.loss_ == pytest.approx(expected.loss_, rel=1e-9)


def test_early_stopping_is_the_same_everywhere(training_backend):
    options = {"early_stopping": True, "max_iter": 30, "learning_rate_init": 0.02}
    expected = quietly(make("binary", **options).fit, X, Y["binary"], WEIGHTS)
    x, y = arrays(training_backend, "binary")
    with training_backend.scope():
        model = quietly(make("binary", dtype="float64", **options).fit, x, y, WEIGHTS)
    assert model.validation_scores_ == pytest.approx(expected.validation_scores_)
    assert model.n_iter_ == expected.n_iter_


# -- scikit-learn's own checks ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("cls", "solver"), [(MLPClassifier, "adam"), (MLPRegressor, "adam"), (MLPClassifier, "lbfgs")]
)
def test_check_estimator(cls, solver):
    """All of its checks, without one that may fail; those that are skipped say why."""
    done = check_estimator(cls(max_iter=60, solver=solver), on_skip=None)
    assert {check["status"] for check in done} <= {"passed", "skipped"}
    reasons = [str(check["exception"]) for check in done if check["status"] == "skipped"]
    known = ("not installed", "SCIPY_ARRAY_API is not set", "is not available", "decision_function")
    assert all(any(word in reason for word in known) for reason in reasons)


def test_checks_of_the_array_api():
    """In a process of its own: SciPy reads the environment when it is imported."""
    import os
    import subprocess
    import sys

    code = """
        import warnings
        from sklearn.utils import estimator_checks as checks
        from sklearn.utils._array_api import NamespaceAndDevice
        from xpnet.sklearn import MLPClassifier, MLPRegressor

        warnings.simplefilter("ignore")
        strict = [("array_api_strict", name) for name in ("CPU_DEVICE", "device1")]
        places = [("numpy", None), *strict, ("torch", "cpu")]
        options = {"hidden_layer_sizes": (20,), "max_iter": 10}
        for model in (
            MLPClassifier(**options),
            MLPRegressor(**options),
            MLPClassifier(solver="lbfgs", **options),
        ):
            name = type(model).__name__
            for place in places:
                checks.check_array_api_input_and_values(
                    name, model, *place, dtype_name="float64", check_sample_weight=True
                )
                checks.check_array_api_input(name, model, *place, dtype_name="float32")
            numpy, torch = places[0], places[-1]
            for places_of in ((torch, numpy), (strict[0], torch)):
                both = [NamespaceAndDevice(*place) for place in places_of]
                checks.check_array_api_mixed_inputs(name, model, *both)
            checks.check_array_api_same_namespace(name, model, *strict[0])
        print("all passed")
    """
    require("torch")
    require("array_api_strict")
    if not hasattr(pytest.importorskip("sklearn.utils._array_api"), "NamespaceAndDevice"):
        pytest.skip("this scikit-learn has these checks not yet, or in another form")
    from textwrap import dedent

    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "all passed\n", done.stderr


def test_a_clone_is_not_fitted_and_has_the_same_parameters():
    from xpnet import Adam, Huber
    from xpnet.schedules import Cosine

    model = MLPRegressor(loss=Huber(2.0), optimizer=Adam(0.01), schedule=Cosine(), clip_norm=1.0)
    fitted = quietly(model.set_params(max_iter=1, backend="numpy").fit, X, Y["value"])
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    assert not hasattr(again, "coefs_")
    assert "MLPRegressor" in again._repr_html_()


def test_dispatch_is_refused_where_namespaces_differ():
    with config_context(array_api_dispatch=False):
        require("torch")
        backend = open_backend("torch", dtype="float64")
        model = quietly(make("value").fit, X, Y["value"])
        # Without scikit-learn's dispatch the prediction is made where the samples are.
        assert backend_of(model.predict(backend.asarray(X))).name == "torch"
