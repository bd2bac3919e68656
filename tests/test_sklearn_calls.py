"""The estimators of xpnet.sklearn: calls that fail, and calls that go on with other parameters."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from xpnet import Callback
from xpnet.sklearn import MLPClassifier

RNG = np.random.RandomState(0)
X = RNG.normal(size=(120, 6))
LABELS = (X[:, 0] + X[:, 1] > 0.8).astype(int) + (X[:, 2] > 0.5)
VALUES = np.stack([X[:, 0] + X[:, 1] ** 2, np.sin(X[:, 2])], axis=1)


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*args, **kwargs)


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
    with pytest.raises(ValueError, match="not in `self.classes_`"):
        failing.set_params(callbacks=None).partial_fit(X, LABELS + 1)
    for model in (calm, failing):
        model.partial_fit(X, LABELS)
    assert failing.loss_curve_ == calm.loss_curve_
    assert failing.t_ == calm.t_
    np.testing.assert_array_equal(failing.coefs_[0], calm.coefs_[0])
