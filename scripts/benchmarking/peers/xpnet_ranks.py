"""xpnet on the ranks that this process is one of, or as one process; its steps alone are timed."""

import dataclasses
import math
from typing import Any

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from benchmarking.peers.xpnet_fit import Report
from xpnet import SGD, Network, fit, open_backend
from xpnet.backends import Backend
from xpnet.distributed import Group, mpi_group
from xpnet.distributed.launch import launched_size
from xpnet.typing import HostArray


class Resting(Group):
    """The ranks of another group, which sleep until rank 0 goes on with the next epoch.

    MPI's own waiting takes a core, which the others that are measured in turn would lack.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self.rank, self.size, self.engine = group.rank, group.size, group.engine
        self.local_rank, self.local_size = group.local_rank, group.local_size

    def sum(self, buffer: HostArray) -> None:
        self._group.sum(buffer)

    def gather(self, value: Any) -> list[Any]:
        return self._group.gather(value)

    def share(self, value: Any) -> Any:
        """Called between epochs, and never in one."""
        self._group.rest()
        return self._group.share(value)

    def abort(self, status: int = 1, reason: str = "") -> None:
        self._group.abort(status, reason)


class Silent(Group):
    """Rank 0 of so many, without the others: what it computes for itself, and no message."""

    engine = "nobody"

    def __init__(self, size: int) -> None:
        self.size = size

    def gather(self, value: Any) -> list[Any]:
        return [value] * self.size


def run(
    job: Job, tick: Tick, *, threads: int, shards: int | None = None, part_of: int | None = None
) -> None:
    """Train by plain SGD on NumPy.

    Parameters
    ----------
    job, tick
        As of every peer.
    threads
        Threads of the products.
    shards
        Those of an exact reduction; None for a fast one.
    part_of
        Compute the part of the first of so many ranks alone, and learn nothing.
    """
    backend = open_backend("numpy")
    backend.limit_threads(threads)
    group: Group | None = None
    if part_of is not None:
        group = Silent(part_of)
    elif launched_size() is not None:
        group = Resting(mpi_group())
    _train(
        job, backend, group, epochs=job.epochs, callbacks=[Report(tick)],
        reduction="fast" if shards is None else "exact", shards=shards,
    )  # fmt: skip


def run_in_turn(job: Job, tick: Tick, *, threads: int) -> None:
    """Train with `mpi_group()` and without a group in turn; what warms up is with it.

    What is told of each training is its best epoch but the first, in which steps are recorded.
    """
    backend = open_backend("numpy")
    backend.limit_threads(threads)
    group = mpi_group()
    for number in range(job.epochs):
        network = _train(job, backend, None if number % 2 else group, epochs=3)
        tick(min(record.train_seconds or math.nan for record in network.history[1:]))


def _train(
    job: Job, backend: Backend, group: Group | None, *, epochs: int, **options: Any
) -> Network:
    return fit(
        job.model, dataclasses.replace(job.data, test=None), epochs=epochs,
        batch_size=job.batch_size, optimizer=SGD(LEARNING_RATE), backend=backend,
        train_metrics="running", group=group, **options,
    )  # fmt: skip
