"""How training steps are taken, by choice and in fact: called, recorded or compiled."""

import copy
import json
import os
import pickle
import re
import shlex
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from compiling import needs_compiler
from conftest import require

from xpnet import fit, mlp, open_backend
from xpnet.backends.numpy import replay
from xpnet.backends.numpy import tape as tape_module
from xpnet.backends.numpy.compiler import find_compiler
from xpnet.backends.steps import STEPS, StepCounts
from xpnet.cli import main
from xpnet.losses import softmax_cross_entropy
from xpnet.random import stream

pytestmark = pytest.mark.compiler
posix = pytest.mark.skipif(os.name != "posix", reason="steps are compiled on POSIX alone")

SAMPLES = (
    stream(0, "samples").integers(0, 256, (200, 12)).astype("uint8"),
    stream(0, "labels").integers(0, 4, 200),
)
ALL = 3 * 25  # steps, of three epochs in batches of 8


def train(backend, **options):
    return fit(mlp(12, 9, 4), SAMPLES, epochs=3, batch_size=8, backend=backend, **options)


def counts(backend):
    found = backend.step_counts
    return found.compiled, found.recorded, found.called


# -- what is chosen -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "offered"),
    [("numpy", STEPS), ("jax", ("compiled",)), ("torch", ("called",)),
     ("array_api_strict", ("called",))],
)  # fmt: skip
def test_which_backend_has_which(name, offered):
    require(name)
    assert open_backend(name).steps == offered[0]
    for steps in STEPS:
        if steps in offered:
            backend = open_backend(name, steps=steps)
            for one in (backend, pickle.loads(pickle.dumps(backend)), copy.deepcopy(backend)):
                assert one.steps == steps
        else:
            with pytest.raises(ValueError, match=f"the {name} backend has no steps that are") as e:
                open_backend(name, steps=steps)
            assert f"{steps}, they are {offered[0]}: leave steps out" in str(e.value)


def test_what_is_no_way_to_take_steps():
    with pytest.raises(ValueError, match="steps must be one of compiled, recorded, called; got 'c"):
        open_backend("numpy", steps="complied")
    with pytest.raises(ValueError, match="got True"):
        open_backend("numpy", steps=True)
    backend = open_backend("numpy", steps="called")
    assert open_backend(backend, steps="called") is backend
    with pytest.raises(ValueError, match=r"is open already: give .*steps='recorded' and .*instead"):
        open_backend(backend, steps="recorded")


# -- what is done ---------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch):
    """Recorded steps are compiled after one group of them."""
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)


@needs_compiler
def test_steps_are_taken_as_was_chosen_with_the_same_bits(at_once):
    found = {}
    for steps in STEPS:
        backend = open_backend("numpy", threads=1, steps=steps)
        found[steps] = train(backend).params
        compiled, recorded, called = counts(backend)
        assert compiled + recorded + called == ALL
        assert bool(compiled) == (steps == "compiled")
        assert bool(recorded) == (steps != "called")
        assert called >= 2
        assert backend.step_counts.reason == ""
    for name, value in found["called"].items():
        assert value.tobytes() == found["recorded"][name].tobytes()
        assert value.tobytes() == found["compiled"][name].tobytes()


@needs_compiler
def test_the_compiler_is_named_with_its_version(at_once, caplog):
    """As it says it itself, if it has the macro for it."""
    command = find_compiler()
    asked = subprocess.run(
        [*command, "-E", "-P", "-"], input="__VERSION__", capture_output=True, text=True, check=True
    ).stdout.strip()
    version = f" ({asked.strip(chr(34))})" if asked.startswith('"') else ""
    backend = open_backend("numpy", threads=1)
    assert backend.planned_steps() == f"steps to be compiled by {shlex.join(command)}"
    with caplog.at_level("INFO", logger="xpnet"):
        train(backend)
    assert backend.step_counts.compiler == shlex.join(command) + version
    compiled, recorded, called = counts(backend)
    assert backend.taken_steps() == (
        f"{compiled} steps compiled by {shlex.join(command)}{version}, {recorded} recorded, "
        f"{called} called"
    )
    told = [r.getMessage() for r in caplog.records if "compiled" in r.getMessage()]
    assert told == [f"steps are compiled by {shlex.join(command)}{version}"]
    train(backend)  # by the libraries that are there already
    assert counts(backend)[0] > compiled
    assert backend.step_counts.compiler == shlex.join(command) + version


