"""A machine that is not one's own: what else runs beside that which is measured.

Run as a program it is the neighbour that streams through memory, until its input ends:
`python -m benchmarking.neighbour CORE`.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

NEIGHBOURS = ("memory", "core")
"""Another process that streams through memory on one core; or one core for all threads."""

BYTES = 2**27
"""Of each of the two arrays that are copied from and to: more than a share of the last cache."""


def why_no_neighbour(name: str) -> str:
    """Why there cannot be such a neighbour here; empty if there can."""
    if name == "core" and not (
        hasattr(os, "sched_setaffinity") and Path("/proc/self/task").is_dir()
    ):
        return "this system does not let threads be held on a core"
    return ""


def neighbour_text(name: str) -> str:
    """What the report says of it."""
    if name == "core":
        return f"core: all threads of a peer are held on core {shared_core()} once it is warm"
    where = "" if shared_core() is None else f" on core {shared_core()}"
    return f"memory: another process streams through memory{where}"


def shared_core() -> int | None:
    """The core that the neighbour has, the last one of this process; None where none can be had."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def hold_on_core(pid: int, core: int) -> None:
    """Hold all threads of a process on one core, and with them those that they will start.

    What has counted the cores before goes on with as many threads.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), {core})
        except ProcessLookupError:  # a thread that has ended
            continue


@contextmanager
def beside(name: str | None, environment: Mapping[str, str]) -> Iterator[None]:
    """Have the neighbour that streams through memory, if it is that one, until the end.

    Raises
    ------
    RuntimeError
        If it cannot be started.
    """
    if name != "memory":
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarking.neighbour", str(shared_core())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environment),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError(f"the neighbour ended with code {process.wait()}")
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Copy one large array to another until standard input ends."""
    core = sys.argv[1]
    if core != "None":
        os.sched_setaffinity(0, {int(core)})
    source, target = np.ones(BYTES, np.uint8), np.zeros(BYTES, np.uint8)
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    while not ended.is_set():
        np.copyto(target, source)


if __name__ == "__main__":
    main()
