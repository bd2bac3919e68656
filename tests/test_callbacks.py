"""What happens beside a training: early stopping, logs, saving, interruptions and failures."""

import csv
import errno
import itertools
import json
import math
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import CPU_BACKENDS, require

import xpnet
from xpnet import (
    SGD,
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    EpochRecord,
    JSONLogger,
    OutOfMemory,
    ProgressBar,
    ReduceOnPlateau,
    RunError,
    TensorBoard,
    TrainingDiverged,
    fit,
    load,
    load_dataset,
    mean_squared_error,
    mlp,
    open_backend,
    read_snapshot,
    shuffled_batches,
)
from xpnet.callbacks.early_stopping import Monitor
from xpnet.random import permutation, stream
from xpnet.training.interrupts import Interrupts

pytestmark = pytest.mark.libraries

DIGITS = load_dataset("digits").limited(100)
X, Y = DIGITS.train.images.reshape(100, 64) / 16, DIGITS.train.labels.astype(np.int64)
MODEL = mlp(64, 8, 10)
OPTIONS = {"epochs": 3, "batch_size": 10, "seed": 2, "backend": "numpy"}


def record(epoch, value, name="validation_loss"):
    figures = {"train_loss": 1.0, "train_accuracy": 0.5, "test_loss": None, "test_accuracy": None}
    return EpochRecord(
        epoch=epoch, train_seconds=0.0, eval_seconds=0.0, learning_rate=0.1,
        **{**figures, name: value},
    )  # fmt: skip


# -- early stopping -------------------------------------------------------------------------------


def stop_epoch(values, **options):
    """The epoch that a training with these figures is ended after, and the best one."""
    stopping = EarlyStopping(**options)
    network = fit(MODEL, (X, Y), stop_after=1, **OPTIONS)
    stopping.on_start(network, epochs=99, steps=1)
    for epoch, value in enumerate(values, start=1):
        if stopping.on_epoch(network, record(epoch, value, options.get("monitor", "train_loss"))):
            return epoch, stopping.best_epoch
    return None, stopping.best_epoch


@pytest.mark.parametrize("seed", range(8))
def test_patience_is_counted_as_by_hand(seed):
    rng = stream(seed, "curve")
    values = (rng.random(40) + np.exp(-np.arange(40) / 10)).tolist()
    for patience, min_delta, mode in itertools.product((1, 2, 5), (0.0, 0.1), ("min", "max")):
        sign = 1 if mode == "min" else -1
        best, at, expected = math.inf, None, None
        for epoch, value in enumerate(values, start=1):
            if sign * value < best - min_delta:
                best, at = sign * value, epoch
            elif epoch - at >= patience:
                expected = epoch
                break
        found = stop_epoch(
            values, monitor="train_loss", patience=patience, min_delta=min_delta, mode=mode
        )
        assert found == (expected, at)


def test_keras_stops_after_the_same_epoch():
    """The rule of Keras' EarlyStopping, for figures that its documentation has an example of."""
    values = [1.0, 0.9, 0.95, 0.91, 0.9, 0.92]
    assert stop_epoch(values, monitor="train_loss", patience=3) == (5, 2)
    assert stop_epoch(values, monitor="train_loss", patience=5) == (None, 2)


def test_what_is_no_number_is_no_improvement():
    assert stop_epoch([math.nan, math.inf, 1.0], monitor="train_loss", patience=2) == (2, None)
    assert stop_epoch([1.0, -math.inf, 0.5], monitor="train_loss", patience=2) == (None, 3)


def test_accuracies_shall_rise_and_losses_fall():
    assert Monitor("validation_accuracy").improves(0.6, 0.5)
    assert not Monitor("validation_accuracy").improves(0.5, 0.5)
    assert Monitor("test_loss").improves(0.4, 0.5)
    assert Monitor("test_loss", "max").improves(0.6, 0.5)
    assert not Monitor("test_loss", min_delta=0.2).improves(0.4, 0.5)


