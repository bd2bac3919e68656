"""The estimators of xpnet.sklearn: calls that fail, and calls that go on with other parameters."""

import copy
import pickle
import re
import signal
import warnings

import numpy as np
import pytest
from conftest import require
from estimators import LABELS, VALUES, X, quietly
from scipy.sparse import csr_matrix
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import xpnet
from xpnet import (
    SGD,
    Adam,
    AdamW,
    Callback,
    Huber,
    SoftmaxCrossEntropy,
    open_backend,
)
from xpnet.inputs.samples import dtype_name
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries

# -- calls that fail ----------------------------------------------------------------------------


class Fails(Callback):
    """Raises after the first epoch, when much has been written."""

    def on_epoch(self, network, record):
        raise KeyboardInterrupt("enough")


def broken_loss(xp, output, target, *, need_grad=True):
    raise KeyboardInterrupt("enough")


def test_a_first_fit_that_fails_leaves_nothing_behind():
    model = MLPClassifier((8,), solver="sgd", learning_rate_init=1e308, max_iter=3, random_state=0)
    before = dict(vars(model))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        quietly(model.fit, X, LABELS)
    assert vars(model) == before
    for predict in (model.predict, model.predict_proba, lambda x: model.to_network()):
        with pytest.raises(NotFittedError):
            predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Fails()]).partial_fit(X, LABELS, classes=[0, 1, 2, 3])
    # The classes of that call are forgotten as well.
    model.set_params(callbacks=None, learning_rate_init=0.1).partial_fit(X, LABELS, None, [0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_later_fit_that_fails_leaves_what_was_fitted(solver):
    model = MLPClassifier((8,), solver=solver, max_iter=3, batch_size=40, random_state=0)
    held = (X[80:], LABELS[80:])
    quietly(model.fit, X[:80], LABELS[:80], validation_data=held)
    before = pickle.dumps(model)
    public = {name: copy.deepcopy(value) for name, value in vars(model).items() if name[-1] == "_"}
    failing = {"solver": "adam", "callbacks": [Fails()]}
    other = X[:, :3], LABELS > 0
    for options, data in (
        (failing, other),
        ({**failing, "batch_norm": True}, other),
        ({**failing, "warm_start": True}, (X, LABELS)),
        ({"solver": "adam", "early_stopping": True, "validation_fraction": 0.001}, other),
        ({"solver": "lbfgs", "loss": broken_loss}, other),
    ):
        model = pickle.loads(before).set_params(**options)
        with np.errstate(all="ignore"), pytest.raises((ValueError, KeyboardInterrupt)):
            quietly(model.fit, *data, validation_data=None if data is other else held)
        assert {name for name in vars(model) if name[-1] == "_"} == set(public)
        for name, value in public.items():
            np.testing.assert_equal(getattr(model, name), value)
        assert model.score(X, LABELS) == pickle.loads(before).score(X, LABELS)


def test_a_partial_fit_that_fails_is_as_if_it_had_not_been():
    options = {"learning_rate_init": 0.05, "momentum": 0.9, "solver": "sgd", "batch_size": 50}
    calm, failing = (MLPClassifier((8,), random_state=0, **options) for _ in range(2))
    for model in (calm, failing):
        model.partial_fit(X, LABELS, classes=[0, 1, 2]).partial_fit(X, LABELS)
    with pytest.raises(KeyboardInterrupt):
        failing.set_params(callbacks=[Fails()]).partial_fit(X, LABELS)
    with pytest.raises(ValueError, match="`y` has classes not in"):
        failing.set_params(callbacks=None).partial_fit(X, LABELS + 1)
    for model in (calm, failing):
        model.partial_fit(X, LABELS)
    assert failing.loss_curve_ == calm.loss_curve_
    assert failing.t_ == calm.t_
    np.testing.assert_array_equal(failing.coefs_[0], calm.coefs_[0])


# -- calls that go on ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_a_network_goes_on_as_what_it_is(call):
    """Another shape of it is refused, and what was fitted stays."""
    for options, y, changed, targets, message in (
        ({}, LABELS, {"batch_norm": True}, LABELS, "batch_norm=True, and what was fitted has none"),
        ({"batch_norm": True}, LABELS, {"batch_norm": False}, LABELS, "fitted has one: give what"),
        ({}, LABELS, {"hidden_layer_sizes": (9,)}, LABELS, r"has hidden layers of \[8\]"),
        ({}, LABELS, {"hidden_layer_sizes": (8, 8)}, LABELS, r"has hidden layers of \[8\]"),
        ({}, LABELS > 0, {"loss": SoftmaxCrossEntropy()}, LABELS > 0, "need 2 outputs, and what"),
        ({}, VALUES, {}, VALUES[:, 0], "need 1 output, and what was fitted has 2"),
        ({"loss": mean_cube}, VALUES[:, 0], {}, VALUES, "need 2 outputs, and what was fitted has"),
    ):
        cls = MLPClassifier if y is not VALUES and "loss" not in options else MLPRegressor
        model = cls(hidden_layer_sizes=(8,), max_iter=2, warm_start=True, batch_size=40, **options)
        quietly(model.fit, X, y)
        expected = model.predict(X)
        with pytest.raises(ValueError, match=message):
            getattr(model.set_params(**changed), call)(X, targets)
        np.testing.assert_array_equal(model.predict(X), expected)
        assert model.n_outputs_ == model.coefs_[-1].shape[1]
        quietly(model.set_params(warm_start=False).fit, X, targets)


def mean_cube(xp, output, target, *, need_grad=True):
    difference = output - target
    count = output.shape[0] * output.shape[1]
    return (
        xp.sum(xp.abs(difference) ** 3) / count,
        3 * difference * xp.abs(difference) / count,
    )


def test_a_network_may_go_on_with_another_loss():
    """What is at its end is then that of the loss, for which it was trained last."""
    counts = np.round(np.abs(VALUES[:, 0]) * 3)
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=2, warm_start=True, random_state=0)
    quietly(model.fit, X, counts)
    quietly(model.set_params(loss="poisson", max_iter=60, learning_rate_init=0.05).fit, X, counts)
    assert model.out_activation_ == "exp"
    assert model.predict(X).min() > 0
    assert model.score(X, counts) > 0.5


def test_partial_fit_with_another_optimizer_or_rate():
    def after(first, **then):
        """The largest change of a weight by one more step, after three."""
        model = MLPRegressor(hidden_layer_sizes=(8,), random_state=0, alpha=0.0, **first)
        for _ in range(3):
            model.partial_fit(X, VALUES)
        before = model.coefs_[0]
        model.set_params(**then).partial_fit(X, VALUES)
        return (model.coefs_[0] - before), model

    sgd = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1}
    adam = {"solver": "adam", "learning_rate_init": 0.001}
    # Plain SGD from the same arrays: in proportion to the rate, whatever was before.
    slow, _ = after(adam, **sgd)
    fast, _ = after(adam, **{**sgd, "learning_rate_init": 0.2})
    np.testing.assert_allclose(fast, 2 * slow, rtol=1e-6, atol=1e-12)
    assert np.abs(slow).max() > 0.002
    # Adam's first step is its rate, and so its means begin anew after another optimizer.
    step, model = after(sgd, solver="adam", learning_rate_init=0.003)
    assert np.abs(step).max() == pytest.approx(0.003, rel=1e-3)
    assert model._kept.progress.rate == 0.003
    step, _ = after(adam, beta_1=0.5)
    np.testing.assert_allclose(np.abs(step[step != 0]), 0.001, rtol=0.05)
    # A new rate alone is a new rate, and the optimizer's arrays stay.
    kept, model = after(adam, learning_rate_init=0.002)
    same, _ = after(adam)
    np.testing.assert_allclose(kept, 2 * same, rtol=1e-6)
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, VALUES)
    np.testing.assert_array_equal(again.coefs_[0], model.partial_fit(X, VALUES).coefs_[0])
    # An adaptive rate stays what it has become.
    adaptive = {**sgd, "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1}
    _, model = after(adaptive)
    assert model._kept.progress.rate == pytest.approx(0.1 / 5**1)


def test_a_solver_begins_anew_after_another():
    """It takes up what is fitted, and not what it came to itself before that."""
    adam = {"solver": "adam", "optimizer": Adam(0.01, ema=0.5), "max_iter": 3}
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0, **adam)
    quietly(model.fit, X, VALUES)
    model.set_params(solver="lbfgs", optimizer=None, hidden_layer_sizes=(16,), max_iter=200)
    fitted = quietly(model.fit, X, VALUES).loss_
    assert model.set_params(**adam).partial_fit(X, VALUES).loss_ == pytest.approx(fitted, rel=1e-9)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_partial_fit_may_be_given_another_dtype(training_backend, ema):
    """All that is kept is then of the dtype of the call."""
    model = MLPRegressor(hidden_layer_sizes=(4,), optimizer=Adam(0.01, ema=ema), random_state=0)
    for name in ("float64", "float32", "float64"):
        backend = open_backend(training_backend.name, dtype=name)
        with backend.scope():
            x = backend.asarray(X, dtype=backend.dtype)
            model.partial_fit(x, VALUES)
            kept = [v for key, v in model._kept.progress.state.items() if key != "step"]
            assert {dtype_name(array) for array in (*kept, *model.coefs_)} == {name}


