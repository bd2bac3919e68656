"""Where the figures of the training set come from: measured, running, or none."""

import json

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    CheckpointError,
    CSVLogger,
    Dense,
    Dropout,
    EarlyStopping,
    JSONLogger,
    ReduceOnPlateau,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    TrainingDiverged,
    fit,
    initial_state,
    make_step,
    mlp,
    shuffled_batches,
)
from xpnet.inputs.weighted import Weighted
from xpnet.random import stream

pytestmark = pytest.mark.numerics

N = 75  # five batches of 16, the last of 11
X = stream(0, "x").normal(size=(N, 5))
Y = (X @ stream(0, "truth").normal(size=(5, 3))).argmax(axis=1)
WEIGHTS = stream(0, "weights").uniform(0, 3, size=N)
MODEL = Sequential(fc1=Dense(5, 8), bn=BatchNorm(8), act=ReLU(), drop=Dropout(0.3), fc2=Dense(8, 3))
OPTIONS = {"epochs": 3, "batch_size": 16, "optimizer": SGD(0.2), "seed": 4}


def train(train_metrics, backend="numpy", **changes):
    options = {"test": (X[:20], Y[:20]), **OPTIONS, **changes}
    return fit(MODEL, (X, Y), backend=backend, train_metrics=train_metrics, **options)


def plain_loop(backend, optimizer, weights):
    """The mean of the losses of each epoch's batches: a loop that reads each of them."""
    means = []
    with backend.scope():
        x = backend.asarray(X)
        y = backend.asarray(Y, dtype=backend.index_dtype)
        y = y if weights is None else Weighted(y, backend.asarray(weights, dtype=backend.dtype))
        state = initial_state(backend, MODEL, optimizer, 4)
        step = make_step(backend, MODEL, xpnet.softmax_cross_entropy, optimizer, seed=4)
        for epoch in (1, 2, 3):
            losses, sizes = [], []
            for rows in shuffled_batches(backend, N, 16, seed=4, epoch=epoch):
                state = step(state, x, y, rows)
                losses.append(float(backend.to_numpy(state["loss"])))
                sizes.append(rows.shape[0])
            means.append(np.average(losses, weights=sizes))
    return means


@pytest.mark.parametrize(
    ("optimizer", "weights"),
    [(SGD(0.2), None), (Adam(0.01, ema=0.9), WEIGHTS)],
    ids=["sgd", "adam-ema-weighted"],
)
def test_the_running_loss_is_the_mean_of_the_losses_of_the_batches(
    training_backend, optimizer, weights
):
    options = {"optimizer": optimizer, "sample_weight": weights}
    network = train("running", training_backend, **options)
    expected = plain_loop(training_backend, optimizer, weights)
    np.testing.assert_allclose(network.history["train_loss"], expected, rtol=1e-13)
    assert network.history["train_accuracy"] == [None] * 3
    # All else is as ever.
    measured = train("evaluated", training_backend, **options)
    assert network.history["test_loss"] == measured.history["test_loss"]
    assert network.history["test_accuracy"] == measured.history["test_accuracy"]
    for name, value in measured.arrays.items():
        found = training_backend.to_numpy(network.arrays[name])
        np.testing.assert_array_equal(found, training_backend.to_numpy(value))
    assert str(network.history[0]).startswith(f"epoch   1  loss {expected[0]:.4f}  test loss")


def test_of_full_batches_it_is_the_loss_measured_an_epoch_before(training_backend):
    options = {
        **OPTIONS, "batch_size": N, "sample_weight": WEIGHTS, "backend": training_backend,
        "loss": SoftmaxCrossEntropy(0.1, (1, 2, 3)),
    }  # fmt: skip
    measured = fit(mlp(5, 6, 3), (X, Y), **options)
    running = fit(mlp(5, 6, 3), (X, Y), train_metrics="running", **options)
    np.testing.assert_allclose(
        running.history["train_loss"][1:], measured.history["train_loss"][:-1], rtol=1e-12
    )


