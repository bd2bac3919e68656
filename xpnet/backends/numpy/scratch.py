"""The folder that a compiler works in: of one process, and removed also if that was killed."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "xpnet-step-"
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
_OWNER = "owner"
_WORDS = re.compile(rb"xpnet compiles a step here, process [0-9]{1,20}\n")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder for temporary files, removed at the end; stale ones are removed before.

    In it is a file `owner`, which the process holds a lock of: the system lets go of it whatever
    way the process ends, and a number of a process would be another's after a while. It has its
    words only when the lock is held. A folder is stale if its name, its user and those words are
    ours, and nobody holds the lock; nothing else is touched.
    """
    import shutil
    import tempfile

    root = Path(tempfile.gettempdir())
    _remove_stale(root)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    try:
        held = _own(folder / _OWNER)
        try:
            yield folder
        finally:
            # Before the lock is free; some systems keep a library that is loaded.
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _own(path: Path) -> int:
    import fcntl

    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with suppress(OSError):  # some file systems have no locks: without words it is left alone
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(held, b"xpnet compiles a step here, process %d\n" % os.getpid())
    return held


def _remove_stale(root: Path) -> None:
    import shutil

    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and _is_stale(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    """Whether it was made here, by a process that lives no more."""
    import fcntl

    try:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        # Without waiting for a pipe, and through no link.
        held = os.open(folder / _OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode) or not _WORDS.fullmatch(os.read(held, 200)):
            return False
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(held)
