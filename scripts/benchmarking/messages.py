"""What a message costs: `mpiexec -n 2 python -m benchmarking.messages`; JSON from rank 0.

It is the sum that a step waits for: in place, in one buffer of float32 on the host.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarking.runner import Settings
from benchmarking.summary import quartiles
from xpnet.distributed import Group, mpi_group
from xpnet.distributed.launch import find_mpiexec

SIZES = tuple(8 << i for i in range(0, 22, 3))
"""Bytes: 8 to 16 Mi."""

ROUNDS, SECONDS = 15, 0.02
"""How often each size is timed, and for about how long each time."""


def measure_messages(ranks: int, settings: Settings) -> list[dict[str, Any]]:
    """Time the sum of buffers of all sizes, in processes of their own.

    Raises
    ------
    RuntimeError
        If they fail, or are not over in time.
    """
    try:
        done = subprocess.run(
            [find_mpiexec(), "-n", str(ranks), sys.executable, "-m", "benchmarking.messages"],
            env=settings.environment(threads=1),
            capture_output=True,
            text=True,
            check=False,
            timeout=settings.timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"messages: not over within {settings.timeout:g} s") from error
    if done.returncode:
        raise RuntimeError(f"messages: ended with code {done.returncode}: {done.stderr[-300:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def time_sums(group: Group, n_bytes: int) -> list[float]:
    """The seconds of one sum in each round, on the rank that calls this; all ranks call it."""
    buffer = np.zeros(n_bytes // 4, np.float32)
    calls = 2
    seconds = []
    for number in range(-2, ROUNDS):  # the first two find out how many calls make a round
        group.gather(None)
        started = time.perf_counter()
        for _ in range(calls):
            group.sum(buffer)
        elapsed = (time.perf_counter() - started) / calls
        if number < 0:
            calls = group.share(max(2, round(SECONDS / max(elapsed, 1e-7))))
        else:
            seconds.append(elapsed)
    return seconds


def main() -> None:
    """Time all sizes; rank 0 prints what it found."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    group = mpi_group(timeout=60.0)
    found = []
    for n_bytes in SIZES:
        seconds = time_sums(group, n_bytes)
        found.append({"bytes": n_bytes, "seconds": quartiles(seconds), "least": min(seconds)})
    if group.rank == 0:
        answers.write(json.dumps(found))
        answers.flush()


if __name__ == "__main__":
    main()
