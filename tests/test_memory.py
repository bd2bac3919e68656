"""Sizes that no machine has: refused in one sentence, before memory is taken or time is spent."""

import importlib
import os
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from click.testing import CliRunner
from forging import forge

from xpnet import (
    SGD,
    Adam,
    CheckpointError,
    Dense,
    EarlyStopping,
    OutOfMemory,
    Sequential,
    fit,
    initial_state,
    mlp,
    open_backend,
    read_snapshot,
)
from xpnet.cli import main
from xpnet.schedules import Cosine, Exponential, OneCycle, ReduceOnPlateau, Step
from xpnet.training import memory, rates

pytestmark = pytest.mark.installed

X, Y = np.eye(12), np.arange(12) % 3
MODEL = mlp(12, 4, 3)
OPTIONS = {"epochs": 1, "backend": "numpy"}
HUGE = 10**9
RUN = ["train", "digits", "--hidden", "4", "--backend", "numpy", "--quiet"]


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    """No test may take much memory, or be long."""
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *_: True)
    with suppress(ImportError):
        importlib.import_module("xpnet.sklearn")  # which takes long if it is watched
    tracemalloc.start()
    began = time.perf_counter()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28
    assert time.perf_counter() - began < 60


@pytest.fixture
def little(monkeypatch):
    """A machine that has a gibibyte left."""
    monkeypatch.setattr(memory, "available_memory", lambda: 2**30)


