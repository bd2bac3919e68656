"""What the estimators of xpnet.sklearn have more, and how they work together with scikit-learn."""

import gc
import pickle
import subprocess
import sys
import weakref
from textwrap import dedent

import numpy as np
import pytest
from conftest import require
from estimators import LABELS, VALUES, WEIGHTS, X, quietly
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import (
    SGD,
    Adam,
    BinaryCrossEntropy,
    Callback,
    Checkpoint,
    EarlyStopping,
    Huber,
    ReduceOnPlateau,
    SoftmaxCrossEntropy,
    load,
    mean_squared_error,
    open_backend,
)
from xpnet.random import stream
from xpnet.schedules import Cosine
from xpnet.sklearn import MLPClassifier, MLPRegressor
from xpnet.sklearn.architecture import activations, build_model
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.holding import CheckedSamples
from xpnet.sklearn.lbfgs import FullBatch
from xpnet.sklearn.problem import classification, regression
from xpnet.sklearn.task import Task

pytestmark = pytest.mark.libraries


def classifier(y=LABELS, **options):
    options = {"hidden_layer_sizes": (16,), "max_iter": 20, "learning_rate_init": 0.02, **options}
    return quietly(MLPClassifier(random_state=0, **options).fit, X, y)


# -- gradients ----------------------------------------------------------------------------------


PROBLEMS = {
    "binary": (classification("log_loss", Labels.learn([0, 1])), (LABELS > 0)[:, None]),
    "multiclass": (classification("log_loss", Labels.learn([0, 1, 2])), LABELS),
    "multilabel": (
        classification("log_loss", Labels.learn(np.eye(3, dtype=int))), np.eye(3)[LABELS],
    ),
    "values": (regression("squared_error", 2), VALUES),
    "counts": (regression("poisson", 2), np.round(np.abs(VALUES))),
    "huber": (regression(Huber(), 2), VALUES),
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("case", PROBLEMS)
def test_the_gradient_for_lbfgs_is_that_of_its_loss(case, weighted, monkeypatch):
    """In random directions, by central differences; the samples in four parts."""
    problem, target = PROBLEMS[case]
    backend = open_backend("numpy", dtype="float64")
    monkeypatch.setattr("xpnet.sklearn.lbfgs.chunk_rows", lambda *_: 33)
    model = build_model((6, 5, 4, problem.n_outputs), activations("tanh", 2))
    y = np.asarray(target, dtype=int if problem.kind == "classes" else float)
    samples = CheckedSamples(X, y, WEIGHTS if weighted else None, None, (X, y))
    task = Task(backend, problem, None, model, samples, None, False, None, {})
    function = FullBatch(task, 0.7)
    rng = stream(0, case)
    flat = rng.normal(size=model.parameter_count)
    value, gradient = function(flat)
    for _ in range(5):
        direction = rng.normal(size=flat.size)
        direction /= np.linalg.norm(direction)
        ahead, behind = (function(flat + step * direction)[0] for step in (1e-5, -1e-5))
        assert (ahead - behind) / 2e-5 == pytest.approx(gradient @ direction, rel=1e-6, abs=1e-8)
    monkeypatch.undo()
    assert function(flat)[0] == pytest.approx(value, rel=1e-12)


# -- parameters that scikit-learn has not -------------------------------------------------------


def test_dropout_and_batch_norm():
    plain = classifier()
    dropped = classifier(dropout=0.3)
    assert dropped.loss_ != plain.loss_
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))
    normed = classifier(batch_norm=True, batch_size=30)
    assert [set(arrays) for arrays in normed.batch_norm_] == [{"scale", "mean", "variance"}]
    # What it predicts follows from its attributes alone.
    (norm,) = normed.batch_norm_
    hidden = (X @ normed.coefs_[0] - norm["mean"]) / np.sqrt(norm["variance"] + 1e-5)
    hidden = np.maximum(hidden * norm["scale"] + normed.intercepts_[0], 0)
    output = hidden @ normed.coefs_[1] + normed.intercepts_[1]
    np.testing.assert_array_equal(normed.predict(X), output.argmax(axis=1))
    mean = norm["mean"].copy()
    normed.partial_fit(X, LABELS)
    assert (normed.batch_norm_[0]["mean"] != mean).all()


