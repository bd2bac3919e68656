"""An estimator on several ranks is what it is on one: with ranks as threads, so without MPI."""

import copy
import pickle
import threading

import numpy as np
import pytest
from conftest import CPU_BACKENDS, require
from estimators import TARGETS, WEIGHTS, X, quietly
from scipy.sparse import csr_matrix
from sklearn import clone
from sklearn.model_selection import GridSearchCV

from xpnet import Adam, Callback, EarlyStopping
from xpnet.distributed import threads
from xpnet.errors import GroupError
from xpnet.losses import Huber
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.sklearn import MLPClassifier, MLPRegressor
from xpnet.sklearn.epochs import Epochs

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


def in_parts(model, weight=WEIGHTS, **held):
    """Five calls of `partial_fit`, of which one is on samples of a single class."""
    for call in range(5):
        rows = LABELS == 0 if call == 2 else slice(call % 2, None, 2)
        options = {"classes": np.unique(LABELS)} if isinstance(model, MLPClassifier) else {}
        model.partial_fit(X[rows], LABELS[rows], weight[rows], **options, **held)
    return model


@SIZES
@pytest.mark.parametrize(
    ("model", "held"),
    [
        (classifier(), {}),
        (classifier(early_stopping=True), {"validation_data": (X[:9], LABELS[:9])}),
        (classifier(dropout=0.2, schedule=Cosine(), max_iter=4), {}),
        (classifier(class_weight={0: 0.0}), {}),  # a part in which nothing counts
        (regressor(solver="sgd"), {}),
    ],
    ids=["adam", "early stopping", "dropout and schedule", "class", "sgd"],
)
def test_partial_fit(model, held, size):
    check_same_as_alone(size, model, in_parts, **held)


@SIZES
def test_fit_that_goes_on_with_another_number_of_samples(size):
    def twice(model):
        model.fit(X, LABELS, WEIGHTS)
        return model.fit(X[:31], LABELS[:31], SOME[:31])

    check_same_as_alone(size, classifier(warm_start=True), twice)


def test_one_training_goes_on_with_other_ranks():
    """What is pickled has no ranks in it."""
    alone = in_parts(in_parts(classifier()))
    first = pickle.loads(pickle.dumps(on_ranks(3, classifier(), in_parts)[1]))
    assert first.group is None

    def go_on(group):
        return in_parts(copy.deepcopy(first).set_params(group=group))

    for found in threads(2, timeout=30).run(go_on):
        assert_same(found, alone)


EXACT = {"reduction": "exact", "shards": 4}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "model",
    [
        classifier(dropout=0.2, early_stopping=True, validation_fraction=0.3, scoring="accuracy"),
        classifier(batch_norm=True, batch_size=8, class_weight="balanced"),
        classifier(solver="lbfgs", max_iter=20),
    ],
    ids=["dropout", "batch norm", "lbfgs"],
)
def test_an_exact_reduction_gives_the_same_bytes_for_any_number_of_ranks(model, dtype):
    model = clone(model).set_params(dtype=dtype, **EXACT)
    expected = quietly(fit, clone(model), LABELS, SOME)  # the shards alone say what is added up
    for size in (1, 2, 3, 4):
        for found in on_ranks(size, model, fit, LABELS, SOME):
            assert_equal_bytes(found, expected)
    fast = quietly(fit, clone(model).set_params(reduction="fast", shards=None), LABELS, SOME)
    assert_same(fast, expected, atol=1e-9 if dtype == "float64" else 1e-2)


@SIZES
@pytest.mark.parametrize(
    ("model", "y"),
    [
        (classifier(solver="lbfgs", max_iter=6), LABELS),
        (regressor(solver="lbfgs", max_iter=6), TARGETS["values"]),
    ],
    ids=["classes", "values"],
)
def test_lbfgs(model, y, size):
    held = {"validation_data": (X[:9], y[:9])}
    alone = quietly(fit, clone(model), y, SOME, **held)
    models = on_ranks(size, model, fit, y, SOME, **held)
    for found in models:
        assert_same(found, alone, atol=1e-9)
        assert found.loss_ == pytest.approx(alone.loss_, abs=1e-12)
        assert_equal_bytes(found, models[0])


@pytest.mark.parametrize("name", [n for n in CPU_BACKENDS if n != "numpy"])
def test_other_libraries(name):
    require(name)
    model = classifier(backend=name, batch_size=42, max_iter=2)  # compilers work for each size
    check_same_as_alone(2, model, fit, LABELS, SOME)


def test_samples_of_which_only_batches_are_read(monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    sparse = csr_matrix(np.where(X > 0, X, 0))

    def train(model):
        return model.fit(sparse, LABELS, WEIGHTS)

    check_same_as_alone(3, classifier(), train)


# -- what rank 0 decides --------------------------------------------------------------------------


def test_the_seed_is_that_of_rank_0():
    one, two = on_ranks(2, classifier(random_state=None))
    assert_equal_bytes(two, one)


def test_callbacks_are_told_on_rank_0_alone_and_stop_all():
    told = []

    class Stopping(Callback):
        def on_epoch(self, network, record):
            told.append(threading.get_ident())
            return record.epoch == 2

        def on_finish(self, network):
            network.params["fc1.bias"] = network.params["fc1.bias"] + 1

    models = on_ranks(3, classifier(max_iter=5, callbacks=[Stopping()], optimizer=Adam(ema=0.9)))
    assert len(told) == 2
    assert len(set(told)) == 1
    assert [model.n_iter_ for model in models] == [2, 2, 2]
    assert [len(model.callbacks_) for model in models] == [1, 0, 0]
    assert np.min(models[0].intercepts_[0]) > 0.1
    for model in models[1:]:
        assert_equal_bytes(model, models[0])


def test_a_scorer_is_asked_on_rank_0_alone_and_says_it_for_all():
    asked = []

    def scorer(model, x, y):
        asked.append(threading.get_ident())
        return float(len(asked))

    options = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 4}
    models = on_ranks(2, classifier(scoring=scorer, **options))
    assert len(set(asked)) == 1
    assert [model.validation_scores_ for model in models] == [[1.0, 2.0, 3.0, 4.0]] * 2


