"""Sums over several GPUs by NCCL, each with a rank of its own."""

import platform
import time
from collections.abc import Sequence
from typing import Any

from xpnet.backends.base import Status
from xpnet.backends.sums import Ranks
from xpnet.errors import one_line
from xpnet.streams import log_warning
from xpnet.typing import Array, HostArray

_POLLS_PER_CHECK = 64


class NcclSums:
    """`xpnet.backends.sums.DeviceSums` by CuPy's `NcclCommunicator`.

    All ranks make one at the same time, each with its GPU as the current device.

    Parameters
    ----------
    cupy, nccl
        The modules `cupy` and `cupy.cuda.nccl`.
    ranks
        The group.
    unique_id
        What `nccl.get_unique_id` has given on rank 0.
    """

    def __init__(self, cupy: Any, nccl: Any, ranks: Ranks, unique_id: tuple[int, ...]) -> None:
        self._cupy, self._nccl, self._ranks = cupy, nccl, ranks
        self.name = f"NCCL {_version(nccl)}"
        self._types = {"float32": nccl.NCCL_FLOAT32, "float64": nccl.NCCL_FLOAT64}
        self._event = cupy.cuda.Event(disable_timing=True)
        with ranks.waiting():
            self._communicator = nccl.NcclCommunicator(ranks.size, unique_id, ranks.rank)

    def sum(self, x: Array) -> Array:
        x = self._cupy.ascontiguousarray(x)
        self._communicator.allReduce(
            x.data.ptr, x.data.ptr, x.size, self._types[x.dtype.name], self._nccl.NCCL_SUM,
            self._begun(),
        )  # fmt: skip
        return x

    def gather(self, arrays: Sequence[Array], counts: Sequence[int]) -> list[list[Array]]:
        # NCCL takes as much from each rank.
        first, own = arrays[0], self._ranks.rank
        values = self._cupy.empty((len(counts), max(counts), *first.shape), dtype=first.dtype)
        for number, array in enumerate(arrays):
            values[own, number, ...] = array
        self._communicator.allGather(
            values[own].data.ptr, values.data.ptr, values[own].size,
            self._types[first.dtype.name], self._begun(),
        )  # fmt: skip
        return [[values[rank, i, ...] for i in range(n)] for rank, n in enumerate(counts)]

    def _begun(self) -> int:
        """The stream for a sum, of which it is noted since when it is waited for."""
        if self._ranks.since_sum is None:
            self._ranks.since_sum = time.monotonic()
        stream: int = self._cupy.cuda.get_current_stream().ptr
        return stream

    def read(self, x: Array) -> HostArray:
        event, polls = self._event, 0
        event.record(self._cupy.cuda.get_current_stream())

        def done() -> bool:
            nonlocal polls
            polls += 1
            if polls % _POLLS_PER_CHECK == 0:
                self._check()
            return bool(event.done)

        # Not `synchronize`: it would wait for ever where another rank or the network has failed.
        self._ranks.wait_until(done)
        host: HostArray = self._cupy.asnumpy(x)
        return host

    def _check(self) -> None:
        try:
            self._communicator.check_async_error()
        except self._nccl.NcclError as error:
            self._communicator.abort()  # else the device would never be done
            raise RuntimeError(f"NCCL has failed: {one_line(error)}") from error

    def close(self, *, failed: bool = False) -> None:
        if failed:
            self._communicator.abort()
        else:
            self._communicator.destroy()


def connect(cupy: Any, device: Any, ranks: Ranks) -> NcclSums | None:
    """Join all ranks by NCCL, where each has a GPU of its own; None on all of them if not.

    Rank 0 says in the log why not, but for a rank by itself, which needs nobody.
    """
    nccl, status = cupy.cuda.nccl, probe(cupy)
    place = f"{platform.node()} {device.pci_bus_id}"
    offers = ranks.gather((status.reason, place))
    reason = next((why for why, _ in offers if why), "")
    places = [place for _, place in offers]
    if not reason and len(set(places)) < len(places):
        first = next(rank for rank, place in enumerate(places) if place in places[:rank])
        other = places.index(places[first])
        reason = f"ranks {other} and {first} share a GPU, which NCCL refuses"
    sums = None
    if not reason:
        sums, reason = _joined(cupy, nccl, device, ranks)
    if reason and ranks.rank == 0 and ranks.size > 1:
        log_warning("gradients are added up by way of the host, which is slower: %s", reason)
    return sums


def _joined(cupy: Any, nccl: Any, device: Any, ranks: Ranks) -> tuple[NcclSums | None, str]:
    """The sums, after a first one that is right on all ranks; or why there are none."""
    unique_id, sums, failure = None, None, ""
    if ranks.rank == 0:
        try:
            unique_id = nccl.get_unique_id()
        except Exception as error:
            failure = _failure(error)
    unique_id, failure = ranks.share((unique_id, failure))
    if failure:
        return None, failure
    try:
        with device:
            sums = NcclSums(cupy, nccl, ranks, tuple(unique_id))
            first = sums.sum(cupy.full((2,), ranks.rank + 1, dtype=cupy.float32))
            if set(sums.read(first).tolist()) != {ranks.size * (ranks.size + 1) / 2}:
                failure = f"{sums.name} gives wrong results"
    except Exception as error:
        failure = _failure(error)
    failures = ranks.gather(failure)
    reason = next((f"{why} (rank {rank})" for rank, why in enumerate(failures) if why), "")
    if reason and sums is not None:
        sums.close(failed=True)
    return (None, reason) if reason else (sums, "")


def probe(cupy: Any) -> Status:
    """Whether NCCL can be called; the GPUs are not asked."""
    nccl = getattr(cupy.cuda, "nccl", None)
    try:
        # A module without NCCL is there too, and has nothing but this.
        if not getattr(nccl, "available", False):
            raise ImportError("CuPy finds none, or one that is too old")
        return Status(usable=True, version=_version(nccl), device="for CuPy, one rank for each GPU")
    except Exception as error:
        cuda = cupy.cuda.runtime.runtimeGetVersion() // 1000
        return Status(
            usable=False,
            reason=f"NCCL cannot be used ({one_line(error)}): pip install nvidia-nccl-cu{cuda}",
        )


def _failure(error: Exception) -> str:
    return f"NCCL cannot join the ranks ({type(error).__name__}: {one_line(error, 300)})"


def _version(nccl: Any) -> str:
    """Such as 2.21.5, of 22105."""
    number = int(nccl.get_version())
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"