def test_class_weights_are_weights_of_samples():
    balanced = WEIGHTS.sum() / (3 * np.bincount(LABELS, weights=WEIGHTS))
    expected = quietly(
        MLPClassifier((16,), max_iter=5, random_state=0).fit, X, LABELS, balanced[LABELS] * WEIGHTS
    )
    for weight in ("balanced", dict(enumerate(balanced))):
        model = MLPClassifier((16,), max_iter=5, random_state=0, class_weight=weight)
        quietly(model.fit, X, LABELS, WEIGHTS)
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-12)
    with pytest.raises(ValueError, match="needs all samples"):
        MLPClassifier(class_weight="balanced").partial_fit(X, LABELS, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(class_weight="even").fit(X, LABELS)


def test_any_optimizer_and_schedule():
    """The solver's own optimizer, given by hand, is the same training."""
    expected = classifier(learning_rate_init=0.05)
    adam = Adam(0.05, epsilon_hat=True)
    np.testing.assert_array_equal(classifier(optimizer=adam).coefs_[0], expected.coefs_[0])
    scheduled = classifier(optimizer=adam, schedule=Cosine())
    assert scheduled.loss_curve_[0] == pytest.approx(expected.loss_curve_[0], rel=0.01)
    assert scheduled.loss_curve_[-1] != expected.loss_curve_[-1]
    averaged = classifier(optimizer=Adam(0.05, ema=0.9))
    assert averaged.score(X, LABELS) > 0.8
    plateau = ReduceOnPlateau(monitor="train_loss", patience=1, factor=0.1)
    slow = classifier(schedule=plateau, learning_rate_init=0.5)
    assert float(slow._kept.progress.state["learning_rate"]) < 0.5


def test_averages_go_on_from_where_they_were():
    """The parameters themselves are kept beside their averages, which are the attributes."""
    parts = [MLPClassifier((8,), optimizer=Adam(0.05, ema=0.9), random_state=0) for _ in range(2)]
    for model in parts:
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
    again = pickle.loads(pickle.dumps(parts[0]))
    for model in (again, parts[1]):
        model.partial_fit(X, LABELS).partial_fit(X, LABELS)
    np.testing.assert_array_equal(again.coefs_[0], parts[1].coefs_[0])
    assert (again._kept.progress.state["param/fc1.weight"] != again.coefs_[0]).all()


def test_a_fitted_estimator_holds_no_samples():
    data = X.copy()
    model = quietly(MLPClassifier((8,), max_iter=3).fit, data, LABELS)
    alive = weakref.ref(data)
    del data
    gc.collect()
    assert alive() is None
    assert len(pickle.dumps(model)) < 12_000


def test_another_solver_may_go_on():
    model = MLPClassifier((8,), solver="lbfgs", max_iter=5, warm_start=True, random_state=0)
    before = quietly(model.fit, X, LABELS).loss_
    quietly(model.set_params(solver="adam", max_iter=2).fit, X, LABELS)
    assert model.loss_curve_[0] == pytest.approx(before, rel=0.1)


def test_clipping_limits_a_step():
    start = classifier(max_iter=1, solver="sgd", momentum=0.0, learning_rate_init=1e-30)
    model = classifier(
        max_iter=1, solver="sgd", momentum=0.0, learning_rate_init=10.0, clip_norm=1e-3,
        batch_size=120,
    )  # fmt: skip
    arrays = zip(start.coefs_ + start.intercepts_, model.coefs_ + model.intercepts_, strict=True)
    assert np.sqrt(sum(((a - b) ** 2).sum() for a, b in arrays)) == pytest.approx(0.01, rel=1e-2)


def test_steps_that_are_not_recorded_give_the_same():
    np.testing.assert_array_equal(classifier(compile=False).coefs_[0], classifier().coefs_[0])


def own_loss(xp, output, target, *, weight=None, need_grad=True):
    """One of which is not known whether it looks at its arguments alone."""
    return mean_squared_error(xp, output, target, weight=weight, need_grad=need_grad)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"compile": False}, "24 steps called"),
        ({"compile": False, "loss": own_loss}, "24 steps called"),
        ({"loss": own_loss}, "24 steps called (not recorded: they are not known to be pure)"),
        ({"backend": "numpy", "compile": False}, "24 steps called"),
        ({"backend": "torch", "compile": False}, "all steps called"),
        ({"backend": "jax", "compile": False}, "all steps compiled"),
    ],
)
def test_how_steps_were_taken_and_if_not_recorded_why(options, taken):
    if "backend" in options:
        require(options["backend"])
    model = MLPRegressor(hidden_layer_sizes=4, batch_size=20, random_state=0, **options)
    for _ in range(4):
        model.partial_fit(X, VALUES)
    assert model._kept.engine.backend.taken_steps() == taken


