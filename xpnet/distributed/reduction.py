"""How a batch is divided among ranks, and how what they make of its parts is added up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xpnet.backends.sums import DeviceSums
from xpnet.checks import is_one_of, positive_integer
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import shown
from xpnet.typing import Array

REDUCTIONS = ("fast", "exact")
"""`"fast"`: a part for each rank, and sums by the engine. `"exact"`: so many parts whatever the
number of ranks, summed in one fixed order."""

SHARDS = 8
"""How many parts a batch is cut into where the reduction is exact, unless it is said."""


@dataclass(frozen=True)
class Reduction:
    """The parts of a batch, which rank has which of them, and the sum of what comes of them.

    Attributes
    ----------
    group
        The ranks.
    shards
        The number of parts, a power of two, of an exact reduction; None for a part for each rank.
    """

    group: Group = field(default=ALONE)
    shards: int | None = None

    @classmethod
    def of(cls, group: Group | None, reduction: str, shards: int | None) -> "Reduction":
        """Check what `fit` is given.

        Raises
        ------
        TypeError
            If the group is none.
        ValueError
            If there is no such reduction, or the number of shards is not a power of two, is below
            the number of ranks, or is given where there are none.
        """
        group = ALONE if group is None else group
        if not isinstance(group, Group):
            raise TypeError(f"group must be one such as mpi_group(), got {shown(group)}")
        if not is_one_of(REDUCTIONS, reduction):
            raise ValueError(
                f"reduction must be one of {', '.join(REDUCTIONS)}; got {shown(reduction)}"
            )
        if reduction == "fast":
            if shards is not None:
                raise ValueError(
                    f"shards means nothing where the reduction is fast, with a part for each rank: "
                    f"leave it out, or take the reduction exact; got {shown(shards)}"
                )
            return cls(group)
        return cls(group, check_shards(SHARDS if shards is None else shards, group.size))

    @property
    def is_whole(self) -> bool:
        """Whether a batch is one part, and there is nothing to add."""
        return self.shards is None and self.group.size == 1

    @property
    def n_parts(self) -> int:
        """How many parts a batch has."""
        return self.group.size if self.shards is None else self.shards

    @property
    def own(self) -> range:
        """The numbers of the parts that this rank has."""
        return self._parts_of(self.group.rank)

    def _parts_of(self, rank: int) -> range:
        n, size = self.n_parts, self.group.size
        return range(n * rank // size, n * (rank + 1) // size)

    def rows(self, part: int, n_samples: int) -> slice:
        """The samples of a part, among the so many of a batch; none where there are fewer samples
        than parts."""
        n = self.n_parts
        return slice(n_samples * part // n, n_samples * (part + 1) // n)

    def total(self, of_parts: Sequence[Array], on_device: DeviceSums | None = None) -> Array:
        """Consumes `of_parts`: the sum over all parts of all ranks, on each of them.

        Parameters
        ----------
        of_parts
            An array for each part of this rank, in their order; all of one shape and dtype, on the
            host and C-ordered.
        on_device
            What adds up arrays on the device, where they are there instead.
        """
        if self.shards is None:
            (buffer,) = of_parts
            if on_device is not None:
                return on_device.sum(buffer)
            self.group.sum(buffer)
            return buffer
        own, whole = dict(zip(self.own, of_parts, strict=True)), range(self.shards)
        # The largest subtrees that lie within each rank.
        spans = [_subtrees(whole, self._parts_of(rank)) for rank in range(self.group.size)]
        mine = [_sum_of_leaves(own, span) for span in spans[self.group.rank]]
        if on_device is None:
            gathered = self.group.gather(mine)
        else:
            gathered = on_device.gather(mine, [len(of_rank) for of_rank in spans])
        known = {
            span: value
            for of_rank, values in zip(spans, gathered, strict=True)
            for span, value in zip(of_rank, values, strict=True)
        }
        return _sum_of_tree(known, whole)


def check_shards(shards: int, ranks: int) -> int:
    """The number of parts of an exact reduction on so many ranks.

    Raises
    ------
    ValueError
        If it is not a power of two, or below the number of ranks.
    """
    shards = positive_integer("shards", shards)
    if shards & (shards - 1):
        raise ValueError(f"shards must be a power of two, got {shards}")
    if shards < ranks:
        raise ValueError(
            f"shards must be at least the number of ranks, {ranks}, so that each has one; "
            f"got {shards}"
        )
    return shards


WHOLE = Reduction()
"""A batch as it is, on one rank."""


def _subtrees(span: range, own: range) -> list[range]:
    """The largest subtrees of a binary tree whose leaves are all ours, each by its leaves."""
    if span.start >= own.stop or span.stop <= own.start:
        return []
    if span.start >= own.start and span.stop <= own.stop:
        return [span]
    left, right = _halves(span)
    return _subtrees(left, own) + _subtrees(right, own)


def _sum_of_leaves(leaves: Mapping[int, Array], span: range) -> Array:
    """Consumes the leaves."""
    if len(span) == 1:
        return leaves[span.start]
    left, right = (_sum_of_leaves(leaves, half) for half in _halves(span))
    left += right
    return left


def _sum_of_tree(known: Mapping[range, Array], span: range) -> Array:
    """The sum over a binary tree, of some of whose nodes it is known."""
    value = known.get(span)
    if value is not None:
        return value
    left, right = (_sum_of_tree(known, half) for half in _halves(span))
    return left + right


def _halves(span: range) -> tuple[range, range]:
    middle = (span.start + span.stop) // 2
    return range(span.start, middle), range(middle, span.stop)
