"""What samples and classes count for in the estimators, and the sets that they are judged by."""

import inspect

import numpy as np
import pytest
from conftest import name_of
from estimators import LABELS, TARGETS, VALUES, WEIGHTS, X, quietly
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.metrics import log_loss, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import class_weight as theirs

from xpnet import Adam, EarlyStopping
from xpnet.conformance.examples import OPTIMIZER_EXAMPLES
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.sklearn import MLPClassifier, MLPRegressor
from xpnet.sklearn.weights import in_range, weights_by_class

pytestmark = [pytest.mark.libraries, pytest.mark.numerics]

ROWS = TARGETS["multilabel"]
SOME = np.where(np.arange(120) % 3 == 1, 0.0, WEIGHTS)
"""Weights of which a third is 0."""
HELD = (X, LABELS)


def fitted(y=LABELS, weight=None, x=X, **options):
    options = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, **options}
    return quietly(MLPClassifier(**options).fit, x, y, weight)


def assert_same(model, expected, rtol=1e-12):
    for name in ("coefs_", "intercepts_"):
        for own, other in zip(getattr(model, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(own, other, rtol=rtol, atol=rtol)


# -- weights of classes ---------------------------------------------------------------------------


@pytest.mark.parametrize("y", [TARGETS["strings"], LABELS, ROWS, csr_matrix(ROWS)], ids=name_of)
def test_samples_of_weight_0_are_not_there(y):
    options = {"class_weight": "balanced", "solver": "lbfgs", "max_iter": 30, "alpha": 1.0}
    there = SOME > 0
    with_0 = fitted(y, SOME, **options)
    assert_same(with_0, fitted(y[there], SOME[there], x=X[there], **options), 1e-9)


@pytest.mark.parametrize("y", [TARGETS["strings"], LABELS, ROWS], ids=name_of)
def test_a_weight_is_a_number_of_samples(y):
    options = {"class_weight": "balanced", "solver": "lbfgs", "max_iter": 30, "alpha": 1.0}
    counts = np.arange(120) % 4
    repeated = np.repeat(np.arange(120), counts)
    assert_same(fitted(y, counts, **options), fitted(y[repeated], x=X[repeated], **options), 1e-8)


def test_balanced_weights_are_scikit_learns():
    for y in (TARGETS["strings"], LABELS):
        found = weights_by_class("balanced", y, np.unique(y), None)
        np.testing.assert_allclose(found, theirs.compute_sample_weight("balanced", y), rtol=1e-14)
    found = weights_by_class("balanced", ROWS, np.arange(3), None)
    np.testing.assert_allclose(found, theirs.compute_sample_weight("balanced", ROWS), rtol=1e-14)
    if "sample_weight" not in inspect.signature(theirs.compute_class_weight).parameters:
        pytest.skip("this scikit-learn counts samples without their weights")
    expected = theirs.compute_class_weight(
        "balanced", classes=np.arange(3), y=LABELS, sample_weight=SOME
    )
    found = weights_by_class("balanced", LABELS, np.arange(3), SOME)
    np.testing.assert_allclose(found, expected[LABELS], rtol=1e-14)


def test_a_class_whose_samples_have_weight_0_is_none():
    y, there = np.where(LABELS == 2, 1, LABELS), LABELS < 2
    assert set(y[there]) == {0, 1}
    found = weights_by_class("balanced", LABELS, np.arange(3), there.astype(float))
    expected = weights_by_class("balanced", LABELS[there], np.arange(2), None)
    np.testing.assert_allclose(found[there], expected, rtol=1e-14)
    assert (found[~there] == 0).all()


@pytest.mark.parametrize(
    ("y", "classes", "weights"),
    [
        (LABELS, [0, 1, 2], {2: 5.0}),
        (np.array(["a", "b", "c"])[LABELS], ["a", "b", "c"], {"c": 5.0, "b": 0.5}),
        (ROWS, [0, 1, 2], [{0: 1.0, 1: 2.0}, {1: 3.0}, {0: 0.5, 1: 1.0}]),
        (csr_matrix(ROWS), [0, 1, 2], [{1: 2.0}, None, {0: 0.5}]),
    ],
    ids=name_of,
)
def test_a_part_may_lack_a_class_that_has_a_weight(y, classes, weights):
    several = y.ndim == 2
    dense = y.toarray() if hasattr(y, "toarray") else y
    lacking = np.flatnonzero(dense[:, 1] == 0 if several else dense == dense[LABELS == 0][0])
    parts = (lacking[:20], np.arange(40, 80), lacking[20:30])
    model, expected = (
        MLPClassifier((6,), random_state=0, class_weight=given) for given in (weights, None)
    )
    for rows in parts:
        if several:
            own = [w or {} for w in weights]
            by_hand = np.prod(
                [[w.get(v, 1.0) for v in dense[rows, k]] for k, w in enumerate(own)], axis=0
            )
        else:
            by_hand = np.array([weights.get(label, 1.0) for label in y[rows]])
        model.partial_fit(X[rows], y[rows], classes=classes)
        expected.partial_fit(X[rows], y[rows], by_hand, classes=classes)
    assert_same(model, expected)


def test_class_weights_that_do_not_fit_are_refused():
    for wrong, y, message in (
        ({7: 1.0}, LABELS, "not in class_weight"),
        ({0: np.nan}, LABELS, "must be of finite numbers"),
        ([{0: 1e200}, {0: 1e200}, None], ROWS * 0 + [0, 0, 1], "must be of finite numbers"),
        ({0: 0, 1: 0, 2: 0}, LABELS, "no sample counts"),
    ):
        with pytest.raises(ValueError, match=message), np.errstate(over="ignore"):
            fitted(y, class_weight=wrong)
    with pytest.raises(ValueError, match="needs all samples"):
        MLPClassifier(class_weight=["balanced", None, None]).partial_fit(X, ROWS, classes=range(3))


def test_the_scale_of_class_weights_cancels():
    expected = fitted(weight=WEIGHTS, class_weight={0: 1.0, 1: 2.0, 2: 3.0}, alpha=0.0)
    for scale in (1e-300, 1e300):
        weights = {label: scale * (label + 1) for label in range(3)}
        for own in (WEIGHTS, WEIGHTS * scale):
            assert_same(fitted(weight=own, class_weight=weights, alpha=0.0), expected, 1e-9)


# -- the scale of weights -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "solver"), [(1e-46, "adam"), (1e38, "adam"), (1e-310, "lbfgs"), (1e38, "lbfgs")]
)
def test_the_scale_of_weights_cancels(training_backend, scale, solver):
    backend = training_backend
    options = {"dtype": "float32", "backend": backend.name}
    expected = fitted(weight=WEIGHTS, solver=solver, **options)
    model = fitted(weight=WEIGHTS * scale, solver=solver, **options)
    assert_same(model, expected, 2e-3 if solver == "lbfgs" else 1e-4)
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-4)


