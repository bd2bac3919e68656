"""One folder, one training: a lock that ends with the process that holds it.

The system's own lock on a file is let go of when its process ends, in whatever way, so there is
none to be cleaned away after a kill or a failure of power. In the file is who holds it: for the
message, and where the system's lock does not reach, on another machine that shares the folder or on
a file system without locks.
"""

import errno
import json
import os
import platform
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from weakref import WeakSet

from xpnet.errors import RunError, one_line
from xpnet.files import above_streams

LOCK = ".xpnet-lock"
"""What the file is called; it is there only while a training runs, or after one was killed."""

_PATIENCE = 0.25
"""Seconds in which a lock that another has but for a moment is tried again."""


_HELD: set[Path] = set()
"""The files of this process, where the file system has no locks."""


_UNKNOWN = {"process": "?", "host": "?", "since": "?"}


class FolderLock:
    """Has a folder to itself, from when it is made until `release`.

    A process that is forked has it not: the folder stays its parent's, and only as long as that
    lives.

    Parameters
    ----------
    folder
        The folder, which must be there.

    Raises
    ------
    RunError
        If another training has it, in this process or any other; or had it on a machine of which
        this one cannot know. The message is one sentence, with what can be done.
    OSError
        If the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._surely, self._descriptor = folder / LOCK, True, -1
        self._descriptor = self._acquire()
        _LOCKS.add(self)
        try:
            self._check_owner()
            while os.fstat(self._descriptor).st_nlink > 1:
                self._replace()
        except BaseException:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                _close(descriptor)  # and the file stays: it is the other one's
            raise
        try:
            self._folder = folder.stat()
            _HELD.add(self._path.absolute())
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, json.dumps(_this_process()).encode())
        except BaseException:  # such as a full disk
            self.release()
            raise

    def check(self) -> None:
        """Check, before something is written, that the folder still is the one that was locked.

        Raises
        ------
        RunError
            If another folder, or a link to one, has taken its place; if another training has it,
            since somebody removed the file, or this process was forked.
        """
        folder = self._path.parent
        try:
            if self._descriptor >= 0 and _is_still(self._descriptor, self._path):
                return  # also where the folder was moved, and a link to it is in its place
            same = os.path.samestat(folder.stat(), self._folder)
            if same and self._descriptor >= 0 and not os.path.lexists(self._path):
                return  # somebody has removed the file, and nobody has made use of that
        except OSError:
            return  # it is gone, or cannot be entered: who writes there will be told
        what = "another training has it" if same else "another folder has taken its place"
        raise RunError(f"{folder}: no longer this training's: {what}; nothing was written there")

    def release(self) -> None:
        """Let go of the folder; the file is removed."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        _HELD.discard(self._path.absolute())
        with suppress(OSError):
            mine = _is_still(descriptor, self._path)
            if sys.platform == "win32":  # a file that is open cannot be removed there
                _close(descriptor)
                descriptor = -1
            if mine:
                self._path.unlink()
        if descriptor >= 0:
            _close(descriptor)

    def _forget(self) -> None:
        """In a process that was forked: the lock stays its parent's."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        with suppress(Exception):
            self.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a lock is had by one, and cannot be copied")  # which would let go of it

    def _acquire(self) -> int:
        """The descriptor of the file, locked, and still the one of that name."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            descriptor = _open(self._path)
            try:
                try:
                    locked = _lock(descriptor)
                except OSError:  # a file system without locks
                    locked, self._surely = True, False
                if locked and _is_still(descriptor, self._path):
                    return descriptor
                owner = _read_owner(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() > deadline:
                raise RunError(f"{self._path.parent}: {_describe(owner)}")
            time.sleep(0.02)

    def _replace(self) -> None:
        """Have a new file in place of one that has another name: nobody else's is written to.

        Such as that of a copy of the folder by hard links. Who waits for the old one sees that it
        is not there any more (`_is_still`).
        """
        old, self._descriptor = self._descriptor, -1
        if sys.platform == "win32":  # a file that is open cannot be removed there
            _close(old)
            old = -1
        try:
            self._path.unlink(missing_ok=True)
            self._descriptor = self._acquire()
        finally:
            if old >= 0:
                _close(old)

    def _check_owner(self) -> None:
        """Of a lock that the system has given: whether its last owner is really gone."""
        owner, me = _read_owner(self._descriptor), _this_process()
        if not owner:
            return
        same_host = owner.get("host") == me["host"]
        same_boot = me["boot"] is not None and owner.get("boot") == me["boot"]
        if not same_host and not same_boot:
            raise RunError(
                f"{self._path.parent}: a training on another machine ({_who(owner)}) has not let "
                f"go of this folder, and whether it still runs cannot be known here: if not, "
                f"remove {self._path}"
            )
        rebooted = not same_boot and me["boot"] is not None
        if not self._surely and not rebooted and _lives(owner, self._path):
            raise RunError(f"{self._path.parent}: {_describe(owner)}")


_LOCKS: WeakSet[FolderLock] = WeakSet()


def _forget_all() -> None:
    _HELD.clear()
    for lock in list(_LOCKS):
        with suppress(OSError):
            lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _describe(owner: dict[str, Any]) -> str:
    mine = owner.get("process") == os.getpid() and owner.get("host") == platform.node()
    who = "another training of this process" if mine else f"another process ({_who(owner)})"
    return f"{who} is training in this folder: wait until it has ended, or give another folder"


def _who(owner: dict[str, Any]) -> str:
    if not owner:
        return "it is just beginning"
    return one_line("number {process} on {host}, since {since}".format_map({**_UNKNOWN, **owner}))


def _lives(owner: dict[str, Any], path: Path) -> bool:
    """Whether the process of this machine still is there, and not this one with an old number."""
    number = owner.get("process")
    if number == os.getpid():
        return path.absolute() in _HELD
    try:
        os.kill(number, 0)  # type: ignore[arg-type]
    except PermissionError:
        return True
    except (OSError, TypeError, OverflowError):
        return False
    return True


def _this_process() -> dict[str, Any]:
    """Who it is that has a folder: what another one can find out, too."""
    boot = None  # the same in all containers of a machine, and another after each start
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return {
        "process": os.getpid(),
        "host": platform.node(),
        "boot": boot,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read_owner(descriptor: int) -> dict[str, Any]:
    """Who is named in the file; nobody, where it is just being made or was let go of."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
    except (OSError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = above_streams(os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a pipe, or a device
        os.close(descriptor)
        raise OSError(errno.EEXIST, "it is no file", str(path))
    return descriptor


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the file has not been removed, by who let go of it, between opening and locking."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))  # noqa: PTH116
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    _BEHIND = 1 << 30  # a byte beyond the content, which others may still read

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, _BEHIND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _close(descriptor: int) -> None:
        with suppress(OSError):
            os.lseek(descriptor, _BEHIND, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        os.close(descriptor)

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            # Not lockf: a process does not lock itself out with it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _close(descriptor: int) -> None:
        with suppress(OSError):
            # Not by closing alone: a process that was forked meanwhile has it open, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