class Best(Callback):
    """Keeps the parameters of the epoch with the least validation loss."""

    def on_epoch(self, network, record):
        losses = network.history["validation_loss"]
        if record.validation_loss == min(losses) and losses.count(min(losses)) == 1:
            self.params = network.copy().params


@pytest.mark.parametrize("optimizer", [SGD(1.0), SGD(0.01)])
def test_the_best_parameters_are_restored(training_backend, optimizer):
    """Also where the epochs come to their end; and a folder that was given first has them."""
    best, stopping = Best(), EarlyStopping(patience=3)
    options = {**OPTIONS, "epochs": 12, "backend": training_backend, "optimizer": optimizer}
    network = fit(MODEL, (X, Y), validation=0.3, callbacks=[best, stopping], **options)
    assert stopping.stopped_epoch == (len(network.history) if optimizer == SGD(1.0) else None)
    to_numpy = training_backend.to_numpy
    for name, value in best.params.items():
        np.testing.assert_array_equal(to_numpy(network.params[name]), to_numpy(value))
    stopping = EarlyStopping(patience=3, restore_best=False)
    last = fit(MODEL, (X, Y), validation=0.3, callbacks=[stopping], **options)
    same = np.array_equal(to_numpy(last.params["fc2.bias"]), to_numpy(network.params["fc2.bias"]))
    assert same == (stopping.best_epoch == len(last.history))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "loss"}, "monitor must be one of validation_loss"),
        ({"mode": "less"}, "mode must be one of min, max"),
        ({"min_delta": -1}, "min_delta must be at least 0 and finite"),
        ({"min_delta": math.nan}, "min_delta must be at least 0 and finite"),
        ({"patience": 0}, "patience must be a positive integer"),
    ],
)
def test_early_stopping_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)


def test_a_figure_that_is_not_there_is_told_before_the_training():
    with pytest.raises(ValueError, match=r"watches validation_loss, but there is no validation se"):
        fit(MODEL, (X, Y), callbacks=[EarlyStopping()], **OPTIONS)
    with pytest.raises(ValueError, match=r"watches test_accuracy, but there is no test set"):
        fit(MODEL, (X, Y), callbacks=[EarlyStopping("test_accuracy")], **OPTIONS)
    fit(MODEL, (X, Y), callbacks=[EarlyStopping("train_loss")], **OPTIONS)


# -- the course of a training ---------------------------------------------------------------------


def test_a_callback_ends_the_training():
    calls = []

    class Stop(Callback):
        def on_epoch(self, network, record):
            return np.bool_(record.epoch == 2)

    class Watch(Callback):
        def on_epoch(self, network, record):
            calls.append(record.epoch)

        def on_finish(self, network):
            calls.append("finish")

        def on_end(self, network):
            calls.append("end")

    network = fit(MODEL, (X, Y), callbacks=[Stop(), Watch()], **OPTIONS)
    assert len(network.history) == 2
    assert calls == [1, 2, "finish", "end"]
    calls.clear()
    fit(MODEL, (X, Y), callbacks=[Watch()], stop_after=1, **OPTIONS)
    assert calls == [1, "end"]


@pytest.mark.parametrize("answer", [1, "stop", np.ones(2)])
def test_an_answer_that_is_none_is_refused(answer):
    class Stop(Callback):
        def on_epoch(self, network, record):
            return answer

    with pytest.raises(TypeError, match=r"Stop\.on_epoch must return True to end the training"):
        fit(MODEL, (X, Y), callbacks=[Stop()], **OPTIONS)