def test_weights_of_any_size_are_in_range():
    for largest in (5e-324, 1e-46, 2.0**-64, 1.0, 2.0**64, 1e38, 1.7e308):
        found = in_range(largest * np.linspace(0, 1, 11))
        assert np.isfinite(found.sum())
        assert found.max() < 2.0**65
        assert 0 < np.float32(found.sum()) < np.inf
    for kept in (WEIGHTS, WEIGHTS * 1e-15, np.zeros(3)):
        assert in_range(kept) is kept


def test_those_that_are_nothing_beside_others_do_not_count():
    large = np.where(np.arange(120) % 2, 1e38, 1e-46)
    options = {"alpha": 0.0, "dtype": "float32"}
    assert_same(fitted(weight=large, **options), fitted(weight=large > 1, **options), 1e-4)


@pytest.mark.parametrize(("tiny", "counts"), [(1e-41, 0.0), (2e-38, 1.0)], ids=["0", "tiny"])
def test_a_batch_of_tiny_weights(training_backend, tiny, counts):
    """It is a batch as all others, but for weights that are not normal in float32."""
    options = {"dtype": "float32", "backend": training_backend.name, "alpha": 0.0}
    weight = np.where(np.arange(120) < 30, 0.0, 1.0)
    both = []
    for weight[7] in (tiny, counts):
        both.append(fitted(weight=weight, batch_size=30, shuffle=False, max_iter=2, **options))
    assert_same(*both, 1e-4)


def test_weights_that_are_all_0_are_refused():
    for model, y in ((MLPClassifier(), LABELS), (MLPRegressor(), VALUES)):
        for call in (model.fit, model.partial_fit):
            classes = [[0, 1, 2]] if y is LABELS and call.__name__ == "partial_fit" else []
            with pytest.raises(ValueError, match="at least one non-zero number"):
                call(X, y, np.zeros(120), *classes)
    with pytest.raises(ValueError, match=r"left to train on|kept for early stopping"):
        fitted(weight=np.eye(120)[3], early_stopping=True)


# -- batches that count for nothing ---------------------------------------------------------------


STEPS = {
    **OPTIMIZER_EXAMPLES,
    "averaged": Adam(0.05, weight_decay=0.1, l2=0.01, decayed="all", ema=0.5),
    "velocity": Momentum(0.05, momentum=1.0, rate_inside=True, ema=0.9),
}
EMPTY = np.r_[0:10, 40:60, 110:120]
"""Batches of ten, at the beginning, in the middle and at the end."""


