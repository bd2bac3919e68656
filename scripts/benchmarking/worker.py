"""The process of one peer: `python -m benchmarking.worker`, with its orders on standard input.

The first line is the peer and the task, in JSON. Each further line asks for one epoch, or after
the last for the result; each is answered by one line of JSON. Between answer and order the process
sleeps. What libraries print goes to standard error.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from benchmarking.cases import Task
from benchmarking.peers import Peer
from xpnet.distributed import Group, mpi_group
from xpnet.distributed.launch import launched_size
from xpnet.errors import DataError, one_line
from xpnet.runs.environment import installed_versions, peak_host_memory


class Channel:
    """The line to the parent; as a `Tick` it reports an epoch and waits for the next order."""

    def __init__(self, orders: TextIO, answers: TextIO) -> None:
        self.orders = orders
        self.answers = answers

    def receive(self) -> str:
        """The next order; ends the process where the parent has gone."""
        line = self.orders.readline()
        if not line:
            raise SystemExit
        return line

    def send(self, **values: Any) -> None:
        """Answer an order."""
        self.answers.write(json.dumps(values) + "\n")
        self.answers.flush()

    def __call__(self, seconds: float, eval_seconds: float | None = None) -> None:
        self.send(seconds=seconds, eval_seconds=eval_seconds)
        self.receive()


class SharedChannel(Channel):
    """The line of several ranks: rank 0 has it, and shares its orders, for which the others sleep.

    In a training, rank 0 alone reports and waits: the others wait for it in the group.
    """

    def __init__(self, orders: TextIO, answers: TextIO, group: Group) -> None:
        super().__init__(orders, answers)
        self._group = group

    def receive(self) -> str:
        """The next order of all ranks; ends them where the parent has gone."""
        line = self.orders.readline() if self._group.rank == 0 else ""
        self._group.rest()
        line = self._group.share(line)
        if not line:
            raise SystemExit
        return line

    def send(self, **values: Any) -> None:
        """Answer an order, on rank 0."""
        if self._group.rank == 0:
            super().send(**values)

    def __call__(self, seconds: float, eval_seconds: float | None = None) -> None:
        self.send(seconds=seconds, eval_seconds=eval_seconds)
        super().receive()


def serve(channel: Channel) -> None:
    """Run one peer to its end, or say why it cannot be run."""
    order = json.loads(channel.receive())
    peer = Peer(**order["peer"])
    try:
        run = peer.load()
        before = peak_memory()
        job = Task.from_dict(order["task"]).load()
        found = run(job, channel, **dict(peer.options))
        more: dict[str, Any] = found if isinstance(found, dict) else {}
        found = None if isinstance(found, dict) else found
        channel.send(
            **more,
            accuracy=None if found is None else job.accuracy(found),
            test_samples=len(job.test_y),
            sizes=job.sizes,
            train_samples=len(job.x),
            memory_before=before,
            memory_peak=peak_memory(),
            versions=installed_versions(peer.distributions),
            pools=thread_pools(),
        )
    except Exception as error:
        channel.send(failed=reason_of(error))


def reason_of(error: Exception) -> str:
    """Why a peer cannot be measured, in a few words."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name.partition('.')[0]} is not installed"
    text = one_line(error)
    if isinstance(error, DataError):
        return text
    return f"{type(error).__name__}: {text}"[:160] if text else type(error).__name__


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux its maximum begins with what the parent held.
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return peak_host_memory() or 0


def thread_pools() -> list[dict[str, Any]]:
    """The BLAS and OpenMP libraries of this process, where threadpoolctl is installed."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    kept = ("internal_api", "version", "architecture", "threading_layer", "num_threads")
    return [{key: pool[key] for key in kept if key in pool} for pool in threadpool_info()]


def main() -> None:
    """Serve on standard input and output, which is kept free of what libraries print."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if launched_size() is None:
        serve(Channel(sys.stdin, answers))
    else:
        serve(SharedChannel(sys.stdin, answers, mpi_group()))


if __name__ == "__main__":
    main()
