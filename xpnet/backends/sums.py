"""Sums over several ranks that a library makes where its arrays are, and what that takes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from xpnet.typing import Array, HostArray


class Ranks(Protocol):
    """Of a group of ranks (`xpnet.distributed.Group`) what a library needs to join them."""

    rank: int
    size: int
    since_sum: float | None

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on each of them."""

    def share(self, value: Any) -> Any:
        """The value of rank 0, on all ranks."""

    def waiting(self) -> AbstractContextManager[Any]:
        """A scope in which this rank waits for the others."""

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until it is so, for which others are needed."""


class DeviceSums(Protocol):
    """What adds up arrays of all ranks on their devices.

    All ranks call `sum` and `gather` in the same order. Neither waits until it is done: what comes
    after it on the device does.
    """

    name: str
    """What it is, as a person would name it."""

    def sum(self, x: Array) -> Array:
        """Consumes `x`: the sum over all ranks, the same bits on each of them."""

    def gather(self, arrays: Sequence[Array], counts: Sequence[int]) -> list[list[Array]]:
        """The arrays of all ranks, of which each has so many; all of one shape and dtype."""

    def read(self, x: Array) -> HostArray:
        """The array on the host, once all sums so far are done.

        Raises
        ------
        RuntimeError
            If one has failed.
        """

    def close(self, *, failed: bool = False) -> None:
        """Give back what is held; without the others where something has failed."""
