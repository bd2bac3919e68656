"""The estimators of xpnet.sklearn beside those of scikit-learn: same data, same steps."""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from estimators import TARGETS as Y
from estimators import WEIGHTS, X, quietly, skip_before
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.datasets import load_iris, make_classification

from xpnet import sklearn as ours

pytestmark = [pytest.mark.libraries, pytest.mark.numerics]

SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "sgd-classical": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "sgd-plain": {"solver": "sgd", "learning_rate_init": 0.1, "momentum": 0.0},
    "sgd-all-momentum": {"solver": "sgd", "learning_rate_init": 0.001, "momentum": 1.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2, "tol": 0.05,
        "n_iter_no_change": 1,
    },
    "adam": {"solver": "adam", "learning_rate_init": 0.02},
}  # fmt: skip
COMMON = {"hidden_layer_sizes": (7, 5), "batch_size": 15, "shuffle": False, "alpha": 0.1}


def make(module, case, **options):
    kind = "Regressor" if case in ("value", "values", "counts") else "Classifier"
    if case == "counts":
        options["loss"] = "poisson"
    return getattr(module, f"MLP{kind}")(**options)


def pair(case, **options):
    """One estimator of each, with the same parameters and the same initial arrays."""
    pair = [
        make(module, case, **{**COMMON, "random_state": 3, **options}) for module in (ours, theirs)
    ]
    for model in pair:
        quietly(model.set_params(max_iter=1).fit, X, Y[case])
        model.set_params(max_iter=options.get("max_iter", 8), warm_start=True)
    mine, other = pair
    assert [w.shape for w in mine.coefs_] == [w.shape for w in other.coefs_]
    rng = np.random.RandomState(1)
    arrays = [[rng.uniform(-0.5, 0.5, a.shape) for a in attr] for attr in (
        other.coefs_, other.intercepts_)]  # fmt: skip
    for model in pair:
        model.coefs_, model.intercepts_ = [[a.copy() for a in attr] for attr in arrays]
        model.loss_curve_, model.best_loss_ = [], np.inf
        model.t_ = 0
    other._no_improvement_count = 0
    assert mine._kept.no_improvement == 0
    return pair


def assert_same(mine, other, rtol=1e-9):
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(other, name), name
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(mine, name), getattr(other, name), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    assert mine.loss_ == pytest.approx(other.loss_, rel=rtol)
    if mine.solver != "lbfgs":
        np.testing.assert_allclose(mine.loss_curve_, other.loss_curve_, rtol=rtol)
        assert mine.best_loss_ == pytest.approx(other.best_loss_, rel=rtol)


def assert_predicts_the_same(mine, other, rtol=1e-9):
    for name in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(other, name):
            a, b = getattr(mine, name)(X), getattr(other, name)(X)
            if name == "predict_log_proba":
                # Of tiny probabilities scikit-learn has lost digits before it takes the logarithm.
                a, b = np.maximum(a, -15), np.maximum(b, -15)
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            if a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
            else:
                np.testing.assert_array_equal(a, b)


# -- the same steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", Y)
def test_every_step_is_scikit_learns(case, solver, weighted):
    mine, other = pair(case, **SOLVERS[solver])
    weight = WEIGHTS if weighted else None
    for model in (mine, other):
        quietly(model.fit, X, Y[case], sample_weight=weight)
    assert_same(mine, other)
    assert_predicts_the_same(mine, other)
    assert mine.score(X, Y[case], weight) == pytest.approx(other.score(X, Y[case], weight))


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("case", [case for case in Y if case != "values"])
def test_every_iteration_of_lbfgs_is_scikit_learns(case, weighted):
    mine, other = pair(case, solver="lbfgs", max_iter=6, activation="tanh")
    weight = WEIGHTS if weighted else None
    for model in (mine, other):
        quietly(model.fit, X, Y[case], sample_weight=weight)
    assert_same(mine, other, 1e-6)


@pytest.mark.parametrize("options", [{"tol": 0.01}, {"tol": 1e-3, "max_fun": 12}], ids=str)
@pytest.mark.parametrize("case", ["multiclass", "value"])
def test_lbfgs_ends_where_scikit_learns_does(case, options):
    mine, other = pair(case, solver="lbfgs", max_iter=100, activation="tanh", **options)
    for model in (mine, other):
        quietly(model.fit, X, Y[case])
    assert 2 < mine.n_iter_ == other.n_iter_ < 100
    assert_same(mine, other, 1e-5)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_activation_is_scikit_learns(activation):
    mine, other = pair("multiclass", activation=activation, solver="sgd", learning_rate_init=0.1)
    for model in (mine, other):
        quietly(model.fit, X, Y["multiclass"])
    assert_same(mine, other)


