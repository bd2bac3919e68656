"""A compiled library that would end the process is met by another one, and NumPy does the work."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from multiprocessing.spawn import get_executable

import numpy as np
import pytest
from compiling import forget_all, needs_compiler

from xpnet.backends.numpy import compiler, running
from xpnet.backends.numpy.compiler import CannotCompile, compiled, find_compiler
from xpnet.backends.numpy.running import MisbehavesError
from xpnet.backends.numpy.shared_library import NotALibraryError, load, take
from xpnet.backends.numpy.source import Arguments
from xpnet.backends.numpy.trial import find_python, try_out

pytestmark = [
    pytest.mark.compiler,
    pytest.mark.skipif(os.name != "posix", reason="steps are compiled on POSIX alone"),
]

HALF = "void half(char** a) { float* x = (float*)a[0]; for (int i = 0; i < 100; i++) x[i] /= 2; }"
AT_THE_BEGINNING = "__attribute__((constructor)) static void begin(void)"
AT_THE_END = "__attribute__((destructor)) static void end(void)"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    return forget_all(monkeypatch, tmp_path)


PROGRAM = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from xpnet.backends.numpy import compiler
try:
    compiler.compiled(sys.argv[2], ["half"], [(0, 400)])
    print("loaded")
except compiler.CannotCompile as error:
    print(error)
"""


def library_of(source, folder):
    """What the compiler makes of a source; loaded by nobody."""
    (folder / "it.c").write_text(source)
    command = [*find_compiler(), *compiler.FLAGS, "it.c", "-o", "it.so"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "it.so"


def said_of(source, folder):
    """What becomes of a source, in a process that it may end."""
    command = [sys.executable, "-c", PROGRAM, str(folder), source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    assert list(folder.iterdir()) == []
    return done.stdout


@needs_compiler
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (f"{AT_THE_BEGINNING} {{ *(volatile int*)8 = 1; }} {HALF}", "ends in SIG(SEGV|BUS)"),
        (f"#include <stdlib.h>\n{AT_THE_BEGINNING} {{ exit(0); }} {HALF}", "ends with 0"),
        (f"{AT_THE_END} {{ *(volatile int*)8 = 1; }} {HALF}", "ends in SIG(SEGV|BUS)"),
        (f"extern int none_such(void); {AT_THE_BEGINNING} {{ none_such(); }} {HALF}", "none_such"),
        ("void half(char** a) { *(volatile int*)8 = 1; }", "ends in SIG(SEGV|BUS)"),
        ("void half(char** a) { __builtin_trap(); }", "ends in SIG(ILL|TRAP|ABRT)"),
        ("void other(char** a) {}", "no function half in it"),
        (HALF, "^loaded"),
    ],
)  # fmt: skip
def test_what_ends_a_process_ends_another(folder, source, message):
    assert re.search(message, said_of(source, folder))


@needs_compiler
def test_what_hangs_is_stopped(tmp_path):
    source = f"#include <unistd.h>\n{AT_THE_BEGINNING} {{ for (;;) sleep(1); }} {HALF}"
    library = library_of(source, tmp_path)
    with pytest.raises(MisbehavesError, match="trying what it has compiled: it takes more than 1 "):
        try_out(library, ["half"], [(0, 400)], 1, [])


@needs_compiler
def test_damage_wherever_it_is(tmp_path):
    """Each is refused or can be loaded; without a trial about one in twenty ends the process."""
    data = library_of(HALF, tmp_path).read_bytes()
    draw, refused = random.Random(0), 0
    # Where tables and code are, between bytes that nobody reads.
    places = [n for n in range(64, len(data)) if any(data[n - 8 : n + 8])]
    for number in range(12):
        place, length = draw.choice(places), draw.choice((4, 64, 512))
        length = min(length, len(data) - place)
        new = draw.randbytes(length) if number % 2 else bytes(length)
        (tmp_path / "damaged.so").write_bytes(data[:place] + new + data[place + length :])
        try:
            take(tmp_path / "damaged.so", tmp_path / f"{number}.so")
            try_out(tmp_path / f"{number}.so", ["half"], [(0, 400)], 20, [])
            load(tmp_path / f"{number}.so", ["half"])
        except NotALibraryError:
            refused += 1
    assert refused


