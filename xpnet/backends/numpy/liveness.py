"""Memory for what recorded calls make: what is not needed at the same time shares it.

While calls are recorded, each array that they make has a name, which is an array too, of the same
size, but in memory that is reserved and never touched. What is called is written down with names;
the arrays themselves live as long as they do in any step.

An array is live from the first call that touches it to the last one. Names are given places in one
block of memory such that two which are live at once do not overlap: the largest first, and of the
same size the longest-lived, each as near to the beginning of the block as it fits ("greedy by
size"). For the networks of `xpnet.models` such a block is as large as what is live at once, at the
most, which none can be smaller than, or 4 % larger.

References
----------
Pisarchyk and Lee, "Efficient memory management for deep neural net inference", 2020,
https://arxiv.org/abs/2001.03288
"""

import mmap
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends.numpy.calls import Refused, start_of
from xpnet.typing import HostArray

ALIGNED = 64
"""Bytes that every place is a multiple of: what a processor loads at once."""

_RESERVING: dict[str, Any] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, "prot": mmap.PROT_READ}
    if hasattr(mmap, "MAP_ANONYMOUS")
    else {"access": mmap.ACCESS_READ}
)
"""Pages that nobody may write: the system has none to keep ready."""

_RESERVED = 2**20
"""Bytes that are reserved together, for many small names."""


def owner_of(x: HostArray) -> HostArray:
    """The array that has the memory of a view."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def view_of(x: HostArray, owner: HostArray, other: HostArray) -> HostArray:
    """What an array is of its owner, of another one."""
    offset = start_of(x) - start_of(owner)
    return np.ndarray(x.shape, x.dtype, other, offset, x.strides)


class Names:
    """Arrays that stand for memory, and take none: they are never written, nor worth reading."""

    def __init__(self) -> None:
        self._all: dict[int, HostArray] = {}
        self._pages: Any = None
        self._left = 0

    def new(self, nbytes: int) -> HostArray:
        """A name for so many bytes."""
        size = max(_rounded(nbytes), ALIGNED)
        if size > self._left:
            self._left = max(size, _RESERVED)
            self._pages = mmap.mmap(-1, self._left, **_RESERVING)
        name = np.ndarray((nbytes,), np.uint8, self._pages, len(self._pages) - self._left)
        name.flags.writeable = False
        self._left -= size
        self._all[id(name)] = name
        return name

    def of(self, x: HostArray) -> HostArray | None:
        """The name whose memory an array is a view of; None if it has memory of its own."""
        return self._all.get(id(owner_of(x)))


@dataclass(frozen=True, eq=False)
class Lifetime:
    """The numbers of the first and the last call that touch what a name stands for."""

    name: HostArray
    first: int
    last: int

    def overlaps(self, other: "Lifetime") -> bool:
        """Whether both are live at the same time."""
        return self.first <= other.last and other.first <= self.last


def lifetimes(touched: Iterable[Iterable[HostArray]], names: Names) -> list[Lifetime]:
    """The lifetimes of all names, by what each call reads or writes; views count for all of it."""
    found: dict[int, Lifetime] = {}
    for number, arrays in enumerate(touched):
        for array in arrays:
            name = names.of(array)
            if name is not None:
                first = found[id(name)].first if id(name) in found else number
                found[id(name)] = Lifetime(name, first, number)
    return list(found.values())


def offsets(lives: Iterable[Lifetime]) -> tuple[list[tuple[Lifetime, int]], int]:
    """Where in one block each begins, and how large the block is."""
    placed: list[tuple[Lifetime, int]] = []
    total = 0
    for one in sorted(lives, key=lambda life: (-life.name.nbytes, life.first - life.last)):
        size, start = _rounded(one.name.nbytes), 0
        taken = [(at, at + _rounded(o.name.nbytes)) for o, at in placed if one.overlaps(o)]
        for low, high in sorted(taken):
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((one, start))
        total = max(total, start + size)
    return placed, total


class Account:
    """How many bytes are taken, of those that may be.

    Parameters
    ----------
    most
        So many.
    """

    def __init__(self, most: int) -> None:
        self._most, self.taken = most, 0

    def take(self, nbytes: int) -> None:
        """Take so many; `Refused` if there would be too many."""
        if self.taken + nbytes > self._most:
            raise Refused(f"recording it would take {nbytes:,} bytes, and hardly save any time")
        self.taken += nbytes


class Arena:
    """Memory for all that is played in turn: between two replays it is of nobody.

    Parameters
    ----------
    account
        Whose bytes it takes.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._block = np.empty(0, np.uint8)

    def block(self, nbytes: int) -> HostArray:
        """At least so many bytes, the same for all who ask. Where they were too few before, who
        has those keeps them.

        Raises
        ------
        Refused
            If there would be too many.
        """
        if nbytes > self._block.nbytes:
            self._block = self.own(nbytes)
        return self._block

    def own(self, nbytes: int) -> HostArray:
        """So many bytes for the one who asks alone; raises as `block` does."""
        self._account.take(nbytes)
        block = np.empty(nbytes + ALIGNED, np.uint8)
        start = -start_of(block) % ALIGNED
        return block[start : start + nbytes]


class Memory:
    """Where in memory names are.

    Parameters
    ----------
    names
        These.
    touched
        What each call reads or writes, in their order.
    arena
        Where there is room.
    kept
        Names that have memory of their own, which is not shared, and that.
    """

    def __init__(
        self,
        names: Names,
        touched: Iterable[Iterable[HostArray]],
        arena: Arena,
        kept: Sequence[tuple[HostArray, HostArray]] = (),
    ) -> None:
        self._names = names
        own = {id(name) for name, _ in kept}
        placed, nbytes = offsets(x for x in lifetimes(touched, names) if id(x.name) not in own)
        block = arena.block(nbytes)
        homes = [(one.name, block[at : at + one.name.nbytes]) for one, at in placed]
        self._homes = sorted([*homes, *kept], key=lambda home: start_of(home[0]))
        self._starts = [start_of(name) for name, _ in self._homes]

    def moved(self, x: HostArray) -> HostArray:
        """An array where it is: itself, if it is no view of a name."""
        name = self._names.of(x)
        if name is None:
            return x
        _, home = self._homes[bisect_right(self._starts, start_of(name)) - 1]
        return view_of(x, name, home)

    def moved_address(self, address: int) -> int:
        """The same for the address of something."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._starts[at] + max(self._homes[at][0].nbytes, 1):
            return address
        return start_of(self._homes[at][1]) + address - self._starts[at]


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNED) * ALIGNED