def test_early_stopping_may_begin_where_training_goes_on():
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=3, warm_start=True, random_state=0)
    quietly(model.fit, X, VALUES)
    quietly(model.set_params(early_stopping=True).fit, X, VALUES)
    assert len(model.validation_scores_) == len(model.loss_curve_) == 3
    quietly(model.set_params(early_stopping=False).fit, X, VALUES)
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None


def test_each_epoch_and_call_has_the_next_order():
    """Those of `partial_fit` are those of as many epochs of `fit`; `warm_start` goes on as well."""

    def orders(call):
        said = []

        def recording(xp, output, target, *, need_grad=True):
            said.append(target[:, 0].tolist())
            return xp.mean((output - target) ** 2), 2 * (output - target) / 120

        model = MLPRegressor(
            recording, max_iter=3, random_state=0, compile=False, batch_size=120, warm_start=True
        )
        call(model)
        return said

    y = np.arange(120.0)
    whole = orders(lambda model: quietly(model.fit, X, y))
    assert len({tuple(order) for order in whole}) == 3
    assert all(sorted(order) == y.tolist() for order in whole)
    assert orders(lambda model: [model.partial_fit(X, y) for _ in range(3)]) == whole
    twice = orders(lambda model: [quietly(model.fit, X, y) for _ in range(2)])
    assert twice[:3] == whole
    assert len({tuple(order) for order in twice}) == 6