@needs_compiler
def test_functions_are_called_on_memory_as_large_as_their_own(folder):
    """Before an address and after it; where there is too little of it they are not called."""
    touches = (
        "void half(char** a) { a[0][-5000] = a[1][99999] = a[2][0] = 1; ((int (*)(int))a[3])(7); }"
    )
    compiled(touches, ["half"], [(5000, 1), (0, 100000), (0, 1), (0, 0)])
    with pytest.raises(CannotCompile, match=r"ends in SIG(SEGV|BUS)"):
        compiled(f"{touches} // {folder}", ["half"], [(0, 0), (0, 100), (0, 1), (0, 0)])
    traps = "void half(char** a) { __builtin_trap(); }"
    compiled(traps, ["half"])
    compiled(f"{traps} // too large", ["half"], [(0, 2**61)])


def test_how_much_memory_a_step_touches():
    arguments = Arguments()
    x, y = np.zeros((3, 4)), np.zeros(6, np.float32)
    for array in (x, x[0], x[:, ::-1], y[::-2]):
        arguments.number_of_array(array)
    arguments.number_of(1)
    assert arguments.memory == [(0, 96), (24, 72), (16, 4), (0, 0)]
    assert len(arguments.addresses) == 4


@needs_compiler
def test_what_a_compiler_has_started_may_go_on_and_write(tmp_path):
    """What is tried and loaded is no file that it knows."""
    written = library_of(HALF, tmp_path)
    take(written, tmp_path / "own.so")
    os.truncate(written, 0)
    try_out(tmp_path / "own.so", ["half"], [(0, 400)], 20, [])
    load(tmp_path / "own.so", ["half"])


# -- the program of Python ------------------------------------------------------------------------


@pytest.fixture
def executable():
    """What `multiprocessing` starts, as it was before in the end."""
    before = get_executable()
    yield multiprocessing.set_executable
    multiprocessing.set_executable(os.fsdecode(before))


def test_another_program_that_python_is_a_part_of_is_not_started(monkeypatch, tmp_path, executable):
    def program(name):
        (tmp_path / name).write_text(f"#!/bin/sh\necho started > {tmp_path / 'log'}\n")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    monkeypatch.setenv("XPNET_CC", sys.executable)  # which is asked for nothing
    assert find_python() == os.fsdecode(get_executable())
    for path in (program("uwsgi"), program("blender"), str(tmp_path / "python3"), ""):
        executable(path)
        assert find_python() == ""
        with pytest.raises(CannotCompile, match="no program of Python"):
            compiled(HALF, ["half"])
    for name in ("python3.12", "Python", "pypy3"):
        executable(program(name))
        assert find_python() == str(tmp_path / name)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert find_python() == ""
    assert not (tmp_path / "log").exists()


@needs_compiler
def test_a_program_of_python_that_does_not_work(tmp_path, executable):
    (tmp_path / "python").write_text("#!/bin/sh\necho no module named encodings\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    executable(str(tmp_path / "python"))
    with pytest.raises(CannotCompile, match="no module named encodings"):
        compiled(HALF, ["half"])
    (tmp_path / "python").write_text("#!/none/such\n")
    with pytest.raises(CannotCompile, match="No such file"):
        compiled(f"{HALF} // once more", ["half"])


# -- told to end ----------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_trial_is_answered_at_once(folder, tmp_path, number):
    """And nothing stays, neither files nor the process that hangs."""
    source = (
        "#include <stdio.h>\n#include <unistd.h>\n"
        f'{AT_THE_BEGINNING} {{ FILE* f = fopen("{tmp_path / "pid"}", "w");'
        f' fprintf(f, "%d.", (int)getpid()); fclose(f); for (;;) sleep(1); }} {HALF}'
    )
    command = [sys.executable, "-c", PROGRAM, str(folder), source]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "pid").exists() or "." not in (tmp_path / "pid").read_text():
            assert process.poll() is None
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text()[:-1])
        assert pid != process.pid
        began = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 5  # (a tenth of a second, on an idle machine)
    assert process.returncode == -number, said
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(folder.iterdir()) == []
    assert not running._RUNNING
