"""A compiler, or another program, which can neither hang the training nor outlive it."""

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MOST_OUTPUT = 2**20
"""So many bytes a program may say; a compiler was told to warn of nothing."""

MOST_WRITTEN = 2**28
"""So many bytes a program may write to its folder: no more than is left of a small disc."""

_LOOK = 0.05
"""Seconds between two looks at whether to go on waiting."""


class Stopped(Exception):  # noqa: N818 - not an error: somebody wants to end
    """A signal came, or the process ends, while the program ran."""


class MisbehavesError(Exception):
    """The program takes too long, or talks or writes without end."""


def run(
    command: Sequence[str], folder: Path, timeout: float, came: Sequence[int]
) -> tuple[int, str]:
    """Run a program; its exit code, and what it says.

    It is stopped by a signal, which `came` then has (see `signals_noted`), and, where this is not
    the main thread, by the end of that.

    Raises
    ------
    Stopped
        If it was.
    MisbehavesError
        If it takes longer than `timeout` seconds, says more than `MOST_OUTPUT` bytes, or has
        more than `MOST_WRITTEN` in its folder.
    OSError
        If it cannot be started.
    """
    import subprocess

    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},  # where it leaves files if it is stopped
        start_new_session=True,  # or Ctrl-C would be its own as well
    ) as process:  # fmt: skip
        _RUNNING[process] = (os.getpid(), folder)
        try:
            said = _listen(process, folder, came, timeout)
        except BaseException:
            _kill(process)
            raise
        finally:
            _RUNNING.pop(process, None)
    return process.returncode, said.decode(errors="replace")


def must_stop() -> bool:
    """Whether the process is about to end: it waits for this thread alone."""
    return not threading.main_thread().is_alive()


def _listen(process: Any, folder: Path, came: Sequence[int], timeout: float) -> bytes:
    """What a program says until it has ended. What it has started may hold the pipe longer."""
    import selectors

    said, has_ended = b"", False
    waited, before = 0.0, time.monotonic()
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if came or must_stop():
                raise Stopped("the program is told to end")
            # While this process is stopped, as by Ctrl-Z, it does not wait.
            now = time.monotonic()
            waited, before = waited + min(now - before, 1), now
            if waited > timeout:
                raise MisbehavesError(f"it takes more than {timeout:g} seconds")
            if _written(folder) > MOST_WRITTEN:
                raise MisbehavesError(f"it writes more than {MOST_WRITTEN} bytes")
            with suppress(BlockingIOError):
                while part := os.read(pipe, 2**16):
                    said += part
                    if len(said) > MOST_OUTPUT:
                        raise MisbehavesError(f"it says more than {MOST_OUTPUT} bytes")
                # It is closed: there is nothing more to be told of, only the end to be waited for.
                if pipe in selector.get_map():
                    selector.unregister(pipe)
            if has_ended:
                return said
            if pipe in selector.get_map():
                selector.select(_LOOK)
            else:
                time.sleep(_LOOK / 10)
            has_ended = process.poll() is not None


def _written(folder: Path) -> int:
    """How much of the disc a folder's files take, without those of folders in it."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # it is there no more
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """A context in which signals to end are noted, in the list that it gives.

    They are SIGTERM, and those of a terminal: SIGINT, SIGQUIT and SIGHUP.

    When it is left they are sent again, and answered as they would have been. They reach the main
    thread alone; elsewhere nothing is done, and a signal that the process ignores stays ignored.
    """
    came: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):
                with suppress(ValueError):  # the main thread of a subinterpreter
                    signal.signal(number, lambda number, _: came.append(number))
                    before[number] = handler
    try:
        yield came
    finally:
        for noted, handler in before.items():
            signal.signal(noted, handler)
        for noted in came:
            signal.raise_signal(noted)


def _kill(process: Any) -> None:
    """End a program with all that it has started, which does the work and would go on."""
    if process.returncode is None:  # else its number may be that of others
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


_RUNNING: dict[Any, tuple[int, Path]] = {}
"""What runs at this moment, by which process, and where."""


@atexit.register
def _kill_all() -> None:
    """At the end of the process a thread that it does not wait for may still be compiling."""
    import shutil

    for process, (owner, folder) in list(_RUNNING.items()):
        if owner == os.getpid():  # and not the parent of this process
            _kill(process)
            shutil.rmtree(folder, ignore_errors=True)