def test_how_steps_are_taken_may_change_between_parts():
    model, expected = (
        MLPRegressor(hidden_layer_sizes=4, batch_size=4, random_state=0) for _ in range(2)
    )
    found = []
    for compiled in (False, False, True, True, False):
        model.set_params(compile=compiled).partial_fit(X, VALUES)
        found.append(model._kept.engine.backend.taken_steps())
        expected.partial_fit(X, VALUES)
    assert found[:2] == ["30 steps called", "60 steps called"]
    assert "recorded" in found[3]
    assert found[4] == "30 steps called"
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_losses_of_ones_own():
    smooth = classifier(loss=SoftmaxCrossEntropy(label_smoothing=0.2), max_iter=60)
    assert smooth.predict_proba(X).max() < classifier(max_iter=60).predict_proba(X).max()
    # Two classes have two outputs by the softmax, and one by the logistic function.
    y = np.array(["no", "yes"])[(LABELS > 0).astype(int)]
    for loss, n_outputs in ((SoftmaxCrossEntropy(), 2), (BinaryCrossEntropy(), 1)):
        model = classifier(y, loss=loss, max_iter=60)
        assert model.n_outputs_ == n_outputs
        assert model.predict_proba(X).shape == (120, 2)
        assert model.score(X, y) > 0.9

    def cubic(xp, output, target, *, need_grad=True):
        difference = output - target
        cubes = xp.abs(difference) ** 3
        return xp.sum(cubes) / 120, 3 * difference * xp.abs(difference) / 120

    model = MLPRegressor(cubic, (16,), solver="lbfgs", max_iter=300, alpha=0.0, random_state=0)
    assert quietly(model.fit, X, VALUES).score(X, VALUES) > 0.9
    with pytest.raises(TypeError, match="need a loss that takes weight="):
        model.fit(X, VALUES, np.ones(120))
    with pytest.raises(TypeError, match="need a loss that takes weight="):
        model.fit(X, VALUES, validation_data=(X, VALUES, np.ones(120)))
    huber = MLPRegressor(Huber(), 16, solver="adam", learning_rate_init=0.02, random_state=0)
    assert quietly(huber.fit, X, VALUES[:, 0]).score(X, VALUES[:, 0]) > 0.9
    for cls, loss, y, message in (
        (MLPClassifier, Huber(), LABELS, "is for values, and the targets are classes"),
        (MLPClassifier, BinaryCrossEntropy(), LABELS, "for 3 classes take SoftmaxCrossEntropy"),
        (MLPClassifier, SoftmaxCrossEntropy(), np.eye(3)[LABELS], "several labels: take Binary"),
        (MLPRegressor, SoftmaxCrossEntropy(), VALUES, "a regressor gives values"),
        (MLPRegressor, "poisson", VALUES - 9, "needs targets that are not negative"),
        (MLPRegressor, "cubic", VALUES, "'loss' parameter of MLPRegressor must be"),
    ):
        with pytest.raises(ValueError, match=message):
            cls(loss=loss).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_validation_set_is_measured(solver):
    model = MLPClassifier((16,), solver=solver, max_iter=15, random_state=0)
    quietly(model.fit, X[:80], LABELS[:80], validation_data=(X[80:], LABELS[80:]))
    assert len(model.validation_loss_curve_) == model.n_iter_
    expected = log_loss(LABELS[80:], model.predict_proba(X[80:]))
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-9)
    # It changes nothing of the training.
    alone = MLPClassifier((16,), solver=solver, max_iter=15, random_state=0)
    quietly(alone.fit, X[:80], LABELS[:80])
    np.testing.assert_array_equal(alone.coefs_[0], model.coefs_[0])
    assert not hasattr(alone, "validation_loss_curve_")
    for wrong, message in (
        ((X, LABELS + 1), "classes not in"),
        ((X[:, 1:], LABELS), "5 features"),
        (X, "must be a pair"),
    ):
        with pytest.raises(ValueError, match=message):
            alone.fit(X, LABELS, validation_data=wrong)