@pytest.mark.parametrize("case", ["multiclass", "values"])
def test_calls_of_partial_fit_are_scikit_learns(case):
    mine, other = pair(case, solver="sgd", learning_rate="invscaling", learning_rate_init=0.5)
    mine._kept = replace(mine._kept, progress=None)
    vars(other).pop("_optimizer", None)
    for model in (mine, other):
        model.warm_start = False
        for _ in range(4):
            model.partial_fit(X[:30], Y[case][:30])
            model.partial_fit(X[20:], Y[case][20:])
    assert_same(mine, other)


def test_sparse_samples_are_scikit_learns():
    data = sparse.random(40, 6, 0.3, "csr", random_state=0)
    y = Y["binary"][:40]
    mine, other = pair("binary", solver="sgd", learning_rate_init=0.1)
    for form in ("csr", "csc"):
        for model in (mine, other):
            quietly(model.fit, data.asformat(form), y)
        assert_same(mine, other)
        np.testing.assert_allclose(mine.predict_proba(data), other.predict_proba(data))


def test_the_rules_for_ending_are_scikit_learns(capsys):
    """The same epochs, the same words printed, the same warnings."""
    options = {"solver": "sgd", "learning_rate_init": 0.3, "tol": 0.01, "n_iter_no_change": 2}
    for more in (
        {"max_iter": 40},
        {"max_iter": 5},
        {"max_iter": 200, "learning_rate": "adaptive"},
        {"max_iter": 9, "n_iter_no_change": np.inf},
    ):
        said = []
        for model in pair("binary", **{**options, **more}, verbose=False):
            model.verbose = True
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(X, Y["binary"])
            text = capsys.readouterr().out
            said.append((model.n_iter_, text, [(w.category, str(w.message)) for w in caught]))
        assert said[0] == said[1]
        assert said[0][1]


# -- parameters, attributes, errors -------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_parameters_have_the_same_names_and_defaults(name):
    mine, other = (getattr(module, name)().get_params() for module in (ours, theirs))
    assert other.items() <= mine.items()
    positional = getattr(theirs, name).__init__.__code__.co_varnames
    count = getattr(theirs, name).__init__.__code__.co_argcount
    code = getattr(ours, name).__init__.__code__
    assert code.co_varnames[: code.co_argcount] == positional[:count]
    # And those that are not parameters of ours alone are checked alike.
    for key, allowed in getattr(theirs, name)._parameter_constraints.items():
        mine = getattr(ours, name)._parameter_constraints[key][: len(allowed)]
        assert [words(item) for item in mine] == [words(item) for item in allowed]


def words(item):
    """The words of a text, in any order: scikit-learn prints sets."""
    return sorted(re.findall(r"[\w.']+", str(item).partition(" object at")[0]))


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("case", Y)
def test_attributes_have_the_same_names_and_types(case, early):
    if case == "strings" and early:
        skip_before((1, 9), "cannot stop early on labels that are text")
    found = []
    for module in (ours, theirs):
        model = make(module, case, max_iter=3, early_stopping=early, random_state=0)
        quietly(model.fit, X, Y[case])
        public = {k: v for k, v in vars(model).items() if k.endswith("_") and k[0] != "_"}
        found.append({key: _kind(value) for key, value in public.items()})
    more = {"callbacks_", "stopped_", *(["validation_loss_curve_"] if early else [])}
    assert found[0].keys() == found[1].keys() | more
    assert found[1].items() <= found[0].items()


def _kind(value):
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    if isinstance(value, list):
        return [_kind(item) for item in value]
    return type(value)


ERRORS = {
    "hidden": ({"hidden_layer_sizes": (3, 0)}, X, Y["binary"]),
    "solver": ({"solver": "newton"}, X, Y["binary"]),
    "momentum": ({"momentum": 2}, X, Y["binary"]),
    "alpha": ({"alpha": -1}, X, Y["binary"]),
    "shuffle": ({"shuffle": "yes"}, X, Y["binary"]),
    "nan": ({}, np.where(X[3, 2] == X, np.nan, X), Y["binary"]),
    "one axis": ({}, X[:, 0], Y["binary"]),
    "lengths": ({}, X, Y["binary"][:-1]),
    "no samples": ({}, X[:0], Y["binary"][:0]),
    "no targets": ({}, X, None),
    "text": ({}, [["a", "b"]], [0]),
    "all kept": ({"early_stopping": True, "validation_fraction": 0.999}, X, Y["multiclass"]),
    "few kept": ({"early_stopping": True, "validation_fraction": 0.005}, X, Y["multiclass"]),
    "weights": ({}, X, Y["binary"], np.ones(3)),
    "no weights": ({}, X, Y["binary"], np.zeros(120)),
}


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("case", ERRORS)
def test_errors_have_the_same_words(kind, case):
    if case == "no weights":
        skip_before((1, 9), "takes weights that are all 0")
    options, *data = ERRORS[case]
    said = []
    for module in (ours, theirs):
        with pytest.raises((ValueError, TypeError)) as raised:
            getattr(module, kind)(**options).fit(*data)
        said.append((raised.type.__name__, words(raised.value)))
    assert said[0] == said[1]


