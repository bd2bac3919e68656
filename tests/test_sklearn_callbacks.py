"""Callbacks of an estimator: copies that belong to the fit, and what goes on with them."""

import copy
import csv
import json
import pickle
import sys
from dataclasses import dataclass, field

import joblib
import numpy as np
import pytest
from estimators import LABELS, VALUES, X, quietly
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimators_overwrite_params

import xpnet
from xpnet import Adam, Callback, CSVLogger, EarlyStopping, JSONLogger, ProgressBar, TensorBoard
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries


class Keeps(Callback):
    """In all the ways that a callback may keep something, of its own making."""

    every_step = False

    def __init__(self):
        self.losses, self.by_epoch, self.count, self.nested = [], {}, 0, {"deep": [[]]}

    def on_epoch(self, network, record):
        self.losses.append(record.train_loss)
        self.by_epoch[record.epoch] = network.copy()
        self.count += 1
        self.nested["deep"][0].append(record.epoch)
        self.last = record


@dataclass
class Described(Callback):
    name: str
    losses: list = field(default_factory=list)

    def on_epoch(self, network, record):
        self.losses.append(record.train_loss)


@dataclass(slots=True)
class Slotted(Callback):
    losses: list = field(default_factory=list)

    def on_epoch(self, network, record):
        self.losses.append(record.train_loss)


class Into(Callback):
    """Adds to what it is given."""

    def __init__(self, seen, tell=None):
        self.seen, self.tell = seen, tell

    def on_epoch(self, network, record):
        self.seen.append(record.epoch)
        if self.tell is not None:
            self.tell(record.epoch)


class Group(Callback):
    """Callbacks within a callback."""

    def __init__(self, inner):
        self.inner = inner

    def on_epoch(self, network, record):
        for callback in self.inner:
            callback.on_epoch(network, record)


def fitted(callbacks, **options):
    options = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, **options}
    return quietly(MLPRegressor(callbacks=callbacks, **options).fit, X, VALUES)


# -- the parameter stays as it is given ---------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [Keeps, lambda: EarlyStopping("train_loss", patience=1), lambda: Described("me"), Slotted,
     lambda: Group([Keeps()]), ProgressBar],
    ids=["Keeps", "EarlyStopping", "dataclass", "slots", "group", "ProgressBar"],
)  # fmt: skip
def test_parameters_stay_as_they_are_given(make):
    model = MLPRegressor(max_iter=3, callbacks=[make()], warm_start=True)
    callback = model.callbacks[0]
    before = joblib.hash(model.get_params())
    for call in (model.fit, model.partial_fit, model.fit):
        quietly(call, X, VALUES)
        assert joblib.hash(model.get_params()) == before
        assert model.callbacks[0] is callback
    assert model.callbacks_[0] is not callback
    quietly(check_estimators_overwrite_params, "MLPRegressor", clone(model))


@pytest.mark.parametrize("kind", [CSVLogger, JSONLogger, TensorBoard])
def test_parameters_with_files_stay_as_they_are_given(kind, tmp_path):
    if kind is TensorBoard:
        pytest.importorskip("tensorboardX")
    model = MLPRegressor(max_iter=2, callbacks=[kind(tmp_path / "log")])
    before = joblib.hash(model.get_params())
    quietly(model.fit, X, VALUES)
    assert joblib.hash(model.get_params()) == before
    assert pickle.loads(pickle.dumps(model)).callbacks_[0].every_step is False


def test_what_a_callback_finds_is_in_the_copy_of_the_fit():
    given = Keeps()
    model = fitted([given])
    assert (given.losses, given.count) == ([], 0)
    (own,) = model.callbacks_
    assert own.losses == model.loss_curve_
    assert own.nested == {"deep": [[1, 2, 3]]}
    # Another fit begins with the callback as it was given, and leaves the first one's alone.
    quietly(model.set_params(max_iter=2).fit, X, VALUES)
    assert model.callbacks_[0].count == 2
    assert own.count == 3
    assert not hasattr(MLPRegressor(callbacks=[given]), "callbacks_")
    assert fitted(None).callbacks_ == []