def test_early_stopping_takes_the_validation_set_that_is_given():
    model = MLPClassifier(
        (16,), early_stopping=True, max_iter=50, learning_rate_init=0.05, random_state=0
    )
    quietly(model.fit, X[:80], LABELS[:80], validation_data=(X[80:], LABELS[80:]))
    assert model.best_validation_score_ == pytest.approx(model.score(X[80:], LABELS[80:]))
    assert model.t_ == 80 * model.n_iter_
    regressor = MLPRegressor(
        hidden_layer_sizes=16, early_stopping=True, max_iter=50, learning_rate_init=0.05,
        random_state=0,
    )  # fmt: skip
    quietly(regressor.fit, X[:80], VALUES[:80], validation_data=(X[80:], VALUES[80:]))
    score = regressor.score(X[80:], VALUES[80:])
    assert regressor.best_validation_score_ == pytest.approx(score)


def test_what_is_kept_for_early_stopping():
    """Of each class its share; and where samples have weights, they count in the score."""

    class Counting(MLPClassifier):
        def _held_score(self, target, predicted, weight):
            self.kept = np.bincount(target.ravel().astype(int))
            return super()._held_score(target, predicted, weight)

    for labels, expected in (
        (np.repeat([0, 1, 2], [60, 40, 20]), [12, 8, 4]),
        (np.repeat([0, 1], [90, 30]), [18, 6]),
    ):
        for seed in range(3):
            model = Counting((4,), early_stopping=True, max_iter=1, random_state=seed)
            quietly(model.set_params(validation_fraction=0.2).fit, X, labels)
            assert model.kept.tolist() == expected
    # A part of a sample is a whole one, as scikit-learn's train_test_split has it.
    for fraction, count in ((0.1, 12), (0.101, 13), (0.5, 60)):
        quietly(model.set_params(validation_fraction=fraction).fit, X, VALUES[:, 0] > 0)
        assert model.kept.sum() == count == 120 - model.t_
    # One class has nearly all the weight: who predicts it alone is right.
    labels = np.arange(120) % 2
    weight = np.where(labels == 1, 1.0, 1e-6)
    model = MLPClassifier((4,), early_stopping=True, max_iter=30, random_state=0)
    quietly(model.set_params(learning_rate_init=0.1).fit, X, labels, weight)
    assert model.score(X, labels) < 0.6
    assert model.best_validation_score_ == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"batch_norm": True}, {"optimizer": Adam(0.3, ema=0.5)}], ids=str
)
def test_early_stopping_restores_all_arrays_of_the_best(options):
    model = MLPRegressor(
        hidden_layer_sizes=(16,), early_stopping=True, max_iter=33, learning_rate_init=0.3,
        batch_size=40, random_state=0, **options,
    )  # fmt: skip
    quietly(model.fit, X[:80], VALUES[:80], validation_data=(X[80:], VALUES[80:]))
    assert model.validation_scores_[-1] < model.best_validation_score_
    score = model.score(X[80:], VALUES[80:])
    assert score == pytest.approx(model.best_validation_score_, rel=1e-12)


