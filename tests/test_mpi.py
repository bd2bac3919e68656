"""One training on several processes of MPI: the command line, and what happens when one fails."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from commands import xp
from conftest import REQUIRED

from xpnet import read_snapshot
from xpnet.backends.base import Status
from xpnet.distributed.launch import launched_rank, launched_size, start_ranks
from xpnet.distributed.mpi import check_timeout, probe_mpi

LIMIT = 60
"""Seconds in which each of these must be over, on a machine that does much else."""

TRAIN = ["train", "--backend", "numpy", "--limit", "300", "--hidden", "16", "--batch-size", "60"]

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


@pytest.fixture
def mpiexec():
    """The `mpiexec` beside this Python; skips, or fails if required, where there is no MPI."""
    found = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    status = probe_mpi()  # without starting it in this process
    reason = status.reason or "there is no mpiexec beside this Python: pip install 'xpnet[mpi]'"
    if found is None or not status.usable:
        if "mpi" in REQUIRED:
            pytest.fail(f"XPNET_REQUIRE asks for mpi, but: {reason}")
        pytest.skip(reason)
    return found


def started(mpiexec, size, *command, **options):
    """Processes under way."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "MPI"))}
    return subprocess.Popen(
        [mpiexec, "-n", str(size), sys.executable, *map(str, command)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def run(mpiexec, size, *command, code=0):
    """What processes have printed, which end with this code."""
    process = started(mpiexec, size, *command)
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"not over after {LIMIT} s: {process.communicate()}")
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def history(folder):
    rows = [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in rows]


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path):
    """No process of the test is alive at its end, and no file that was being written."""
    yield
    if Path("/proc").is_dir():
        ours = os.fsencode(tmp_path)
        for _ in range(50):
            alive = [p for p in Path("/proc").glob("[0-9]*/environ") if ours in _read(p)]
            if not [p for p in alive if p.parent.name != str(os.getpid())]:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"still alive: {[_read(p.parent / 'cmdline') for p in alive]}")
    assert not list(tmp_path.rglob("*.xpnet-part"))


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("mpiexec")
def test_the_command_on_two_ranks_is_that_on_one(monkeypatch):
    options = [*TRAIN, "--dtype", "float64", "--epochs", "3", "--dropout", "0.2"]
    xp(*options, "--out", "one")
    with monkeypatch.context() as launched:  # as by `mpiexec -n 1`
        launched.setenv("PMI_SIZE", "1")
        err = xp(*options, "--out", "alone", "--stop-after", "2", "--quiet").stderr
    command = [sys.executable, "-m", "xpnet", *options, "--out", "two", "--ranks", "2"]
    both = subprocess.run(
        command, text=True, capture_output=True, timeout=LIMIT, check=False
    )  # the command starts mpiexec itself
    assert both.returncode == 0, both
    assert re.search(r"^ranks:   2 ranks, MPI .*, processes \d+, \d+: ", both.stdout, re.MULTILINE)
    assert "30 of a batch's 60 samples" in both.stdout
    assert both.stdout.count("run folder: two") == 1
    summary = json.loads(Path("two", "summary.json").read_text())
    assert summary["ranks"] == 2
    assert summary["engine"].startswith("MPI (")
    assert history("alone") == history("one")[:2]
    for one, two in zip(history("one"), history("two"), strict=True):
        assert one.keys() == two.keys()
        assert two == pytest.approx(one, abs=1e-12)
    assert not re.search("rror", err + both.stderr)
    assert sorted(p.name for p in Path("two").iterdir()) == sorted(
        p.name for p in Path("one").iterdir()
    )


ESTIMATOR = """
    import numpy as np
    from sklearn.datasets import load_iris
    from xpnet.distributed import mpi_group
    from xpnet.sklearn import MLPClassifier

    X, y = load_iris(return_X_y=True)
    for options in ({"early_stopping": True}, {"solver": "lbfgs"}):
        models = [
            MLPClassifier((8,), max_iter=5, batch_size=20, random_state=0, group=group, **options)
            .fit(X, y, np.arange(150) % 3 + 1.0)
            for group in (mpi_group(), None)
        ]
        pairs = zip(*(model.coefs_ for model in models), strict=True)
        assert max(np.max(np.abs(one - other)) for one, other in pairs) < 1e-10
    print(models[0].group, flush=True)
"""