def test_what_a_constructor_is_given_is_the_users():
    """A list, a function, an array, an open file: the copy has the same, and not another one."""
    seen, told, array = [], [], np.zeros(3)
    fitted([Into(seen, told.append)])
    fitted([Into(seen=seen, tell=lambda epoch: told.append(-epoch))])
    assert seen == [1, 2, 3, 1, 2, 3]
    assert told == [1, 2, 3, -1, -2, -3]
    (own,) = fitted([Into(seen, array.fill)]).callbacks_
    assert array.tolist() == [3, 3, 3]
    assert own.seen is seen

    class Within(Callback):
        def __init__(self, seen):
            self.parts = {"seen": [seen], "own": []}

        def on_epoch(self, network, record):
            self.parts["seen"][0].append(record.epoch)
            self.parts["own"].append(record.epoch)

    given, within = Within([]), Within([])
    fitted([given, within])
    assert given.parts == {"seen": [[1, 2, 3]], "own": []}


def test_what_cannot_be_copied_is_the_copys_as_well(tmp_path):
    class Writes(Callback):
        def __init__(self, path):
            self.file = path.open("w", encoding="utf-8")
            self.writer, self.lines = csv.writer(self.file), 0
            self.both = {"file": self.file, "lines": []}

        def on_epoch(self, network, record):
            self.writer.writerow([record.epoch])
            self.lines += 1
            self.both["file"].write("and\n")

    given = Writes(tmp_path / "log")
    fitted([given])
    given.file.close()
    assert (tmp_path / "log").read_text().split() == ["1", "and", "2", "and", "3", "and"]
    assert given.lines == 0
    bar = ProgressBar(sys.stdout)
    fitted([bar])
    assert bar._bar is None


def test_callbacks_within_callbacks_are_copied():
    inner = [Keeps(), EarlyStopping("train_loss")]
    group = Group(inner)
    model = fitted([Group(inner[:1]), Group({"a": Keeps()}.values())])
    assert inner[0].losses == []
    assert model.callbacks_[0].inner[0].losses == model.loss_curve_
    assert copy.deepcopy(group).inner[1] is not inner[1]


def test_the_same_callback_twice_is_one_callback_twice():
    given = Keeps()
    model = fitted([given, given])
    assert model.callbacks_[0] is model.callbacks_[1]
    assert model.callbacks_[0].count == 6


def test_a_callback_may_say_how_it_is_copied():
    class Shared(Keeps):
        def __deepcopy__(self, memo):
            return self

    given = Shared()
    assert fitted([given]).callbacks_[0] is given
    assert given.count == 3


def test_constructors_are_as_before():
    class Plain(Callback):
        pass

    assert isinstance(Plain(), Callback)
    for wrong in (lambda: Plain(3), lambda: Plain(a=3), lambda: EarlyStopping(what=1)):
        with pytest.raises(TypeError):
            wrong()
    for callback in (Described("me"), EarlyStopping("train_loss"), Slotted()):
        again = pickle.loads(pickle.dumps(callback))
        assert vars(again).keys() >= vars(callback).keys() - {"_given"}
        assert copy.copy(callback) is not callback


def test_clones_and_folds_have_callbacks_of_their_own():
    given = Keeps()
    model = MLPRegressor(max_iter=2, callbacks=[given], random_state=0)
    quietly(cross_val_score, model, X, VALUES, cv=2)
    assert given.count == 0
    seen = []
    added = MLPRegressor(max_iter=2, callbacks=[Into(seen)])
    quietly(cross_val_score, added, X, VALUES, cv=2)
    assert seen == [1, 2, 1, 2]
    quietly(model.fit, X, VALUES)
    again = clone(model)
    assert not hasattr(again, "callbacks_")
    assert again.callbacks[0].count == 0


# -- several calls ------------------------------------------------------------------------------