def command(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result


# -- parameters ------------------------------------------------------------------------------------


WORDS = (
    r"^not enough memory: the 16,\d{3},\d{3},\d{3} parameters of the model \(the most in "
    r"fc1.weight, of shape \(12, 1000000000\)\) take at least \d[\d.,]* GiB, and 1.0 GiB are "
    r"left on this machine: take smaller layers$"
)


def test_parameters_that_do_not_fit_are_refused(little):
    model = mlp(12, HUGE, 3)
    for options in ({}, {"optimizer": Adam(0.1, ema=0.9)}, {"freeze": ["fc1"]}):
        with pytest.raises(OutOfMemory, match=WORDS):
            fit(model, (X, Y), **OPTIONS, **options)
    with pytest.raises(OutOfMemory, match=WORDS):
        initial_state(open_backend("numpy"), model, SGD(0.1), 0)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_parameters_of_an_estimator_that_do_not_fit_are_refused(little, solver):
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier

    with pytest.raises(OutOfMemory, match="not enough memory: the 16,"):
        MLPClassifier((HUGE,), solver=solver).fit(X, Y)


def test_what_is_counted_is_the_least_that_is_taken(monkeypatch):
    """float64 as they are drawn and NumPy's own; and what the optimizer keeps."""
    model = Sequential(fc=Dense(1000, 40_000, bias=False))
    wanted = []
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    monkeypatch.setattr(memory, "check_room", lambda needed, *_: wanted.append(needed))
    for dtype, kept in (("float32", 0), ("float32", 3), ("float64", 0), ("float64", 3)):
        backend = open_backend("numpy", None, dtype)
        memory.check_parameters_fit(backend, model.parameter_shapes(), kept)
    assert [n / 40e6 for n in wanted] == [12, 16, 16, 32]


def test_what_fits_is_not_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.check_room(2**50, "it takes", "do not")  # nobody knows
    with pytest.raises(OutOfMemory, match="not enough memory: it takes 1,125,899,906"):
        memory.check_room(2**80, "it takes", "do not")  # more than any address
    monkeypatch.undo()
    available = memory.available_memory()
    assert available is None or available > 2**24
    memory.check_room(2**24, "it takes", "do not")
    if available is not None:
        with pytest.raises(OutOfMemory, match="not enough memory: it takes 1,125,899,906"):
            memory.check_room(2**80, "it takes", "do not")


def test_on_the_command_line(tmp_path):
    """As an option and in a file; on whatever machine the tests run."""
    (tmp_path / "c.toml").write_text("hidden = [2147483647, 2147483647]\nbackend = 'numpy'\n")
    size = "2147483647,2147483647"
    for arguments in (["--hidden", size], ["--config", tmp_path / "c.toml"]):
        out = tmp_path / "run"
        result = command("train", "digits", *arguments, "--out", out, "--quiet", code=4)
        assert result.stderr.startswith("error: not enough memory: ")
        assert "smaller layers" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not out.exists()


# -- epochs, steps, batches ------------------------------------------------------------------------


def test_a_table_of_a_schedule_that_does_not_fit_is_refused(little):
    with pytest.raises(OutOfMemory, match=r"Cosine for 100,000,000 steps takes 3\.7 GiB, and"):
        fit(MODEL, (X, Y), backend="numpy", epochs=10**8, optimizer=SGD(0.1, schedule=Cosine()))


def test_steps_that_cannot_be_counted_have_no_schedule(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available_memory", lambda: 2**80)
    asked = {"backend": "numpy", "optimizer": SGD(0.1, schedule=Cosine())}
    with pytest.raises(ValueError, match=r"2147483648|2,147,483,648 epochs of 1 are too many"):
        fit(MODEL, (X, Y), epochs=rates.MOST_STEPS + 1, **asked)
    result = command(
        *RUN, "--epochs", 2**40, "--schedule", "cosine", "--out", tmp_path / "r", code=2
    )
    assert "are too many; give fewer epochs" in result.stderr
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("schedule", [None, ReduceOnPlateau()])
def test_epochs_without_number_are_just_training(schedule):
    """Nothing is made in proportion to them: it ends when something ends it."""
    stopping = EarlyStopping("train_loss", patience=1, min_delta=1e9)
    network = fit(
        MODEL, (X, Y), backend="numpy", epochs=2**62, batch_size=10**12, callbacks=[stopping],
        optimizer=SGD(0.1, schedule=schedule), stop_after=5,
    )  # fmt: skip
    assert 0 < len(network.history) <= 5


def test_batches_larger_than_the_samples_are_all_of_them():
    full = fit(MODEL, (X, Y), batch_size=12, **OPTIONS)
    for size in (10**12, 2**62):
        huge = fit(MODEL, (X, Y), batch_size=size, **OPTIONS)
        for name, value in full.params.items():
            np.testing.assert_array_equal(huge.params[name], value)


def test_large_numbers_of_a_run(tmp_path):
    text = "".join(
        f"{name} = {2**62}\n"
        for name in ("epochs", "batch_size", "limit", "checkpoint_every", "patience")
    )
    (tmp_path / "c.toml").write_text(text + "validation = 0.1\n")
    path = tmp_path / "run"
    command(*RUN, "--config", tmp_path / "c.toml", "--out", path, "--stop-after", 2)
    assert read_snapshot(path).epoch == 2
    command("train", "--resume", path, "--stop-after", 3, "--quiet")
    assert read_snapshot(path).epoch == 3


# -- forged checkpoints ----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    command(*RUN, "--epochs", 5, "--stop-after", 2, "--out", path)
    return path


def forged(run, change):
    forge(run / "checkpoint.safetensors", run / "checkpoint.safetensors", change)


def test_a_checkpoint_of_a_thousand_million_epochs_is_one_of_a_long_training(run):
    def change(metadata, arrays):
        metadata["epochs"] = HUGE
        metadata["configuration"]["epochs"] = HUGE

    forged(run, change)
    command("train", "--resume", run, "--stop-after", 3, "--quiet")
    assert read_snapshot(run).epoch == 3


@pytest.mark.parametrize("epoch", [3, HUGE, 2**62])
def test_a_number_of_epochs_that_the_history_has_not_is_refused_at_once(run, epoch):
    def change(metadata, arrays):
        metadata |= {"epoch": epoch, "epochs": 2**62}

    forged(run, change)
    with pytest.raises(CheckpointError, match="the metadata describes no training: "):
        read_snapshot(run)
    command("train", "--resume", run, code=1)


def test_a_history_that_is_longer_than_the_training_is_refused(run):
    def change(metadata, arrays):
        metadata["epochs"] = 1

    forged(run, change)
    with pytest.raises(CheckpointError, match="epoch 2 of 1, after"):
        read_snapshot(run)
    arguments = ["train", "--resume", run, "--epochs", 1]
    assert "epoch 2 of 1" in command(*arguments, code=1).stderr


@pytest.mark.skipif(os.name != "posix", reason="a limit of memory for a process")
def test_memory_that_the_system_does_not_give(tmp_path):
    """A limit that is not in any file, found when NumPy asks: one sentence as well."""
    code = """
        import resource, sys
        from xpnet.cli import main
        import numpy, xpnet.training.memory
        xpnet.training.memory.available_memory = lambda: None
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))
        main(sys.argv[1:])
    """
    arguments = ["train", "digits", "--hidden", "100000000", "--backend", "numpy", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines()), *arguments],
        check=False, capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    if sys.platform == "darwin" and done.returncode != 4:
        pytest.skip("this system has no such limit")
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: not enough memory")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("schedule", [Cosine(), OneCycle(), Exponential(0.9), Step(3)], ids=repr)
def test_a_table_takes_no_more_than_is_counted(schedule):
    backend, steps = open_backend("numpy"), 10**5
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    rates.schedule_table(backend, SGD(0.1, schedule=schedule), 100, 1000)
    taken = tracemalloc.get_traced_memory()[1] - before
    assert taken < 1.05 * rates._TABLE_BYTES * steps
