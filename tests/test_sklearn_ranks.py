"""An estimator on several ranks is what it is on one: with ranks as threads, so without MPI."""


import numpy as np
import pytest
from estimators import TARGETS, WEIGHTS, X, quietly
from sklearn import clone

from xpnet import Adam, EarlyStopping
from xpnet.distributed import threads
from xpnet.losses import Huber
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries

N = 43
X, TARGETS, WEIGHTS = X[:N], {name: y[:N] for name, y in TARGETS.items()}, WEIGHTS[:N]
LABELS = TARGETS["multiclass"]
SOME = np.where(np.arange(N) % 3 == 1, 0.0, WEIGHTS)
"""Weights of which a third is 0."""
OPTIONS = {
    "hidden_layer_sizes": (5,), "batch_size": 6, "max_iter": 3, "alpha": 0.1, "random_state": 0,
    "learning_rate_init": 0.02,
}  # fmt: skip
"""With a last batch of one sample."""

CURVES = (
    "loss_curve_",
    "validation_scores_",
    "validation_loss_curve_",
    "n_iter_",
    "t_",
    "stopped_",
)
ARRAYS = ("coefs_", "intercepts_")


def classifier(**options):
    return MLPClassifier(**OPTIONS | options)


def regressor(**options):
    return MLPRegressor(**OPTIONS | options)


def fit(model, y=LABELS, weight=None, **held):
    return model.fit(X, y, weight, **held)


def on_ranks(size, model, train=fit, *args, **kwargs):
    """What `train(model)` makes of the estimator on all ranks."""

    def run(group):
        return train(clone(model).set_params(group=group), *args, **kwargs)

    return quietly(threads(size, timeout=30).run, run)


def arrays(model):
    parts = [getattr(model, name) for name in ARRAYS]
    norms = [norm[key] for norm in getattr(model, "batch_norm_", []) for key in sorted(norm)]
    return [np.asarray(array) for array in (*parts[0], *parts[1], *norms)]


def figures(model):
    return {name: getattr(model, name) for name in CURVES if getattr(model, name, None) is not None}


def assert_same(found, expected, atol=1e-12):
    own = figures(found)
    for name, value in figures(expected).items():
        np.testing.assert_allclose(own[name], value, rtol=0, atol=atol, err_msg=name)
    for array, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-11, atol=atol)
    outputs = getattr(found, "predict_proba", found.predict)(X)
    expected = getattr(expected, "predict_proba", expected.predict)(X)
    np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=atol)


def assert_equal_bytes(found, expected):
    np.testing.assert_equal(figures(found), figures(expected))
    for array, other in zip(arrays(found), arrays(expected), strict=True):
        assert array.tobytes() == other.tobytes()


def check_same_as_alone(size, model, train=fit, *args, **kwargs):
    alone = quietly(train, clone(model), *args, **kwargs)
    models = on_ranks(size, model, train, *args, **kwargs)
    for found in models:
        assert_same(found, alone)
        assert_equal_bytes(found, models[0])
    return models


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 8])
WHOLE = {"batch_size": 43}

CASES = {
    "adam": (classifier(), {}),
    "sgd": (classifier(solver="sgd", learning_rate="invscaling"), {}),
    "adaptive": (classifier(solver="sgd", learning_rate="adaptive", tol=1.0, max_iter=9,
                            n_iter_no_change=2), {}),
    "in order": (classifier(shuffle=False, alpha=0.0), {}),
    "weights": (classifier(), {"weight": WEIGHTS}),
    "weights of 0": (classifier(clip_norm=0.1), {"weight": SOME}),
    "weights far apart": (classifier(), {"weight": 10.0 ** (np.arange(N) % 25)}),
    "batches of weight 0": (classifier(shuffle=False, schedule=Cosine()),
                            {"weight": (np.arange(N) >= 12) * 1.0}),
    "classes": (classifier(class_weight="balanced"), {"weight": SOME}),
    "dropout": (classifier(dropout=0.3, optimizer=Adam(0.01, ema=0.9)), {"weight": WEIGHTS}),
    "batch norm": (classifier(batch_norm=True, **WHOLE), {}),
    "batch norm, weights": (classifier(batch_norm=True, batch_size=8), {"weight": SOME}),
    "plateau": (classifier(schedule=ReduceOnPlateau(patience=0, monitor="train_loss")), {}),
    "early stopping": (classifier(early_stopping=True, validation_fraction=0.3, max_iter=30,
                                  n_iter_no_change=2), {"weight": WEIGHTS}),
    "scorer": (classifier(early_stopping=True, validation_fraction=0.3, scoring="f1_macro"), {}),
    "held": (classifier(), {"validation_data": (X[:9], LABELS[:9], WEIGHTS[:9])}),
    "callbacks": (classifier(callbacks=[EarlyStopping("train_loss", patience=1, min_delta=1.0)],
                             max_iter=9), {}),
    "labels": (classifier(), {"y": TARGETS["multilabel"], "weight": WEIGHTS}),
    "strings": (classifier(), {"y": TARGETS["strings"], "weight": WEIGHTS}),
    "values": (regressor(), {"y": TARGETS["values"], "weight": WEIGHTS}),
    "Huber": (regressor(loss=Huber(0.5)), {"y": TARGETS["value"], "weight": SOME}),
    "poisson": (regressor(loss="poisson", early_stopping=True), {"y": TARGETS["counts"]}),
}  # fmt: skip


@SIZES
@pytest.mark.parametrize("case", CASES)
def test_fit_is_that_of_one_process(case, size):
    model, given = CASES[case]
    check_same_as_alone(size, model, **given)