def test_lines_are_those_of_rank_0(capsys):
    on_ranks(3, classifier(verbose=True))
    assert capsys.readouterr().out.count("Iteration 1, loss = ") == 1
    on_ranks(3, classifier(verbose=True, solver="lbfgs", max_iter=2))
    assert capsys.readouterr().out.count("loss = ") == 2


@pytest.mark.filterwarnings("ignore:Training interrupted by user")
def test_a_rank_that_is_asked_to_stop_stops_all_after_the_same_step(monkeypatch):
    def is_asked(epochs):
        return epochs._group.rank == 1 and int(epochs.state["step"]) == 11

    monkeypatch.setattr(Epochs, "_is_interrupted", is_asked)
    for model in on_ranks(3, classifier(max_iter=5)):
        assert model.n_iter_ == 1
        assert int(model._kept.progress.state["step"]) == 12


# -- what is wrong --------------------------------------------------------------------------------


def failing(change, error, match, size=3):
    """The message on all ranks, of which rank 1 alone has a changed estimator or other samples."""

    def run(group):
        model, data = classifier(group=group), [X, LABELS, WEIGHTS]
        if group.rank == 1:
            change(model, data)
        with pytest.raises(error, match=match) as caught:
            model.fit(*data)
        assert not hasattr(model, "coefs_")
        return str(caught.value)

    return quietly(threads(size, timeout=30).run, run)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda model, data: model.set_params(alpha=-1.0), "'alpha' parameter"),
        (lambda model, data: data.__setitem__(0, X * np.nan), "NaN"),
        (lambda model, data: data.__setitem__(1, LABELS[:-1]), "inconsistent numbers of samples"),
        (lambda model, data: model.set_params(callbacks=[3]), "callbacks must be"),
        (lambda model, data: model.set_params(hidden_layer_sizes=(-1,)), "hidden_layer_sizes"),
    ],
    ids=["parameter", "samples", "labels", "callbacks", "layers"],
)
def test_what_is_wrong_on_one_rank_ends_all_and_names_it(change, match):
    messages = failing(change, (ValueError, TypeError), match)
    assert all("(on rank 1 of 3)" in message for message in messages)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, data: model.set_params(alpha=0.2),
        lambda model, data: model.set_params(solver="lbfgs"),
        lambda model, data: model.set_params(hidden_layer_sizes=(6,)),
        lambda model, data: data.__setitem__(0, X + 1),
        lambda model, data: data.__setitem__(2, WEIGHTS + 1),
    ],
    ids=["alpha", "solver", "layers", "samples", "weights"],
)
def test_ranks_that_were_given_something_else_are_refused(change):
    failing(change, GroupError, "of rank 1 is not that of rank 0")


def test_parameters_that_differ_are_found_after_the_epoch(monkeypatch):
    finish = Epochs._finish_epoch

    def changed(epochs):
        epochs.state["param/fc1.bias"] = epochs.state["param/fc1.bias"] + epochs._group.rank
        return finish(epochs)

    monkeypatch.setattr(Epochs, "_finish_epoch", changed)
    failing(lambda model, data: None, GroupError, r"after epoch 1 the network of rank 1 .* rank 0")


def test_an_error_in_a_callback_of_rank_0_ends_the_others():
    class Failing(Callback):
        def on_epoch(self, network, record):
            raise RuntimeError("no room left")

    with pytest.raises(RuntimeError, match="no room left"):
        on_ranks(3, classifier(callbacks=[Failing()]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 3}, "'group' parameter"),
        ({"reduction": "fats"}, "'reduction' parameter"),
        ({"shards": 0}, "'shards' parameter"),
        ({"shards": 4}, "take the reduction exact"),
        ({"reduction": "exact", "shards": 6}, "power of two"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        classifier(**options).fit(X, LABELS)


# -- scikit-learn ---------------------------------------------------------------------------------


def test_a_group_is_the_same_in_copies_and_none_in_a_pickle():
    group = next(iter(threads(2)))
    model = classifier(group=group)
    for copied in (clone(model), copy.copy(model), copy.deepcopy(model)):
        assert copied.get_params()["group"] is group
    assert copy.deepcopy(group) is copy.copy(group) is group
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params() | {"group": None}


def test_a_search_is_made_by_all_ranks_together():
    def search(model):
        return GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2).fit(X, LABELS)

    alone = quietly(search, classifier())
    for found in on_ranks(2, classifier(), search):
        np.testing.assert_equal(
            found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
        )
        assert_same(found.best_estimator_, alone.best_estimator_)
