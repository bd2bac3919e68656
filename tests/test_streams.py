"""Standard output and standard error that are closed, full, or read by nobody."""

import errno
import io
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tqdm import tqdm

import xpnet
from xpnet import Callback, ProgressBar, fit, mlp
from xpnet.cli import main
from xpnet.cli.streams import warnings_in_a_line
from xpnet.streams import Forgiving, log_warning, say, warn

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
    command = [
        "/bin/sh",
        "-c",
        f'exec "$@" {line}',
        "sh",
        sys.executable,
        "-m",
        "xpnet",
        *arguments,
    ]
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


# -- warnings, logging, bars -----------------------------------------------------------------------


class Odd:
    """No file at all: what a program has put in the place of a stream may raise anything."""

    def write(self, text):
        raise RuntimeError("wrapped object has been deleted")

    def isatty(self):
        return True


class CloseStreams(Callback):
    """Closes what is said to in the middle of the training, as a host program may."""

    every_step = False

    def __init__(self, *streams):
        self.streams = streams

    def on_step(self, state, count):
        for stream in self.streams:
            stream.close()
        log_warning("a %s", "warning")


LOGGER = logging.getLogger("xpnet")
BITS = np.eye(12, dtype=np.uint8)  # which is warned of


@pytest.fixture
def no_handlers(monkeypatch):
    """No logging but Python's last resort, as in a program that has set up none."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(LOGGER, "handlers", [])


@pytest.fixture
def shown_warnings():
    """Warnings shown as Python does it, which pytest would collect."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = as_python_does
        yield


def as_python_does(message, category, filename, lineno, file=None, line=None):
    file = sys.stderr if file is None else file
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))


MORE_STREAMS = {**STREAMS, "no file": lambda: Odd(), "nothing": lambda: object()}


@pytest.mark.parametrize("make", MORE_STREAMS.values(), ids=MORE_STREAMS)
def test_warnings_and_logging_end_no_training(monkeypatch, make, no_handlers, shown_warnings):
    stream = make()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    callbacks = [ProgressBar(), CloseStreams()]
    network = fit(mlp(12, 3), (BITS, SAMPLES[1]), epochs=2, backend="numpy", callbacks=callbacks)
    assert len(network.history) == 2


@pytest.mark.parametrize("which", ["stdout", "stderr", "both"])
def test_streams_that_are_closed_while_a_bar_is_drawn(monkeypatch, which, no_handlers):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    streams = {"stdout": Terminal(), "stderr": Terminal()}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    closing = [stream for name, stream in streams.items() if which in (name, "both")]
    callbacks = [ProgressBar(), CloseStreams(*closing)]
    network = fit(mlp(12, 3), SAMPLES, epochs=3, batch_size=4, backend="numpy", callbacks=callbacks)
    assert len(network.history) == 3
    # And closed before, with a terminal for the other.
    fit(mlp(12, 3), SAMPLES, epochs=1, backend="numpy", callbacks=[ProgressBar()])


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("make", [closed, Odd], ids=["closed", "no file"])
def test_warnings_end_no_training_of_an_estimator(monkeypatch, make, solver, shown_warnings):
    """That it has not converged, and that the targets are a column."""
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPRegressor

    monkeypatch.setattr(sys, "stderr", make())
    model = MLPRegressor(hidden_layer_sizes=(4,), solver=solver, max_iter=2, batch_size=99)
    model.fit(SAMPLES[0], SAMPLES[1][:, None].astype(float))
    assert model.n_iter_ == 2


def test_a_filter_makes_an_error_of_a_warning_all_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(xpnet.DataWarning, match="the largest is 1"):
            fit(mlp(12, 3), (BITS, SAMPLES[1]), epochs=1, backend="numpy")
    with pytest.warns(RuntimeWarning, match="careful") as told:
        warn("careful", RuntimeWarning)
    assert told[0].filename == __file__


def test_a_log_names_the_line_that_it_is_from(caplog):
    log_warning("a %s", "warning")
    assert (caplog.records[0].getMessage(), caplog.records[0].filename) == (
        "a warning", Path(__file__).name,
    )  # fmt: skip


@pytest.fixture
def bits(tmp_path):
    """A folder of samples of 0 and 1, which are warned of."""
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}-images.npy", np.eye(12, dtype=np.uint8).reshape(12, 3, 4))
        np.save(tmp_path / f"{part}-labels.npy", SAMPLES[1].astype(np.uint8))
    return tmp_path


def test_the_command_line_warns_in_a_line(bits):
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        arguments = ["train", str(bits), *TRAIN[2:], str(bits / "run"), "--quiet"]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Warning: the samples are uint8")
    assert warnings.showwarning is before


def test_a_warning_of_many_lines_is_one_and_stands_above_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    bar = tqdm(total=3, file=Forgiving(terminal))
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr(sys, "stderr", terminal)
        with warnings_in_a_line():
            warnings.warn("first\n  second \x1b[31m", stacklevel=1)
    bar.close()
    lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert r"Warning: first second \x1b[31m" in lines


@pytest.mark.parametrize("make", MORE_STREAMS.values(), ids=MORE_STREAMS)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["train", "--epochs", "x"], 2), (["nonsense"], 2), (["evaluate", "nowhere"], 1)],
    ids=str,
)
def test_mistakes_that_nobody_can_be_told_of(monkeypatch, make, arguments, code):
    monkeypatch.setattr(sys, "stderr", make())
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code


@each_stream
def test_the_command_line_in_a_program_whose_stderr_takes_nothing(monkeypatch, bits, make):
    monkeypatch.setattr(sys, "stderr", make())
    arguments = ["train", str(bits), *TRAIN[2:], str(bits / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    assert ended.value.code == 0
    assert xpnet.read_snapshot(bits / "run").finished


CLOSED = """
    import sys
    from xpnet.errors import DataWarning
    from xpnet.streams import log_warning, warn
    sys.stderr.close()
    warn("the samples are dark", DataWarning)
    log_warning("the cores are busy: %d", 2)
    sys.stderr = None
    print("goes on")
"""


def test_a_warning_where_the_program_has_closed_standard_error():
    """Python itself makes an error of it, in `warnings` as in `logging`."""
    command = [sys.executable, "-c", textwrap.dedent(CLOSED)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "goes on\n"
