"""The machine's C compiler: found, run, stopped; what it writes is looked at, loaded, unloaded."""

import ctypes
import gc
import math
import os
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from compiling import forget_all, needs_compiler

from xpnet.backends.numpy import compiler, running, scratch
from xpnet.backends.numpy.compiler import CannotCompile, NotNow, compiled, find_compiler
from xpnet.backends.numpy.shared_library import Libraries, NotALibraryError, load, take

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(os.name != "posix", reason="steps are compiled on POSIX alone"),
]

ANSWER = "int answer(void) { return 42; }"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(compiler, "TIMEOUT", 20)
    return forget_all(monkeypatch, tmp_path)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Make a program of Python the compiler; `out` is where it is to write the library."""

    def make(text):
        path = tmp_path / "cc.py"
        # Without the site's packages, which take longer than all else.
        path.write_text(
            "import os, signal, sys, time\n"
            "out, source = sys.argv[sys.argv.index('-o') + 1], sys.argv[sys.argv.index('c') + 1]\n"
            + text
        )
        monkeypatch.setenv("XPNET_CC", shlex.join([sys.executable, "-I", "-S", str(path)]))
        return path

    return make


def failure(source="// nothing", names=()):
    with pytest.raises(CannotCompile) as caught:
        compiled(source, names)
    return str(caught.value)


# -- which one ------------------------------------------------------------------------------------


def test_which_compiler(monkeypatch, tmp_path):
    def program(path):
        path.parent.mkdir(exist_ok=True)
        path.touch(0o755)
        return str(path)

    own, other = program(tmp_path / "bin" / "cc"), program(tmp_path / "a folder" / "other")
    monkeypatch.chdir(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CC", other)
    monkeypatch.delenv("XPNET_CC", raising=False)
    assert find_compiler() == [own]
    for given, found in (
        (f"'{own}' -O1", [own, "-O1"]), (other, [other]), (f"'{other}' -O1", [other, "-O1"]),
        ("./cc -O1", [own, "-O1"]),
    ):  # fmt: skip
        monkeypatch.setenv("XPNET_CC", given)
        assert find_compiler() == found
    for given in ('cc "-O1', "none-such -O1"):
        monkeypatch.setenv("XPNET_CC", given)
        with pytest.raises(CannotCompile, match=f"XPNET_CC is '{given}', which cannot be run"):
            find_compiler()
    for given in ("", " "):
        monkeypatch.setenv("XPNET_CC", given)
        with pytest.raises(CannotCompile, match="XPNET_CC is empty"):
            find_compiler()
    monkeypatch.delenv("XPNET_CC")
    for path in ("", ".", os.pathsep, str(tmp_path)):  # not from the current folder
        monkeypatch.setenv("PATH", path)
        with pytest.raises(CannotCompile, match="there is no C compiler"):
            find_compiler()


def test_on_other_systems_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(compiler.os, "name", "nt")
    try:
        with pytest.raises(CannotCompile, match="POSIX"):
            find_compiler()
    finally:
        monkeypatch.undo()


@needs_compiler
def test_a_compiler_that_knows_not_all_flags(fake):
    """Such as one without `-march=native`: what makes it faster only is left out."""
    real = find_compiler()
    fake(
        "if '-march=native' in sys.argv: sys.exit(1)\n"
        f"os.execv({real[0]!r}, {real!r} + sys.argv[1:])"
    )
    assert compiled(ANSWER, ["answer"]).answer() == 42


@needs_compiler
def test_a_compiler_with_fast_arithmetic(monkeypatch):
    """Some have it unless told otherwise; it would be the whole process's, NumPy's as well."""
    monkeypatch.setenv("XPNET_CC", shlex.join([*find_compiler(), "-ffast-math"]))
    is_nan = compiled("int is_nan(double x) { return x != x; }", ["is_nan"]).is_nan
    assert is_nan(ctypes.c_double(math.nan)) == 1
    assert np.float32(1e-40) * np.float32(1) > 0


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("print('no such thing', file=sys.stderr); sys.exit(3)", "exits with 3: no such thing"),
        ("sys.exit(1)", "it says nothing"),
        ("print('a' * 10**4); sys.exit(1)", "a{200}$"),
        ("sys.stdout.buffer.write(bytes([233])); sys.exit(1)", "exits with 1: \ufffd"),
        ("", "there is no library"),
        ("os.mkdir(out)", "no file"),
        ("os.mkfifo(out)", "no file"),
        ("os.symlink(sys.executable, out)", "no library"),
        ("open(out, 'w')", "begins as none"),
        ("open(out, 'w').write('text' * 1000)", "begins as none"),
        ("open(out, 'wb').truncate(10**10)", "10000000000 bytes"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails(fake, folder, script, message):
    fake(script)
    with pytest.raises(CannotCompile, match=message):
        compiled("// nothing", [])
    assert list(folder.iterdir()) == []


def test_a_compiler_that_cannot_be_started(monkeypatch, tmp_path):
    (tmp_path / "cc").write_text("#!/none/such\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("XPNET_CC", str(tmp_path / "cc"))
    assert "/none/such" in failure() or "No such file" in failure()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_one_that_talks_without_end_is_stopped(fake, stream):
    fake(f"while True: sys.{stream}.write('again and again ' * 1000)")
    began = time.monotonic()
    assert "says more than" in failure()
    assert time.monotonic() - began < 10


def test_one_that_writes_without_end_is_stopped(fake, folder, monkeypatch):
    monkeypatch.setattr(running, "MOST_WRITTEN", 2**24)
    fake("while True: open(out, 'ab').write(bytes(2**20)); time.sleep(0.01)")
    assert "writes more than" in failure()
    assert list(folder.iterdir()) == []


def test_the_time_in_which_the_program_is_stopped_does_not_count(fake, monkeypatch):
    """As by Ctrl-Z: its compiler is in another session, and may have ended meanwhile."""
    began = time.monotonic()

    def after_an_hour():
        now = time.monotonic()
        return now if now < began + 0.2 else now + 3600

    clock = SimpleNamespace(monotonic=after_an_hour, sleep=time.sleep)
    monkeypatch.setattr(running, "time", clock)
    fake("time.sleep(0.4); print('it has ended'); sys.exit(1)")
    assert "it has ended" in failure()


def test_one_that_says_nothing_more_but_goes_on_is_waited_for(fake):
    fake("os.close(1); os.close(2); time.sleep(0.2); os._exit(7)")
    assert "exits with 7" in failure()


def test_one_that_hangs_does_so_once_and_leaves_nothing_running(
    fake, folder, tmp_path, monkeypatch
):
    """Nor do its own children; SIGTERM, which it does not hear, is not what ends it."""
    log = tmp_path / "log"
    fake(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork()\n"
        f"open({str(log)!r}, 'a').write(str(os.getpid()) + '\\n')\n"
        "open(os.environ['TMPDIR'] + '/left', 'w')\n"
        "time.sleep(60)"
    )
    monkeypatch.setattr(compiler, "TIMEOUT", 1.0)
    assert "more than 1 seconds" in failure("// one")
    assert "more than 1 seconds" in failure("// one")
    assert "failed too often" in failure("// two")
    numbers = [int(line) for line in log.read_text().split()]
    assert 1 <= len(numbers) <= 2
    assert all(has_ended(number) for number in numbers)
    assert list(folder.iterdir()) == []


def has_ended(number):
    """Whether a process has, or does so soon."""
    for _ in range(100):
        try:
            os.kill(number, 0)
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # nobody takes notice
        except OSError:
            return True
        time.sleep(0.05)
    return False


@needs_compiler
def test_a_bad_source_does_not_switch_compiling_off():
    for number in range(2 * compiler.MOST_FAILURES):
        assert "exits with" in failure(f"mistake {number}")
        assert compiled(f"{ANSWER} // {number}", ["answer"]).answer() == 42
    assert len(compiler.FAILURES) == 2 * compiler.MOST_FAILURES


def test_a_compiler_that_never_works_is_given_up(fake, tmp_path):
    log = tmp_path / "log"
    fake(f"open({str(log)!r}, 'a').write('x'); sys.exit(1)")
    for number in range(compiler.MOST_FAILURES + 3):
        failure(f"// {number}")
    # With all flags, and with fewer; the last time what every compiler can compile.
    assert len(log.read_text()) == 2 * (compiler.MOST_FAILURES + 1)


@needs_compiler
def test_bad_sources_in_a_row_do_not_switch_compiling_off():
    for number in range(2 * compiler.MOST_FAILURES + 1):
        failure(f"mistake {number}")
    assert compiled(ANSWER, ["answer"]).answer() == 42


# -- told to end ----------------------------------------------------------------------------------

HANGS = (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "open(os.path.join(os.path.dirname(sys.argv[0]), 'pid'), 'w').write(str(os.getpid()))\n"
    "time.sleep(60)"
)


def wait_for_pid(path):
    for _ in range(400):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the compiler was not started")


PROGRAM = """
import signal, sys, tempfile, threading
# Who runs the tests may have these ignored, as `nohup` does, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
tempfile.tempdir = sys.argv[1]
from xpnet.backends.numpy.compiler import compiled
def work():
    compiled("// nothing", [])
