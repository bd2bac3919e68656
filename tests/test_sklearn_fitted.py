"""An estimator has what a call comes to when all of it is there, and not before."""

import copy
import pickle
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from estimators import LABELS, VALUES, X, quietly

from xpnet import Callback
from xpnet import sklearn as ours
from xpnet.sklearn import MLPClassifier, MLPRegressor
from xpnet.sklearn.fitted import ATTRIBUTES, Fitted
from xpnet.sklearn.settings import Settings

pytestmark = pytest.mark.libraries

FOLDER = str(Path(ours.__file__).parent)
SMALL = {"hidden_layer_sizes": (4,), "batch_size": 40, "max_iter": 3, "random_state": 0}


class Watches(Callback):
    """Looks at the attributes of an estimator whenever it is told of anything."""

    def __init__(self, look):
        self.look = look

    def on_start(self, network, *, epochs, steps):
        self.look()

    def on_step(self, state, count):
        self.look()

    def on_epoch(self, network, record):
        self.look()

    def on_finish(self, network):
        self.look()

    def on_end(self, network):
        self.look()


def same(mine, others):
    """Whether two dictionaries have the same objects."""
    return mine.keys() == others.keys() and all(mine[key] is others[key] for key in mine)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_nothing_is_written_while_a_call_is_under_way(call):
    found = []

    def look():
        found.append(same(dict(vars(model)), before))

    def score(estimator, samples, targets):
        look()
        assert estimator is not model
        return float(np.mean(estimator.predict(samples) == targets))

    options = {"early_stopping": True, "scoring": score, "callbacks": [Watches(look)]}
    model = MLPClassifier(**SMALL, **options, warm_start=True, batch_norm=True, dropout=0.1)
    first = {"classes": [0, 1, 2]} if call == "partial_fit" else {}
    for given in (first, {}):
        before = dict(vars(model))
        quietly(getattr(model, call), X, LABELS, validation_data=(X, LABELS), **given)
        assert not same(dict(vars(model)), before)
    assert len(found) >= 2 * 7
    assert all(found)


def test_nothing_is_written_while_lbfgs_is_under_way():
    found = []

    def loss(xp, output, target, *, need_grad=True):
        found.append(same(dict(vars(model)), before))
        return xp.mean((output - target) ** 2), 2 * (output - target) / output.shape[0]

    model = MLPRegressor(loss, (4,), solver="lbfgs", max_iter=3, warm_start=True, random_state=0)
    for _ in range(2):
        before = dict(vars(model))
        quietly(model.fit, X, VALUES[:, 0], validation_data=(X, VALUES[:, 0]))
    assert len(found) > 4
    assert all(found)


def calls_until(limit, function):
    """Call it, and interrupt it in its `limit`-th call of a function of the estimators."""
    count = 0

    def watch(frame, event, argument):
        nonlocal count
        if event == "call" and frame.f_code.co_filename.startswith(FOLDER):
            count += 1
            if count == limit:
                raise KeyboardInterrupt

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("call", ["fit", "partial_fit", "lbfgs"])
def test_wherever_a_call_is_interrupted_the_estimator_is_as_it_was(call):
    early = {"early_stopping": True, "scoring": "accuracy", "verbose": False}
    model = MLPClassifier(**SMALL, **early, warm_start=True)
    held = {"validation_data": (X[80:], LABELS[80:])}
    quietly(model.fit, X, LABELS, **held)
    if call == "lbfgs":
        model.set_params(solver="lbfgs", early_stopping=False)
    method = "partial_fit" if call == "partial_fit" else "fit"

    def go_on(one):
        quietly(getattr(one, method), X, LABELS, **held)

    other = copy.deepcopy(model)
    total = calls_until(10**9, lambda: go_on(other))
    before, data = dict(vars(model)), pickle.dumps(model)
    for limit in np.linspace(1, total, 12).astype(int):
        with pytest.raises(KeyboardInterrupt):
            calls_until(limit, lambda: go_on(model))
        assert same(dict(vars(model)), before), limit
    assert pickle.dumps(model) == data
    # What it goes on with is what it would have gone on with.
    calm = pickle.loads(data)
    for one in (model, calm):
        go_on(one)
    for mine, its in zip(model.coefs_, calm.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)
    assert getattr(model, "loss_curve_", None) == getattr(calm, "loss_curve_", None)


def test_lists_of_before_stay_what_they_were():
    """Who keeps a curve has it, whatever the estimator comes to afterwards."""
    model = MLPRegressor(**SMALL, warm_start=True)
    quietly(model.fit, X, VALUES)
    curve, last = model.loss_curve_, list(model.loss_curve_)
    quietly(model.fit, X, VALUES)
    assert curve == last == model.loss_curve_[:3]
    assert len(model.loss_curve_) == 6


def test_no_attribute_of_another_fit_is_left():
    """Beside the parameters there is what the last one came to, and what others have put there."""
    model = MLPClassifier(**SMALL, early_stopping=True, batch_norm=True)
    model.note = "mine"
    quietly(model.fit, X, LABELS, validation_data=(X, LABELS))
    stale = {"batch_norm_", "validation_scores_", "loss_curve_", "stopped_", "callbacks_"}
    assert stale | {"validation_loss_curve_"} <= vars(model).keys() - model.get_params().keys()
    model.set_params(solver="lbfgs", early_stopping=False, batch_norm=False)
    quietly(model.fit, X, LABELS)
    own = vars(model).keys() - model.get_params().keys()
    assert not own & (stale | {"validation_loss_curve_"})
    assert own - {"note"} <= ATTRIBUTES
    assert model.note == "mine"


def test_what_a_solver_is_given_and_gives_cannot_be_changed():
    model = quietly(MLPRegressor(**SMALL).fit, X, VALUES)
    for frozen, name in ((Settings.of(model), "alpha"), (Fitted.of(model), "loss"),
                         (model._kept, "progress"), (model._kept.progress, "rate")):  # fmt: skip
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, name, 0.5)
    assert set(Settings.__dataclass_fields__) <= model.get_params().keys()


def test_a_loss_that_cannot_be_pickled_is_not_kept():
    def loss(xp, output, target, *, need_grad=True):
        return xp.mean((output - target) ** 2), 2 * (output - target) / output.shape[0]

    model = quietly(MLPRegressor(loss, **SMALL).fit, X, VALUES[:, 0])
    model.set_params(loss="squared_error")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