def test_callbacks_go_on_over_calls():
    given = Keeps()
    model = MLPRegressor(max_iter=2, warm_start=True, callbacks=[given], random_state=0)
    quietly(model.fit, X, VALUES)
    model.partial_fit(X, VALUES)
    model = pickle.loads(pickle.dumps(model))
    model.partial_fit(X, VALUES)
    quietly(model.fit, X, VALUES)
    (own,) = model.callbacks_
    assert own.nested == {"deep": [[1, 2, 3, 4, 5, 6]]}
    assert own.losses == model.loss_curve_
    assert given.count == 0


def test_of_another_list_the_same_callbacks_go_on():
    first, second = Keeps(), Keeps()
    model = MLPRegressor(callbacks=[first], random_state=0).partial_fit(X, VALUES)
    model.set_params(callbacks=[second, first]).partial_fit(X, VALUES)
    assert [list(one.by_epoch) for one in model.callbacks_] == [[2], [1, 2]]
    model.set_params(callbacks=None).partial_fit(X, VALUES)
    assert model.callbacks_ == []
    model.set_params(callbacks=[first]).partial_fit(X, VALUES)
    assert list(model.callbacks_[0].by_epoch) == [4]


def test_loggers_add_rows_over_calls(tmp_path):
    paths = tmp_path / "log.csv", tmp_path / "log.jsonl"
    loggers = [CSVLogger(paths[0]), JSONLogger(paths[1])]
    model = MLPClassifier((4,), max_iter=2, warm_start=True, callbacks=loggers, random_state=0)

    def rows():
        with paths[0].open(newline="") as file:
            table = list(csv.DictReader(file))
        lines = [json.loads(line) for line in paths[1].read_text().splitlines()]
        assert [float(row["train_loss"]) for row in table] == [x["train_loss"] for x in lines]
        assert [int(row["epoch"]) for row in table] == [x["epoch"] for x in lines]
        return [x["epoch"] for x in lines], [x["train_loss"] for x in lines]

    for number in range(1, 4):
        model.partial_fit(X[: 40 * number], LABELS[: 40 * number], classes=[0, 1, 2])
        assert rows() == (list(range(1, number + 1)), model.loss_curve_)
    quietly(model.fit, X, LABELS)
    assert rows() == ([1, 2, 3, 4, 5], model.loss_curve_)
    # What another process, or a call that failed, has done to a file is put right.
    paths[0].write_text("")
    model = pickle.loads(pickle.dumps(model)).partial_fit(X, LABELS)
    assert rows() == ([1, 2, 3, 4, 5, 6], model.loss_curve_)
    # A fit that begins anew begins a new file.
    quietly(model.set_params(warm_start=False).fit, X, LABELS)
    assert rows() == ([1, 2], model.loss_curve_)
    model.set_params(callbacks=None).partial_fit(X, LABELS)
    model.set_params(callbacks=loggers).partial_fit(X, LABELS)
    assert rows() == ([1, 2, 3, 4], model.loss_curve_)


def test_a_call_that_fails_leaves_no_row(tmp_path):
    class Fails(Callback):
        def on_epoch(self, network, record):
            if record.epoch == 2:
                raise ValueError("enough")

    logger = CSVLogger(tmp_path / "log.csv")
    model = MLPRegressor(callbacks=[logger, Fails()], random_state=0).partial_fit(X, VALUES)
    with pytest.raises(ValueError, match="enough"):
        model.partial_fit(X, VALUES)
    model.set_params(callbacks=[logger])
    model.partial_fit(X, VALUES).partial_fit(X, VALUES)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == model.loss_curve_


def test_a_loop_of_partial_fit_writes_each_row_once(tmp_path, monkeypatch):
    written = []
    write = CSVLogger.write_all
    monkeypatch.setattr(
        CSVLogger, "write_all", lambda self, history: written.append(1) or write(self, history)
    )
    model = MLPRegressor(callbacks=[CSVLogger(tmp_path / "log.csv")], random_state=0)
    for _ in range(5):
        model.partial_fit(X, VALUES)
    assert len(written) == 1
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 6