def test_snapshots_are_asked_for_when_all_have_been_told(monkeypatch):
    calls = []

    class Watch(Callback):
        every_step = False

        def on_epoch(self, network, record):
            calls.append("epoch")

        def wants_snapshot(self, epoch, step, *, last):
            calls.append((epoch, step, last))
            return step == 0

        def on_snapshot(self, snapshot):
            calls.append(len(snapshot.records))

    monkeypatch.setattr("xpnet.backends.numpy.NumpyBackend.steps_per_call", 1)
    fit(MODEL, (X, Y), callbacks=[Watch()], **{**OPTIONS, "batch_size": 50, "epochs": 2})
    assert calls == [
        (0, 0, False), 0, (0, 1, False), "epoch", (1, 0, False), 1, (1, 1, False), "epoch",
        (2, 0, True), 2,
    ]  # fmt: skip


def test_checkpoints_are_saved_every_so_often(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.backends.numpy.NumpyBackend.steps_per_call", 1)

    class Watch(Checkpoint):
        def on_snapshot(self, snapshot):
            super().on_snapshot(snapshot)
            saved.append((snapshot.epoch, snapshot.step))

    for options, expected in (
        ({"every": 2}, [(0, 0), (2, 0), (4, 0), (5, 0)]),
        ({"every": 5, "every_steps": 4}, [(e, s) for e in range(5) for s in (0, 4, 8)]),
    ):
        saved = []
        fit(MODEL, (X, Y), callbacks=[Watch(tmp_path, **options)], **{**OPTIONS, "epochs": 5})
        if "every_steps" in options:
            expected = [(e, s) for e, s in expected if s or not e] + [(5, 0)]
        assert saved == expected
    assert read_snapshot(tmp_path).finished
    for wrong in ({"every": 0}, {"every_steps": 0}, {"every_steps": 1.5}):
        with pytest.raises(ValueError, match="must be a positive integer"):
            Checkpoint(tmp_path, **wrong)


def test_the_best_network_is_kept(tmp_path):
    options = {**OPTIONS, "epochs": 12, "optimizer": SGD(1.5)}
    saving = Checkpoint(tmp_path, monitor="validation_accuracy")
    network = fit(MODEL, (X, Y), validation=0.3, callbacks=[saving], **options)
    figures = network.history["validation_accuracy"]
    best = load(tmp_path / "best.safetensors")
    assert len(best.history) == 1 + figures.index(max(figures)) < 12


def test_a_progress_bar_goes_on(tmp_path, capsys):
    fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path)], stop_after=2, **OPTIONS)
    bar = ProgressBar()
    fit(MODEL, (X, Y), callbacks=[bar], resume=tmp_path, **OPTIONS)
    assert capsys.readouterr().out.startswith("epoch   3  loss")
    assert bar._bar.n in (20, 30)  # it does not count where it is not drawn


# -- logs -----------------------------------------------------------------------------------------


def test_logs_hold_the_history(tmp_path):
    lines, table = JSONLogger(tmp_path / "a" / "log.jsonl"), CSVLogger(tmp_path / "log.csv")
    seen = []

    class Watch(Callback):
        def on_epoch(self, network, record):
            seen.append(len(lines.path.read_text().splitlines()))
            seen.append(len(table.path.read_text().splitlines()) - 1)

    for _ in range(2):  # the second training replaces the first
        network = fit(
            MODEL, (X, Y), validation=0.2, callbacks=[lines, table, Watch()], **OPTIONS
        )  # fmt: skip
    assert seen == [1, 1, 2, 2, 3, 3] * 2
    rows = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert rows == [record.to_dict() for record in network.history]
    with table.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, network.history, strict=True):
        assert row["test_loss"] == ""
        for name, value in record.to_dict().items():
            assert value is None or float(row[name]) == value


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: cannot be written: \S"):
        fit(MODEL, (X, Y), callbacks=[JSONLogger(tmp_path / "file" / "log.jsonl")], **OPTIONS)