@posix
def test_why_steps_are_not_compiled(at_once, monkeypatch):
    monkeypatch.setenv("XPNET_CC", "")
    backend = open_backend("numpy", threads=1)
    why = "XPNET_CC is empty: no compiler is to be used"
    assert backend.planned_steps() == f"steps recorded ({why})"
    train(backend)
    compiled, recorded, called = counts(backend)
    assert (compiled, recorded + called) == (0, ALL)
    told = f"{recorded} steps recorded, {called} called (not compiled: {why})"
    assert backend.taken_steps() == told
    backend = open_backend("numpy", threads=1, steps="recorded")
    assert backend.planned_steps() == "steps recorded"
    train(backend)
    assert backend.step_counts.reason == ""


def test_why_steps_are_not_recorded():
    def own_loss(xp, output, target, *, weight=None, need_grad=True):
        return softmax_cross_entropy(xp, output, target)

    backend = open_backend("numpy", threads=1)
    assert backend.taken_steps() == "no steps"
    train(backend, loss=own_loss)
    assert (
        backend.taken_steps() == f"{ALL} steps called (not recorded: they are not known to be pure)"
    )
    backend = open_backend("numpy", threads=1, steps="called")
    train(backend, loss=own_loss)
    assert backend.taken_steps() == f"{ALL} steps called"


def test_a_reason_that_comes_up_while_recording(monkeypatch):
    monkeypatch.setattr(replay, "MOST_BYTES", 10)
    backend = open_backend("numpy", threads=1)
    train(backend)
    assert counts(backend) == (0, 0, ALL)
    assert re.fullmatch(
        rf"{ALL} steps called \(not recorded: the network is large, .*\)", backend.taken_steps()
    )


def test_rows_out_of_range_are_called():
    def step(state, x, y, rows):
        return {"sum": state["sum"] + x[rows].sum()}

    backend = open_backend("numpy")
    run = backend.repeat(step)
    state = run({"sum": np.zeros(())}, np.arange(5.0), np.arange(5), np.asarray([[-1], [0]]))
    assert (float(state["sum"]), counts(backend)) == (4.0, (0, 0, 2))


def test_in_words():
    assert str(StepCounts()) == "no steps"
    assert str(StepCounts(called=2)) == "2 steps called"
    assert str(StepCounts(called=1)) == "1 step called"
    assert str(StepCounts(compiled=1, called=1)) == "1 step compiled, 1 called"
    found = StepCounts(12_345, 67, 8, "cc -O1 (12.2.0)", "not compiled: the results are others")
    assert str(found) == (
        "12,345 steps compiled by cc -O1 (12.2.0), 67 recorded, 8 called "
        "(not compiled: the results are others)"
    )


# -- the command line -----------------------------------------------------------------------------


@posix
def test_a_run_says_how_its_steps_were_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)
    monkeypatch.setenv("XPNET_CC", "")
    out = tmp_path / "run"
    options = ["--backend", "numpy", "--threads", "1", "--epochs", "3", "--limit", "200"]
    result = CliRunner().invoke(main, ["train", "digits", *options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    why = "XPNET_CC is empty: no compiler is to be used"
    assert lines[0] == f"backend: numpy on cpu, float32, threads: 1, steps recorded ({why})"
    summary = json.loads((out / "summary.json").read_text())
    assert lines[-2] == f"taken:   {summary['taken_steps']}"
    assert re.match(r"\d+ steps recorded, \d+ called", summary["taken_steps"])
    assert sum(map(int, re.findall(r"\b\d+\b", summary["taken_steps"]))) == 3 * 4
    assert summary["steps"] == "compiled"
    assert summary["configuration"]["steps"] is None
    # It goes on with other steps; what they were is of this part of the training alone.
    options = ["--resume", str(out), "--epochs", "4", "--steps", "called"]
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "backend: numpy on cpu, float32, threads: 1, steps called"
    assert lines[-2] == "taken:   4 steps called"
    assert json.loads((out / "summary.json").read_text())["configuration"]["steps"] == "called"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "array_api_strict", "--steps", "recorded"],
         "--steps: the array_api_strict backend has no steps that are recorded, they are called"),
        (["--steps", "quick"], "'quick' is not one of 'compiled', 'recorded', 'called'"),
    ],
)  # fmt: skip
def test_steps_that_there_are_not_are_a_mistake_of_usage(options, message):
    if "array_api_strict" in options:
        require("array_api_strict")
    result = CliRunner().invoke(main, ["train", *options])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
