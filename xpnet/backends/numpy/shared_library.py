"""Compiled libraries: looked at before they are loaded, and unloaded when nobody needs them."""

import ctypes
import os
import platform
import re
import stat
import struct
import sys
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

MOST_BYTES = 64 * 2**20
"""A library of more is none of ours; they have some tens of kilobytes."""

KEPT = 32
"""How many libraries stay loaded that nobody uses: for the next training of the same shapes."""

MARK = "xpnet: compiled by "
"""What stands in a library before the version of its compiler."""

_ELF = b"\x7fELF"
_SHARED_OBJECT = 3
_TO_LOAD = 1
_MACH_O = struct.pack("=I", 0xFEEDFACF)
_MACH_O_KINDS = (6, 8)  # a dynamic library, a bundle


class NotALibraryError(Exception):
    """What a compiler has written cannot be loaded; the message says why."""


class Library(ctypes.CDLL):
    """A library that is loaded.

    Attributes
    ----------
    compiler
        The command that has compiled it, and its version where it says one.
    """

    compiler: str = ""


def take(path: Path, to: Path) -> None:
    """Copy what a compiler has written, if it seems to be a library, to a file of ours.

    What a compiler has started may go on, and write.

    Raises
    ------
    NotALibraryError
        If it is no library for this machine, or is not whole.
    """
    try:
        # Without waiting for a pipe, and through no link.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotALibraryError(f"there is no library: {error.strerror}") from error
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotALibraryError("what should be the library is no file")
        if found.st_size > MOST_BYTES:
            raise NotALibraryError(f"the library has {found.st_size} bytes")
        data = os.read(file, found.st_size)
    finally:
        os.close(file)
    problem = _problem(data)
    if problem:
        raise NotALibraryError(problem)
    with to.open("xb") as copy:  # and nothing that is there already, which may be a pipe
        copy.write(data)


def version_in(path: Path) -> str:
    """The version of the compiler, as it stands in a library; empty if it does not.

    It is looked for in the file: to ask the compiler would take another process, and to ask the
    library would be to believe what it says of where it has that.
    """
    found = re.search(re.escape(MARK.encode()) + rb"([ -~]{1,100})\0", path.read_bytes())
    return "" if found is None else found[1].decode()


def load(path: Path, names: Iterable[str]) -> Library:
    """Load a library which has functions of these names; it is unloaded when nobody holds it.

    The system's loader believes what it reads, so it is to be tried before: `trial.try_out`.

    Raises
    ------
    NotALibraryError
        If it cannot be loaded, or lacks a function.
    """
    try:
        library = Library(str(path))
    except OSError as error:
        raise NotALibraryError(f"it cannot be loaded: {error}") from error
    from _ctypes import dlclose

    # Not at the end of the process, when other threads may still be in it.
    weakref.finalize(library, dlclose, library._handle).atexit = False
    for name in names:
        try:
            library[
                name
            ]  # by item: an attribute would stay there, and hold the library in a circle
        except AttributeError as error:
            raise NotALibraryError(f"there is no function {name} in it") from error
    return library


class Libraries:
    """Libraries by their source: all that are in use, and the last `kept` of the others."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._in_use: weakref.WeakValueDictionary[str, Library] = weakref.WeakValueDictionary()
        self._last: OrderedDict[str, Library] = OrderedDict()

    def __contains__(self, source: str) -> bool:
        return source in self._in_use

    def __len__(self) -> int:
        return len(self._in_use)

    def get(self, source: str) -> Library | None:
        """The library of a source, if it is loaded."""
        library = self._in_use.get(source)
        if library is not None:
            self.add(source, library)
        return library

    def add(self, source: str, library: Library) -> None:
        """Keep a library, as that which was used last."""
        self._in_use[source] = self._last[source] = library
        self._last.move_to_end(source)
        while len(self._last) > self._kept:
            self._last.popitem(last=False)


def _problem(data: bytes) -> str:
    """Why these bytes are no library for this process; empty if they seem to be one."""
    try:
        if data.startswith(_ELF):
            return _problem_of_elf(data)
        if data.startswith(_MACH_O):
            return _problem_of_mach_o(data)
    except (struct.error, IndexError, OverflowError):  # places far behind the end
        return "the library is cut off"
    return "what should be the library begins as none"


def _problem_of_elf(data: bytes) -> str:
    # The kind of machine: size of a word, order of bytes, processor.
    own = _own_head()
    if own.startswith(_ELF) and (data[4:6], data[18:20]) != (own[4:6], own[18:20]):
        return "the library is for another kind of machine"
    is_wide = data[4] == 2
    whole = "=16xHHIQQQIHHHHHH" if is_wide else "=16xHHIIIIIHHHHHH"
    kind, _, _, _, first, sections, _, _, step, count, section_size, section_count, _ = (
        struct.unpack_from(whole, data)
    )
    if kind != _SHARED_OBJECT or not count or step != struct.calcsize(_entry(is_wide)):
        return "what should be a library is another kind of program"
    if sections + section_size * section_count > len(data):
        return "the library is cut off"
    for number in range(count):
        entry = struct.unpack_from(_entry(is_wide), data, first + number * step)
        offset, length = (entry[2], entry[5]) if is_wide else (entry[1], entry[4])
        if entry[0] == _TO_LOAD and offset + length > len(data):
            return "the library is cut off"
    return ""


def _entry(is_wide: bool) -> str:
    """A line of the table of what is to be loaded: of its kind, and where it is in the file."""
    return "=IIQQQQQQ" if is_wide else "=IIIIIIII"


def _problem_of_mach_o(data: bytes) -> str:
    _, processor, _, kind, _, length = struct.unpack_from("=IIIIII", data)
    own = {"arm64": 0x0100000C, "x86_64": 0x01000007}.get(platform.machine(), processor)
    if processor != own:
        return "the library is for another kind of machine"
    if kind not in _MACH_O_KINDS:
        return "what should be a library is another kind of program"
    return "the library is cut off" if 32 + length > len(data) else ""


@lru_cache(maxsize=1)
def _own_head() -> bytes:
    """The beginning of the program that runs here; empty if it cannot be read."""
    for path in ("/proc/self/exe", sys.executable):
        try:
            with Path(path).open("rb") as file:
                return file.read(64)
        except OSError:
            continue
    return b""