def test_errors_of_classes_have_the_same_words():
    def unseen(model):
        model.partial_fit(X, Y["binary"], classes=[0, 1]).partial_fit(X, Y["multiclass"])

    def others(model):
        model.partial_fit(X, Y["binary"], classes=[0, 1])
        model.partial_fit(X, Y["binary"], classes=[0, 1, 2])

    def warm(model):
        quietly(model.set_params(warm_start=True, max_iter=1).fit, X, Y["binary"])
        model.fit(X, Y["multiclass"])

    for call in (
        lambda model: model.partial_fit(X, Y["binary"]),
        lambda model: model.set_params(solver="lbfgs").partial_fit(X, Y["binary"], classes=[0, 1]),
        lambda model: model.fit(X, Y["value"]),
        lambda model: model.fit(X, np.stack([Y["multiclass"]] * 2, axis=1)),
        lambda model: model.predict(X),
        lambda model: quietly(model.set_params(max_iter=1).fit, X, Y["binary"]).predict(X[:, 1:]),
        unseen,
        others,
        warm,
    ):
        said = []
        for module in (ours, theirs):
            with pytest.raises((ValueError, AttributeError)) as raised:
                call(module.MLPClassifier())
            cause = raised.value.__cause__
            said.append((raised.type, str(raised.value), str(cause)))
        assert said[0] == said[1]


def test_a_training_that_diverges_ends_with_the_same_error():
    said = []
    for module in (ours, theirs):
        model = module.MLPRegressor(solver="sgd", learning_rate_init=1e20, max_iter=20)
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite") as raised:
            quietly(model.fit, X, Y["value"] * 1e3)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_batches_larger_than_the_samples_are_clipped_with_the_same_warning():
    said = []
    for module in (ours, theirs):
        with pytest.warns(UserWarning, match="clipped") as caught:
            quietly(module.MLPClassifier(batch_size=999, max_iter=1).fit, X, Y["binary"])
        said.append([str(w.message) for w in caught])
    assert said[0] == said[1]


# -- the same results ---------------------------------------------------------------------------


def test_initial_arrays_have_the_same_ranges():
    for activation, factor in (("relu", 6), ("logistic", 2)):
        model = ours.MLPClassifier((400,), activation, max_iter=1, learning_rate_init=1e-12)
        quietly(model.set_params(random_state=0).fit, X, Y["multiclass"])
        for weight, bias in zip(model.coefs_, model.intercepts_, strict=True):
            limit = np.sqrt(factor / sum(weight.shape))
            assert limit * 0.97 < np.abs(weight).max() <= limit * (1 + 1e-6)
            assert abs(weight.mean()) < limit / 10
            assert np.abs(bias).max() <= limit * (1 + 1e-6)
            assert len(bias) < 10 or np.abs(bias).max() > 0.9 * limit


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_accuracies_over_seeds_agree(solver):
    """A small part of what scripts/compare_sklearn.py does."""
    data, y = make_classification(400, 10, n_informative=6, n_classes=3, random_state=0)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    options = {"hidden_layer_sizes": (20,), "solver": solver, "max_iter": 25, "batch_size": 40}
    scores = np.array([
        [
            quietly(
                module.MLPClassifier(**options, learning_rate_init=0.01, random_state=seed).fit,
                data[:250], y[:250],
            ).score(data[250:], y[250:])
            for seed in range(6)
        ]
        for module in (ours, theirs)
    ])  # fmt: skip
    mean, error = scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(6)
    assert abs(mean[0] - mean[1]) <= 3 * np.hypot(*error)


def test_early_stopping_restores_the_best_and_splits_by_class():
    data, y = load_iris(return_X_y=True)
    model = ours.MLPClassifier(
        early_stopping=True, learning_rate_init=0.05, random_state=0, validation_fraction=0.2,
        max_iter=60,
    )  # fmt: skip
    quietly(model.fit, data, y)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ is None
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
    # 30 samples are kept, 10 of each class: scores are multiples of 1/30.
    parts = np.array(model.validation_scores_) * 30
    np.testing.assert_allclose(parts, np.round(parts), atol=1e-9)
    assert model.t_ == 120 * model.n_iter_
