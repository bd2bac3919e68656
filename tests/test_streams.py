"""Standard output and standard error that are closed, full, or read by nobody."""

import errno
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import xpnet
from xpnet import ProgressBar, fit, mlp
from xpnet.cli import main
from xpnet.errors import DataWarning
from xpnet.streams import Forgiving, log, say, warn

pytestmark = pytest.mark.installed

SAMPLES = np.eye(12), np.arange(12) % 3
TRAIN = ["train", "digits", "--hidden", "4", "--epochs", "2", "--backend", "numpy", "--out"]

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX: descriptors, /dev/full")
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed,
    "full": lambda: Broken(OSError(errno.ENOSPC, "No space left on device")),
    "nobody reads": lambda: Broken(BrokenPipeError(errno.EPIPE, "Broken pipe")),
}
each_stream = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)


@each_stream
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_training_goes_on(monkeypatch, make, name):
    monkeypatch.setattr(sys, name, make())
    network = fit(mlp(12, 3), SAMPLES, epochs=3, backend="numpy", callbacks=[ProgressBar()])
    assert len(network.history) == 3


@each_stream
def test_a_stream_that_is_given(make):
    bar = ProgressBar(make())
    assert len(fit(mlp(12, 3), SAMPLES, epochs=2, backend="numpy", callbacks=[bar]).history) == 2


@each_stream
@pytest.mark.filterwarnings("ignore")  # that it has not converged
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_an_estimator_that_says_what_it_does(monkeypatch, make, solver):
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier

    model = MLPClassifier((4,), solver=solver, verbose=True, max_iter=3)
    monkeypatch.setattr(sys, "stdout", make())
    assert model.fit(*SAMPLES).n_iter_ > 0


def test_a_stream_that_takes_it_gets_it(capsys):
    say("a line")
    assert capsys.readouterr().out == "a line\n"
    bytes_ = io.BytesIO()
    stream = Forgiving(io.TextIOWrapper(bytes_, encoding="ascii"))
    stream.write("Größe 数\n")
    stream.flush()
    assert bytes_.getvalue() == rb"Gr\xf6\xdfe \u6570" + b"\n"
    assert not Forgiving(None).isatty()
    assert Forgiving(sys.stdout) == Forgiving(sys.stdout) == sys.stdout


# -- the command line ------------------------------------------------------------------------------


def shell(line, *arguments, **options):
    command = ["sh", "-c", f'exec "$@" {line}', "sh", sys.executable, "-m", "xpnet", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **options}
    return subprocess.run([str(part) for part in command], check=False, text=True, **options)


@posix
@full
@pytest.mark.parametrize("line", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"], ids=["closed", "full"])
def test_xpnet_train_is_done_and_says_so_by_its_exit_code(tmp_path, line):
    done = shell(line, *TRAIN, tmp_path / "run")
    assert done.returncode == 0, done
    assert (tmp_path / "run" / "summary.json").exists()
    assert xpnet.read_snapshot(tmp_path / "run").finished
    # No line has landed in a file.
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 2
    assert len(xpnet.load(tmp_path / "run").history) == 2


@posix
def test_a_pager_that_was_quit(tmp_path):
    """What reads the first line only, and then is gone."""
    command = [sys.executable, "-m", "xpnet", *TRAIN, tmp_path / "run"]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("backend:")
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, "")
    assert (tmp_path / "run" / "summary.json").exists()


@posix
@full
@pytest.mark.parametrize("arguments", ["--help", "conformance --list"])
def test_output_that_is_what_the_command_is_for(arguments):
    """It has not arrived: the exit code says so, and one line on standard error."""
    done = shell(">/dev/full", *arguments.split())
    assert (done.returncode, done.stderr) == (1, "error: output: No space left on device\n")


@posix
def test_output_that_is_closed():
    done = shell(">&-", "conformance", "--list")
    assert (done.returncode, done.stderr) == (1, "error: output: Bad file descriptor\n")


@posix
def test_an_error_that_nobody_can_be_told_of_has_its_exit_code():
    assert shell("2>&-", "train", "no-such-data").returncode == 1
    assert shell("2>/dev/null >&-", "train", "--backend", "nonsense").returncode == 2


@posix
def test_descriptors_of_closed_streams_are_given_to_no_file():
    code = """
        import os
        from xpnet.cli.streams import occupy_descriptors
        for number in range(3):
            os.close(number)
        occupy_descriptors()
        number = os.open(os.devnull, os.O_RDONLY)
        os._exit(number)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == 3


def test_the_host_programs_streams_stay_open(capsys):
    before = sys.stdout, sys.stderr
    main(["conformance", "--list"], standalone_mode=False)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out.startswith("functions: ")


CLOSED = """
    import sys
    from xpnet.errors import DataWarning
    from xpnet.streams import log, warn
    sys.stderr.close()
    warn("the samples are dark", DataWarning)
    log("warning", "the cores are busy: %d", 2)
    sys.stderr = None
    print("goes on")
"""


def test_a_warning_where_the_program_has_closed_standard_error():
    """Python itself makes an error of it, in `warnings` as in `logging`."""
    command = [sys.executable, "-c", textwrap.dedent(CLOSED)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "goes on\n"


def test_a_warning_that_is_an_error_by_the_programs_filters():
    with pytest.raises(DataWarning, match="dark"):
        warn("the samples are dark", DataWarning)
    with pytest.warns(DataWarning, match="dark") as caught:
        warn("the samples are dark", DataWarning)
    assert caught[0].filename == __file__


def test_what_is_logged_has_its_place(caplog):
    log("warning", "%d of %d", 1, 2)
    assert [(r.name, r.getMessage(), r.pathname) for r in caplog.records] == [
        ("xpnet", "1 of 2", __file__)
    ]