@pytest.mark.parametrize("replayed", [True, False], ids=["replayed", "step by step"])
@pytest.mark.parametrize("optimizer", STEPS.values(), ids=STEPS)
def test_a_batch_of_weight_0_takes_no_step(optimizer, replayed):
    options = {
        "optimizer": optimizer, "batch_size": 10, "shuffle": False, "alpha": 0.5,
        "batch_norm": True, "dropout": 0.2, "compile": replayed, "max_iter": 6,
    }  # fmt: skip
    weight = WEIGHTS.copy()
    weight[EMPTY] = 0
    there = np.setdiff1d(np.arange(120), EMPTY)
    model = fitted(weight=weight, **options)
    expected = fitted(LABELS[there], WEIGHTS[there], X[there], **options)
    for own, other in zip(
        [*model.coefs_, *model.intercepts_, *model.batch_norm_[0].values(), model.loss_curve_],
        [*expected.coefs_, *expected.intercepts_, *expected.batch_norm_[0].values(),
         expected.loss_curve_], strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(own, other)
    assert model.t_ == expected.t_ == 80 * 6


def test_a_batch_of_weight_0_takes_no_step_anywhere(training_backend):
    weight = WEIGHTS.copy()
    weight[EMPTY] = 0
    there = np.setdiff1d(np.arange(120), EMPTY)
    options = {
        "batch_size": 10, "shuffle": False, "alpha": 0.5, "backend": training_backend.name,
        "max_iter": 3,
    }  # fmt: skip
    model = fitted(weight=weight, **options)
    expected = fitted(LABELS[there], WEIGHTS[there], X[there], **options)
    np.testing.assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-9)
    assert_same(model, expected, 1e-9)


def test_a_schedule_keeps_time_where_batches_are_left_out():
    weight = WEIGHTS.copy()
    weight[20:] = 0
    rates = []

    class Watch(EarlyStopping):
        def on_epoch(self, network, record):
            rates.append(record.learning_rate)

    options = {"schedule": Cosine(), "max_iter": 10, "batch_size": 10, "shuffle": False}
    fitted(weight=weight, callbacks=[Watch("train_loss")], **options)
    seen, rates = rates, []
    fitted(weight=WEIGHTS, callbacks=[Watch("train_loss")], **options)
    assert len(rates) == 10
    assert seen[-1] < rates[0] / 100


def test_a_part_whose_classes_have_weight_0_changes_nothing():
    model = MLPClassifier((6,), class_weight={0: 0.0}, random_state=0)
    none, some = X[LABELS == 0], X[LABELS > 0]
    model.partial_fit(none, LABELS[LABELS == 0], classes=[0, 1, 2])
    assert np.isnan(model.loss_)
    model.partial_fit(some, LABELS[LABELS > 0])
    before, curve = [w.copy() for w in model.coefs_], list(model.loss_curve_)
    model.partial_fit(none, LABELS[LABELS == 0])
    for own, other in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(own, other)
    assert model.loss_curve_ == curve == [model.loss_]
    alone = MLPClassifier((6,), random_state=0)
    alone.partial_fit(some, LABELS[LABELS > 0], classes=[0, 1, 2])
    assert_same(model, alone)


def test_a_part_whose_classes_have_weight_0_leaves_early_stopping_where_it_is():
    """What goes on is the last epoch, and what is told are the figures of the best one."""
    none, some = X[LABELS == 0], X[LABELS > 0]
    model, alone = (
        MLPClassifier(
            (6,), class_weight={0: 0.0}, early_stopping=True, random_state=0, n_iter_no_change=1,
            learning_rate_init=1e-3, scoring=lambda estimator, x, y: -len(estimator.loss_curve_),
        )
        for _ in range(2)
    )  # fmt: skip
    for each in (model, alone):  # the first epoch is the best
        for _ in range(3):
            each.partial_fit(some, LABELS[LABELS > 0], classes=range(3), validation_data=HELD)
    assert model.stopped_
    model.partial_fit(none, LABELS[LABELS == 0], validation_data=HELD)
    assert model.stopped_
    assert model.n_iter_ == 1
    for each in (model, alone):
        each.partial_fit(some, LABELS[LABELS > 0], validation_data=HELD)
    assert model.loss_curve_ == alone.loss_curve_


# -- validation -----------------------------------------------------------------------------------


STILL = {"learning_rate_init": 1e-12, "max_iter": 2, "early_stopping": True}
"""Nothing is learnt, so all scores are of one network."""


