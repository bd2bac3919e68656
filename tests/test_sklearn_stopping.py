"""Early stopping of the estimators: what is kept back, by which score, and in partial_fit."""

import pickle
import re

import numpy as np
import pytest
from estimators import LABELS, VALUES, WEIGHTS, X, quietly
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    accuracy_score,
    get_scorer,
    log_loss,
    make_scorer,
    max_error,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split

from xpnet import Adam, Callback, open_backend
from xpnet.data.splitting import split_rows
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.libraries,
    # Of older versions of scikit-learn, about targets with many classes.
    pytest.mark.filterwarnings("ignore:The number of unique classes is greater than 50%"),
]

NAMES = np.array(["a", "b", "c"])
HELD = (X[80:], NAMES[LABELS[80:]])


def classifier(**options):
    options = {"hidden_layer_sizes": (8,), "max_iter": 12, "learning_rate_init": 0.05, **options}
    return MLPClassifier(early_stopping=True, random_state=0, batch_size=40, **options)


def stopped(given=HELD, **options):
    return quietly(classifier(**options).fit, X[:80], NAMES[LABELS[:80]], validation_data=given)


# -- one class, and many small ones -------------------------------------------------------------


@pytest.mark.parametrize("y", [np.full(120, 7), np.full(120, "only"), np.zeros(120, bool)])
def test_of_one_class_all_scores_are_one(y):
    accuracies = []

    class Accuracy(Callback):
        def on_epoch(self, network, record):
            accuracies.append(record.validation_accuracy)

    model = classifier(max_iter=3, callbacks=[Accuracy()])
    quietly(model.fit, X, y)
    assert model.validation_scores_ == [1.0] * 3 == accuracies
    quietly(model.fit, X, y, WEIGHTS, validation_data=(X[:9], y[:9]))
    assert model.validation_scores_ == [1.0] * 3
    model.set_params(scoring="accuracy")
    assert quietly(model.fit, X, y).validation_scores_ == [1.0] * 3 == [model.score(X, y)] * 3
    for _ in range(2):
        model.partial_fit(X, y, validation_data=(X, y))
    assert model.best_validation_score_ == 1.0


def held_part(y, fraction):
    """The labels that are kept back of `y`."""

    class Keeping(MLPClassifier):
        def _held_score(self, target, predicted, weight):
            self.kept = target.ravel().astype(int)
            return super()._held_score(target, predicted, weight)

    model = Keeping((2,), max_iter=1, early_stopping=True, validation_fraction=fraction)
    samples = np.random.default_rng(0).normal(size=(len(y), 3))
    quietly(model.fit, samples, y)
    return model.kept


