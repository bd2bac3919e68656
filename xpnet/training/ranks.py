"""What a backend is told where several ranks train: its device, its share of the cores."""

import os

from xpnet.backends import Backend
from xpnet.distributed.reduction import Reduction


def settle_for_ranks(backend: Backend, reduction: Reduction) -> None:
    """Before the scope of a backend: as many threads for products as this rank has cores.

    Several ranks that each took all cores would wait for one another. Where the reduction is exact
    it is one thread, since another number may give other last digits. A number that was chosen
    stays.
    """
    if reduction.is_whole or backend.threads is not None or backend.product_threads() is None:
        return
    exact = reduction.shards is not None
    backend.limit_threads(1 if exact else max(1, n_cores() // reduction.group.local_size))


def n_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
