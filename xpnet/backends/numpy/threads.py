"""How many threads make NumPy's matrix products.

OpenBLAS cuts a product into as many parts as there are cores, and each thread waits, spinning,
until the others have done theirs. On a machine whose cores are busy with other work a part waits
for a core until the other work's time slice ends: some milliseconds, in a product of some
microseconds. Two threads can take a hundred times as long as one. This is found out by trying.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, TypeVar

import numpy as np

from xpnet.backends.shared import SharedSetting

T = TypeVar("T")
R = TypeVar("R")

_ROUNDS = 6
"""How often both numbers of threads are tried in turn, as a machine changes from one moment to the
next."""
_SECONDS = 0.004
"""How long each is tried in a round: all rounds together are longer than time slices of the
system."""
SHARED_PRODUCT = 1 << 18
"""Multiplications below which a product is one thread's in any case, in OpenBLAS: there is nothing
to try, which would take longer than many steps."""
_TOO_SLOW = 1.25
"""How much longer all threads may take than one; at rest they take less. (Nearer to 1 the choice
between two that are as fast would be one by chance, and with it the last digits of a training.)"""
_FAST_AGAIN = 0.9
"""How much longer they may take if one thread was taken before, for all to be taken again."""


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas_threads() -> int:
    """How many threads products are made with at this moment; 1 where it cannot be found out."""
    return max((library["num_threads"] for library in _controller().info()), default=1)


def _limits() -> tuple[int, ...]:
    """The number of each library of products that is loaded."""
    return tuple(library.num_threads for library in _controller().lib_controllers)


def _set_limits(limits: int | tuple[int, ...]) -> None:
    import threadpoolctl

    each = repeat(limits) if isinstance(limits, int) else limits
    # Since version 3.8 the first thread that sets a number is the only one whose calls do anything,
    # until it says that it is done. What it has set must be taken back by another, if that is last.
    ownership = getattr(threadpoolctl, "CONTROLLING_THREAD_OWNERSHIP", None)
    if ownership is not None:
        ownership.increment()
    try:
        for library, number in zip(_controller().lib_controllers, each, strict=False):
            library.set_num_threads(number)
    finally:
        if ownership is not None:
            ownership.decrement()


BLAS_THREADS = SharedSetting(_limits, _set_limits)
"""How many threads make products: the libraries have one number for the process."""


def in_threads(function: Callable[[T], R], items: Sequence[T], n_threads: int) -> list[R]:
    """What `function` gives for each of the items, which this thread and others take in turn.

    An exception ends all, once the others are done with the item that they have.
    """
    left = deque(enumerate(items))
    found: dict[int, R] = {}
    failures: dict[int, BaseException] = {}

    def work() -> None:
        while left and not failures:
            try:
                number, item = left.popleft()
            except IndexError:  # another thread has taken the last one
                return
            try:
                found[number] = function(item)
            except BaseException as error:
                failures[number] = error

    others = [threading.Thread(target=work, daemon=True) for _ in range(n_threads - 1)]
    try:
        for thread in others:
            thread.start()
        work()
    finally:
        left.clear()
        for thread in others:
            if thread.ident is not None:  # the system may have no more of them
                thread.join()
    if failures:
        raise failures[min(failures)]
    return [found[number] for number in range(len(items))]


class Trials:
    """When to try: 0.2 s after the first question, then less and less often.

    Not at once: the system gives a program that has just begun to work a few milliseconds before
    all others, and everything looks well.
    """

    def __init__(self) -> None:
        self._delay = 0.2
        self._at: float | None = None

    def due(self) -> bool:
        """Whether it is time; if so, the next time is set."""
        now = time.perf_counter()
        if self._at is None:
            self._at = now + self._delay
        if now < self._at:
            return False
        self._delay = min(5 * self._delay, 30.0)
        self._at = now + self._delay
        return True


def product_of(rows: int, inner: int, columns: int) -> Callable[[], object]:
    """The product of (rows, inner) and (inner, columns), in float32, to be made again and again."""
    a = np.ones((rows, inner), dtype=np.float32)
    b = np.ones((inner, columns), dtype=np.float32)
    return lambda: np.matmul(a, b)


def slowdown(work: Callable[[], object], threads: int) -> float:
    """How many times as long some work takes with so many threads as with one."""
    seconds = {threads: 0.0, 1: 0.0}
    for _ in range(_ROUNDS):
        for number in seconds:
            with BLAS_THREADS.held(number):
                seconds[number] += _mean_seconds(work)
    return seconds[threads] / seconds[1]


def is_too_slow(slower: float) -> bool:
    """Whether one thread is to be preferred to all."""
    return slower > _TOO_SLOW


def is_fast_again(slower: float) -> bool:
    """Whether all threads are to be preferred again where one was taken."""
    return slower < _FAST_AGAIN


def _mean_seconds(work: Callable[[], object]) -> float:
    """The mean, in which a few very slow calls count as they do in a training."""
    work()
    count, seconds, started = 0, 0.0, time.perf_counter()
    while seconds < _SECONDS or count < 2:
        work()
        count += 1
        seconds = time.perf_counter() - started
    return seconds / count