if sys.argv[2] == "main":
    work()
else:
    thread = threading.Thread(target=work, daemon=sys.argv[2] == "daemon")
    thread.start()
    thread.join()
"""


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [
        ("main", signal.SIGINT, -signal.SIGINT), ("main", signal.SIGTERM, -signal.SIGTERM),
        ("main", getattr(signal, "SIGHUP", 1), -1),
        ("thread", signal.SIGINT, -signal.SIGINT), ("daemon", signal.SIGINT, -signal.SIGINT),
    ],
)  # fmt: skip
def test_a_signal_is_answered_at_once(fake, folder, tmp_path, where, number, code):
    """And nothing stays, neither files nor the compiler."""
    fake(HANGS)
    command = [sys.executable, "-c", PROGRAM, str(folder), where]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        pid = wait_for_pid(tmp_path / "pid")
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 5  # (a tenth of a second, on an idle machine)
    assert process.returncode == code, said
    assert has_ended(pid)
    assert list(folder.iterdir()) == []


def test_a_signal_that_the_program_answers_itself(fake, tmp_path):
    """As in a training that is saved: the compiler is stopped, and asked again later."""
    fake(HANGS)
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(1))
    try:
        sender = threading.Thread(
            target=lambda: (wait_for_pid(tmp_path / "pid"), os.kill(os.getpid(), signal.SIGTERM))
        )
        sender.start()
        with pytest.raises(NotNow):
            compiled("// nothing", [])
        sender.join()
        assert came == [1]
        assert signal.getsignal(signal.SIGTERM) is not before
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not compiler.FAILURES


def test_of_two_threads_one_compiles_and_none_waits(fake, tmp_path):
    fake("time.sleep(1); sys.exit(1)")
    said = []
    thread = threading.Thread(target=lambda: said.append(failure()))
    thread.start()
    while not compiler._ONE_AT_A_TIME.locked():
        time.sleep(0.01)
    began = time.monotonic()
    with pytest.raises(NotNow):
        compiled("// other", [])
    assert time.monotonic() - began < 0.9
    thread.join()
    assert "it says nothing" in said[0]


def test_a_process_that_ends_starts_no_compiler(monkeypatch, fake):
    fake("")
    monkeypatch.setattr(compiler, "must_stop", lambda: True)
    with pytest.raises(NotNow):
        compiled("// nothing", [])
    assert not running.must_stop()


# -- its files ------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_removed_by_the_next(fake, folder, tmp_path):
    fake(HANGS)
    command = [sys.executable, "-c", PROGRAM, str(folder), "main"]
    with subprocess.Popen(command) as process:
        pid = wait_for_pid(tmp_path / "pid")
        (left,) = folder.iterdir()
        with scratch.scratch_folder():
            assert left.exists()  # its process lives
        process.kill()
    os.kill(pid, signal.SIGKILL)
    assert (left / "step.c").exists()
    with scratch.scratch_folder() as own:
        assert list(folder.iterdir()) == [own]
    assert list(folder.iterdir()) == []


def test_what_is_not_ours_stays(folder):
    words = "xpnet compiles a step here, process 123\n"

    def make(name, text=None):
        (folder / name).mkdir()
        (folder / name / "work").write_text("of somebody")
        if text is not None:
            (folder / name / "owner").write_text(text)

    make("xpnet-step-abcdefgh")
    make("xpnet-step-12345678", "somebody")
    make("xpnet-step-1234567", words)
    make("xpnet-step-123456789", words)
    make("Xpnet-step-12345678", words)
    make("xpnet-abcdefgh", words)
    make("real", words)
    (folder / "xpnet-step-aaaaaaaa").symlink_to(folder / "real")
    make("xpnet-step-bbbbbbbb")
    (folder / "xpnet-step-bbbbbbbb" / "owner").symlink_to(folder / "real" / "owner")
    make("xpnet-step-cccccccc")
    os.mkfifo(folder / "xpnet-step-cccccccc" / "owner")
    (folder / "xpnet-step-dddddddd").write_text(words)
    before = sorted(folder.rglob("*"))
    make("xpnet-step-stale___", words)
    with scratch.scratch_folder():
        pass
    assert sorted(folder.rglob("*")) == before


# -- the library ----------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path):
    """The bytes of a library that can be loaded."""
    with scratch.scratch_folder() as place:
        (place / "it.c").write_text(ANSWER)
        command = [*find_compiler(), *compiler.FLAGS, "it.c", "-o", "it.so"]
        subprocess.run(command, cwd=place, check=True)
        return (place / "it.so").read_bytes()


def changed(data, where, value):
    return data[:where] + bytes([value]) + data[where + 1 :]


DAMAGES = {
    "cut off by a byte": lambda data: data[:-1],
    "half of it": lambda data: data[: len(data) // 2],
    "the head alone": lambda data: data[:64],
    "half of the head": lambda data: data[:30],
    "a head and nothing": lambda data: data[:16] + bytes(len(data) - 16),
    "another processor": lambda data: changed(data, 18, data[18] ^ 0x55),
    "another size of words": lambda data: changed(data, 4, 3 - data[4]),
    "another order of bytes": lambda data: changed(data, 5, 3 - data[5]),
    "no shared object": lambda data: changed(data, 16, 1),
    "no parts": lambda data: changed(changed(data, 56, 0), 57, 0),
    "a table far behind the end": lambda data: data[:32] + bytes([255] * 8) + data[40:],
    "Apple's": lambda data: struct.pack("=I", 0xFEEDFACF) + data[4:],
    "Apple's head": lambda data: struct.pack("=I", 0xFEEDFACF),
}


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="places in the head of an ELF file")
def test_what_is_no_whole_library_for_this_machine_is_not_loaded(whole, tmp_path):
    path = tmp_path / "it.so"
    for what, damage in DAMAGES.items():
        path.write_bytes(damage(whole))
        with pytest.raises(NotALibraryError, match=r"library|program"):
            take(path, tmp_path / what)
        assert not (tmp_path / what).exists()


@needs_compiler
def test_a_library_without_the_function(whole, tmp_path):
    (tmp_path / "it.so").write_bytes(whole)
    assert load(tmp_path / "it.so", ["answer"]).answer() == 42
    with pytest.raises(NotALibraryError, match="no function question"):
        load(tmp_path / "it.so", ["answer", "question"])
    assert "no function question" in failure(ANSWER, ["question"])


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="what is loaded is read from /proc")
def test_libraries_that_nobody_uses_are_unloaded(monkeypatch):
    monkeypatch.setattr(compiler, "LIBRARIES", Libraries(kept=2))

    def count():
        gc.collect()
        return Path("/proc/self/maps").read_text().count("r-xp") - before

    before = 0
    before = count()
    function = compiled(f"{ANSWER} // in use", ["answer"])["answer"]
    for number in range(5):
        compiled(f"{ANSWER} // {number}", ["answer"])
    assert count() == 3
    assert f"{ANSWER} // in use" in compiler.LIBRARIES
    assert f"{ANSWER} // 1" not in compiler.LIBRARIES
    assert f"{ANSWER} // 4" in compiler.LIBRARIES
    assert function() == 42
    del function
    assert count() == 2
    assert f"{ANSWER} // in use" not in compiler.LIBRARIES