def test_targets_of_losses_of_ones_own():
    """Labels of more than two classes, else rows, as the docstring says."""
    found = []

    def recording(xp, output, target, *, need_grad=True):
        found.append((output.shape, target))
        return xp.mean(output**2), 2 * output / (output.shape[0] * output.shape[1])

    names = np.array(["a", "b", "c"])
    for cls, y, shape, expected in (
        (MLPClassifier, names[LABELS], (120, 3), LABELS),
        (MLPClassifier, names[LABELS % 2], (120, 1), (LABELS % 2)[:, None]),
        (MLPClassifier, np.eye(3)[LABELS], (120, 3), np.eye(3)[LABELS]),
        (MLPRegressor, VALUES[:, 0], (120, 1), VALUES[:, :1]),
        (MLPRegressor, VALUES, (120, 2), VALUES),
    ):
        model = cls(loss=recording, max_iter=1, batch_size=120, shuffle=False, compile=False)
        quietly(model.fit, X, y)
        output, target = found[-1]
        assert output == shape
        np.testing.assert_array_equal(target, expected)


def test_warnings_point_to_the_line_that_calls_fit():
    class Press(Callback):
        def on_step(self, state, count):
            signal.raise_signal(signal.SIGINT)

    for options, message in (
        ({"max_iter": 1}, "Maximum iterations"),
        ({"max_iter": 1, "batch_size": 999}, "clipped"),
        ({"callbacks": [Press()]}, "interrupted"),
        ({"solver": "lbfgs", "max_iter": 1}, "lbfgs failed to converge after 1 iteration"),
        ({"solver": "lbfgs", "max_fun": 2}, "lbfgs failed to converge after"),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            MLPClassifier(**options).fit(X, LABELS)
        assert message in str(caught[0].message)
        assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("options", [{"max_iter": 2}, {"max_iter": 500, "max_fun": 3}])
def test_lbfgs_warns_in_the_words_of_scikit_learn(options):
    texts = []
    for cls in (MLPClassifier, neural_network.MLPClassifier):
        with pytest.warns(ConvergenceWarning) as caught:
            cls((3,), solver="lbfgs", random_state=0, **options).fit(X, LABELS)
        texts.append(re.sub(r"after \d+ iter", "after N iter", str(caught[0].message)))
    assert texts[0] == texts[1]


# -- what is refused ----------------------------------------------------------------------------


def test_more_combinations_that_make_no_sense():
    for options, message in (
        ({"optimizer": AdamW(0.1, clip_norm=5.0), "clip_norm": 1.0}, "clip_norm=5.0, and clip_nor"),
        ({"optimizer": SGD(), "learning_rate": "adaptive"}, "is for solver='sgd' without optimize"),
        ({"optimizer": SGD(), "learning_rate": "invscaling"}, "learning_rate='invscaling' is for"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPRegressor(**options).fit(X, VALUES)
    same = MLPRegressor(optimizer=AdamW(0.1, clip_norm=5.0), clip_norm=5.0, max_iter=1)
    quietly(same.fit, X, VALUES)
    for cls, loss in ((MLPRegressor, Huber), (MLPClassifier, SoftmaxCrossEntropy)):
        with pytest.raises(TypeError, match=rf"one such as {loss.__name__}\(\), got the class"):
            cls(loss=loss).fit(X, LABELS)
    for sizes in ((3.5,), (8, 4.0), [[3, 2]], ("8",), ((3, 2), 4), (8, None)):
        message = re.escape(f"hidden_layer_sizes must be integers, got {list(sizes)}")
        with pytest.raises(TypeError, match=message):
            MLPRegressor(hidden_layer_sizes=sizes).fit(X, VALUES)
    for sizes in ([3, 2], np.array([3, 2]), 3, ()):
        quietly(MLPRegressor(hidden_layer_sizes=sizes, max_iter=1).fit, X, VALUES)


def test_a_callback_says_whether_to_end_in_the_same_words_as_for_fit():
    class Answers(Callback):
        def __init__(self, answer):
            self.answer = answer

        def on_epoch(self, network, record):
            return self.answer

    said = []
    for train in (
        lambda options: xpnet.fit(xpnet.mlp(6, 3), (X, LABELS), backend="numpy", **options),
        lambda options: MLPClassifier(**options).fit(X, LABELS),
    ):
        with pytest.raises(TypeError, match="must return True to end the training") as raised:
            train({"callbacks": [Answers(None), Answers("the end")]})
        said.append(str(raised.value))
    assert said[0] == said[1]
    for answers, epochs in (([False, None], 4), ([None, np.True_, False], 1)):
        model = MLPClassifier(max_iter=4, callbacks=list(map(Answers, answers)))
        assert quietly(model.fit, X, LABELS).n_iter_ == epochs


def test_a_regressor_refuses_texts_and_times():
    names = np.array(["1", "2", "3"])
    for y, dtype in (
        (names[LABELS], "<U1"),
        (names[LABELS].tolist(), "<U1"),
        (names.astype(bytes)[LABELS], "|S1"),
        (LABELS.astype("datetime64[s]"), "datetime64[s]"),
        (LABELS.astype("timedelta64[s]"), "timedelta64[s]"),
    ):
        message = re.escape(f"MLPRegressor takes real numbers for targets, and y has dtype {dtype}")
        for call in (MLPRegressor().fit, MLPRegressor().partial_fit):
            with pytest.raises(ValueError, match=message):
                call(X, y)
    for y in (LABELS > 0, LABELS.astype(np.uint8), VALUES.astype(object)):
        quietly(MLPRegressor(max_iter=1).fit, X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_counts_to_validate_on_are_checked_as_well(solver):
    counts = np.round(np.abs(VALUES))
    model = MLPRegressor("poisson", solver=solver, max_iter=2)
    for y, held in ((counts - 1, counts), (counts, counts - 1)):
        with pytest.raises(ValueError, match="'poisson' needs targets that are not negative"):
            model.fit(X, y, validation_data=(X, held))
    quietly(model.fit, X, counts, validation_data=(X, counts))


def test_class_weights_of_several_labels():
    rows = np.eye(3, dtype=int)[LABELS]
    weights = [{0: 1.0, 1: 2.0}, {0: 0.5, 1: 3.0}, {0: 1.0, 1: 1.0}]
    by_hand = np.prod(
        [[w[v] for v in column] for w, column in zip(weights, rows.T, strict=True)], axis=0
    )
    for y in (rows, csr_matrix(rows)):
        model = MLPClassifier((8,), max_iter=3, random_state=0, class_weight=weights)
        expected = MLPClassifier((8,), max_iter=3, random_state=0)
        quietly(model.fit, X, y)
        quietly(expected.fit, X, y, by_hand)
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-12)
    for wrong, y, message in (
        (weights, LABELS, "class_weight is a list, which is for several labels: give a dict"),
        (weights[:2], rows, "number of elements in class_weight should match"),
        (weights[0], rows, "class_weight should be a list of dicts"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPClassifier(class_weight=wrong).fit(X, y)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_sparse_tensors_are_refused():
    require("torch")
    import torch

    dense = torch.as_tensor(X)
    model = quietly(MLPRegressor(max_iter=1).fit, dense, VALUES)
    for x in (dense.to_sparse(), dense.to_sparse_csr()):
        for call in (model.predict, lambda x: MLPRegressor().fit(x, VALUES)):
            with pytest.raises(TypeError, match="sparse samples of torch are not supported: make"):
                call(x)


def test_max_fun_limits_the_evaluations():
    count = 0

    def counted(xp, output, target, *, need_grad=True):
        nonlocal count
        count += 1
        return mean_cube(xp, output, target)

    for most in (5, 9):
        count = 0
        model = MLPRegressor(counted, solver="lbfgs", max_fun=most, tol=0.0, random_state=0)
        quietly(model.fit, X, VALUES)
        # SciPy ends with the iteration in which there were too many.
        assert most <= count <= most + 3


def test_losses_can_be_rounded():
    """They are NumPy's numbers, as those of scikit-learn are."""
    for solver in ("adam", "lbfgs"):
        model = MLPClassifier((8,), solver=solver, max_iter=3, random_state=0)
        quietly(model.fit, X.astype(np.float32), LABELS)
        numbers = [model.loss_]
        if solver == "adam":
            numbers += [model.best_loss_, *model.loss_curve_]
        assert {type(number) for number in numbers} == {np.float64}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_to_predict_are_checked_as_those_of_scikit_learn(dtype):
    """Also those that are let through without its checks, which take longer than the network."""
    samples = X.astype(dtype)
    model = MLPClassifier((4,), max_iter=2, random_state=0)
    quietly(model.fit, samples, LABELS)
    theirs = neural_network.MLPClassifier((4,), max_iter=2, random_state=0)
    quietly(theirs.fit, samples, LABELS)
    apart = [np.where(np.arange(X.shape[1]) == 0, bad, samples) for bad in (np.nan, np.inf)]
    both = samples.copy()
    both[0, :2] = np.inf, -np.inf
    for wrong in (*apart, both, samples[:, 1:], samples[:0], samples[0]):
        said = []
        for estimator in (theirs, model):
            # Of both infinities scikit-learn adds up, which NumPy would warn of.
            with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r".") as raised:
                estimator.predict(wrong.astype(dtype))
            said.append(str(raised.value).replace("MLPClassifier", ""))
        assert said[0] == said[1]
    large = np.full_like(samples, np.finfo(dtype).max)  # finite, and their sum is not
    assert quietly(model.predict, large).shape == (len(X),)
    model.feature_names_in_ = np.array([f"x{i}" for i in range(X.shape[1])], dtype=object)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(samples)