def test_logs_for_tensorboard_that_cannot_be_written(tmp_path):
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file\S*: cannot be written: \S"):
        fit(MODEL, (X, Y), callbacks=[TensorBoard(tmp_path / "file" / "logs")], **OPTIONS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_the_figures(tmp_path):
    pytest.importorskip("tensorboardX")
    options = {**OPTIONS, "test": (X[:20], Y[:20]), "validation": 0.2}
    network = fit(
        MODEL, (X, Y), callbacks=[TensorBoard(tmp_path), Checkpoint(tmp_path)], stop_after=2,
        **options,
    )  # fmt: skip
    (first,) = tmp_path.glob("events.*")
    network = fit(MODEL, (X, Y), callbacks=[TensorBoard(tmp_path)], resume=tmp_path, **options)
    (second,) = set(tmp_path.glob("events.*")) - {first}
    found, purged = read_events([first, second])
    assert purged == [3]
    for tag, name in {
        "loss/train": "train_loss", "accuracy/train": "train_accuracy",
        "loss/validation": "validation_loss", "accuracy/validation": "validation_accuracy",
        "loss/test": "test_loss", "accuracy/test": "test_accuracy",
        "learning_rate": "learning_rate", "seconds/train": "train_seconds",
        "seconds/eval": "eval_seconds",
    }.items():  # fmt: skip
        steps, values = zip(*found[tag], strict=True)
        assert steps == (1, 2, 3)
        np.testing.assert_allclose(values, network.history[name], rtol=1e-6)


def read_events(paths):
    """The scalars of event files by tag, and the steps at which a session starts."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found, starts = {}, []
    for path in paths:
        content = path.read_bytes()
        while content:
            # TFRecord: length (8 bytes), checksum (4), the event, checksum (4).
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.session_log.status == SessionLog.START:
                starts.append(event.step)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found, starts


def test_without_tensorboardx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'xpnet\[tensorboard\]'"):
        TensorBoard("logs")


# -- Ctrl-C and SIGTERM ---------------------------------------------------------------------------


class Signal(Callback):
    """Sends a signal to this process after so many steps."""

    def __init__(self, *steps, number=signal.SIGINT):
        self.steps, self.number, self.taken = steps, number, 0

    def on_step(self, state, count):
        self.taken += count
        if self.taken in self.steps:
            signal.raise_signal(self.number)


@pytest.mark.parametrize("steps", [3, 10, 14])
def test_ctrl_c_saves_what_goes_on_exactly(tmp_path, steps):
    """10 steps are an epoch: within the first, at its end, within the second."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    saving = Checkpoint(tmp_path, every=10)
    with pytest.raises(KeyboardInterrupt) as info:
        fit(MODEL, (X, Y), callbacks=[saving, Signal(steps)], **OPTIONS)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    epoch, step = divmod(steps, 10)
    where = f"after step {step} of 10 in epoch {epoch + 1} of 3" if step else "after epoch 1 of 3"
    assert str(info.value).startswith(where)
    assert f"{tmp_path / 'checkpoint.safetensors'}, for fit(..., resume=)" in str(info.value)
    saved = read_snapshot(tmp_path)
    assert (saved.epoch, saved.step) == (epoch, step)
    network = fit(MODEL, (X, Y), resume=tmp_path, **OPTIONS)
    expected = fit(MODEL, (X, Y), **OPTIONS)
    for name, value in expected.params.items():
        np.testing.assert_array_equal(network.params[name], value)


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    before = signal.getsignal(signal.SIGINT)

    class Twice(Callback):
        def on_step(self, state, count):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not interrupted")

    with pytest.raises(KeyboardInterrupt) as info:
        fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path), Twice()], **OPTIONS)
    assert str(info.value) == ""
    assert signal.getsignal(signal.SIGINT) is before
    assert read_snapshot(tmp_path).epoch == 0


def test_without_anything_to_be_saved_ctrl_c_is_what_it_was():
    class Watch(Callback):
        def on_start(self, network, *, epochs, steps):
            self.before = signal.getsignal(signal.SIGINT)

        def on_step(self, state, count):
            assert signal.getsignal(signal.SIGINT) is self.before

    fit(MODEL, (X, Y), callbacks=[Watch()], **OPTIONS)
    with pytest.raises(KeyboardInterrupt) as info:
        fit(MODEL, (X, Y), callbacks=[Signal(3)], **OPTIONS)
    assert str(info.value) == ""