def test_tensorboard_goes_on_over_calls(tmp_path):
    pytest.importorskip("tensorboardX")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    model = MLPRegressor(callbacks=[TensorBoard(tmp_path)], random_state=0)
    for _ in range(3):
        model.partial_fit(X, VALUES)
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/train")] == [1, 2, 3]


def test_early_stopping_as_a_callback_sees_all_calls():
    """Attributes are those of the best epoch, and the training goes on from the last."""
    stopping = EarlyStopping("validation_loss", patience=2)
    options = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.3, "random_state": 0}
    options["batch_size"] = 40
    model = MLPRegressor(callbacks=[stopping], **options)
    plain = MLPRegressor(**options)
    held = X[80:], VALUES[80:]
    arrays = []
    for _ in range(40):
        model.partial_fit(X[:80], VALUES[:80], validation_data=held)
        plain.partial_fit(X[:80], VALUES[:80], validation_data=held)
        arrays.append(plain.coefs_[0])
        model = pickle.loads(pickle.dumps(model))
        curve = model.validation_loss_curve_
        assert curve == plain.validation_loss_curve_
        (own,) = model.callbacks_
        assert own.best == min(curve)
        assert own.best_epoch == curve.index(min(curve)) + 1
        np.testing.assert_array_equal(model.coefs_[0], arrays[own.best_epoch - 1])
        late = len(curve) - own.best_epoch >= 2
        assert model.stopped_ == late
        if late:
            break
    assert own.stopped_epoch == len(curve) < 40
    assert not plain.stopped_


class Halves(Callback):
    """Changes the network that a call results in, in place."""

    def on_finish(self, network):
        for value in network.params.values():
            value *= 0.5


@pytest.mark.parametrize("ema", [None, 0.5])
def test_what_a_callback_makes_of_the_result(ema):
    """It is what a call results in, while partial_fit goes on from the last step."""
    options = {"optimizer": Adam(0.01, ema=ema), "random_state": 0, "max_iter": 2}
    model, plain, logged = (
        MLPRegressor(callbacks=callbacks, **options) for callbacks in ([Halves()], None, [Keeps()])
    )
    for _ in range(3):
        for one in (model, plain, logged):
            one.partial_fit(X, VALUES)
        np.testing.assert_array_equal(model.coefs_[0], 0.5 * plain.coefs_[0])
        # Who only looks changes nothing.
        np.testing.assert_array_equal(logged.coefs_[0], plain.coefs_[0])
    for one in (plain, logged):
        quietly(one.fit, X, VALUES).partial_fit(X, VALUES)
    np.testing.assert_array_equal(logged.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_fit_goes_on_from_what_a_callback_has_made(ema):
    options = {"optimizer": Adam(1e-30, ema=ema), "random_state": 0, "max_iter": 1}
    model = MLPRegressor(callbacks=[Halves()], warm_start=True, alpha=0.0, **options)
    first = quietly(model.fit, X, VALUES).coefs_[0].copy()
    np.testing.assert_allclose(quietly(model.fit, X, VALUES).coefs_[0], 0.5 * first, rtol=1e-9)
    model.set_params(callbacks=None).partial_fit(X, VALUES)
    np.testing.assert_allclose(model.coefs_[0], 0.5 * first, rtol=1e-9)


def test_the_progress_bar_goes_on(capsys):
    model = MLPRegressor(callbacks=[ProgressBar()], random_state=0)
    model.partial_fit(X, VALUES).partial_fit(X, VALUES)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1", "2"]


def test_xpnet_fit_gives_callbacks_as_they_are():
    """There the callbacks are the user's own, and are told themselves."""
    given = Keeps()
    xpnet.fit(xpnet.mlp(6, 3), (X, LABELS), epochs=2, callbacks=[given], backend="numpy")
    assert given.count == 2
