"""What several ranks do to train together: devices and cores divided, networks compared."""

import os
from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from xpnet.backends import Backend, devices_meant, open_backend
from xpnet.distributed.group import Group, check_same
from xpnet.distributed.reduction import Reduction
from xpnet.typing import Array


def open_for_rank(
    group: Group,
    name: str | Backend,
    device: str | None = None,
    dtype: str | None = None,
    *,
    tf32: bool = False,
) -> Backend:
    """As `open_backend`, with a device for each rank of a machine where it is not said which."""
    if group.size > 1 and not isinstance(name, Backend):
        # Before anything is opened: that would take memory of the first device on each rank.
        devices = devices_meant(name, device)
        device = devices[group.local_rank % len(devices)] if devices else device
    return open_backend(name, device, dtype, tf32=tf32)


def settle_for_ranks(backend: Backend, reduction: Reduction) -> None:
    """Before the scope of a backend: as many threads for products as this rank has cores.

    Several ranks that each took all cores would wait for one another. Where the reduction is exact
    it is one thread, since another number may give other last digits. A number that was chosen
    stays.
    """
    if reduction.is_whole or backend.threads is not None or backend.product_threads() is None:
        return
    exact = reduction.shards is not None
    backend.limit_threads(1 if exact else max(1, usable_cores() // reduction.group.local_size))


def check_same_network(
    group: Group, backend: Backend, arrays: Mapping[str, Array], when: str, where_saved: str = ""
) -> None:
    """Check that all ranks have the same arrays, to the bit, by a hash of them.

    Parameters
    ----------
    group, backend, arrays
        The ranks, all of which call this, and what each has.
    when, where_saved
        When that is, for the message, and what it ends with.

    Raises
    ------
    GroupError
        On all ranks, naming the first that has another network than rank 0.
    """
    if group.size == 1:
        return
    check_same(
        group,
        f"{when} the network",
        digest_of(backend, arrays),
        f"its numbers are to be the same on all; are machine, library versions and numbers of "
        f"threads the same?{where_saved}",
    )


def digest_of(backend: Backend, arrays: Mapping[str, Array]) -> str:
    """The SHA-256 of the names and the bytes of arrays, in hexadecimal digits."""
    digest = sha256()
    for name, value in sorted(arrays.items()):
        digest.update(name.encode() + backend.to_numpy(value).tobytes())
    return digest.hexdigest()


def share_arrays(group: Group, backend: Backend, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of rank 0, on all ranks: its callbacks may have changed them."""
    if group.size == 1:
        return dict(arrays)
    host = {name: np.array(backend.to_numpy(value)) for name, value in arrays.items()}
    return {name: backend.asarray(x, copy=True) for name, x in group.share(host).items()}


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