def test_callbacks_are_told_and_may_end_the_training():
    class Watch(Callback):
        every_step = False

        def __init__(self):
            self.said = []

        def on_start(self, network, *, epochs, steps):
            self.said.append((epochs, steps))

        def on_step(self, state, count):
            self.said.append(count)

        def on_epoch(self, network, record):
            self.said.append((record.epoch, record.train_loss, record.validation_loss))
            self.scores = network.evaluate(X, LABELS).accuracy
            return record.epoch == 3

        def on_finish(self, network):
            self.said.append("finish")

        def on_end(self, network):
            self.said.append("end")

    watch = Watch()
    model = MLPClassifier((16,), batch_size=50, callbacks=[watch], random_state=0)
    model.fit(X, LABELS)
    assert model.n_iter_ == 3
    assert model.stopped_
    assert watch.said == []
    (watch,) = model.callbacks_  # a copy, which belongs to the fit
    assert watch.said[0] == (200, 3)
    assert watch.said[-2:] == ["finish", "end"]
    epochs = [said for said in watch.said if isinstance(said, tuple)][1:]
    assert [loss for _, loss, _ in epochs] == model.loss_curve_
    assert sum(said for said in watch.said if isinstance(said, int)) == 9
    assert watch.scores == model.score(X, LABELS)
    stopping = EarlyStopping(patience=2)
    model = MLPClassifier((64,), callbacks=[stopping], learning_rate_init=0.1, random_state=0)
    quietly(model.fit, X[:80], LABELS[:80], validation_data=(X[80:], LABELS[80:]))
    expected = log_loss(LABELS[80:], model.predict_proba(X[80:]))
    assert expected == pytest.approx(min(model.validation_loss_curve_), rel=1e-9)
    with pytest.raises(ValueError, match="EarlyStopping watches validation_loss, and what is"):
        model.fit(X, LABELS)
    with pytest.raises(ValueError, match="Checkpoint saves a training of xpnet"):
        model.set_params(callbacks=[Checkpoint("folder")]).fit(X, LABELS)
    with pytest.raises(TypeError, match="callbacks must be instances of xpnet"):
        model.set_params(callbacks=["progress"]).fit(X, LABELS)


def test_combinations_that_make_no_sense():
    for options, message in (
        ({"solver": "lbfgs", "dropout": 0.1}, "cannot do with dropout: take solver='adam'"),
        ({"solver": "lbfgs", "optimizer": SGD()}, "cannot do with optimizer"),
        ({"solver": "sgd", "learning_rate": "adaptive", "schedule": Cosine()}, "both change"),
        ({"optimizer": SGD(schedule=Cosine()), "schedule": Cosine(warmup=1)}, "give one of them"),
        ({"backend": "numpy", "device": "cuda"}, "has no device 'cuda'"),
        ({"backend": "tensorflow"}, "'backend' parameter of MLPClassifier must be"),
        ({"dropout": 1.0}, "'dropout' parameter of MLPClassifier must be a float in the range"),
        ({"optimizer": "adam"}, "'optimizer' parameter of MLPClassifier must be"),
        ({"batch_norm": True, "batch_size": 119}, "leaves 1 of 120 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            MLPClassifier(**options).fit(X, LABELS)


# -- data of other kinds ------------------------------------------------------------------------


def test_data_frames_and_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    labels = pandas.Series(np.array(["x", "y", "z"])[LABELS])
    model = quietly(MLPClassifier((16,), max_iter=5, random_state=0).fit, frame, labels)
    assert model.feature_names_in_.tolist() == list("abcdef")
    expected = quietly(MLPClassifier((16,), max_iter=5, random_state=0).fit, X, labels.to_numpy())
    np.testing.assert_array_equal(model.predict(frame), expected.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("bacdef")])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X)