def test_groups_of_recorded_steps_sum_as_single_steps():
    """More than 16 steps in an epoch, and a backend that records them."""
    options = {"batch_size": 3, "epochs": 4}

    class EveryStep(Callback):
        def on_step(self, state, count):
            assert count == 1
            self.last = float(state["loss_sum"])

    single = EveryStep()
    expected = train("running", callbacks=[single], **options)
    assert single.last / N == expected.history[-1].train_loss
    assert train("running", **options).history["train_loss"] == expected.history["train_loss"]


def test_none_of_them(training_backend, tmp_path):
    loggers = [JSONLogger(tmp_path / "log.jsonl"), CSVLogger(tmp_path / "log.csv")]
    network = train("none", training_backend, callbacks=loggers, validation=0.2)
    measured = train("evaluated", training_backend, validation=0.2)
    for part in ("validation", "test"):
        for what in ("loss", "accuracy"):
            key = f"{part}_{what}"
            assert network.history[key] == measured.history[key]
    assert network.history["train_loss"] == network.history["train_accuracy"] == [None] * 3
    assert str(network.history[2]).startswith("epoch   3  validation loss ")
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["train_loss"] for row in rows] == [None] * 3
    assert (tmp_path / "log.csv").read_text().splitlines()[1].startswith("1,,,")
    network.save(tmp_path / "n.safetensors")
    assert xpnet.load(tmp_path / "n.safetensors").history["train_loss"] == [None] * 3


@pytest.mark.parametrize(
    ("train_metrics", "lines"),
    [
        ("evaluated", ["training set", "test set"]),
        ("running", ["test set"]),
        ("none", ["test set"]),
    ],
)
def test_curves_of_what_was_measured(train_metrics, lines):
    pytest.importorskip("matplotlib")
    from xpnet.plots import plot_curves

    loss_axes, accuracy_axes = plot_curves(train(train_metrics).history).axes
    assert [line.get_label() for line in accuracy_axes.lines] == lines
    losses = ["training set"] * (train_metrics != "none") + ["test set"]
    assert [line.get_label() for line in loss_axes.lines] == losses


def test_curves_of_nothing():
    pytest.importorskip("matplotlib")
    from xpnet.plots import plot_curves

    (axes,) = plot_curves(train("none", test=None).history).axes
    assert not axes.lines
    assert str(train("none", test=None).history[1]).startswith("epoch   2    0.")


def test_tensorboard_has_what_there_is(tmp_path):
    from xpnet.callbacks.loggers import _tags

    tags = _tags(train("running").history[0])
    assert "loss/train" in tags
    assert "accuracy/train" not in tags
    assert "loss/train" not in _tags(train("none").history[0])


# -- what is refused ------------------------------------------------------------------------------


def watched(make, monitor):
    if make is ReduceOnPlateau:
        return {"optimizer": SGD(0.1, schedule=ReduceOnPlateau(monitor))}
    return {"callbacks": [make("folder", monitor=monitor) if make is Checkpoint else make(monitor)]}


