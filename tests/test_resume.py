"""A training that is saved and goes on: the same bytes as without a break."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from xpnet import (
    SGD,
    Callback,
    Checkpoint,
    CheckpointError,
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    RunError,
    fit,
    load,
    load_dataset,
    mean_squared_error,
    mlp,
    open_backend,
    read_snapshot,
    softmax_cross_entropy,
)
from xpnet.random import stream
from xpnet.runs.folder import NumberedRunFolder, RunFolder
from xpnet.saving.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.numerics

DIGITS = load_dataset("digits").limited(150)
X, Y = DIGITS.train.images.reshape(150, 64) / 16, DIGITS.train.labels.astype(np.int64)
MODEL = mlp(64, 8, 10, dropout=0.3)
OPTIONS = {"epochs": 3, "batch_size": 7, "seed": 11, "optimizer": SGD(0.2), "validation": 0.2}
"""120 samples are trained on: 18 steps an epoch, of which the last is smaller."""


class Momentum(SGD):
    """An optimizer that keeps something, so that it has an `opt/` to be saved."""

    def init(self, xp, params):
        return {name: xp.zeros_like(value) for name, value in params.items()}

    def update(self, xp, params, grads, slots, learning_rate):
        for name, gradient in grads.items():
            slots[name] = 0.9 * slots[name] + gradient
            params[name] = params[name] - learning_rate * slots[name]
        return params, slots


class StopAt(Callback):
    """Ends the training by an error after so many steps, as a machine that fails would."""

    every_step = False

    def __init__(self, steps):
        self.steps = steps

    def on_step(self, state, count):
        self.steps -= count
        if self.steps <= 0:
            raise RuntimeError("the machine fails")


def assert_same(network, expected):
    to_numpy = network.backend.to_numpy
    for name, value in expected.params.items():
        np.testing.assert_array_equal(to_numpy(network.params[name]), to_numpy(value))
    assert without_seconds(network.history) == without_seconds(expected.history)


def without_seconds(history):
    seconds = ("train_seconds", "eval_seconds")
    return [{k: v for k, v in row.to_dict().items() if k not in seconds} for row in history]


@pytest.mark.parametrize(
    ("optimizer", "breaks"), [(Momentum(0.05), (5, 40)), (SGD(0.2), (18, 25))], ids=str
)
def test_a_training_that_fails_goes_on_to_the_same_bytes(
    training_backend, tmp_path, optimizer, breaks
):
    """Within an epoch and at its end, in the middle of groups of steps, with dropout."""
    options = {**OPTIONS, "optimizer": optimizer, "backend": training_backend}
    expected = fit(MODEL, (X, Y), **options)
    for steps in breaks:
        folder = tmp_path / str(steps)
        saving = Checkpoint(folder, every_steps=3)
        # A callback that is called last must not see steps in groups of which none was saved.
        with pytest.raises(RuntimeError, match="the machine fails"):
            fit(MODEL, (X, Y), callbacks=[saving, StopAt(steps)], **options)
        saved = read_snapshot(folder)
        assert saved.epoch * 18 + saved.step <= steps
        network = fit(MODEL, (X, Y), resume=folder, **options)
        assert_same(network, expected)


def test_a_break_within_a_group_of_steps(training_backend, tmp_path, monkeypatch):
    """Saved after 4 of 18 steps, taken by fours; gone on with in groups of another size."""
    monkeypatch.setattr(type(training_backend), "steps_per_call", 4)
    options = {**OPTIONS, "backend": training_backend}
    expected = fit(MODEL, (X, Y), **options)
    with pytest.raises(RuntimeError):
        fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path, every_steps=1), StopAt(26)], **options)
    for group in (1, 4, 5, 512):
        saved = read_snapshot(tmp_path)
        assert 0 < saved.step < 18
        assert saved.steps_per_call == 4
        object.__setattr__(saved, "steps_per_call", group)
        network = fit(MODEL, (X, Y), resume=saved, **options)
        for name, value in expected.params.items():
            np.testing.assert_allclose(
                training_backend.to_numpy(network.params[name]),
                training_backend.to_numpy(value),
                rtol=1e-12,
                atol=1e-14,
                err_msg=f"{name} in groups of {group}",
            )
        if group == 4:
            assert_same(network, expected)


def test_streamed_samples_go_on_within_an_epoch(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", DIGITS.train.images)
    options = {**OPTIONS, "backend": "numpy"}
    expected = fit(MODEL, (DIGITS.train.images, Y), **options)
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    monkeypatch.setattr("xpnet.backends.numpy.NumpyBackend.steps_per_call", 1)
    data = np.load(tmp_path / "x.npy", mmap_mode="r"), Y
    with pytest.raises(RuntimeError):
        fit(MODEL, data, callbacks=[Checkpoint(tmp_path, every_steps=1), StopAt(26)], **options)
    assert read_snapshot(tmp_path).step == 7
    assert_same(fit(MODEL, data, resume=tmp_path, **options), expected)


def test_a_snapshot_is_not_changed_by_what_follows(training_backend):
    kept = []

    class Keep(Callback):
        def wants_snapshot(self, epoch, step, *, last):
            return (epoch, step) == (1, 4)

        def on_snapshot(self, snapshot):
            kept.append(snapshot)

    options = {**OPTIONS, "backend": training_backend}
    monitored = [Keep(), StopAt(10**9)]
    monitored[1].every_step = True
    expected = fit(MODEL, (X, Y), callbacks=monitored, **options)
    monitored = [StopAt(10**9)]
    monitored[0].every_step = True
    assert_same(fit(MODEL, (X, Y), resume=kept[0], callbacks=monitored, **options), expected)


def test_stopping_after_each_epoch_changes_nothing(training_backend, tmp_path):
    options = {**OPTIONS, "backend": training_backend}
    expected = fit(MODEL, (X, Y), callbacks=[EarlyStopping()], **options)
    resume = None
    for epoch in (1, 2, 3):
        stopping = EarlyStopping()
        network = fit(
            MODEL, (X, Y), stop_after=epoch, resume=resume,
            callbacks=[Checkpoint(tmp_path), stopping], **options,
        )  # fmt: skip
        assert len(network.history) == epoch
        resume = tmp_path
    assert_same(network, expected)


def test_saved_on_one_backend_it_goes_on_on_any_other(training_backend, tmp_path, caplog):
    options = {**OPTIONS, "optimizer": Momentum(0.05), "dtype": "float64"}
    expected = fit(MODEL, (X, Y), backend="numpy", **options)
    fit(
        MODEL, (X, Y), backend="numpy", stop_after=2,
        callbacks=[Checkpoint(tmp_path), EarlyStopping()], **options,
    )  # fmt: skip
    options.pop("dtype")
    network = fit(
        MODEL, (X, Y), backend=training_backend, resume=tmp_path,
        callbacks=[Checkpoint(tmp_path), EarlyStopping(restore_best=False)], **options,
    )  # fmt: skip
    np.testing.assert_allclose(
        network.history["train_loss"], expected.history["train_loss"], rtol=1e-9
    )
    warned = "saved on numpy and goes on with" in caplog.text
    assert warned == (training_backend.name != "numpy")


def test_the_number_of_threads_is_that_of_before(tmp_path):
    backend = open_backend("numpy", threads=1)
    fit(MODEL, (X, Y), backend=backend, callbacks=[Checkpoint(tmp_path)], stop_after=1, **OPTIONS)
    assert read_snapshot(tmp_path).threads == 1
    again = open_backend("numpy")
    fit(MODEL, (X, Y), backend=again, resume=tmp_path, **OPTIONS)
    assert again.threads == 1


def test_other_threads_than_before_are_told_of(tmp_path, caplog):
    backend = open_backend("numpy", threads=1)
    fit(MODEL, (X, Y), backend=backend, callbacks=[Checkpoint(tmp_path)], stop_after=1, **OPTIONS)
    again = open_backend(backend.name, threads=2)
    fit(MODEL, (X, Y), backend=again, resume=tmp_path, **OPTIONS)
    assert "saved with 1 thread and goes on with 2" in caplog.text


# -- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [2, 5, 8])
def test_early_stopping_goes_on_where_it_was(tmp_path, epoch):
    """The best parameters and the count of patience survive, and so does the end."""
    options = {**OPTIONS, "epochs": 60, "optimizer": SGD(2.0), "backend": "numpy"}
    whole = EarlyStopping(patience=3)
    expected = fit(MODEL, (X, Y), callbacks=[whole], **options)
    assert whole.stopped_epoch == len(expected.history) == whole.best_epoch + 3
    assert epoch < whole.stopped_epoch
    stopping = EarlyStopping(patience=3)
    fit(
        MODEL, (X, Y), stop_after=epoch, callbacks=[Checkpoint(tmp_path), stopping], **options
    )  # fmt: skip
    for _ in range(2):  # the second time it is finished already
        stopping = EarlyStopping(patience=3)
        network = fit(
            MODEL, (X, Y), resume=tmp_path, callbacks=[Checkpoint(tmp_path), stopping], **options
        )
        assert_same(network, expected)
        assert (stopping.best, stopping.best_epoch) == (whole.best, whole.best_epoch)
        assert stopping.stopped_epoch == whole.stopped_epoch


def test_logs_are_those_of_a_training_without_a_break(tmp_path):
    def logs(folder):
        return [JSONLogger(folder / "log.jsonl"), CSVLogger(folder / "log.csv")]

    options = {**OPTIONS, "backend": "numpy"}
    fit(MODEL, (X, Y), callbacks=[*logs(tmp_path / "a")], **options)
    folder = tmp_path / "b"
    fit(MODEL, (X, Y), callbacks=[*logs(folder), Checkpoint(folder)], stop_after=1, **options)
    # An epoch that was logged, and whose checkpoint was not written.
    for name in ("log.jsonl", "log.csv"):
        with (folder / name).open("a") as file:
            file.write("lost")
    fit(MODEL, (X, Y), callbacks=[*logs(folder), Checkpoint(folder)], resume=folder, **options)
    for name in ("log.jsonl", "log.csv"):
        texts = [(folder / name).read_text() for folder in (tmp_path / "a", folder)]
        assert len(texts[0].splitlines()) == 3 + name.endswith("csv")
        first, second = (re.sub(r"\d+\.\d+e?-?\d*", "", text) for text in texts)
        assert first == second


def test_a_callback_of_ones_own_carries_its_state(tmp_path):
    class Count(Callback):
        def on_start(self, network, *, epochs, steps):
            self.epochs, self.losses = 0, np.zeros(0)

        def on_epoch(self, network, record):
            self.epochs += 1
            self.losses = np.append(self.losses, record.train_loss)

        def state_dict(self):
            return {"epochs": self.epochs, "losses": self.losses}

        def load_state_dict(self, state):
            self.epochs, self.losses = state["epochs"], state["losses"]

    options = {**OPTIONS, "backend": "numpy"}
    first = [Count(), Count(), Checkpoint(tmp_path)]
    fit(MODEL, (X, Y), callbacks=first, stop_after=1, **options)
    second = [Count(), Count(), Checkpoint(tmp_path)]
    network = fit(MODEL, (X, Y), callbacks=second, resume=tmp_path, **options)
    for count in second[:2]:
        assert count.epochs == 3
        assert count.losses.tolist() == network.history["train_loss"]
    with pytest.raises(CheckpointError, match="Count-2 was one of the callbacks, and is not"):
        fit(MODEL, (X, Y), callbacks=[Count()], resume=tmp_path, **options)


# -- what is refused ------------------------------------------------------------------------------


def other_loss(xp, output, target, *, need_grad=True):
    return softmax_cross_entropy(xp, output, target, need_grad=need_grad)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    fit(
        MODEL, (X, Y), backend="numpy", stop_after=1,
        callbacks=[Checkpoint(folder), EarlyStopping()], **OPTIONS,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size was 7, and is 8"),
        ({"seed": 12}, "seed was .*11.*, and is .*12"),
        ({"optimizer": SGD(0.1)}, r"optimizer was SGD\(0.2\), and is SGD\(0.1\)"),
        ({"optimizer": Momentum(0.2)}, "optimizer was SGD.*, and is Momentum"),
        ({"loss": other_loss}, "loss was SoftmaxCrossEntropy.*, and is .*other_loss"),
        ({"dtype": "float64"}, "dtype was float32, and is float64"),
        ({"validation": 0.1}, "kept for validation was 30, and is 15"),
        ({"validation": (X[:30], Y[:30])}, "kept for validation was 30, and is None"),
        ({"test": (X[:9], Y[:9])}, r"test set was None, and is .*\[9, 64\]"),
        ({"model": mlp(64, 9, 10)}, "model was .*, and is"),
        ({"data": (X[:140], Y[:140])}, r"training set was .*\[150, 64\].*, and is .*\[140, 64\]"),
        ({"data": (X[::-1], Y)}, r"training set was .*\[150, 64\].*, and is .*\[150, 64\]"),
        ({"data": (X, Y[::-1])}, "training set was"),
        ({"callbacks": []}, "EarlyStopping was one of the callbacks, and is not"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_training_is_refused(saved, change, message):
    options = {
        "model": MODEL, "data": (X, Y), "backend": "numpy", "callbacks": [EarlyStopping()],
        **OPTIONS, **change,
    }  # fmt: skip
    with pytest.raises(CheckpointError, match=message):
        fit(**options, resume=saved)


def test_more_epochs_are_allowed(saved):
    options = {**OPTIONS, "epochs": 5, "backend": "numpy"}
    network = fit(MODEL, (X, Y), resume=saved, callbacks=[EarlyStopping()], **options)
    assert_same(network, fit(MODEL, (X, Y), callbacks=[EarlyStopping()], **options))


def resume_changed(saved, tmp_path, change):
    arrays, metadata = read_tensors(saved / "checkpoint.safetensors")
    change(arrays, metadata)
    write_tensors(tmp_path / "changed", arrays, metadata)
    fit(
        MODEL, (X, Y), resume=tmp_path / "changed", backend="numpy",
        callbacks=[EarlyStopping()], **OPTIONS,
    )  # fmt: skip


def test_arrays_that_do_not_fit_are_listed(saved, tmp_path):
    def change(arrays, metadata):
        arrays["param/fc3.weight"] = arrays.pop("param/fc1.weight")
        arrays["param/fc1.bias"] = np.zeros(3, dtype=np.float32)
        arrays["step"] = np.float32(1.0)
        arrays["param/fc2.bias"] = np.full(10, np.nan, dtype=np.float32)

    with pytest.raises(CheckpointError) as info:
        resume_changed(saved, tmp_path, change)
    for part in (
        "missing: param/fc1.weight", "unexpected: param/fc3.weight",
        "param/fc1.bias has shape (3,)", "step (float32) holds what are not integers",
        "param/fc2.bias (float32) holds what are not finite",
    ):  # fmt: skip
        assert part in str(info.value)


def change_training(name, before, after):
    """What changes a text, or a number that is described, of a saved training."""

    def change(arrays, metadata):
        training = metadata["training"]
        text = json.dumps(training[name])
        assert before in text
        training[name] = json.loads(text.replace(before, after))

    return change


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("loss", "label_smoothing=0.0", "label_smoothing=0"),
        ("optimizer", "SGD(0.2)", "SGD(2e-1)"),
        ("batch_size", "7", "7.0"),
        ("model", '"rate": 0.3', '"rate": 3.0e-1'),
        ("model", '"n_out": 8', '"n_out": 8.0'),
    ],
)
def test_the_same_number_is_the_same_training(saved, tmp_path, name, before, after):
    resume_changed(saved, tmp_path, change_training(name, before, after))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("loss", "label_smoothing=0.0", "label_smoothing=False"),
        ("loss", "label_smoothing=0.0", "label_smoothing='0'"),
        ("model", '"bias": true', '"bias": 1'),
        ("drop_last", "null", "0"),
    ],
)
def test_what_is_no_number_is_not_compared_as_one(saved, tmp_path, name, before, after):
    with pytest.raises(CheckpointError, match=f"resume: .* another one than this: {name} was"):
        resume_changed(saved, tmp_path, change_training(name, before, after))


@pytest.mark.parametrize("key", ["epoch", "history", "callbacks", "configuration"])
def test_damaged_metadata(saved, tmp_path, key):
    with pytest.raises(CheckpointError, match="the metadata describes no training"):
        resume_changed(saved, tmp_path, lambda arrays, metadata: metadata.pop(key))


@pytest.mark.parametrize("value", [-1, "1", None, 1.5, True])
def test_damaged_numbers(saved, tmp_path, value):
    with pytest.raises(CheckpointError, match="the metadata describes no training"):
        resume_changed(saved, tmp_path, lambda arrays, metadata: metadata.update(epoch=value))


def test_a_network_is_no_training_and_a_training_no_network(saved, tmp_path):
    fit(mlp(64, 10), (X, Y), epochs=1, backend="numpy").save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="this is a network, which can predict"):
        read_snapshot(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"the checkpoint of a training: give it to fit"):
        load(saved / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors: there is no such file"):
        fit(MODEL, (X, Y), resume=tmp_path, backend="numpy", **OPTIONS)
    with pytest.raises(TypeError, match="resume must be a file, a folder or a Snapshot, got 3"):
        fit(MODEL, (X, Y), resume=3, backend="numpy", **OPTIONS)


def test_a_snapshot_is_what_was_saved(saved):
    snapshot = read_snapshot(saved)
    assert (snapshot.epoch, snapshot.step, snapshot.epochs) == (1, 0, 3)
    assert not snapshot.finished
    assert snapshot.backend == "numpy"
    assert snapshot.configuration is None
    assert set(snapshot.arrays) >= {"param/fc1.weight", "learning_rate", "step", "loss"}
    assert int(snapshot.arrays["step"]) == 18


def test_figures_that_are_no_numbers_come_back(tmp_path):
    """The square of 1e30 is infinite in float32, in whatever order a processor adds."""
    test = (X[:3], np.full(3, 1e30))
    options = {**OPTIONS, "loss": mean_squared_error, "test": test, "backend": "numpy"}
    network = fit(
        mlp(64, 8, 1), (X, Y / 10), stop_after=1, callbacks=[Checkpoint(tmp_path)], **options
    )
    (record,) = read_snapshot(tmp_path).records
    np.testing.assert_equal(vars(record), vars(network.history[0]))
    assert record.test_loss == np.inf


# -- run folders ----------------------------------------------------------------------------------


def test_a_run_folder_goes_on(tmp_path):
    options = {**OPTIONS, "backend": "numpy"}
    fit(MODEL, (X, Y), callbacks=[EarlyStopping(), RunFolder(tmp_path / "a")], **options)
    numbered = NumberedRunFolder("digits", tmp_path, configuration={"dataset": "digits"})
    fit(MODEL, (X, Y), callbacks=[numbered, EarlyStopping()], stop_after=2, **options)
    path = tmp_path / "digits-1"
    assert read_snapshot(path).configuration == {"dataset": "digits"}
    folder = RunFolder(path, resume=True)
    fit(MODEL, (X, Y), callbacks=[folder, EarlyStopping()], resume=path, **options)
    for name in ("model.safetensors", "best.safetensors"):
        assert (path / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    best = min(load(path).history, key=lambda record: record.validation_loss).epoch
    assert len(load(path / "best.safetensors").history) == best
    np.testing.assert_array_equal(
        load(path).params["fc1.weight"], load(path / "best.safetensors").params["fc1.weight"]
    )


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = f".checkpoint.safetensors.{'0123456789abcdef'}.xpnet-part"
    for name in (left, ".checkpoint.safetensors.original", ".mine", "other"):
        (tmp_path / name).touch()
    fit(MODEL, (X, Y), backend="numpy", callbacks=[Checkpoint(tmp_path)], **OPTIONS)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == ".checkpoint.safetensors.original"
    assert names[1:] == [".mine", "best.safetensors", "checkpoint.safetensors", "other"]


def test_a_run_folder_is_not_replaced_by_mistake(tmp_path):
    options = {**OPTIONS, "backend": "numpy", "stop_after": 1}
    with pytest.raises(RunError, match="no run that could go on"):
        RunFolder(tmp_path / "a", resume=True)
    fit(MODEL, (X, Y), callbacks=[RunFolder(tmp_path / "a")], **options)
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(RunError, match="holds a run already"):
        RunFolder(tmp_path / "a")
    with pytest.raises(RunError, match=r"give fit\(\.\.\., resume=path\) as well"):
        fit(MODEL, (X, Y), callbacks=[RunFolder(tmp_path / "a", resume=True)], **options)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}


RUN = """
import os, sys, time
import numpy as np
from xpnet import Callback, EarlyStopping, fit, load_dataset, mlp
from xpnet.runs.folder import RunFolder

