"""Recorded calls that are made again and again, and are compiled once that pays."""

from collections.abc import Iterable, Sequence
from time import perf_counter

from xpnet.backends.numpy.calls import Bound, Call, start_of
from xpnet.backends.numpy.compiler import LIBRARIES
from xpnet.backends.numpy.liveness import Arena, Memory, Names
from xpnet.backends.numpy.program import Program
from xpnet.typing import HostArray

COMPILING_PAYS = 0.2
"""Seconds that replays of a tape take before it is compiled, which takes about as long.

For one of few calls: see `Tape.pays`. After a quarter of that its C is written, if any was compiled
before: for another training it may have been the same, and then the library is taken at once.
"""

CALLS_AS_LONG = 150
"""So many calls take as long to compile as what is the same for all tapes."""


class Tape:
    """What was recorded, to be done again.

    Parameters
    ----------
    calls
        What was called, in this order.
    live
        The arrays that are read between one replay and the next.
    inputs
        Arrays, C-ordered, in whose place others may be read: see `read_from`.
    names
        What stands in the calls, and in `live`, for arrays that they make.
    arena
        Where there is memory for these.

    Attributes
    ----------
    live
        The same in memory.
    bound
        What is called now: these calls, or what they were compiled to.
    seconds
        How long its replays have taken, as far as it was told.
    is_tried, is_compiled
        Whether to compile it has been tried, and it is what is called now.
    """

    def __init__(
        self,
        calls: list[Call],
        live: Iterable[HostArray],
        inputs: Sequence[HostArray] = (),
        *,
        names: Names,
        arena: Arena,
    ) -> None:
        self.calls, self.inputs = calls, inputs
        self._named, self._names, self._arena = list(live), names, arena
        # What is read between replays shares its memory with nothing.
        kept = {id(x): x for x in map(names.of, self._named) if x is not None}
        self._kept = [(name, arena.own(name.nbytes)) for name in kept.values()]
        memory = Memory(names, [call.arrays for call in calls], arena, self._kept)
        self.live = [memory.moved(x) for x in self._named]
        self.seconds = 0.0
        self.is_tried = self.is_compiled = False
        self._program: Program | None = None
        self._as_recorded = [call.moved(memory.moved) for call in calls]
        self._take(self._as_recorded, [])

    def _take(self, parts: Sequence[Call | Bound], addresses: Sequence[int]) -> None:
        """Do these from now on, the functions of C among them by such a table."""
        self.bound = [part.bound() if isinstance(part, Call) else part for part in parts]
        # What is to be changed where the inputs lie elsewhere.
        calls = [(n, part) for n, part in enumerate(parts) if isinstance(part, Call)]
        readers = [(n, call.of_inputs(self.inputs)) for n, call in calls]
        self._readers = [(n, reader) for n, reader in readers if reader is not None]
        self._entries = [
            (number, which, address - start_of(mine))
            for which, mine in enumerate(self.inputs)
            for number, address in enumerate(addresses)
            if 0 <= address - start_of(mine) < mine.nbytes
        ]

    @property
    def compiler(self) -> str:
        """What has compiled it."""
        return "" if self._program is None else self._program.compiler

    @property
    def pays(self) -> float:
        """Seconds of replays after which compiling it pays."""
        return COMPILING_PAYS * (1 + len(self.calls) / CALLS_AS_LONG)

    @property
    def is_due(self) -> bool:
        """Whether to look if compiling it pays, which takes a while itself."""
        pays = self.pays / 4 if LIBRARIES else self.pays
        return not self.is_tried and self.seconds > pays

    def play(self) -> None:
        """Make all calls, from and to the arrays that they were recorded with."""
        for call in self.bound:
            call()

    def read_from(self, arrays: Sequence[HostArray]) -> None:
        """Read these in the place of the inputs, where they lie, until the next time."""
        for number, reader in self._readers:
            self.bound[number] = reader(arrays)
        for number, which, offset in self._entries:
            assert self._program is not None
            self._program.table[number] = start_of(arrays[which]) + offset

    def read_nothing(self) -> None:
        """Hold none of the arrays that were read; it is played again after `read_from`."""
        for number, _ in self._readers:
            self.bound[number] = _nowhere

    def compiled(self) -> list[Call | Bound] | None:
        """The compiled calls, once that pays or the same have been compiled before; else None.

        Raises
        ------
        CannotCompile
            If they cannot be compiled here; `NotNow` if they may be later.
        """
        if self._program is None:
            self._program = Program(self.calls, self._named)
        if self.seconds > self.pays or self._program.is_compiled():
            program = self._program
            return program.compile(
                lambda: Memory(self._names, program.touched, self._arena, self._kept)
            )
        return None

    def play_both(self, compiled: list[Call | Bound]) -> bool:
        """Play it once by its calls and once by compiled ones, which are made from now on if they
        give the same bits; whether they do. Afterwards all is as after one play."""
        self.is_tried = True
        self.read_from(self.inputs)
        before = [array.copy() for array in self.live]
        self.play()
        after = [array.copy() for array in self.live]
        self.restore(before)
        self._take(compiled, [] if self._program is None else self._program.places)
        try:
            self.play()
            pairs = zip(self.live, after, strict=True)
            self.is_compiled = all(array.tobytes() == value.tobytes() for array, value in pairs)
        finally:  # also if it is interrupted: what was not compared is not used
            if self.is_compiled:
                self._as_recorded = []
            else:
                self._take(self._as_recorded, [])
                self.restore(after)
        return self.is_compiled

    def restore(self, values: Sequence[HostArray]) -> None:
        """Give the arrays that are read between replays these values."""
        for array, value in zip(self.live, values, strict=True):
            array[...] = value


def _nowhere() -> None:
    raise RuntimeError("a recorded call was made before it was told what to read")


class Stopwatch:
    """A scope whose seconds are added to those of a tape."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *error: object) -> None:
        self._tape.seconds += perf_counter() - self._began