def test_estimators_on_three_ranks_are_those_of_one_process(mpiexec):
    pytest.importorskip("sklearn")
    Path("script.py").write_text(textwrap.dedent(ESTIMATOR))
    out, _ = run(mpiexec, 3, "script.py")
    assert sorted(line[:12] for line in out.splitlines()) == [f"<rank {n} of 3" for n in range(3)]


def test_an_exact_run_is_the_same_file_on_1_2_and_4_ranks_and_going_on_from_4_to_2_to_1(mpiexec):
    # Left before the last epoch, so that no pictures are drawn.
    options = [*TRAIN, "--epochs", "4", "--reduction", "exact", "--shards", "4", "--quiet"]
    xp(*options, "--out", "one", "--stop-after", "3")
    expected = Path("one", "model.safetensors").read_bytes()
    run(mpiexec, 2, "-m", "xpnet", *options, "--out", "two", "--stop-after", "3")
    assert Path("two", "model.safetensors").read_bytes() == expected
    run(mpiexec, 4, "-m", "xpnet", *options, "--out", "on", "--stop-after", "1")
    run(mpiexec, 2, "-m", "xpnet", "train", "--resume", "on", "--quiet", "--stop-after", "2")
    xp("train", "--resume", "on", "--quiet", "--stop-after", "3")
    assert Path("on", "model.safetensors").read_bytes() == expected
    assert history("on") == history("one")


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_ranks_with_one_checkpoint(mpiexec, number):
    options = [*TRAIN, "--epochs", "100000", "--out", "x", "--reduction", "exact"]
    process = started(mpiexec, 2, "-m", "xpnet", *options)
    deadline = time.monotonic() + LIMIT
    while not Path("x", "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    asked = time.monotonic()
    out, err = process.communicate(timeout=LIMIT)
    assert time.monotonic() - asked < 5, (out, err)
    assert process.returncode != 0
    if number == signal.SIGINT:
        assert err.count("interrupted: after") == 1, err
        assert "xpnet train --resume x" in err
    epochs = len(history("x"))
    run(mpiexec, 2, "-m", "xpnet", "train", "--resume", "x", "--stop-after", epochs + 2, "--quiet")
    # What was saved in the middle of an epoch goes on as if nothing had been.
    xp(*options[:-4], "--out", "y", "--reduction", "exact", "--stop-after", epochs + 2, "--quiet")
    assert history("x") == history("y")


OWN_MPI = """
    import threading
    import numpy as np
    from mpi4py import MPI
    from xpnet import fit, load_dataset, mlp
    from xpnet.distributed import mpi_group
    from xpnet.errors import GroupError

    group, world = mpi_group(), MPI.COMM_WORLD
    n_threads = threading.active_count()
    request = world.irecv(source=MPI.ANY_SOURCE, tag=MPI.ANY_TAG)
    again = mpi_group(timeout=20.0)
    assert (again, again.timeout, threading.active_count()) == (group, 20.0, n_threads)
    fit(mlp(64, 10), load_dataset("digits").limited(60), epochs=2, backend="numpy", group=again)
    world.send("from " + str(world.rank), dest=1 - world.rank)
    assert request.wait() == "from " + str(1 - world.rank)
    MPI.Finalize()
    for use in (mpi_group, lambda: group.share(1)):
        try:
            use()
        except GroupError as error:
            assert "MPI.Finalize" in str(error)
        else:
            raise AssertionError(use)
    group.abort()  # ends nothing that is not there
    threading.Event().wait(1.5)  # whoever watched for others has nothing to ask any more
    print("end")
"""


def test_a_program_may_use_and_end_mpi_itself_and_has_one_group(mpiexec):
    Path("own.py").write_text(textwrap.dedent(OWN_MPI))
    out, err = run(mpiexec, 2, "own.py")
    assert out.split() == ["end", "end"]
    assert err == ""


# -- failures -------------------------------------------------------------------------------------

SCRIPT = """
    import os, signal, sys, threading, time
    import numpy as np
    from mpi4py import MPI
    from xpnet import Callback, Checkpoint, fit, load_dataset, mlp
    from xpnet.distributed import mpi_group
    from xpnet.losses import softmax_cross_entropy

    how, steps = sys.argv[1], 0
    group = mpi_group(timeout=2.0 if how == "stuck" else 30.0)
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            shared = [line for line in maps if "/dev/shm/mpich_shm_" in line]
        # Whatever ends them, nothing is left where it has no name.
        assert all(line.endswith("(deleted)\\n") for line in shared), shared

    class Failing(Callback):
        def on_epoch(self, network, record):
            if record.epoch == 2 and how == "full":
                failed()
                raise OSError(28, "No space left on device")

    def failed():
        with open("failed", "w") as file:
            file.write(repr(time.time()))

    def loss(xp, output, target, **options):
        global steps
        steps += 1
        if group.rank == 1 and steps == 30 and how != "full":
            failed()
            if how == "raise": raise RuntimeError("the loss is broken")
            if how == "exit": sys.exit(3)
            if how == "exit 0": sys.exit(0)
            if how == "ctrl-c": raise KeyboardInterrupt
            if how.startswith("caught"): raise ValueError("the user goes on")
            if how == "thread":
                threading.Thread(target=time.sleep, args=(50,)).start()
                raise RuntimeError("a thread keeps the process")
            if how == "memory": raise MemoryError("all is used up")
            if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
            if how == "stuck": time.sleep(1000)
        return softmax_cross_entropy(xp, output, target, **options)

    loss.target_kind = "classes"
    data = load_dataset("digits").limited(300)
    try:
        outside = how in ("outside", "left", "finalized")
        fit(mlp(64, 8, 10), data, epochs=2 if outside else 20, loss=loss, backend="numpy",
            group=group, callbacks=[Checkpoint("x.safetensors"), Failing()])
        if group.rank == 1:
            failed()
            if how == "outside": raise RuntimeError("between two trainings")
            if how == "finalized": MPI.Finalize()
            sys.exit()
        fit(mlp(64, 8, 10), data, backend="numpy", group=group)
    except ValueError:
        if how == "caught, finalized": MPI.Finalize()
        fit(mlp(64, 9, 10), data, backend="numpy", group=group)
"""


@POSIX
@pytest.mark.parametrize(
    ("how", "words", "codes"),
    [
        ("raise", ["RuntimeError: the loss is broken", "on rank 1 of 2"], {1}),
        ("exit", ["rank 1 of 2 has ended by sys.exit(3)"], {3}),
        ("exit 0", ["rank 1 of 2 has ended by sys.exit(0)"], {1}),
        ("ctrl-c", ["KeyboardInterrupt", "on rank 1 of 2"], {130}),
        ("caught", ["GroupError: the group of 2 ranks has ended: rank 1 of 2 has failed"], {1}),
        ("thread", ["a thread keeps the process", "has not ended within 3 s"], {1}),
        ("memory", ["OutOfMemory", "on rank 1 of 2"], {1}),
        ("kill", ["signal 9"], {9, 137}),
        ("stuck", ["has waited 2 s for the others after step", "what was trained before"], {75}),
        ("outside", ["between two trainings", "rank 1 of 2 has failed, and all are ended"], {1}),
        ("left", ["rank 1 of 2 has ended, and rank 0 of 2 waits for it"], {1}),
        ("finalized", ["rank 1 of 2 has ended, and rank 0 of 2 waits for it"], {1}),
        ("caught, finalized", ["rank 1 of 2 has failed: ", "has called MPI.Finalize: all"], {1}),
        ("full", ["No space left on device", "on rank 0 of 2"], {1}),
    ],
)
def test_a_rank_that_fails_ends_all_within_5_s_and_what_was_saved_goes_on(
    mpiexec, tmp_path, how, words, codes
):
    Path("script.py").write_text(textwrap.dedent(SCRIPT))
    process = started(mpiexec, 2, "script.py", how)
    out, err = process.communicate(timeout=LIMIT)
    ended = time.time() - float(Path("failed").read_text())
    assert ended < 5 + 2 * (how == "stuck"), (ended, out, err)
    assert process.returncode in codes, (process.returncode, out, err)
    for word in words:
        assert word in out + err, (word, out, err)
    assert read_snapshot("x.safetensors").epoch >= 1  # what was saved is whole


TYPED_WRONG = """
    from xpnet.cli import main
    from xpnet.distributed import mpi_group

    group = mpi_group()
    for arguments in (["nothing-like-that"], ["--reduction", "exact", "--shards", "1"]):
        try:
            main(["train", *arguments])
        except SystemExit as error:
            last = error
        codes = group.gather(last.code)
        if group.rank == 0:
            print(codes, flush=True)
    raise last
"""


def test_what_is_typed_wrong_is_said_once(mpiexec):
    Path("script.py").write_text(textwrap.dedent(TYPED_WRONG))
    out, err = run(mpiexec, 2, "script.py", code=2)
    assert out == "[1, 1]\n[2, 2]\n"
    assert len(re.findall("^error: .*nothing-like-that", err, re.MULTILINE)) == 1, err
    assert len(re.findall("^Error: .*shards", err, re.MULTILINE)) == 1, err
    assert len(re.findall("^[Ee]rror: ", err, re.MULTILINE)) == 2, err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--epochs", "x"], ["--ranks", "3"]])
def test_what_is_typed_wrong_is_said_by_rank_0_before_there_is_a_group(monkeypatch, arguments):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "0")
    assert xp("train", *arguments, code=2).output.count("Error: ") == 1
    monkeypatch.setenv("PMI_RANK", "1")
    assert not xp("train", *arguments, code=2).output


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), "3", True, None])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds"):
        check_timeout(timeout)


