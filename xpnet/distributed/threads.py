"""Ranks as threads of one process: to see, and to test, what several processes do, without MPI."""

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import numpy as np

from xpnet.checks import positive_integer
from xpnet.distributed.group import Group
from xpnet.errors import GroupError
from xpnet.typing import HostArray

T = TypeVar("T")


class _Meeting:
    """Where the ranks meet: a place for a value of each, and a barrier."""

    def __init__(self, size: int, timeout: float | None) -> None:
        self.size, self.timeout = size, timeout
        self.barrier = threading.Barrier(size)
        self.values: list[Any] = [None] * size
        self.total: HostArray = np.zeros(())
        self.reason = ""

    def wait(self) -> None:
        try:
            self.barrier.wait(self.timeout)
        except threading.BrokenBarrierError:
            reason = self.reason or f"a rank has not come for {self.timeout:g} s"
            raise GroupError(f"the group of {self.size} ranks has ended: {reason}") from None


class ThreadGroup(Group):
    """One of the ranks of `threads`."""

    engine = "threads of one process"

    def __init__(self, rank: int, meeting: _Meeting) -> None:
        self.rank = self.local_rank = rank
        self.size = self.local_size = meeting.size
        self._meeting = meeting

    def sum(self, buffer: HostArray) -> None:
        meeting = self._meeting
        meeting.values[self.rank] = buffer
        meeting.wait()
        if self.rank == 0:
            meeting.total = np.array(meeting.values[0])
            for other in meeting.values[1:]:
                meeting.total += other
        meeting.wait()
        np.copyto(buffer, meeting.total)

    def gather(self, value: Any) -> list[Any]:
        meeting = self._meeting
        # A copy, as what is sent is: its owner may overwrite it while others still read.
        meeting.values[self.rank] = copy.deepcopy(value)
        meeting.wait()
        values = list(meeting.values)
        meeting.wait()  # before somebody brings the next
        return values

    def share(self, value: Any) -> Any:
        return self.gather(value if self.rank == 0 else None)[0]

    def check(self) -> None:
        if self._meeting.barrier.broken:
            self._meeting.wait()

    def abort(self, status: int = 1, reason: str = "") -> None:
        if not self._meeting.barrier.broken:
            self._meeting.reason = reason or f"{self.name} has failed"
            self._meeting.barrier.abort()


class Threads:
    """The ranks of one process, each to be given to a thread.

    Attributes
    ----------
    groups
        The group as each rank has it.
    """

    def __init__(self, size: int, timeout: float | None = 600.0) -> None:
        meeting = _Meeting(positive_integer("size", size), timeout)
        self.groups = [ThreadGroup(rank, meeting) for rank in range(meeting.size)]

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def run(self, function: Callable[[Group], T]) -> list[T]:
        """Call `function(group)` on every rank at once, each in a thread of its own.

        Returns
        -------
        results
            In the order of the ranks.

        Raises
        ------
        Exception
            What the first rank that failed has raised; the others have ended then.
        """

        def ended(group: Group) -> T:
            try:
                return function(group)
            except BaseException as error:
                group.abort(1, f"{group.name} has failed: {error or type(error).__name__}")
                raise

        with ThreadPoolExecutor(len(self)) as pool:
            futures = [pool.submit(ended, group) for group in self.groups]
            try:
                wait(futures)
            except BaseException as error:  # Ctrl-C, which this thread alone gets
                self.groups[0].abort(1, f"interrupted by {type(error).__name__}")
                raise
        errors = [error for error in (future.exception() for future in futures) if error]
        if errors:
            # The cause, and not what the others say of it.
            raise next((e for e in errors if not isinstance(e, GroupError)), errors[0])
        return [future.result() for future in futures]


def threads(size: int, *, timeout: float | None = 600.0) -> Threads:
    """So many ranks as threads of this process.

    The arithmetic is that of as many processes, step by step, though not faster: it shows what they
    do, and tests it, where there is no MPI.

    Parameters
    ----------
    size
        How many, a positive integer.
    timeout
        How many seconds a rank waits for the others; None for ever.

    Examples
    --------
    >>> from xpnet import fit, load_dataset, mlp
    >>> from xpnet.distributed import threads
    >>> data = load_dataset("digits")
    >>> first, second = threads(2).run(
    ...     lambda group: fit(mlp(64, 32, 10), data, epochs=2, backend="numpy", group=group)
    ... )
    >>> first.history[-1].test_loss == second.history[-1].test_loss
    True
    """
    return Threads(size, timeout)
