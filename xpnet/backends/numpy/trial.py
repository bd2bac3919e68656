"""A compiled library tried in a process of its own, before it comes into this one.

The system's loader believes what is in a library: a damaged table of symbols or relocations ends
the process, as do instructions that the processor does not have. A process that was started for it
may well be ended.
"""

import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from xpnet.backends.numpy.running import MisbehavesError, run
from xpnet.backends.numpy.shared_library import NotALibraryError

_WELL = "loaded, called and unloaded"
"""What the trial says last if all is well; a library may end the process with any code."""

_PROGRAM = f"""
import ctypes, mmap, os, resource, sys
from _ctypes import dlclose
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
names, *spans = open(sys.argv[2]).read().split("\\n")
spans = [[int(word) for word in line.split()] for line in spans]
library = None
try:
    library = ctypes.CDLL(sys.argv[1])
    functions = [library[name] for name in names.split()]
except OSError as error:
    sys.exit(f"it cannot be loaded: {{error}}")
except AttributeError:
    missing = next(name for name in names.split() if not hasattr(library, name))
    sys.exit(f"there is no function {{missing}} in it")
nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
before, after = [(max(sizes) + 63) // 64 * 64 for sizes in zip(*spans)] or (0, 0)
try:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, before + after or 1, private)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + before
except OSError:
    functions = []
table = (ctypes.c_void_p * len(spans))()
for number, (below, above) in enumerate(spans if functions else ()):
    table[number] = address if above else nothing
for function in functions if spans else ():
    function.restype = None
    function(table)
dlclose(library._handle)
os.write(1, b{_WELL!r})
os._exit(0)
"""
"""Loads a library, calls its functions on memory that begins with zeros, and unloads it.

All addresses are one, with as much memory before it and after it as any of them has: whatever the
numbers are, nothing may be written elsewhere. For functions of BLAS, and for what they alone are
given, stands one that looks at no argument. Where the memory is not to be had, nothing is called.
"""


def find_python() -> str:
    """The program of Python that runs here; empty where Python is a part of another program.

    That one is not to be started a second time. It may say which to take instead, by
    `multiprocessing.set_executable`.
    """
    from multiprocessing.spawn import get_executable

    path = os.fsdecode(get_executable() or "")
    is_python = re.search("python|pypy", Path(path).name, re.IGNORECASE)
    if getattr(sys, "frozen", False) or not is_python or not os.access(path, os.X_OK):
        return ""
    return path


def try_out(
    library: Path,
    names: Iterable[str],
    memory: Iterable[tuple[int, int]],
    timeout: float,
    came: Sequence[int],
) -> None:
    """Load a library in another process, look its functions up, call them, and unload it.

    Parameters
    ----------
    library
        Where it is, in a folder in which there may be other files.
    names
        Those of the functions.
    memory
        For each address in the table that the functions are given, how many bytes before and after
        it they may touch; none after the address of a function. They are not called without.
    timeout, came
        As of `run`, whose exceptions this raises as well.

    Raises
    ------
    NotALibraryError
        If one of these ends the process, or cannot be done.
    """
    told = library.with_suffix(".txt")
    lines = [" ".join(names), *(f"{below} {above}" for below, above in memory)]
    with told.open("x", encoding="utf-8") as file:
        file.write("\n".join(lines))
    # Without the user's and the site's packages, which take longer than all else.
    command = [find_python(), "-I", "-S", "-c", _PROGRAM, str(library), str(told)]
    try:
        code, said = run(command, library.parent, timeout, came)
    except MisbehavesError as error:
        raise MisbehavesError(f"trying what it has compiled: {error}") from error
    if code < 0:
        raise NotALibraryError(f"trying the library ends in {_name_of(-code)}")
    if not said.endswith(_WELL):
        lines = said.strip().splitlines() or [f"trying the library ends with {code}"]
        raise NotALibraryError(lines[-1][:200])


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time
        return f"signal {number}"
