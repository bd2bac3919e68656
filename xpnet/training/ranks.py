"""What a backend is told where several ranks train: its device, its share of the cores."""

import os

from xpnet.backends import Backend, open_backend
from xpnet.distributed.group import Group
from xpnet.distributed.reduction import Reduction


def open_for_rank(
    group: Group,
    name: str | Backend,
    device: str | None = None,
    dtype: str | None = None,
    *,
    tf32: bool = False,
) -> Backend:
    """As `open_backend`, with a device for each rank of a machine where it is not said which."""
    opened = open_backend(name, device, dtype, tf32=tf32)
    if group.size == 1 or device is not None or isinstance(name, Backend):
        return opened
    own = opened.device_of_rank(group.local_rank)
    if own is None:
        return opened
    reason, opened = opened.reason, open_backend(opened.name, own, dtype, tf32=tf32)
    opened.reason = reason
    return opened


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
