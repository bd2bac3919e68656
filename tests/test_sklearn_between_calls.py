"""What goes on between calls of an estimator: schedules, masks, and no samples."""

import gc
import pickle
import types
import weakref

import numpy as np
import pytest
from estimators import LABELS, VALUES, WEIGHTS, X, quietly
from scipy import sparse

from xpnet import SGD, Adam, Callback, ReduceOnPlateau, open_backend
from xpnet.schedules import Cosine, Schedule, Step
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries


class Rates(Callback):
    """The learning rate of the last step of each epoch, in a list that it is given."""

    every_step = False

    def __init__(self, rates):
        self.rates = rates

    def on_epoch(self, network, record):
        self.rates.append(record.learning_rate)


def regressor(**options):
    options = {"hidden_layer_sizes": (8,), "batch_size": 20, "random_state": 0, **options}
    return MLPRegressor(n_iter_no_change=np.inf, **options)


def same_arrays(model, other):
    for mine, its in zip(model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_,
                         strict=True):  # fmt: skip
        np.testing.assert_array_equal(mine, its)
    return True


# -- schedules ----------------------------------------------------------------------------------


def test_calls_of_partial_fit_are_the_epochs_of_a_schedule(training_backend):
    """All samples in each call: the same as that many epochs of `fit`."""
    with training_backend.scope():
        x = training_backend.asarray(X)
    options = {"max_iter": 3, "dropout": 0.3, "optimizer": Adam(0.01), "batch_size": 40}
    options["schedule"] = Cosine(warmup=1.5)
    whole = quietly(regressor(**options).fit, x, VALUES)
    parts = regressor(**options)
    for _ in range(3):
        parts.partial_fit(x, VALUES)
    for mine, its in zip(whole.coefs_, parts.coefs_, strict=True):
        to_numpy = training_backend.to_numpy
        np.testing.assert_allclose(to_numpy(mine), to_numpy(its), rtol=1e-12)