def test_the_command_refuses_such_a_timeout_before_it_starts_ranks():
    found = xp(*TRAIN, "--ranks", "2", "--timeout", "nan", code=2)
    assert "timeout" in found.output


# -- launchers ------------------------------------------------------------------------------------


def test_the_size_and_the_rank_are_those_that_a_launcher_has_said():
    assert launched_size({}) is None
    assert launched_rank({}) == 0
    for size, rank in (
        ("PMI_SIZE", "PMI_RANK"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ):
        assert launched_size({size: "4"}) == 4
        assert launched_rank({rank: "3"}) == 3


@POSIX
def test_ranks_find_no_modules_in_the_current_folder_where_the_command_does_not(monkeypatch):
    command = []
    monkeypatch.setattr("xpnet.distributed.launch.find_mpiexec", lambda: "mpiexec")
    monkeypatch.setattr("os.execvpe", lambda program, typed, _: command.extend(typed))
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(Path.cwd()))])
    start_ranks(2, ["train"])
    assert command[-4:] == ["-P", "-m", "xpnet", "train"]
    command.clear()
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    start_ranks(2, ["train"])
    assert "-P" not in command


def test_without_mpi4py_no_rank_trains_alone(tmp_path):
    Path("mpi4py.py").write_text("raise ImportError('no mpi4py here')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}" + os.pathsep.join(sys.path)}
    for launched, options in (("4", []), ("", ["--ranks", "3"])):
        found = subprocess.run(
            [sys.executable, "-m", "xpnet", *TRAIN, "--out", "x", *options],
            env=environment | {"PMI_SIZE": launched},
            text=True, capture_output=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert found.returncode == 6, found
        assert found.stderr.count("no mpi4py here") == 1
        assert "pip install 'xpnet[mpi]'" in found.stderr
        assert not Path("x").exists()


def test_ranks_that_are_more_than_the_cores_are_warned_of(monkeypatch):
    started = []
    monkeypatch.setattr("xpnet.cli.ranks.start_ranks", lambda ranks, _: started.append(ranks) or 0)
    monkeypatch.setattr("xpnet.cli.ranks.probe_mpi", lambda: Status(usable=True))
    monkeypatch.setattr("xpnet.cli.ranks.usable_cores", lambda: 2)
    assert not xp(*TRAIN, "--ranks", "2").stderr
    assert "Warning: 100 ranks share 2 cores" in xp(*TRAIN, "--ranks", "100").stderr
    assert started == [2, 100]


def test_an_mpi_that_knows_of_one_process_alone_is_refused(mpiexec):
    """As where mpi4py is that of another MPI than mpiexec."""
    found = subprocess.run(
        [sys.executable, "-m", "xpnet", *TRAIN, "--out", "x"],
        env=os.environ | {"OMPI_COMM_WORLD_SIZE": "4"},
        text=True, capture_output=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert found.returncode == 6, found
    assert "mpiexec of Open MPI has started 4 processes" in found.stderr
    assert "there is 1" in found.stderr
    assert not Path("x").exists()
