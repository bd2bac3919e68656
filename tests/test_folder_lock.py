"""One run folder, one training: who is refused, who takes over, and what a kill leaves."""

import copy
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import Callback, Checkpoint, fit, mlp, read_snapshot
from xpnet.cli import main
from xpnet.errors import RunError
from xpnet.runs.config import RunConfig
from xpnet.runs.folder import RunFolder
from xpnet.saving import folder_lock
from xpnet.saving.folder_lock import LOCK, FolderLock

pytestmark = pytest.mark.installed

SAMPLES = np.eye(12), np.arange(12) % 3
OPTIONS = {"epochs": 2, "backend": "numpy"}
RUN = ["train", "digits", "--hidden", "4", "--epochs", "2", "--quiet", "--backend", "numpy"]

posix = pytest.mark.skipif(os.name != "posix", reason="signals, links")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *_: True)


def train(*arguments, code=0):
    result = CliRunner().invoke(main, [*RUN, *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def resume(path, *arguments, code=0):
    result = CliRunner().invoke(main, ["train", "--resume", str(path), "--quiet", *arguments])
    assert result.exit_code == code, result.output
    return result


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_folder_is_had_by_one_and_let_go_of(tmp_path):
    first = FolderLock(tmp_path)
    with pytest.raises(RunError, match="another training of this process is training in this"):
        FolderLock(tmp_path)
    first.release()
    first.release()
    second = FolderLock(tmp_path)
    first.release()
    with pytest.raises(RunError):
        FolderLock(tmp_path)
    second.release()
    assert list(tmp_path.iterdir()) == []


HOLD = """
    import sys
    from pathlib import Path
    from xpnet.saving.folder_lock import FolderLock
    lock = FolderLock(Path(sys.argv[1]))
    print("has it", flush=True)
    sys.stdin.read()
"""


@posix
def test_another_process_is_refused_until_the_owner_is_dead(tmp_path):
    """The commands that train, go on with and replace a run: each one sentence, nothing written."""
    path = tmp_path / "run"
    train("--out", path, "--stop-after", 1)
    command = [sys.executable, "-c", textwrap.dedent(HOLD), path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as owner:
        assert owner.stdout.readline() == "has it\n"
        before = content(path)
        for result in (resume(path, code=1), train("--out", path, "--force", code=1)):
            assert result.stderr.startswith(f"error: {path}: another process (number {owner.pid} ")
            assert result.stderr.count("\n") == 1
            assert "wait until it has ended, or give another folder" in result.stderr
        assert content(path) == before
        owner.kill()
    assert owner.returncode == -signal.SIGKILL
    assert (path / LOCK).exists()
    resume(path)
    assert not (path / LOCK).exists()
    assert read_snapshot(path).finished


class Begin(Callback):
    """Begins another training in the middle of this one."""

    def __init__(self, begin):
        self.begin = begin

    def on_epoch(self, network, record):
        with pytest.raises(RunError, match="another training of this process"):
            self.begin()


@pytest.mark.parametrize("kind", [Checkpoint, RunFolder])
@pytest.mark.parametrize("in_thread", [False, True])
def test_two_trainings_of_one_process(tmp_path, kind, in_thread):
    def begin():
        fit(mlp(12, 3), SAMPLES, callbacks=[Checkpoint(tmp_path)], **OPTIONS)

    def begin_in_thread():
        raised = []

        def run():
            try:
                begin()
            except RunError as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        raise raised[0]

    callbacks = [kind(tmp_path), Begin(begin_in_thread if in_thread else begin)]
    fit(mlp(12, 7, 3), SAMPLES, callbacks=callbacks, **OPTIONS)
    assert read_snapshot(tmp_path).epoch == 2
    assert not (tmp_path / LOCK).exists()


def test_of_two_that_saw_an_empty_folder_the_second_replaces_nothing(tmp_path):
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    fit(mlp(12, 3), SAMPLES, callbacks=[first], **OPTIONS)
    before = content(tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already"):
        fit(mlp(12, 3), SAMPLES, callbacks=[second], **OPTIONS)
    assert content(tmp_path / "run") == before


def test_a_training_that_fails_lets_go(tmp_path):
    class Fail(Callback):
        def on_epoch(self, network, record):
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fit(mlp(12, 3), SAMPLES, callbacks=[Checkpoint(tmp_path), Fail()], **OPTIONS)
    assert not (tmp_path / LOCK).exists()


def test_a_run_folder_keeps_the_folder_as_long_as_its_context(tmp_path):
    """Pictures and the summary are written when the training is over."""
    with RunFolder(tmp_path / "run") as folder:
        fit(mlp(12, 3), SAMPLES, callbacks=[folder], **OPTIONS)
        with pytest.raises(RunError, match="another training of this process"):
            FolderLock(folder.path)
    assert not (folder.path / LOCK).exists()


# -- owners that are gone, or may be ---------------------------------------------------------------


def leave(folder, **changes):
    """What a training left that was killed."""
    lock = FolderLock(folder)
    owner = json.loads((folder / LOCK).read_bytes())
    lock.release()
    (folder / LOCK).write_text(json.dumps({**owner, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"process": 1},
        {"boot": "before"},  # the machine was started anew
        {"boot": "before", "process": 1},
    ],
    ids=str,
)
def test_a_dead_owner_keeps_nobody_out(tmp_path, changes):
    leave(tmp_path, **changes)
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 3000, "\0" * 5000, '"x"'])
def test_a_lock_that_says_nothing_keeps_nobody_out(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    FolderLock(tmp_path).release()


def test_another_container_of_this_machine_is_known_to_be_dead(tmp_path):
    leave(tmp_path, host="c0ffee")
    if folder_lock._this_process()["boot"] is None:
        pytest.skip("this system says not when it was started")
    FolderLock(tmp_path).release()


def test_of_another_machine_nothing_is_known(tmp_path):
    leave(tmp_path, host="node\x1b[7" + "x" * 999, boot="theirs", process=7)
    with pytest.raises(RunError) as caught:
        FolderLock(tmp_path)
    message = str(caught.value)
    assert f"if not, remove {tmp_path / LOCK}" in message
    assert r"number 7 on node\x1b[7xxx" in message
    assert len(message) < 700
    (tmp_path / LOCK).unlink()
    FolderLock(tmp_path).release()


@posix
def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Then what the file says has to do: is the process that it names still there?"""
    import fcntl

    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    first = FolderLock(tmp_path)
    with pytest.raises(RunError, match="another training of this process"):
        FolderLock(tmp_path)
    first.release()
    leave(tmp_path)  # this number, but another process: a container begins with the same again
    FolderLock(tmp_path).release()
    leave(tmp_path, process=os.getppid())
    with pytest.raises(RunError, match=f"another process .number {os.getppid()} on"):
        FolderLock(tmp_path)
    (tmp_path / LOCK).unlink()
    leave(tmp_path, process=2**22 + 1)
    FolderLock(tmp_path).release()


@posix
def test_a_link_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(elsewhere)
    with pytest.raises(RunError, match="cannot be written"):
        fit(mlp(12, 3), SAMPLES, callbacks=[Checkpoint(tmp_path / "run")], **OPTIONS)
    assert elsewhere.read_text() == "mine"


def hard_link(name, other):
    try:
        name.hardlink_to(other)
    except (OSError, NotImplementedError):
        pytest.skip("this file system has no hard links")


def test_a_hard_link_is_replaced_and_not_written_through(tmp_path):
    """Another name of a file of somebody's: what it holds stays, and the folder can be had."""
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.write_text("mine")
    run.mkdir()
    hard_link(run / LOCK, elsewhere)
    lock = FolderLock(run)
    assert elsewhere.read_text() == "mine"
    assert json.loads((run / LOCK).read_bytes())["process"] == os.getpid()
    with pytest.raises(RunError, match="another training of this process"):
        FolderLock(run)
    lock.release()
    assert not (run / LOCK).exists()
    assert elsewhere.read_text() == "mine"


@posix
def test_a_hard_link_to_a_lock_that_is_held_is_the_lock(tmp_path):
    """As a copy of the folder by hard links has it, under the name that it had as well."""
    lock = FolderLock(tmp_path)
    hard_link(tmp_path / "copy", tmp_path / LOCK)
    with pytest.raises(RunError, match="another training of this process"):
        FolderLock(tmp_path)
    lock.release()
    assert json.loads((tmp_path / "copy").read_bytes())["process"] == os.getpid()


@posix
def test_a_pipe_is_no_lock(tmp_path):
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(RunError, match="cannot be written: it is no file"):
        fit(mlp(12, 3), SAMPLES, callbacks=[Checkpoint(tmp_path)], **OPTIONS)
    assert [file.name for file in tmp_path.iterdir()] == [LOCK]


@posix
def test_a_file_that_is_removed_in_between_is_no_lock(tmp_path, monkeypatch):
    """Who waited for a file that its owner removes must not lock it: another makes a new one."""
    first, real = FolderLock(tmp_path), folder_lock._lock

    def late(descriptor):
        monkeypatch.setattr(folder_lock, "_lock", real)
        first.release()
        return real(descriptor)

    monkeypatch.setattr(folder_lock, "_lock", late)
    second = FolderLock(tmp_path)
    with pytest.raises(RunError):
        FolderLock(tmp_path)
    second.release()


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_lock.os, "write", refuse)
    with pytest.raises(OSError, match="No space left"):
        FolderLock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_would_let_go_of_it(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.deepcopy(lock)
    with pytest.raises(RunError):
        FolderLock(tmp_path)
    lock.release()


FORK = """
    import os, sys, time
    from pathlib import Path
    from xpnet.saving.folder_lock import FolderLock
    lock = FolderLock(Path(sys.argv[1]))
    if os.fork() == 0:
        try:
            lock.check()
        except OSError as error:
            os.write(1, f"{'another training has it' in str(error)}\\n".encode())
        if sys.argv[2] == "leaves":
            raise SystemExit
        time.sleep(15)
    if sys.argv[2] == "leaves":
        os.wait()
    os.write(1, b"go on\\n")  # whole, beside what the other process writes
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("child", ["leaves", "stays"])
def test_a_process_that_was_forked_has_it_not(tmp_path, child):
    """It neither lets go of its parent's lock when it ends, nor keeps that of a dead parent."""
    command = [sys.executable, "-c", textwrap.dedent(FORK), tmp_path, child]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert {owner.stdout.readline(), owner.stdout.readline()} == {"True\n", "go on\n"}
        with pytest.raises(RunError, match=f"number {owner.pid} "):
            FolderLock(tmp_path)
        owner.kill()
        owner.wait()
        FolderLock(tmp_path).release()


class Do(Callback):
    """Does something after the second epoch."""

    def __init__(self, action):
        self.action = action

    def on_epoch(self, network, record):
        if record.epoch == 2:
            self.action()


@posix
@pytest.mark.parametrize("kind", [Checkpoint, RunFolder])
@pytest.mark.parametrize("what", ["link", "folder", "lock"])
def test_a_folder_that_has_become_anothers_is_not_written_to(tmp_path, kind, what):
    """A link to another, a new one in its place, or another's lock after ours was removed."""
    path, others, taken = tmp_path / "run", tmp_path / "others", []

    def replace():
        if what == "lock":
            (path / LOCK).unlink()
            taken.append(FolderLock(path))
            return
        path.rename(tmp_path / "moved")
        others.mkdir()
        (others / "checkpoint.safetensors").write_bytes(b"mine")
        if what == "link":
            path.symlink_to(others)
        else:
            others.rename(path)
        taken.append(FolderLock(path))

    with pytest.raises(RunError, match="no longer this training's: another"):
        fit(mlp(12, 3), SAMPLES, epochs=3, backend="numpy", callbacks=[kind(path), Do(replace)])
    if what != "lock":
        assert content(path).pop("checkpoint.safetensors") == b"mine"
        assert len(content(path)) == 2
    assert (path / LOCK).exists()  # the other one's
    taken[0].release()


@posix
@pytest.mark.parametrize("what", ["moved", "unlocked"])
def test_a_folder_that_is_still_ours(tmp_path, what):
    path = tmp_path / "run"

    def change():
        if what == "unlocked":
            (path / LOCK).unlink()
        else:  # to a larger disk, say
            path.rename(tmp_path / "moved")
            path.symlink_to(tmp_path / "moved")

    fit(mlp(12, 3), SAMPLES, epochs=3, backend="numpy", callbacks=[RunFolder(path), Do(change)])
    assert read_snapshot(path).finished
    assert not (path / LOCK).exists()


# -- killed before the first checkpoint ------------------------------------------------------------


def killed_at_once(path, *arguments):
    """The folder of a run that was killed when its first checkpoint was being written."""

    def kill(self, snapshot):
        raise SystemExit(9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_snapshot", kill)
        train("--out", path, *arguments, code=9)
    assert sorted(content(path)) == ["config.toml", "history.jsonl"]


def same_network(*runs):
    return len({(run / "model.safetensors").read_bytes() for run in runs}) == 1


def test_a_run_that_was_killed_at_once_is_begun_again(tmp_path):
    train("--out", tmp_path / "whole")
    for name in ("a", "b"):
        killed_at_once(tmp_path / name)
    train("--out", tmp_path / "a")
    resume(tmp_path / "b")
    assert same_network(tmp_path / "whole", tmp_path / "a", tmp_path / "b")
    assert read_snapshot(tmp_path / "b").finished


def test_resuming_may_change_what_it_always_may(tmp_path):
    killed_at_once(tmp_path / "a", "--seed", 3)
    assert "--seed" in resume(tmp_path / "a", "--seed", "4", code=2).output
    resume(tmp_path / "a", "--epochs", "1", "--threads", "1")
    assert len(read_snapshot(tmp_path / "a").records) == 1
    train("--out", tmp_path / "b", "--seed", 3, "--epochs", 1)
    assert same_network(tmp_path / "a", tmp_path / "b")


def test_another_run_does_not_replace_it(tmp_path):
    killed_at_once(tmp_path / "run")
    before = content(tmp_path / "run")
    assert "holds a run already" in train("--out", tmp_path / "run", "--seed", 1, code=1).stderr
    (tmp_path / "run" / "config.toml").write_text("epochs = 0")
    assert "config.toml" in resume(tmp_path / "run", code=1).stderr
    (tmp_path / "run" / "config.toml").write_bytes(before["config.toml"])
    # A network is never begun again by mistake.
    (tmp_path / "run" / "model.safetensors").write_bytes(b"mine")
    train("--out", tmp_path / "run", code=1)
    resume(tmp_path / "run", code=1)
    assert content(tmp_path / "run") == {**before, "model.safetensors": b"mine"}


def test_the_python_way(tmp_path):
    (tmp_path / "history.jsonl").touch()
    folder = RunFolder(tmp_path, resume=True)
    fit(mlp(12, 3), SAMPLES, callbacks=[folder], **OPTIONS)
    assert read_snapshot(tmp_path).finished


@posix
def test_links_in_a_run_folder_are_left_alone_behind(tmp_path):
    """--force replaces the links, and what they point to stays."""
    pytest.importorskip("tensorboardX")
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "run"
    (elsewhere / "logs").mkdir(parents=True)
    names = ["config.toml", "history.jsonl", "model.safetensors", "checkpoint.safetensors"]
    path.mkdir()
    for name in names:
        (elsewhere / name).write_text("mine")
        (path / name).symlink_to(elsewhere / name)
    (elsewhere / "logs" / "events.out.tfevents.1").write_text("mine")
    (path / "tensorboard").symlink_to(elsewhere / "logs")
    train("--out", path, "--force", "--stop-after", 1)
    assert (path / "tensorboard").is_symlink()
    error = resume(path, "--tensorboard", code=1).stderr
    assert "is a link, and logs are not written to where it points" in error
    train("--out", path, "--force", "--tensorboard")
    assert not any(file.is_symlink() for file in path.iterdir())
    assert len(list((path / "tensorboard").iterdir())) == 1
    assert [file.name for file in (elsewhere / "logs").iterdir()] == ["events.out.tfevents.1"]
    assert {(elsewhere / name).read_text() for name in names} == {"mine"}


def test_the_name_of_this_machine_is_in_the_lock(tmp_path):
    lock = FolderLock(tmp_path)
    owner = json.loads((tmp_path / LOCK).read_bytes())
    assert (owner["process"], owner["host"]) == (os.getpid(), platform.node())
    lock.release()
    assert not Path(tmp_path, LOCK).exists()


@posix
@pytest.mark.parametrize("name", ["config.toml", "history.jsonl"])
def test_only_files_are_what_a_run_has_begun_with(tmp_path, name):
    """Not a link to nowhere; nor a pipe, which would be waited for."""
    for make in (os.mkfifo, lambda path: path.symlink_to(tmp_path / "nowhere")):
        make(tmp_path / name)
        with pytest.raises(RunError, match="holds a run already"):
            RunFolder(tmp_path, config=RunConfig())
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["curves.png", "model.safetensors", LOCK])
def test_what_cannot_be_written_is_named(tmp_path, name):
    path = tmp_path / "run"
    (path / name).mkdir(parents=True)
    error = train("--out", path, "--force", code=1).output
    assert f"error: {path / name}: cannot be written" in error


@posix
def test_a_pipe_in_a_run_folder_is_not_waited_for(tmp_path):
    train("--out", tmp_path / "run", "--stop-after", 1)
    (tmp_path / "run" / "history.jsonl").unlink()
    os.mkfifo(tmp_path / "run" / "history.jsonl")
    resume(tmp_path / "run")
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2
    os.mkfifo(tmp_path / "run" / LOCK)
    error = train("--out", tmp_path / "run", "--force", code=1).stderr
    assert f"{LOCK}: cannot be written: it is no file" in error
    assert (tmp_path / "run" / LOCK).is_fifo()
