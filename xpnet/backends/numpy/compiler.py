"""The machine's C compiler, where there is one."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from xpnet.backends.numpy.running import MisbehavesError, Stopped, must_stop, run, signals_noted
from xpnet.backends.numpy.scratch import scratch_folder
from xpnet.backends.numpy.shared_library import (
    Libraries,
    Library,
    NotALibraryError,
    load,
    take,
    version_in,
)
from xpnet.backends.numpy.trial import find_python, try_out

FLAGS = (
    "-O3", "-fPIC", "-shared", "-w", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno",
    "-fwrapv", "-fno-strict-aliasing",
)  # fmt: skip
"""Nothing that lets a result be another than IEEE 754 says, or than NumPy gives for integers.

Some compilers have fast arithmetic unless told otherwise. Memory that is seen as numbers of two
dtypes, as by `view`, is written and read in the order of the calls.
"""

FASTER = ("-march=native", "-fno-trapping-math", "-fno-tree-pre")
"""Left out where the compiler knows them not.

GCC's elimination of partial redundancies makes jumps of several maxima in a row, and no vectors."""

TIMEOUT = 30
"""Seconds that a compiler may take, and the trial of what it has written. (Six were the most, for
a network of thirty layers.)"""

MOST_FAILURES = 3
"""After so many sources in a row that it could not compile, nor then `SIMPLE`, a compiler is asked
no more."""

SIMPLE = "void f(char** a) { a[0][0] = 1; }"
"""What every compiler can compile: whether it is the sources that are bad, or the compiler is."""

MOST_REMEMBERED = 100
"""Of so many sources it is remembered that they could not be compiled."""


class CannotCompile(Exception):  # noqa: N818 - not an error: NumPy does the work
    """There is no C compiler, or it fails; the message says which."""


class NotNow(CannotCompile):
    """It may work later: another thread is compiling, or the program is told to end."""


def find_compiler() -> list[str]:
    """The command of the C compiler: what the variable `XPNET_CC` says, or `cc`, `gcc` or `clang`.

    `CC` is not looked at: it may name a compiler for another machine, or one that puts checks into
    what it compiles. Nor is the current folder, where `PATH` names it.

    Raises
    ------
    CannotCompile
        If there is none, or `XPNET_CC` is empty, which says that none shall be used.
    """
    import shutil

    if os.name != "posix":
        raise CannotCompile("steps are compiled on Linux, macOS and other POSIX systems alone")
    chosen = os.environ.get("XPNET_CC")
    if chosen is None:
        folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
        path = os.pathsep.join(folder for folder in folders if Path(folder).is_absolute())
        for name in ("cc", "gcc", "clang"):
            found = shutil.which(name, path=path)
            if found:
                return [found]
        raise CannotCompile("there is no C compiler (cc, gcc or clang)")
    if not chosen.strip():
        raise CannotCompile("XPNET_CC is empty: no compiler is to be used")
    command = _words(chosen)
    found = shutil.which(command[0]) if command else None
    if not found:
        raise CannotCompile(f"XPNET_CC is {chosen!r}, which cannot be run")
    # A link stays one: some compilers look at the name that they were called by.
    return [str(Path(found).absolute()), *command[1:]]


def usable_compiler() -> list[str]:
    """The command of the C compiler, where what it writes can be tried out.

    Raises
    ------
    CannotCompile
        As `find_compiler`, and if there is no program of Python to try it out.
    """
    command = find_compiler()
    if not find_python():
        raise CannotCompile("there is no program of Python to try out what is compiled")
    return command


def _words(text: str) -> list[str]:
    """A command and its arguments; a path may have spaces."""
    import shlex
    import shutil

    if shutil.which(text):
        return [text]
    try:
        return shlex.split(text)
    except ValueError:  # a quotation without end
        return []


LIBRARIES = Libraries()
"""What has been compiled, by its source."""

FAILURES: dict[tuple[str, str], str] = {}
"""What went wrong, by the compiler's command and the source."""