@pytest.mark.parametrize(
    ("sizes", "fraction"),
    [
        ([2] * 50, 0.1),
        ([2] * 50, 0.5),
        ([1] * 50 + [60], 0.1),
        ([1] * 30 + [2] * 30 + [10], 0.3),
        ([1, 1, 1, 200], 0.25),
        ([3] * 40, 0.6),
    ],
    ids=str,
)
def test_as_many_are_kept_as_are_asked_for(sizes, fraction):
    """Also where most classes are too small for their share; and of each something is left."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    kept = held_part(y, fraction)
    assert len(kept) == np.ceil(len(y) * fraction)
    assert (np.bincount(kept, minlength=len(sizes)) < sizes).all()
    rows, held = split_rows(y, len(y), fraction, 0)
    assert len(held) == round(len(y) * fraction)
    assert set(y[rows]) == set(y)


def test_where_it_can_the_shares_are_scikit_learns():
    y = np.repeat(np.arange(5), [40, 30, 20, 20, 10])
    kept = np.bincount(held_part(y, 0.2))
    _, expected = train_test_split(y, test_size=0.2, stratify=y, random_state=0)
    assert kept.tolist() == np.bincount(expected).tolist()


def test_advice_where_too_few_can_be_kept():
    names = np.array([f"class {i:02}" for i in range(40)])
    samples = np.zeros((80, 2))
    for sizes, fraction, words in (
        ([1] * 40, 0.1, ["4 to be kept", "of 40 classes at most 0", "['class 00', 'class 01', ",
                         "and 30 more]", "more samples of them or leave them out, or give a vali"]),
        ([1] * 38 + [2, 2], 0.3, ["13 to be kept", "at most 2", "['class 00',",
                                  "lower validation_fraction to 0.0476, or give"]),
        ([2] * 40, 0.6, ["validation_fraction=0.6 of 80 samples are 48", "of 40 classes at most 40",
                         "is left to train on. Give more", "lower validation_fraction to 0.5,"]),
        ([79, 1], 0.1, ["have only 1 member", "too few members are: ['class 01']",
                        "Give more samples of it, or a validation set: fit(..., validation_data="]),
    ):  # fmt: skip
        y = np.repeat(names[: len(sizes)], sizes)
        model = MLPClassifier(early_stopping=True, validation_fraction=fraction, max_iter=1)
        with pytest.raises(ValueError, match="kept for early stopping") as raised:
            model.fit(samples[: len(y)], y)
        for part in words:
            assert part in str(raised.value)
        lower = re.search(r"lower validation_fraction to ([\d.]+)", str(raised.value))
        if lower:
            quietly(model.set_params(validation_fraction=float(lower[1])).fit, samples[: len(y)], y)
        model.set_params(validation_fraction=fraction)
        quietly(model.fit, samples[: len(y)], y, validation_data=(samples[:2], y[:2]))


# -- the score ----------------------------------------------------------------------------------


def test_the_loss_of_the_internal_split_is_measured():
    class Losses(Callback):
        monitor = "validation_loss"

        def __init__(self, losses):
            self.losses = losses

        def on_epoch(self, network, record):
            self.losses.append(record.validation_loss)

    losses = []
    model = classifier(callbacks=[Losses(losses)], alpha=0.0)
    quietly(model.fit, X, LABELS)
    assert model.validation_loss_curve_ == losses
    assert len(losses) == model.n_iter_
    # By the same split, given from outside.
    rows, kept = split_rows(LABELS, 120, 0.1, model._kept.progress.seed)
    again = classifier(max_iter=model.n_iter_, shuffle=False, alpha=0.0)
    quietly(again.fit, X[rows], LABELS[rows], validation_data=(X[kept], LABELS[kept]))
    alone = classifier(shuffle=False, alpha=0.0)
    quietly(alone.fit, X, LABELS)
    np.testing.assert_allclose(
        alone.validation_loss_curve_, again.validation_loss_curve_, rtol=1e-9
    )
    regressor = MLPRegressor(max_iter=3, early_stopping=True)
    assert len(quietly(regressor.fit, X, VALUES).validation_loss_curve_) == 3
    assert not hasattr(quietly(MLPRegressor(max_iter=1).fit, X, VALUES), "validation_loss_curve_")


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "roc_auc_ovr", "f1_macro"])
def test_scorers_of_scikit_learn(name):
    check_scores(open_backend("numpy", dtype="float64"), name)


def test_scorers_of_scikit_learn_on_any_backend(training_backend):
    check_scores(training_backend, "neg_log_loss")


def check_scores(training_backend, name):
    """After each epoch the score is that of a network that was trained for as long."""
    with training_backend.scope():
        x, held = (training_backend.asarray(part) for part in (X[:80], X[80:]))
    options = {"scoring": name, "max_iter": 3}
    model = classifier(**options)
    quietly(model.fit, x, NAMES[LABELS[:80]], validation_data=(held, HELD[1]))
    expected = []
    for epochs in range(1, 4):
        plain = MLPClassifier(
            (8,), max_iter=epochs, learning_rate_init=0.05, random_state=0, batch_size=40
        )
        quietly(plain.fit, X[:80], NAMES[LABELS[:80]])
        expected.append(get_scorer(name)(plain, *HELD))
    np.testing.assert_allclose(model.validation_scores_, expected, rtol=1e-9)
    assert model.best_validation_score_ == max(model.validation_scores_)
    best = np.argmax(model.validation_scores_)
    assert training_backend.holds(model.coefs_[0])
    predicted = model.predict_proba(X[80:])
    assert get_scorer(name)(model, *HELD) == pytest.approx(expected[best], rel=1e-9)
    assert predicted.shape == (40, 3)


def test_the_default_score_is_that_of_score_and_the_loss_has_a_name():
    default, named = stopped(), stopped(scoring="accuracy")
    assert default.validation_scores_ == named.validation_scores_
    by_loss = stopped(scoring="loss", max_iter=30)
    assert by_loss.validation_scores_ == [-loss for loss in by_loss.validation_loss_curve_]
    expected = log_loss(HELD[1], by_loss.predict_proba(HELD[0]))
    assert expected == pytest.approx(min(by_loss.validation_loss_curve_), rel=1e-9)
    regressor = MLPRegressor(
        max_iter=4, early_stopping=True, scoring="neg_mean_absolute_error", random_state=0
    )
    quietly(regressor.fit, X[:80], VALUES[:80], validation_data=(X[80:], VALUES[80:]))
    error = mean_absolute_error(VALUES[80:], regressor.predict(X[80:]))
    assert regressor.best_validation_score_ == pytest.approx(-error, rel=1e-9)


def test_scorers_of_ones_own():
    """A function of an estimator, samples and targets; or a metric by `make_scorer`."""
    given = []

    def scorer(estimator, samples, targets):
        given.append((type(estimator), samples, targets, estimator.predict(samples)))
        return -len(given)

    model = stopped(scoring=scorer, max_iter=4, n_iter_no_change=1)
    assert model.validation_scores_ == [-1, -2, -3]
    kind, samples, targets, predicted = given[0]
    assert kind is MLPClassifier
    np.testing.assert_array_equal(samples, HELD[0])
    np.testing.assert_array_equal(targets, HELD[1])
    np.testing.assert_array_equal(model.predict(HELD[0]), predicted)  # that of the best epoch
    metric = make_scorer(lambda true, found: np.mean(true == found))
    assert stopped(scoring=metric).validation_scores_ == stopped().validation_scores_
    lower = make_scorer(max_error, greater_is_better=False)
    regressor = MLPRegressor(max_iter=3, early_stopping=True, scoring=lower, random_state=0)
    quietly(regressor.fit, X, VALUES[:, 0], WEIGHTS)  # which takes no weights
    assert max(regressor.validation_scores_) < 0
    for scoring, error, message in (
        ("accurracy", ValueError, "'scoring' parameter of MLPClassifier must be a str among"),
        (accuracy_score, ValueError, "looks like it is a metric function rather than a scorer"),
        (["accuracy"], ValueError, "'scoring' parameter of MLPClassifier must be"),
        (lambda *_: "good", TypeError, "scoring must give a number, got 'good'"),
        (lambda *_: [1.0, 2.0], TypeError, r"scoring must give a number, got \[1.0, 2.0\]"),
    ):
        with pytest.raises(error, match=message):
            stopped(scoring=scoring)
    assert quietly(MLPClassifier(scoring="accuracy", max_iter=1).fit, X, LABELS).n_iter_ == 1


def test_a_scorer_is_given_the_internal_split_as_it_came():
    """Rows of frames, of sparse matrices, of several labels; with their weights."""
    pandas = pytest.importorskip("pandas")
    rows = np.eye(3, dtype=int)[LABELS]
    found = {}

    def scorer(estimator, samples, targets, sample_weight=None):
        found.update(x=samples, y=targets, weight=sample_weight, out=estimator.predict(samples))
        return 0.5

    for x in (X, pandas.DataFrame(X, columns=list("abcdef")), sparse.csc_matrix(X)):
        for y in (NAMES[LABELS], rows, sparse.csr_matrix(rows)):
            model = classifier(scoring=scorer, max_iter=1, validation_fraction=0.2)
            quietly(model.fit, x, y, WEIGHTS)
            assert found["x"].shape == (24, 6)
            assert found["y"].shape == (24, *y.shape[1:])
            assert found["out"].shape == found["y"].shape
            samples = found["x"].toarray() if sparse.issparse(found["x"]) else found["x"]
            where = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in samples]
            np.testing.assert_array_equal(found["weight"], WEIGHTS[where])
            if isinstance(y, np.ndarray):
                np.testing.assert_array_equal(found["y"], y[where])
    quietly(model.fit, X, LABELS > 0, validation_data=(X, LABELS > 0))
    assert found["weight"] is None
    scored = classifier(scoring="roc_auc", max_iter=2)
    quietly(scored.fit, X, LABELS > 0, validation_data=(X, LABELS > 0))
    expected = roc_auc_score(LABELS > 0, scored.predict_proba(X)[:, 1])
    assert scored.best_validation_score_ == pytest.approx(expected)


def test_what_a_scorer_is_given_is_a_copy():
    given = []

    def scorer(estimator, samples, targets):
        given.append((estimator, estimator.predict_proba(X)))
        return float(len(given))

    model = stopped(scoring=scorer, max_iter=4)
    assert len({estimator.coefs_[0].tobytes() for estimator, _ in given}) == 4
    for estimator, probabilities in given:
        np.testing.assert_array_equal(estimator.predict_proba(X), probabilities)
    np.testing.assert_array_equal(model.predict_proba(X), probabilities)


def test_a_score_that_is_no_number_is_no_better():
    scores = iter([0.5, np.nan, np.nan, np.nan, np.nan])
    model = stopped(scoring=lambda *_: next(scores), n_iter_no_change=2)
    assert model.n_iter_ == 4
    assert model.best_validation_score_ == 0.5
    assert model.stopped_


def test_a_network_that_never_had_a_score_is_not_that_of_the_beginning():
    for scoring in (None, "loss", "neg_mean_squared_error"):
        model = MLPRegressor(
            max_iter=9, early_stopping=True, learning_rate_init=1e200, solver="sgd",
            scoring=scoring, random_state=0,
        )  # fmt: skip
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite parameter"):
            model.fit(X, VALUES)
    model = stopped(scoring=lambda *_: np.nan, max_iter=3)
    whole = quietly(
        classifier(max_iter=3).set_params(early_stopping=False).fit, X[:80], NAMES[LABELS[:80]]
    )
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])


def test_the_best_network_is_kept_where_training_fails_with_a_warning():
    model = MLPRegressor(
        max_iter=5, early_stopping=True, random_state=0, warm_start=True, learning_rate_init=1e-3
    )
    quietly(model.fit, X, VALUES)
    before = [weight.copy() for weight in model.coefs_]
    model.set_params(solver="sgd", learning_rate_init=1e200)
    with np.errstate(all="ignore"), pytest.warns(ConvergenceWarning, match="is not a number"):
        model.fit(X, VALUES)
    for mine, its in zip(before, model.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_another_score_begins_the_curves_anew():
    model = stopped(warm_start=True, max_iter=3)
    for scoring in ("loss", "neg_log_loss"):
        model.set_params(scoring=scoring)
        quietly(model.fit, X[:80], NAMES[LABELS[:80]], validation_data=HELD)
        assert len(model.validation_scores_) == len(model.loss_curve_) == 3
        assert model.best_validation_score_ == max(model.validation_scores_) < 0
    model = pickle.loads(pickle.dumps(model))
    quietly(model.fit, X[:80], NAMES[LABELS[:80]], validation_data=HELD)
    assert len(model.validation_scores_) == 6


@pytest.mark.parametrize("early", [True, False])
def test_what_was_best_before_lbfgs_is_not_best_after_it(early):
    """It is of another network, here of a much better one than what lbfgs has come to."""
    model = classifier(warm_start=True, max_iter=30, learning_rate_init=0.1)
    model.set_params(early_stopping=early)
    held = {"validation_data": HELD} if early else {}
    quietly(model.fit, X[:80], NAMES[LABELS[:80]], **held)
    before = model.best_validation_score_ if early else model.best_loss_
    model.set_params(solver="lbfgs", max_iter=30)
    quietly(model.fit, X[:80], NAMES[LABELS[:80]][::-1])  # which undoes it
    stale = ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_")
    assert not [name for name in stale if hasattr(model, name)]
    model.set_params(solver="adam", max_iter=3, learning_rate_init=0.001)
    quietly(model.fit, X[:80], NAMES[LABELS[:80]], **held)
    assert len(model.loss_curve_) == 3
    if early:
        assert model.best_validation_score_ == max(model.validation_scores_) < before
        assert model.score(*HELD) == model.best_validation_score_
    else:
        assert model.best_loss_ == min(model.loss_curve_) > before
        assert model._kept.no_improvement == 0


def test_curves_of_lbfgs():
    """A `fit` that begins anew leaves none of another solver, and a warm one goes on."""
    model = stopped(max_iter=3)
    model.set_params(solver="lbfgs", warm_start=False)
    quietly(model.fit, X, NAMES[LABELS])
    stale = ("loss_curve_", "best_loss_", "validation_scores_", "validation_loss_curve_")
    assert not [name for name in stale if hasattr(model, name)]
    model.set_params(warm_start=True, max_iter=2)
    for number in (2, 4):
        quietly(model.fit, X, NAMES[LABELS], validation_data=HELD)
        assert len(model.validation_loss_curve_) == number


# -- partial_fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": Adam(0.1, ema=0.5)}, {"batch_norm": True}, {"scoring": "neg_log_loss"}],
    ids=str,
)
def test_early_stopping_in_partial_fit(options):
    """The scores and the best arrays are those of `fit`, which says when to end."""
    options = {"learning_rate_init": 0.3, "n_iter_no_change": 3, "max_iter": 40, **options}
    whole = stopped(**options)
    assert whole.stopped_
    parts = classifier(**options)
    while not getattr(parts, "stopped_", False):
        parts.partial_fit(X[:80], NAMES[LABELS[:80]], classes=NAMES, validation_data=HELD)
        parts = pickle.loads(pickle.dumps(parts))
        assert len(parts.loss_curve_) <= 40
        scorer = get_scorer(options.get("scoring", "accuracy"))
        assert scorer(parts, *HELD) == pytest.approx(parts.best_validation_score_, rel=1e-12)
    assert parts.validation_scores_ == whole.validation_scores_
    assert parts.validation_loss_curve_ == whole.validation_loss_curve_
    assert parts.best_validation_score_ > parts.validation_scores_[-1]
    for mine, its in zip(whole.coefs_, parts.coefs_, strict=True):
        np.testing.assert_array_equal(mine, its)
    # Who goes on all the same goes on from the last epoch.
    parts.partial_fit(X[:80], NAMES[LABELS[:80]], validation_data=HELD)
    longer = stopped(**{**options, "n_iter_no_change": np.inf, "max_iter": whole.n_iter_ + 1})
    assert parts.loss_curve_ == longer.loss_curve_


def test_partial_fit_with_early_stopping_needs_a_validation_set():
    for model, y in ((MLPClassifier, LABELS), (MLPRegressor, VALUES)):
        classes = {"classes": [0, 1, 2]} if model is MLPClassifier else {}
        with pytest.raises(ValueError, match="does not support early_stopping=True without a v"):
            model(early_stopping=True).partial_fit(X, y, **classes)
    # Without early stopping it is measured.
    model = MLPRegressor(random_state=0)
    for number in range(1, 4):
        model.partial_fit(X, VALUES, validation_data=(X, VALUES))
        assert len(model.validation_loss_curve_) == number
    for wrong, message in (((X[:, 1:], VALUES), "5 features"), (X, "must be a pair")):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, VALUES, validation_data=wrong)


def test_a_warm_fit_goes_on_from_the_best_of_partial_fit():
    model = classifier(learning_rate_init=0.3, warm_start=True, max_iter=1, solver="sgd")
    for _ in range(6):
        model.partial_fit(X[:80], NAMES[LABELS[:80]], classes=NAMES, validation_data=HELD)
    model.set_params(learning_rate_init=1e-30)
    before = [weight.copy() for weight in model.coefs_]
    quietly(model.fit, X[:80], NAMES[LABELS[:80]], validation_data=HELD)
    for mine, its in zip(before, model.coefs_, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-12)


def test_early_stopping_in_partial_fit_on_any_backend(other_backend):
    backend = open_backend(other_backend, dtype="float64")
    with backend.scope():
        x = backend.asarray(X)
    model, host = (classifier(learning_rate_init=0.3) for _ in range(2))
    for _ in range(4):
        model.partial_fit(x, LABELS, classes=[0, 1, 2], validation_data=(x, LABELS))
        host.partial_fit(X, LABELS, classes=[0, 1, 2], validation_data=(X, LABELS))
    assert model.validation_scores_ == host.validation_scores_
    np.testing.assert_allclose(backend.to_numpy(model.coefs_[0]), host.coefs_[0], rtol=1e-9)
