"""Files that are written to the end or not at all.

Nothing of the process is changed for it, since other threads would see it: a file is made with the
mode that it shall have, and not by a umask that is put back.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xpnet.errors import RunError, one_line, reason_of

_ENDING = ".xpnet-part"
_RANDOM = 16  # hexadecimal digits
_SHOWN = 40  # characters of the name, of which each may take four bytes of the 255 there are


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file such that at every moment the old or the new content is there, whole.

    A link of this name is replaced, and what it points to stays as it is. A device or a pipe is
    written to, and so is a stream of the process, such as `/dev/stdout`, whatever it is.

    Raises
    ------
    OSError
        If it cannot be written; the old file is untouched and no temporary file is left.
    """
    path = Path(path)
    number = _stream(path)
    if number is not None:
        _write_stream(number, content)
        return
    if is_device(path):
        path.write_bytes(content)
        return
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(_temporary_name(path.name))
    try:
        descriptor = open_new(temporary)
    except OSError as error:
        # The name of the temporary file is not one that the caller knows.
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_device(path: Path) -> bool:
    """Whether it is a device or a pipe: what is written there replaces nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not there, a link to nowhere, or a name that cannot be
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def is_same_as_any(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path is that of one of other files, be it by another name, such as a link."""
    # os.path: unlike Path's methods it is silent about names that cannot be.
    there = [other for other in others if os.path.exists(other)]  # noqa: PTH110
    return os.path.exists(path) and any(os.path.samefile(path, other) for other in there)  # noqa: PTH110, PTH121


def check_file(path: str | os.PathLike[str]) -> None:
    """Find out that a file is there, is one, and can be read.

    A pipe would be waited for, for ever perhaps; and a library may say of every file that it cannot
    open that it is not there.

    Raises
    ------
    OSError
        If it cannot be read; a `FileNotFoundError` if nothing is there.
    ValueError
        If it is no name that a file can have.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116 - a str stays as it is
    if stat.S_ISDIR(mode):
        raise OSError("it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError("it is a pipe or a device, and no file")
    with open(path, "rb"):  # noqa: PTH123
        pass


def cannot_write(path: str | os.PathLike[str], error: OSError) -> RunError:
    """The error for a file or folder that cannot be written, in one sentence.

    It names the file that the system names, such as one in a folder, or a folder above.
    """
    named = error.filename2 or error.filename
    # A number is that of a descriptor, which nobody knows.
    name = named if isinstance(named, str | bytes) and named else path
    return RunError(f"{one_line(os.fsdecode(name))}: cannot be written: {reason_of(error)}")


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """A scope in which a file or folder is written.

    Raises
    ------
    RunError
        If it cannot be; see `cannot_write`.
    """
    try:
        yield
    except RunError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Write a line to the end of a file, or nothing; a link is not followed, but to a stream.

    Raises
    ------
    OSError
        If it cannot be written, or is a link.
    """
    number = _stream(Path(path))
    if number is not None:
        _write_stream(number, line.encode())
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | _BINARY
    with os.fdopen(above_streams(os.open(path, flags, 0o666)), "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        content = line.encode()
        try:
            written = file.write(content)
            while written < len(content):  # the disk is full, or a limit is reached: the rest fails
                written += file.write(content[written:])
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), before)
            raise


def remove_temporaries(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what a process that was killed had begun to write as one of these files.

    That is a file whose name has the very form of `write_atomically`; never a link or a folder.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    for name in names:
        form = re.compile(rf"\.{re.escape(name[:_SHOWN])}\.[0-9a-f]{{{_RANDOM}}}{_ENDING}")
        with os.scandir(folder) as entries:
            left = [entry for entry in entries if form.fullmatch(entry.name)]
        for entry in left:
            if entry.is_file(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)


def open_new(path: Path) -> int:
    """The descriptor of a file that was not there, for writing, with the mode of any new file.

    Raises
    ------
    OSError
        If it cannot be made, or something of this name is there.
    """
    return above_streams(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666))


_BINARY = getattr(os, "O_BINARY", 0)  # Windows


def above_streams(descriptor: int) -> int:
    """The same file as no standard stream: what is printed to a closed one would land in it."""
    passed = []
    try:
        while descriptor <= 2:
            passed.append(descriptor)
            descriptor = os.dup(descriptor)
    finally:
        for other in passed:
            os.close(other)
    return descriptor


def _temporary_name(name: str) -> str:
    return f".{name[:_SHOWN]}.{os.urandom(_RANDOM // 2).hex()}{_ENDING}"


def _stream(path: Path) -> int | None:
    """The number of the stream of this process that is meant; None where it is another file.

    Such a name is a link to the file behind it, which the shell may have opened.
    """
    path = path.absolute()
    if str(path) in _STREAMS:
        return _STREAMS[str(path)]
    is_number = str(path.parent) in ("/dev/fd", "/proc/self/fd") and path.name.isdecimal()
    return int(path.name) if is_number else None


_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}


def _write_stream(number: int, content: bytes) -> None:
    """Write behind what has been written to it, and not to where the file begins."""
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Have the new name of a file on the disk, where the system lets one open a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # a file system without it, as some in a network
    finally:
        os.close(descriptor)