IN_A_ROW: dict[str, int] = {}
"""How many sources a compiler has failed at since it worked; not there before the first."""

_ONE_AT_A_TIME = threading.Lock()


def _forget_lock() -> None:
    """In the child of a fork: it may be held by a thread that is not there."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


def compiled(source: str, names: Sequence[str], memory: Sequence[tuple[int, int]] = ()) -> Library:
    """A library made of C source, with functions of these names, compiled once if it is in use.

    They are called once by another process, if `memory` says what with: see `trial.try_out`.

    Raises
    ------
    NotNow
        If another thread is compiling, or a signal came meanwhile.
    CannotCompile
        If there is no compiler, it fails or has failed before, or the library cannot be loaded.
    """
    import shlex

    command = usable_compiler()
    # Nobody waits for another thread's compiler: he who asks can go on without.
    if must_stop() or not _ONE_AT_A_TIME.acquire(blocking=False):
        raise NotNow("another thread is compiling, or the program ends")
    try:
        library = LIBRARIES.get(source)
        if library is None:
            library = _compile_once(command, shlex.join(command), source, names, memory)
            LIBRARIES.add(source, library)
        return library
    finally:
        _ONE_AT_A_TIME.release()


def _compile_once(
    command: list[str],
    name: str,
    source: str,
    names: Sequence[str],
    memory: Sequence[tuple[int, int]],
) -> Library:
    """Compile, unless this source or too many others have failed; failures are remembered."""
    if (name, source) in FAILURES:
        raise CannotCompile(FAILURES[name, source])
    if IN_A_ROW.get(name, 0) >= MOST_FAILURES:
        raise CannotCompile(f"{name} has failed too often")
    try:
        library, version = _compile(command, source, names, memory)
    except Stopped as error:
        raise NotNow(str(error)) from error
    except (CannotCompile, MisbehavesError, NotALibraryError, OSError) as error:
        # One that has never worked and hangs would do so again, and that takes long.
        hangs = isinstance(error, MisbehavesError)
        is_broken = hangs and name not in IN_A_ROW
        IN_A_ROW[name] = MOST_FAILURES if is_broken else IN_A_ROW.get(name, 0) + 1
        message = f"{name}: {error}"
        while len(FAILURES) >= MOST_REMEMBERED:
            FAILURES.pop(next(iter(FAILURES)))
        FAILURES[name, source] = message
        if IN_A_ROW[name] == MOST_FAILURES and not hangs:
            IN_A_ROW[name] = 0
            if not _works(command):
                IN_A_ROW[name] = MOST_FAILURES
        raise CannotCompile(message) from error
    IN_A_ROW[name] = 0
    library.compiler = f"{name} ({version})" if version else name
    return library


def _works(command: list[str]) -> bool:
    """Whether a compiler that has failed with other sources compiles `SIMPLE`."""
    try:
        _compile(command, SIMPLE, ["f"], [(0, 1)])
    except (CannotCompile, MisbehavesError, NotALibraryError, OSError):
        return False
    except Stopped:
        pass  # it is not known, and asked again
    return True


def _compile(
    command: list[str], source: str, names: Sequence[str], memory: Sequence[tuple[int, int]]
) -> tuple[Library, str]:
    """A new library, and the version of the compiler."""
    # The signals outermost: one of them may end the process, when all else has been put away.
    with signals_noted() as came, scratch_folder() as folder:
        text, written, library = folder / "step.c", folder / "step.so", folder / "own.so"
        text.write_text(source, encoding="utf-8")
        for flags in ((*FLAGS, *FASTER), FLAGS):
            full = [*command, *flags, "-x", "c", str(text), "-o", str(written), "-lm"]
            code, said = run(full, folder, TIMEOUT, came)
            if code == 0:
                take(written, library)
                try_out(library, names, memory, TIMEOUT, came)
                return load(library, names), version_in(library)
    first = (said.strip().splitlines() or ["it says nothing"])[0]
    raise CannotCompile(f"it exits with {code}: {first[:200]}")
