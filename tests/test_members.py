"""Ensembles trained by one command, a process for each member."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from commands import xp

from xpnet import Ensemble, load, load_dataset
from xpnet.cli import ensembles
from xpnet.errors import CheckpointError, RunError
from xpnet.runs.config import RunConfig
from xpnet.runs.continuation import open_run
from xpnet.runs.members import (
    begin_members,
    folder_of_members,
    forget_results,
    keep_config,
    unfinished_members,
)
from xpnet.runs.options import OptionError
from xpnet.saving.folder_lock import LOCK, FolderLock

pytestmark = pytest.mark.libraries

SMALL = ("--limit", 150, "--hidden", 8, "--backend", "numpy", "--epochs", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("members") / "ensemble"
    result = xp("train", *SMALL, "--seed", 3, "--members", 2, "--jobs", 2, "--out", out)
    out.with_name("output").write_text(result.output)
    return out


def models(folder):
    return [(folder / f"member-{i}" / "model.safetensors").read_bytes() for i in (1, 2)]


def test_members_are_ordinary_runs_of_their_seeds(folder, tmp_path):
    xp("train", *SMALL, "--seed", 4, "--threads", 1, "--quiet", "--out", tmp_path / "alone")
    assert models(folder)[1] == (tmp_path / "alone" / "model.safetensors").read_bytes()
    config, saved = open_run(folder / "member-2", {})
    assert (config.seed, config.members, saved.finished) == (4, 1, True)
    assert "nothing is left" in xp("train", "--resume", folder / "member-2").output


def test_the_result_is_that_of_any_number_of_jobs_and_of_breaks(folder, tmp_path):
    options = (*SMALL, "--seed", 3, "--members", 2, "--jobs", 1)
    output = xp("train", *options, "--stop-after", 1, "--out", tmp_path / "again").output
    assert "stopped after epoch 1; go on with: xpnet train --resume" in output
    output = xp("train", "--resume", tmp_path / "again", "--jobs", 2).output
    assert models(tmp_path / "again") == models(folder)
    assert "ensemble of 2" in output


def test_it_says_how_good_each_is_and_all_are(folder):
    network, test = load(folder), load_dataset("digits").test
    assert isinstance(network, Ensemble)
    found = network.evaluate(test.images, test.labels)
    lines = folder.with_name("output").read_text().splitlines()
    assert "members: 2, seeds 3 to 4, 2 at a time" in lines
    assert sum(line.startswith("member 2: epoch   ") for line in lines) == 2
    assert lines[-1].startswith(
        f"ensemble of 2: test accuracy {100 * found.accuracy:.2f} % ({found.errors} errors in 359)"
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["ensemble"]["test"]["errors"] == found.errors
    assert [member["seed"] for member in summary["members"]] == [3, 4]
    each = [one.evaluate(test.images, test.labels).errors for one in network.members]
    assert [member["test"]["errors"] for member in summary["members"]] == each
    output = xp("evaluate", folder).output
    assert f"ensemble of 2: digits test set: {found}" in output
    assert f"({each[1]} errors in 359)" in output


def test_nothing_is_trained_twice(folder):
    before = models(folder)
    output = xp("train", "--resume", folder).output
    assert "of which none are to be trained" in output
    assert models(folder) == before


def test_what_is_there_is_replaced_by_force_alone(folder, tmp_path):
    assert (
        "holds a run already" in xp("train", *SMALL, "--members", 2, "--out", folder, code=1).output
    )
    (tmp_path / "file").write_text("")
    assert (
        "there is a file of this name"
        in xp("train", *SMALL, "--members", 2, "--out", tmp_path / "file", code=1).output
    )
    xp("train", *SMALL, "--epochs", 1, "--members", 3, "--out", tmp_path / "run", "--quiet")
    xp("train", *SMALL, "--epochs", 1, "--members", 2, "--out", tmp_path / "run", "--force")
    assert len(load(tmp_path / "run").members) == 2


def begun(tmp_path, members=2):
    """A folder of members of which none was trained."""
    out = folder_of_members("digits", tmp_path / "begun")
    begin_members(RunConfig(members=members), out, force=True)
    for number in range(1, members + 1):
        (out / f"member-{number}" / "history.jsonl").write_text("")
    return out


@pytest.mark.parametrize("place", [".", "member-2"])
def test_a_run_that_is_training_is_not_replaced(place, tmp_path):
    out = begun(tmp_path)
    options = (*SMALL, "--members", 2, "--out", out, "--force")
    lock = FolderLock(out / place)
    assert "is training in this folder" in xp("train", *options, code=1).output
    lock.release()
    assert (out / "config.toml").exists()
    assert all((out / f"member-{i}" / "history.jsonl").exists() for i in (1, 2))
    begin_members(RunConfig(members=2), out, force=True)  # the locks were let go of
    assert not any((out / "member-1").iterdir())


def test_one_command_at_a_time_goes_on(tmp_path):
    out = begun(tmp_path)
    lock = FolderLock(out)
    assert "is training in this folder" in xp("train", "--resume", out, code=1).output
    lock.release()


def test_fewer_members_leave_no_folder_of_more(tmp_path):
    out = begun(tmp_path, members=3)
    (out / "member-3" / LOCK).write_text("")  # as after a kill
    (out / "member-3" / "notes").write_text("")
    with pytest.raises(RunError, match=r"member-3: .*\(notes\).* move the folder"):
        begin_members(RunConfig(members=2), out, force=True)
    assert (out / "member-1" / "history.jsonl").exists()
    (out / "member-3" / "notes").unlink()
    (out / "member-3" / LOCK).write_text("")
    begin_members(RunConfig(members=2), out, force=True)
    assert sorted(path.name for path in out.iterdir()) == ["config.toml", "member-1", "member-2"]


def test_an_ensemble_is_loaded_whole_or_not_at_all(tmp_path):
    out = begun(tmp_path)
    (out / "member-3").mkdir()
    with pytest.raises(CheckpointError, match=r"holds member-3, and .* has 2 members: move"):
        load(out)
    with pytest.raises(RunError, match=r"member-3: .* has 2 members: move"):
        unfinished_members(out, RunConfig(members=2), {})
    (out / "member-3").rename(tmp_path / "member-999999999")
    with pytest.raises(CheckpointError, match=r"there is no member-1, member-2, .* number those"):
        load(tmp_path)
    (out / "member-2" / "history.jsonl").unlink()
    (out / "member-2").rmdir()
    with pytest.raises(CheckpointError, match=r"of the 2 members .* no member-2: .* --resume"):
        load(out)
    assert "no member-2" in xp("evaluate", out, code=1).output


def trained(out, *options, members=2):
    """A folder of members that were trained one after the other, in this process."""
    for number in range(1, members + 1):
        own = out / f"member-{number}"
        xp("train", *SMALL, "--seed", number - 1, *options, "--out", own, "--quiet")
    config, _ = open_run(out / "member-1", {})
    keep_config(out, replace(config, members=2))
    return out


def test_epochs_that_are_done_cannot_be_left_out(tmp_path):
    out = trained(tmp_path / "run", members=1)
    before = (out / "config.toml").read_bytes()
    output = xp("train", "--resume", out, "--epochs", 1, code=2).output
    assert "'--epochs': must be at least 2, which are done; got 1" in output
    assert (out / "config.toml").read_bytes() == before


def test_what_it_began_with_need_not_be_there_when_it_goes_on(tmp_path):
    start = tmp_path / "start.safetensors"
    xp("train", *SMALL, "--out", tmp_path / "first", "--quiet")
    (tmp_path / "first" / "model.safetensors").rename(start)
    out = trained(tmp_path / "run", "--start", start)
    start.unlink()
    assert "ensemble of 2" in xp("train", "--resume", out).output


def test_pictures_that_fail_leave_the_summary(tmp_path, monkeypatch):
    def fails(*_):
        raise RunError("no pictures")

    out = trained(tmp_path / "run")
    monkeypatch.setattr(ensembles, "draw_pictures", fails)
    assert "no pictures" in xp("train", "--resume", out, code=1).output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pending"] == "pictures"
    assert len(summary["members"]) == 2
    monkeypatch.undo()
    xp("train", "--resume", out)
    assert "pending" not in json.loads((out / "summary.json").read_text())
    forget_results(out)
    assert sorted(path.name for path in out.iterdir()) == ["config.toml", "member-1", "member-2"]


@pytest.mark.parametrize(
    ("ends", "said"),
    [({1: 3, 2: 3}, "code 3. When"), ({2: 4}, "code 4; the other is trained. When")],
)
def test_it_says_of_none_that_it_is_trained_where_none_is(ends, said, tmp_path, monkeypatch):
    monkeypatch.setattr(ensembles.Processes, "run", lambda *_: ends)
    code = max(ends.values())
    output = xp("train", *SMALL, "--members", 2, "--out", tmp_path / "run", code=code).output
    assert said in output


def test_options_that_mean_nothing(tmp_path):
    assert "--jobs is for --members" in xp("train", *SMALL, "--jobs", 2, code=2).output
    assert "--members" in xp("train", "--members", 0, code=2).output
    largest = RunConfig(members=2, seed=2**128 - 1)
    with pytest.raises(OptionError, match="seed must be"):
        largest.of_member(2)


def test_members_that_fail_leave_the_others(tmp_path):
    out = tmp_path / "run"
    output = xp(
        "train", *SMALL, "--learning-rate", 1e30, "--members", 2, "--out", out, code=3
    ).output
    assert "member 1: error: the training loss became" in output
    assert "2 members of 2 ended with an error, member 1 with exit code 3" in output


def test_a_damaged_checkpoint_is_named(tmp_path):
    out = tmp_path / "run"
    xp("train", *SMALL, "--members", 2, "--stop-after", 1, "--out", out, "--quiet")
    file = out / "member-2" / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    output = xp("train", "--resume", out, code=1).output
    assert "member-2" in output
    for path in (out / "member-2").iterdir():  # who removes it has it trained anew
        path.unlink()
    assert "ensemble of 2" in xp("train", "--resume", out).output


def test_members_of_a_table_are_of_the_same_rows(tmp_path):
    """Of a table means are measured on what is not kept for validation, by one seed for all."""
    pytest.importorskip("pyarrow")
    rows = [f"{i % 7},{(i * 5) % 11},{'yes' if i % 7 > 3 else 'no'}" for i in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,label", *rows]))
    out = tmp_path / "run"
    xp("train", tmp_path / "t.csv", "--label", "label", "--validation", 0.2, "--epochs", 1,
       "--backend", "numpy", "--members", 2, "--out", out, "--quiet")  # fmt: skip
    tables = [load(out / f"member-{i}").table for i in (1, 2)]
    assert tables[0] == tables[1]
    assert len(load(out).members) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_leaves_members_that_go_on(tmp_path):
    out = tmp_path / "run"
    options = (*SMALL[:-1], 100_000, "--train-metrics", "none", "--members", 2, "--jobs", 2)
    command = [sys.executable, "-m", "xpnet", "train", *map(str, options), "--out", str(out)]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored by the child
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        seen = set()
        for line in process.stdout:
            if ": epoch " in line:
                seen.add(line[:8])
            if len(seen) == 2:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted: what was trained of the members is saved; go on with: xpnet" in rest
    for number in (1, 2):
        assert f"member {number}: interrupted: after " in rest
        _, saved = open_run(out / f"member-{number}", {})
        assert not saved.finished