@pytest.mark.parametrize("make", [EarlyStopping, Checkpoint, ReduceOnPlateau])
@pytest.mark.parametrize(
    ("train_metrics", "monitor"),
    [("running", "train_accuracy"), ("none", "train_accuracy"), ("none", "train_loss")],
)
def test_what_is_not_measured_cannot_be_watched(
    make, train_metrics, monitor, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    message = f"{make.__name__}.*train_metrics='{train_metrics}'"
    with pytest.raises(ValueError, match=message):
        train(train_metrics, **watched(make, monitor))
    assert not list(tmp_path.iterdir())
    train("evaluated", **watched(make, monitor))


def test_the_running_loss_can_be_watched():
    stopping = EarlyStopping("train_loss", patience=2, min_delta=10.0)
    network = train("running", epochs=9, callbacks=[stopping])
    assert (len(network.history), stopping.best) == (3, network.history[0].train_loss)
    schedule = ReduceOnPlateau("train_loss", patience=0, min_delta=10.0, factor=0.5)
    network = train("running", optimizer=SGD(0.1, schedule=schedule))
    assert network.history["learning_rate"] == [0.1, 0.1, 0.05]


@pytest.mark.parametrize("word", ["sometimes", None, True])
def test_other_words_are_refused(word):
    with pytest.raises(ValueError, match=f"one of evaluated, running, none; got {word!r}"):
        train(word)


# -- numbers that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("train_metrics", ["evaluated", "running", "none"])
def test_a_training_that_diverges_is_ended(training_backend, train_metrics):
    backend = type(training_backend)(None, "float32")
    message = r"training loss became .* in epoch 1 \(steps 1 to 5\) with learning rate 1e\+30"
    with pytest.raises(TrainingDiverged, match=message):
        fit(mlp(5, 8, 3), (X, Y), train_metrics=train_metrics, backend=backend,
            **{**OPTIONS, "optimizer": SGD(1e30)})  # fmt: skip


@pytest.mark.parametrize("train_metrics", ["running", "none"])
def test_what_the_last_step_did_is_seen(training_backend, train_metrics):
    """Its loss was finite, since it is that before the step."""
    backend = type(training_backend)(None, "float32")
    with pytest.raises(TrainingDiverged, match=r"fc1\.weight became infinite .* \(step 1\)"):
        fit(mlp(5, 3), (1e4 * X, Y), train_metrics=train_metrics, backend=backend,
            epochs=1, batch_size=N, optimizer=SGD(1e36))  # fmt: skip


# -- going on -------------------------------------------------------------------------------------


class BreaksOff(Callback):
    every_step = False

    def __init__(self, steps):
        self.left = steps

    def on_step(self, state, count):
        self.left -= count
        if self.left <= 0:
            raise RuntimeError("broken off")


@pytest.mark.parametrize("train_metrics", ["running", "none"])
def test_a_training_goes_on_within_an_epoch(training_backend, train_metrics, tmp_path):
    """With the losses of the batches before the break."""
    options = {"batch_size": 4, "backend": training_backend}
    expected = train(train_metrics, **options)
    saving = [Checkpoint(tmp_path, every_steps=1), BreaksOff(30)]
    with pytest.raises(RuntimeError, match="broken off"):
        train(train_metrics, callbacks=saving, **options)
    saved = xpnet.read_snapshot(tmp_path)
    assert saved.epoch == 1
    assert ("loss_sum" in saved.arrays) == (train_metrics == "running")
    network = train(train_metrics, resume=tmp_path, **options)
    for key in ("train_loss", "test_loss", "train_accuracy"):
        assert network.history[key] == expected.history[key]
    with pytest.raises(CheckpointError, match=f"train_metrics was {train_metrics}, and is evaluat"):
        train("evaluated", resume=tmp_path, **options)


def test_a_step_that_sums_reads_nothing_on_the_host():
    from xpnet.conformance.recording import Recorder, RecordingBackend

    backend = RecordingBackend(Recorder())
    x, y = backend.asarray(X), backend.asarray(Y)
    state = initial_state(backend, MODEL, SGD(0.1), 0, sum_losses=True)
    step = make_step(backend, MODEL, xpnet.softmax_cross_entropy, SGD(0.1), sum_losses=True)
    losses = []
    for rows in (np.arange(9), np.arange(9, 20)):
        state = step(state, x, y, backend.asarray(rows))
        losses.append(rows.size * float(state["loss"].value))
    assert float(state["loss_sum"].value) == pytest.approx(sum(losses), rel=1e-14)


def test_parity_compares_running_losses():
    from xpnet.parity import compare_backends

    data = xpnet.load_dataset("digits").limited(100)
    options = {"epochs": 1, "train_metrics": "running"}
    report = compare_backends(mlp(64, 10), data, ["numpy", "array_api_strict"], **options)
    assert report.holds, report
    with pytest.raises(ValueError, match="train_metrics must not be 'none'"):
        compare_backends(mlp(64, 10), data, ["numpy", "array_api_strict"], train_metrics="none")
