"""Functions of NumPy arrays that are recorded once, and then done again without their Python.

What a network answers is the same few calls each time, on samples of the same shape: written down
once, a row takes a fifth of the time. As with steps (`replay`), a recording is believed when it
has given, bit for bit, what the function itself gives; where something cannot be recorded, the
function is called as it is written.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import is_
from threading import Lock, Thread
from typing import Any, TypeAlias

import numpy as np

from xpnet.backends.numpy.calls import Bound, Call, Refused
from xpnet.backends.numpy.compiler import NotNow
from xpnet.backends.numpy.liveness import Account, Arena
from xpnet.backends.numpy.recording import Recording
from xpnet.backends.numpy.tape import Stopwatch, Tape
from xpnet.errors import one_line
from xpnet.streams import log_info
from xpnet.typing import HostArray

WARM_UPS = 2
"""How many calls with arrays of a shape are made as written before one is recorded."""

MOST_BYTES = 64 * 2**20
"""How much memory all recordings may take, which stays: what they were made for, and make. The
columns of a convolution take up to 16 MB, and with what is live beside them twice that."""

MOST_TAPES = 16
"""So many recordings are made: of several shapes, and for several threads at once."""

MOST_IN_VAIN = 8
"""How often the arrays that stay may be others before anything was recorded with them; then nothing
is any more."""

MOST_SHAPES = 1000
"""Of so many shapes it is counted how often they came."""

MOST_COPIED = 16384
"""Bytes of arrays that are rather copied than read where they lie, which takes some preparation."""

TIMED = 20
"""So many replays are timed: of short ones, to look at the clock takes a while."""

Tree: TypeAlias = Any
"""An array, None, or a tuple of these."""


class _Answer(Tape):
    """A recorded call, in whose inputs the arrays are wanted that change."""

    def __init__(
        self,
        recording: Recording,
        inputs: list[HostArray],
        result: Tree,
        *,
        compiles: bool,
        account: Account,
    ) -> None:
        named = _each(result, lambda x: _made(recording, x))
        own = sum(x.nbytes for x in inputs)
        account.take(own)
        arena = Arena(account)
        super().__init__(
            recording.finish([]), _arrays_of(named), inputs, names=recording.names, arena=arena
        )
        kept = iter(self.live)
        self._result = _each(named, lambda _: next(kept))
        self._copies = own <= MOST_COPIED
        self.wants_compiler = compiles
        self._count, self._mean = 0, 0.0
        self._compiling: Thread | None = None
        self._made: list[Call | Bound] | None = None

    @property
    def is_due(self) -> bool:
        """Not before compiling it pays by itself: nobody asks the compiler in vain."""
        return not self.is_tried and self.seconds > self.pays

    def __call__(self, arrays: Sequence[HostArray]) -> Tree:
        """What the function gives for these arrays."""
        if self._copies:
            for mine, given in zip(self.inputs, arrays, strict=True):
                np.copyto(mine, given)
        else:
            self.read_from(arrays)
        try:
            if self._count < TIMED:
                with Stopwatch(self):
                    self.play()
                self._count += 1
                self._mean = self.seconds / self._count
            else:
                self.play()
                self.seconds += self._mean
        finally:
            if not self._copies:
                self.read_nothing()
        result = self._result
        return result.copy() if type(result) is np.ndarray else _each(result, np.ndarray.copy)

    def compile_if_it_pays(self) -> None:
        """Between two calls: let it be compiled, in a thread for which nobody waits, or take what
        was."""
        thread = self._compiling
        try:
            if thread is None:
                if self.is_due:
                    self._compiling = Thread(target=self._compile, daemon=True)
                    self._compiling.start()
            elif not thread.is_alive():
                made, self._made, self._compiling = self._made, None, None
                if made is not None:
                    self.play_both(made)
        except Exception as error:
            self._give_up(error)
        self.wants_compiler = not self.is_tried

    def _compile(self) -> None:
        try:
            self._made = self.compiled()
        except NotNow:
            self.seconds = 0.0  # it is asked for again after as many replays
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.is_tried = True
        log_info("predictions are not compiled: %s", one_line(error) or type(error).__name__)


class _Memory:
    """What was recorded with the same arrays that stay.

    Attributes
    ----------
    staying
        These.
    idle
        The recordings that no thread plays at this moment, by what is changing.
    seen
        How often that came while there was none.
    refused
        What cannot be recorded.
    left
        How many recordings may still be tried.
    account
        The memory that they take.
    """

    def __init__(self, staying: Mapping[str, HostArray]) -> None:
        self.staying = staying
        self.idle: dict[Hashable, list[_Answer]] = {}
        self.seen: dict[Hashable, int] = {}
        self.refused: set[Hashable] = set()
        self.left, self.account = MOST_TAPES, Account(MOST_BYTES)


class RecordedFunction:
    """`function(staying, *changing)`, recorded for the shapes of what is changing.

    Several threads may call it at once.

    Parameters
    ----------
    function
        Reads nothing on the host, writes to none of its arguments, and depends on nothing but them.
        `staying` is a mapping of arrays, which are read where they lie; what is changing are
        arrays, None, or tuples of these. So is what it gives.
    compiles
        Whether what is recorded is compiled as well, once that pays.
    """

    def __init__(self, function: Callable[..., Tree], *, compiles: bool = True) -> None:
        self._function, self._compiles = function, compiles
        self._memory = _Memory({})
        self._in_vain = 0  # changes of what stays before anything was recorded
        self._recording = Lock()

    def __call__(self, staying: Mapping[str, HostArray], *changing: Tree) -> Tree:
        arrays: Sequence[HostArray] = changing
        if not all(map(_is_plain, arrays)):
            arrays = _arrays_of(changing)  # of tuples
            if not all(map(_is_plain, arrays)):
                return self._function(staying, *changing)
        memory = self._memory_of(staying)
        key = _layout(changing)
        idle = memory.idle.get(key)
        try:
            tape = idle.pop() if idle else None
        except IndexError:  # another thread was faster
            tape = None
        if idle is None or tape is None:
            return self._as_written(memory, key, staying, changing)
        try:
            result = tape(arrays)
            if tape.wants_compiler:
                tape.compile_if_it_pays()
        finally:
            idle.append(tape)
        return result

    def _memory_of(self, staying: Mapping[str, HostArray]) -> _Memory:
        """What was recorded with these arrays, by these names."""
        memory = self._memory
        known = memory.staying
        if list(known) != list(staying) or not all(map(is_, known.values(), staying.values())):
            self._in_vain = 0 if memory.idle else self._in_vain + 1
            memory = self._memory = _Memory(dict(staying))
            if self._in_vain > MOST_IN_VAIN:
                memory.left = 0
        return memory

    def _as_written(
        self, memory: _Memory, key: Hashable, staying: Mapping[str, HostArray], changing: Tree
    ) -> Tree:
        result = self._function(staying, *changing)
        if len(memory.seen) >= MOST_SHAPES:
            memory.seen.clear()
        seen = memory.seen[key] = memory.seen.get(key, 0) + 1
        wanted = seen > WARM_UPS and memory.left > 0 and key not in memory.refused
        if wanted and self._recording.acquire(blocking=False):
            taken = memory.account.taken
            try:
                memory.left -= 1
                tape = self._record(memory, changing, result)
                memory.idle.setdefault(key, []).append(tape)
            except Exception as error:
                memory.refused.add(key)
                memory.account.taken = taken
                reason = one_line(error) or type(error).__name__
                log_info("predictions are not recorded: %s", reason)
            finally:
                self._recording.release()
        return result

    def _record(self, memory: _Memory, changing: Tree, expected: Tree) -> _Answer:
        """Record a call, and try it: it must give what the function has given.

        It is recorded for other values, so that nothing that should have been computed again has
        the right value by chance.
        """
        arrays = _arrays_of(changing)
        own = [_other(x) for x in arrays]
        recording = Recording()
        try:
            traced = iter([recording.input(x) for x in own])
            result = self._function(
                {name: recording.input(x) for name, x in memory.staying.items()},
                *_each(changing, lambda _: next(traced)),
            )
            tape = _Answer(recording, own, result, compiles=self._compiles, account=memory.account)
        finally:
            recording.close()
        given = zip(_arrays_of(tape(arrays)), _arrays_of(expected), strict=True)
        if not all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in given):
            raise Refused("a replay gives something else")
        return tape


def _arrays_of(tree: Tree) -> list[HostArray]:
    """All arrays of a tree, in their order."""
    if isinstance(tree, tuple):
        return [x for branch in tree for x in _arrays_of(branch)]
    return [] if tree is None else [tree]


def _each(tree: Tree, change: Callable[[HostArray], Any]) -> Tree:
    """A tree with all arrays changed."""
    if isinstance(tree, tuple):
        branches = [_each(branch, change) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    return None if tree is None else change(tree)


def _layout(tree: Tree) -> Hashable:
    """The shapes and dtypes of a tree of arrays."""
    if isinstance(tree, tuple):
        return tuple([_layout(branch) for branch in tree])
    return None if tree is None else (tree.shape, tree.dtype)


def _other(x: HostArray) -> HostArray:
    """Other values, of which there are such: labels have to stay labels."""
    rolled = np.roll(x, 1)
    if not np.array_equal(rolled, x):
        return rolled
    return np.zeros_like(x) if x.any() else np.ones_like(x)


def _is_plain(x: Any) -> bool:
    """Whether products of it are the usual calls of BLAS (others may round otherwise), and C can
    address it."""
    if type(x) is not np.ndarray:
        return False
    flags = x.flags  # made anew each time it is asked for
    return flags.c_contiguous and flags.aligned


def _made(recording: Recording, x: Any) -> HostArray:
    """A result as the array that the recorded calls write to."""
    if not isinstance(x, np.ndarray) or not recording.knows(x):
        raise Refused("a result that does not depend on the arguments")
    named = recording.named(x.view(np.ndarray))
    if recording.names.of(named) is None:
        # It lies in an argument, in whose place others are read.
        named = recording.named(x.copy().view(np.ndarray))
    return named