def test_class_weights_do_not_count_in_validation():
    class Watched(MLPClassifier):
        def _held_score(self, target, predicted, weight):
            self.seen = weight
            return super()._held_score(target, predicted, weight)

    y = (X[:, 0] > 1).astype(int)
    for weight in (None, WEIGHTS):
        model = Watched((4,), class_weight={0: 1.0, 1: 20.0}, random_state=0, **STILL)
        model.set_params(validation_fraction=0.5)
        quietly(model.fit, X, y, weight)
        own = model.seen
        assert (own is None) == (weight is None)
        assert own is None or set(own) <= set(weight)
        given = Watched((4,), class_weight={0: 1.0, 1: 20.0}, random_state=0, **STILL)
        quietly(given.fit, X, y, weight, validation_data=(X, y, weight))
        assert given.validation_scores_[0] == pytest.approx(given.score(X, y, weight))
        expected = log_loss(y, given.predict_proba(X), sample_weight=weight)
        assert given.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-6)
        assert model.validation_scores_[0] == pytest.approx(given.validation_scores_[0], abs=0.15)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_a_validation_set_with_weights(training_backend, monkeypatch, solver, scale):
    """Measured in several parts, whose sums of weights differ."""
    monkeypatch.setattr("xpnet.network.evaluation.chunk_rows", lambda *_, **_options: 64)
    weight = np.where(np.arange(120) < 64, 0.1, WEIGHTS)
    options = {"max_iter": 3, "random_state": 0, "solver": solver, "dtype": "float64"}
    options |= {"backend": training_backend.name}
    model = MLPClassifier((6,), **options)
    quietly(model.fit, X, LABELS, validation_data=(X, LABELS, weight * scale))
    expected = log_loss(LABELS, model.predict_proba(X), sample_weight=weight)
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    named = MLPClassifier((6,), **options)
    quietly(named.fit, X, LABELS, X_val=X, y_val=LABELS, sample_weight_val=weight * scale)
    assert named.validation_loss_curve_ == model.validation_loss_curve_


def test_a_validation_set_of_values_with_weights():
    model = MLPRegressor(hidden_layer_sizes=6, random_state=0, **STILL)
    quietly(model.fit, X, VALUES, X_val=X, y_val=VALUES, sample_weight_val=WEIGHTS)
    expected = r2_score(VALUES, model.predict(X), sample_weight=WEIGHTS)
    assert model.best_validation_score_ == pytest.approx(expected)
    assert model.score(X, VALUES, WEIGHTS) == pytest.approx(expected)


def test_half_a_validation_set_is_refused():
    model = MLPClassifier()
    for given, message in (
        ({"X_val": X}, "X_val given without y_val"),
        ({"y_val": LABELS}, "y_val given without X_val"),
        ({"sample_weight_val": WEIGHTS}, "sample_weight_val given without X_val and y_val"),
        ({"validation_data": (X, LABELS), "y_val": LABELS}, "validation_data and y_val are both"),
        ({"validation_data": (X, LABELS, WEIGHTS, 1)}, r"\(X, y, sample_weight\), got tuple"),
        ({"validation_data": (X, LABELS, WEIGHTS[1:])}, "sample_weight.shape"),
        ({"validation_data": (X, LABELS, 0 * WEIGHTS)}, "at least one non-zero"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(X, LABELS, **given)


def test_a_validation_set_of_another_scale_is_told_of(training_backend):
    far = X * 100
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((6,), backend=training_backend.name))
    for held in (far, far / 50 + 400):
        with pytest.warns(UserWarning, match=r"transform_input=\['X_val'\]") as caught:
            quietly(pipeline.set_params(mlpclassifier__max_iter=1).fit, far, LABELS,
                    mlpclassifier__validation_data=(held, LABELS))  # fmt: skip
        assert len(caught) == 1
    # A feature that is constant in training, or one of many that is not: no matter.
    x, held = X.copy(), X * 2
    x[:, 0] = held[:, 1] = 1000
    quietly(MLPClassifier((6,), max_iter=1).fit, x, LABELS, X_val=held, y_val=LABELS)


def test_a_pipeline_transforms_what_it_is_validated_on():
    far = X * 100 + 1000
    names = {"X_val": far[60:], "y_val": LABELS[60:], "sample_weight_val": WEIGHTS[60:]}
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier((6,), max_iter=3, random_state=0)
        model.set_fit_request(**dict.fromkeys(names, True))
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        quietly(pipeline.fit, far[:60], LABELS[:60], **names)
    expected = log_loss(LABELS[60:], pipeline.predict_proba(far[60:]), sample_weight=WEIGHTS[60:])
    assert pipeline[-1].validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