def test_a_schedule_counts_epochs_whatever_the_sizes_of_the_parts():
    """The rates of the last steps are those of a run of parts of that size; then the last holds."""
    schedule, rates = Cosine(final=0.1), []
    model = regressor(max_iter=4, optimizer=SGD(0.1), schedule=schedule, callbacks=[Rates(rates)])
    sizes = (20, 120, 50, 120, 40, 120)
    for size in sizes:
        model.partial_fit(X[:size], VALUES[:size])
    expected = []
    for epoch, size in enumerate(sizes):
        steps = -(-size // 20)
        factors = schedule.factors(4, steps)
        expected.append(0.1 * factors[min((epoch + 1) * steps, 4 * steps) - 1])
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_partial_fit_goes_on_with_the_schedule_of_fit_and_fit_begins_it():
    rates = []
    model = regressor(
        max_iter=3, optimizer=SGD(0.1), schedule=Step(2, factor=0.5), warm_start=True,
        callbacks=[Rates(rates)],
    )  # fmt: skip
    quietly(model.fit, X, VALUES)
    model.set_params(max_iter=6)
    pickle.loads(pickle.dumps(model)).partial_fit(X, VALUES)
    model.partial_fit(X[:60], VALUES[:60]).partial_fit(X, VALUES)
    quietly(model.set_params(max_iter=3).fit, X, VALUES)
    expected = [0.1, 0.1, 0.05, 0.05, 0.025, 0.1, 0.1, 0.05]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_a_schedule_is_asked_for_tables_that_fit():
    """One of one's own, in every call."""
    asked = []

    class Halving(Schedule):
        def factors(self, epochs, steps_per_epoch):
            asked.append((epochs, steps_per_epoch))
            return 0.5 ** np.arange(epochs * steps_per_epoch)

    rates = []
    model = regressor(
        max_iter=2, optimizer=SGD(0.1), schedule=Halving(), callbacks=[Rates(rates)], batch_size=60
    )
    model.partial_fit(X, VALUES).partial_fit(X[:60], VALUES[:60])
    assert asked == [(2, 2), (2, 1)]
    np.testing.assert_allclose(rates, [0.05, 0.05], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_partial_fit_goes_on_with_a_plateau(dtype):
    plateau = ReduceOnPlateau("train_loss", factor=0.5, patience=1, min_delta=10.0, cooldown=1)
    found = []
    for call in ("fit", "partial_fit"):
        model = regressor(
            max_iter=8, optimizer=SGD(0.1), schedule=plateau, callbacks=[Rates([])], dtype=dtype
        )
        if call == "fit":
            quietly(model.fit, X, VALUES)
        else:
            for i in range(8):
                model.partial_fit(X, VALUES)
                if i == 4:
                    model = pickle.loads(pickle.dumps(model))
        found.append((model.callbacks_[0].rates, model))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert len(set(found[0][0])) > 2
    assert same_arrays(found[0][1], found[1][1])


# -- dropout masks ------------------------------------------------------------------------------


def test_fits_of_one_epoch_are_the_epochs_of_one_fit():
    """Orders and masks go on: with an optimizer that keeps nothing, all is the same."""
    options = {"optimizer": SGD(0.05), "dropout": 0.4}
    whole = quietly(regressor(max_iter=5, **options).fit, X, VALUES)
    parts = regressor(max_iter=1, warm_start=True, **options)
    for _ in range(5):
        quietly(parts.fit, X, VALUES)
    assert same_arrays(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_


@pytest.mark.parametrize(
    "between",
    [
        lambda model: model.set_params(optimizer=SGD(0.05, clip_norm=1e9)),
        lambda model: model.set_params(optimizer=Adam()).set_params(optimizer=SGD(0.05)),
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
    ids=["another optimizer", "the same again", "pickled"],
)
def test_masks_go_on_whatever_is_changed_between(between):
    options = {"optimizer": SGD(0.05), "dropout": 0.4, "alpha": 0.0}
    whole = regressor(**options)
    for _ in range(4):
        whole.partial_fit(X, VALUES)
    parts = regressor(**options)
    parts.partial_fit(X, VALUES).partial_fit(X, VALUES)
    parts = between(parts)
    parts.partial_fit(X, VALUES).partial_fit(X, VALUES)
    for mine, its in zip(whole.coefs_, parts.coefs_, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-9)


def test_masks_and_orders_go_on_after_another_solver():
    """Which takes no steps: three epochs, none by lbfgs, and the fourth."""
    model = regressor(dropout=0.4, optimizer=SGD(0.05), max_iter=3, warm_start=True)
    quietly(model.fit, X, VALUES)
    arrays = [*model.coefs_, *model.intercepts_]
    model.set_params(solver="lbfgs", optimizer=None, dropout=0.0, max_fun=1, max_iter=1)
    quietly(model.fit, X, VALUES)
    model.set_params(solver="adam", optimizer=SGD(0.05), dropout=0.4)
    model.coefs_, model.intercepts_ = arrays[:2], arrays[2:]
    model.partial_fit(X, VALUES)
    whole = quietly(regressor(dropout=0.4, optimizer=SGD(0.05), max_iter=4).fit, X, VALUES)
    assert same_arrays(model, whole)


def test_a_fit_that_begins_anew_has_the_first_masks_again():
    model = regressor(dropout=0.4, optimizer=SGD(0.05), max_iter=2)
    first = quietly(model.fit, X, VALUES).coefs_[0]
    model.partial_fit(X, VALUES)
    np.testing.assert_array_equal(quietly(model.fit, X, VALUES).coefs_[0], first)


# -- memory -------------------------------------------------------------------------------------


KINDS = {
    "recorded": {"batch_size": 2},
    "not recorded": {"compile": False},
    "early stopping": {"early_stopping": True},
    "scorer": {"early_stopping": True, "scoring": "accuracy"},
    "callbacks": {"callbacks": [Rates([])]},
    "schedule": {"schedule": Cosine()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_stays_after_partial_fit(kind):
    check_that_no_sample_stays(open_backend("numpy", dtype="float64"), KINDS[kind], calls=3)


def test_no_sample_stays_on_any_backend(training_backend):
    check_that_no_sample_stays(training_backend, {
        "early_stopping": True, "scoring": "accuracy", "schedule": Cosine(), "batch_size": 40,
        "callbacks": [Rates([])],
    }, calls=2)  # fmt: skip


def check_that_no_sample_stays(backend, options, calls):
    model = MLPClassifier((8,), **{"batch_size": 20, "random_state": 0, **options})
    held = {}
    alive = []
    for call in range(calls):
        with backend.scope():
            x, w = (backend.asarray(a, copy=True) for a in (X, WEIGHTS))
            valid = backend.asarray(X[:30], copy=True)
        if "early_stopping" in options:
            held = {"validation_data": (valid, LABELS[:30])}
        model.partial_fit(x, LABELS, w, classes=[0, 1, 2], **held)
        alive += [weakref.ref(array) for array in (x, w, valid)]
        held = {}
        del x, w, valid
        gc.collect()
        assert [ref() for ref in alive if ref() is not None] == []
        if call == 1:
            model = pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_large_array_is_reachable_after_partial_fit(dtype):
    """Whatever the samples were made into on the way: of another dtype, or dense."""
    n = 247
    data = sparse.random(n, 40, 0.5, "csr", random_state=0, dtype=np.float64)
    model = MLPClassifier((8,), batch_size=20, random_state=0, dtype=dtype)
    for _ in range(3):
        model.partial_fit(data, np.arange(n) % 3, np.ones(n), classes=[0, 1, 2])
    gc.collect()

    def found(one, seen):
        """The arrays with an axis as long as there are samples, that can be reached."""
        is_module = isinstance(one, dict) and "__builtins__" in one
        if id(one) in seen or isinstance(one, type | types.ModuleType) or is_module:
            return []
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            here = [one] if n in one.shape else []
            return here + (found(one.base, seen) if one.base is not None else [])
        return [array for inner in gc.get_referents(one) for array in found(inner, seen)]

    assert found(vars(model), set()) == []


def test_a_part_that_fails_does_not_stay_either():
    class Fails(Callback):
        on = False

        def on_step(self, state, count):
            if self.on:
                raise ValueError("enough")

    fails = Fails()
    model = MLPClassifier((8,), batch_size=20, callbacks=[fails], random_state=0)
    model.partial_fit(X, LABELS, classes=[0, 1, 2])
    model.callbacks_[0].on = True
    x = X.copy()
    alive = weakref.ref(x)
    with pytest.raises(ValueError, match="enough"):
        model.partial_fit(x, LABELS)
    del x
    gc.collect()
    assert alive() is None


def test_steps_are_recorded_in_every_part():
    """Letting go of samples is no reason to take steps one by one."""
    model = MLPClassifier((8,), batch_size=2, random_state=0)
    for _ in range(12):
        model.partial_fit(X.copy(), LABELS, classes=[0, 1, 2])
    assert model._kept.engine.run.reason == ""


def test_a_part_on_another_device_or_backend_goes_on(other_backend):
    """What is left of a step is for the same library only."""
    model = regressor(optimizer=Adam(0.01), schedule=Step(1, factor=0.5), max_iter=4)
    expected = regressor(optimizer=Adam(0.01), schedule=Step(1, factor=0.5), max_iter=4)
    backend = open_backend(other_backend, dtype="float64")
    for number in range(4):
        with backend.scope():
            x = backend.asarray(X)
        model.partial_fit(X if number % 2 else x, VALUES)
        expected.partial_fit(X, VALUES)
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-9)