def test_polars_frames():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=list("abcdef"))
    model = quietly(MLPRegressor(max_iter=5, random_state=0).fit, frame, polars.Series(X[:, 0]))
    assert model.feature_names_in_.tolist() == list("abcdef")
    expected = quietly(MLPRegressor(max_iter=5, random_state=0).fit, X, X[:, 0])
    np.testing.assert_array_equal(model.predict(frame), expected.predict(X))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_large_sparse_samples_are_made_dense_in_parts(solver, monkeypatch):
    data = sparse.random(120, 40, 0.2, "csr", random_state=0)
    options = {"solver": solver, "max_iter": 5, "batch_size": 32, "random_state": 0}
    found = []
    for limit in (2**28, 0):
        monkeypatch.setattr("xpnet.sklearn.checking.LARGEST_LOADED", limit)
        model = quietly(MLPClassifier((16,), **options).fit, data, LABELS, WEIGHTS)
        found.append((model.loss_, model.predict_proba(data)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-9)
    dense = quietly(MLPClassifier((16,), **options).fit, data.toarray(), LABELS, WEIGHTS)
    np.testing.assert_allclose(dense.predict_proba(data.toarray()), found[0][1], rtol=1e-9)


def test_several_labels_in_a_sparse_matrix():
    rows = np.eye(3, dtype=int)[LABELS]
    model = classifier(sparse.csr_matrix(rows), max_iter=40)
    predicted = model.predict(X)
    assert sparse.issparse(predicted)
    np.testing.assert_array_equal(predicted.toarray(), classifier(rows, max_iter=40).predict(X))


def test_an_estimator_as_a_network(tmp_path):
    model = classifier(batch_norm=True, batch_size=30)
    network = model.to_network()
    np.testing.assert_allclose(network.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    network.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors", backend="numpy")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    regressor = quietly(MLPRegressor(max_iter=2).fit, X, VALUES)
    np.testing.assert_allclose(regressor.to_network().predict(X), regressor.predict(X))


def test_a_single_class_is_always_predicted():
    model = classifier(np.full(120, "only"))
    assert set(model.predict(X)) == {"only"}
    model.intercepts_[-1] += 100.0  # also where the output says that it is the other one
    assert set(model.predict(X)) == {"only"}


# -- together with scikit-learn -----------------------------------------------------------------


def test_a_program_of_scikit_learn_with_the_import_replaced():
    """Pipeline, grid search in processes, a confusion matrix: the program of the docs, smaller."""
    data, digits = load_digits(return_X_y=True)
    pipeline = make_pipeline(
        StandardScaler(), MLPClassifier((32,), max_iter=12, learning_rate_init=0.01, random_state=0)
    )
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 100.0]}, cv=2, n_jobs=2)
    quietly(search.fit, data[:600], digits[:600])
    assert search.best_params_ == {"mlpclassifier__alpha": 1e-4}
    assert search.score(data[600:], digits[600:]) > 0.88
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    shown = ConfusionMatrixDisplay.from_estimator(search, data[600:], digits[600:])
    assert shown.confusion_matrix.sum() == len(data) - 600
    import matplotlib.pyplot as plt

    plt.close("all")
    assert "MLPClassifier" in pipeline._repr_html_()


def test_metadata_is_routed():
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(max_iter=2).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        quietly(pipeline.fit, X, LABELS, sample_weight=np.ones(120))
        requested = model.get_metadata_routing().fit.requests
        held = dict.fromkeys(("validation_data", "X_val", "y_val", "sample_weight_val"))
        assert requested == {"sample_weight": True, **held}
        scores = quietly(
            cross_val_score, model.set_score_request(sample_weight=True), X, LABELS, cv=2,
            params={"sample_weight": np.ones(120)},
        )  # fmt: skip
        assert len(scores) == 2


def test_random_states_of_every_kind():
    def fitted(state):
        return quietly(MLPClassifier(max_iter=1, random_state=state).fit, X, LABELS).coefs_[0]

    np.testing.assert_array_equal(fitted(3), fitted(3))
    state = np.random.RandomState(3)
    first, second = fitted(state), fitted(state)
    np.testing.assert_array_equal(first, fitted(np.random.RandomState(3)))
    assert (first != second).any()
    np.random.seed(0)
    drawn = fitted(None)
    np.random.seed(0)
    np.testing.assert_array_equal(drawn, fitted(None))


def test_ctrl_c_ends_the_training_with_a_warning():
    import signal

    class Press(Callback):
        def on_step(self, state, count):
            if int(state["step"]) == 7:
                signal.raise_signal(signal.SIGINT)

    model = MLPClassifier((16,), batch_size=40, callbacks=[Press()], random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, LABELS)
    assert model.n_iter_ == 2
    assert model.predict(X).shape == (120,)


def test_without_scikit_learn_the_import_says_what_to_install():
    code = """
        import sys; sys.modules['sklearn'] = None
        import xpnet
        try: import xpnet.sklearn
        except ModuleNotFoundError as error: print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True
    )
    assert "pip install 'xpnet[sklearn]'" in done.stdout
