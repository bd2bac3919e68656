"""Training the members of an ensemble: each by a process of its own, some at a time."""

import _thread
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import IO, Any

from xpnet.cli.streams import tell
from xpnet.distributed.launch import this_program
from xpnet.training.interrupts import Interrupts

_LOOK = 0.2
"""Seconds between two looks at whether a signal has come."""


@dataclass
class Processes:
    """Runs one command for each member, and says what they say, with the member in front.

    Parameters
    ----------
    jobs
        How many run at a time.
    quiet
        Whether nothing is said of what they say, but for mistakes.
    """

    jobs: int
    quiet: bool = False
    _running: dict[int, "subprocess.Popen[str]"] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: bool = False

    def run(self, commands: Mapping[int, Sequence[str]], left: Callable[[], str]) -> dict[int, int]:
        """Run `xpnet ARGUMENTS` for each; what each ended with, by its number.

        On Ctrl-C or SIGTERM no more are begun, and those that run are asked to save and to leave; a
        second one ends them at once.

        Raises
        ------
        KeyboardInterrupt
            With what `left` says, after Ctrl-C.
        """
        with Interrupts() as interrupts, ThreadPoolExecutor(self.jobs) as pool:
            interrupts.watch()
            ends = {pool.submit(self._one, *command): command[0] for command in commands.items()}
            try:
                self._wait(set(ends), interrupts)
            except BaseException:
                self._end_all()
                raise
            if interrupts.number is not None:
                interrupts.answered = True
                raise KeyboardInterrupt(left())
            return {number: end.result() for end, number in ends.items()}

    def _wait(self, waiting: "set[Future[int]]", interrupts: Interrupts) -> None:
        while waiting:
            _, waiting = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if interrupts.number is not None and not self._stopping:
                self._ask_to_leave()

    def _ask_to_leave(self) -> None:
        """What they were given to read ends: see `leave_when_asked`."""
        with self._lock:
            self._stopping = True
            for process in self._running.values():
                if process.stdin is not None:
                    process.stdin.close()

    def _end_all(self) -> None:
        with self._lock:
            self._stopping = True
            for process in self._running.values():
                process.kill()

    def _one(self, number: int, arguments: Sequence[str]) -> int:
        with self._lock:
            if self._stopping:
                return -1
            process = _started(arguments)
            self._running[number] = process
        with process:
            others = threading.Thread(target=self._say, args=(number, process.stderr, True))
            others.start()
            self._say(number, process.stdout, err=False)
            others.join()
            code = process.wait()
            with self._lock:
                del self._running[number]
        return code

    def _say(self, number: int, stream: IO[str] | None, err: bool) -> None:
        for line in stream or ():
            if err or not self.quiet:
                tell(f"member {number}: {line.rstrip()}", err=err)


def _started(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    # A group of its own: Ctrl-C reaches this process alone, which tells the others once.
    own: dict[str, Any] = {"process_group": 0}
    if sys.platform == "win32":
        own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    sys.stdout.flush()
    return subprocess.Popen(
        [*this_program(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
        **own,
    )


def leave_when_asked() -> None:
    """Have this process, which trains a member, save and leave when its standard input ends.

    So it does too when the process is gone that started it, however that ended.
    """

    def watch() -> None:
        # Not sys.stdin, whose lock would be held when Python ends.
        while os.read(0, 4096):
            pass
        if callable(signal.getsignal(signal.SIGINT)):
            _thread.interrupt_main(signal.SIGINT)
        else:  # it is ignored, as in what a shell has put into the background
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