path = sys.argv[1]
data = load_dataset("digits").limited(150)
resume = os.path.exists(os.path.join(path, "checkpoint.safetensors"))

class Slow(Callback):
    def on_step(self, state, count):
        time.sleep(float(sys.argv[2]))

print("starts", flush=True)
fit(
    mlp(64, 8, 10, dropout=0.3), data, epochs=30, batch_size=7, seed=11, validation=0.2,
    backend="numpy", resume=path if resume else None,
    callbacks=[
        RunFolder(path, resume=resume, force=True, every_steps=4), EarlyStopping(patience=9), Slow()
    ],
)
print("done", flush=True)
"""


def start_run(path, pause):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(path), str(pause)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_that_is_killed_again_and_again(tmp_path):
    """SIGKILL at random moments, at least 20 times; at the end the bytes of a run without."""
    whole = start_run(tmp_path / "whole", 0)
    assert "done" in whole.communicate(timeout=60)[0]
    kills, pause, rng = 0, 0.004, stream(time.time_ns() % 2**32, "kills")
    path = tmp_path / "killed"
    while True:
        process = start_run(path, pause if kills < 20 else 0)
        assert process.stdout.readline() == "starts\n", process.stderr.read()
        if kills < 20:
            time.sleep(rng.uniform(0.0, 0.15))
            process.kill()
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            assert "done" in out
            break
        assert process.returncode == -signal.SIGKILL, err
        kills += 1
        # What a reader finds at this moment is whole.
        if (path / "model.safetensors").exists():
            load(path)
        if (path / "checkpoint.safetensors").exists():
            assert not read_snapshot(path).finished
    assert kills >= 20
    assert [p.name for p in path.iterdir() if p.name.startswith(".")] == []
    for name in ("model.safetensors", "best.safetensors"):
        assert (path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    histories = [(p / "history.jsonl").read_text() for p in (path, tmp_path / "whole")]
    first, second = (re.sub(r'"(train|eval)_seconds": [^,]*', "", text) for text in histories)
    assert first == second