def test_other_threads_have_no_signals(tmp_path):
    found = []

    def train():
        found.append(fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path)], **OPTIONS))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert len(found[0].history) == 3


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            interrupts.watch()
            signal.raise_signal(signal.SIGINT)
        assert interrupts.number is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


TERMINATED = """
import sys, signal
from xpnet import Callback, Checkpoint, fit, load_dataset, mlp

class End(Callback):
    def on_step(self, state, count):
        signal.raise_signal(signal.SIGTERM)

    def on_end(self, network):
        print("ended", flush=True)

fit(mlp(64, 10), load_dataset("digits"), backend="numpy",
    callbacks=[Checkpoint(sys.argv[1], every=9), End()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_sigterm_saves_and_ends_the_process(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", TERMINATED, str(tmp_path)], capture_output=True, text=True
    )
    assert result.returncode == -signal.SIGTERM, result.stderr
    assert result.stdout == "ended\n"
    saved = read_snapshot(tmp_path)
    assert (saved.epoch, saved.step) == (0, 1)


# -- failures -------------------------------------------------------------------------------------


class Explode(Callback):
    """Makes the learning rate far too high in the epoch after `epoch`."""

    every_step = False

    def __init__(self, epoch):
        self.epoch, self.done = epoch, 0

    def on_epoch(self, network, record):
        self.done = record.epoch

    def on_step(self, state, count):
        if self.done == self.epoch:
            state["param/fc1.bias"] = state["param/fc1.bias"] + np.float32(np.inf)


@pytest.mark.parametrize("every_steps", [None, 2])
def test_a_training_that_diverges_keeps_what_was_good(tmp_path, every_steps):
    message = r"in epoch 3 \(steps 21 to \d+\) with learning rate 0\.1: most often .* too high"
    with pytest.raises(TrainingDiverged, match=message) as info:
        fit(
            MODEL, (X, Y), callbacks=[Explode(2), Checkpoint(tmp_path, every_steps=every_steps)],
            **{**OPTIONS, "epochs": 5},
        )  # fmt: skip
    assert f"what was trained before is in {tmp_path / 'checkpoint.safetensors'}" in str(info.value)
    saved = read_snapshot(tmp_path)
    assert (saved.epoch, saved.step) == (2, 0)
    assert saved.not_finite() is None


def test_a_full_disk_leaves_the_old_files_whole(tmp_path, monkeypatch):
    full = []
    real_fsync = xpnet.saving.tensors.os.fsync

    def fsync(descriptor):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr("xpnet.saving.tensors.os.fsync", fsync)

    class Fill(Callback):
        def on_epoch(self, network, record):
            if record.epoch == 2:
                full.append(True)

    with pytest.raises(RunError, match=r": cannot be written: No space left on device"):
        fit(MODEL, (X, Y), validation=0.2, callbacks=[Fill(), Checkpoint(tmp_path)], **OPTIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.safetensors", "checkpoint.safetensors",
    ]  # fmt: skip
    assert read_snapshot(tmp_path).epoch == 1
    assert len(load(tmp_path / "best.safetensors").history) == 1


# torch and JAX raise classes of their own, which are made here by hand.
def used_up(name):
    if name == "torch":
        import torch

        return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if name == "jax":
        import jax

        return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")
    return MemoryError("Unable to allocate 20.00 GiB for an array")


class Fail(Callback):
    def __init__(self, error):
        self.error = error

    def on_step(self, state, count):
        raise self.error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_memory_that_is_used_up(name, dtype):
    require(name)
    error = used_up(name)
    with pytest.raises(OutOfMemory, match="not enough memory on") as info:
        fit(
            MODEL, (X, Y), callbacks=[Fail(error)], **{**OPTIONS, "backend": name, "dtype": dtype}
        )  # fmt: skip
    assert isinstance(info.value, MemoryError)
    assert info.value.__cause__ is error
    text = str(info.value)
    assert "llocat" in text
    assert "batch_size (it is 10)" in text
    assert ("dtype='float32'" in text) == (dtype == "float64")


def test_numpy_says_what_it_was_asked_for():
    class Asks(Callback):
        def on_epoch(self, network, record):
            np.empty(2**57)

    with pytest.raises(OutOfMemory, match=r"Unable to allocate \d+\.?\d* \wiB.*smaller layers"):
        fit(MODEL, (X, Y), callbacks=[Asks()], **OPTIONS)


@pytest.mark.parametrize("name", CPU_BACKENDS)
def test_other_errors_are_left_as_they_are(name):
    require(name)
    backend = open_backend(name)
    assert backend.out_of_memory(MemoryError())
    assert not backend.out_of_memory(RuntimeError("INVALID_ARGUMENT: a shape"))
    assert not backend.out_of_memory(ValueError("RESOURCE_EXHAUSTED: out of memory"))
    with pytest.raises(RuntimeError, match="other"):
        fit(MODEL, (X, Y), callbacks=[Fail(RuntimeError("other"))], **OPTIONS)


def test_torch_on_a_cpu_has_words_for_it():
    pytest.importorskip("torch")
    import torch

    with pytest.raises(RuntimeError) as info:
        torch.empty(2**60)
    assert open_backend("torch").out_of_memory(info.value)


# -- a loop of one's own --------------------------------------------------------------------------


def test_shuffled_batches_are_those_of_fit(training_backend):
    order = permutation(4, 2, 23)
    batches = list(shuffled_batches(training_backend, 23, 5, seed=4, epoch=2))
    assert [rows.shape[0] for rows in batches] == [5, 5, 5, 5, 3]
    found = np.concatenate([training_backend.to_numpy(rows) for rows in batches])
    np.testing.assert_array_equal(found, order)
    assert all(rows.dtype == training_backend.index_dtype for rows in batches)
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        shuffled_batches(training_backend, 23, 0, seed=4, epoch=2)


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    real_open = xpnet.saving.tensors.os.open

    def refuse(path, flags, *args, **kwargs):
        if Path(path) == tmp_path:
            raise PermissionError
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr("xpnet.saving.tensors.os.open", refuse)
    xpnet.saving.tensors.write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


@pytest.mark.parametrize(
    "watcher",
    [
        {"callbacks": [EarlyStopping("validation_accuracy")]},
        {"optimizer": SGD(schedule=ReduceOnPlateau("train_accuracy"))},
    ],
    ids=["early stopping", "schedule"],
)
def test_real_numbers_have_no_accuracy_to_watch(watcher):
    with pytest.raises(ValueError, match=r"_accuracy, but the targets are real numbers.*_loss"):
        fit(
            mlp(4, 3, 1), (np.ones((20, 4)), np.ones(20)), loss=mean_squared_error,
            validation=0.2, backend="numpy", **watcher,
        )  # fmt: skip


def test_the_best_network_is_of_this_training(tmp_path):
    fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path)], validation=0.2, **OPTIONS)
    assert (tmp_path / "best.safetensors").is_file()
    fit(MODEL, (X, Y), callbacks=[Checkpoint(tmp_path)], **OPTIONS)
    assert not (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize("saving", [True, False])
def test_ctrl_c_after_the_last_epoch_is_not_lost(tmp_path, saving):
    class Late(Callback):
        def on_finish(self, network):
            signal.raise_signal(signal.SIGINT)

    callbacks = [Late(), *([Checkpoint(tmp_path)] if saving else [])]
    with pytest.raises(KeyboardInterrupt):
        fit(MODEL, (X, Y), callbacks=callbacks, **OPTIONS)
