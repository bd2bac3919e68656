"""Training steps of NumPy recorded once, and then done again without the Python around them.

A step of a small network spends as much time between the calls of NumPy as in them. What it calls
is the same in every step, on arrays of the same shapes, so it is written down once.

A recording is believed when it has given, bit for bit, what the step itself gives. Where a step
cannot be recorded, it is taken as it is written, which is slower and otherwise the same.

Where there is a C compiler, what a recording calls is compiled once that pays: `tape`.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from xpnet.backends.base import one_by_one
from xpnet.backends.numpy.calls import Refused
from xpnet.backends.numpy.compiler import NotNow
from xpnet.backends.numpy.liveness import Account, Arena
from xpnet.backends.numpy.recording import Recording
from xpnet.backends.numpy.tape import Stopwatch, Tape
from xpnet.backends.steps import StepCounts
from xpnet.errors import one_line
from xpnet.streams import log_info
from xpnet.typing import HostArray, State

WARM_UPS = 2
"""How many steps of a shape are taken as they are written before one is recorded."""

MOST_BYTES = 64 * 2**20
"""How much memory the state may take. Where that is much, what is saved is little beside the
arithmetic."""

MOST_MADE = 2**30
"""How much memory recorded steps may take for what they make, which stays until the last of them:
about what is live at once in the largest. (Of a network of 32-32-64-64 filters that is 63 MiB at
batches of 128 digits of MNIST.) To have it at hand saves time there, too."""

MOST_TAPES = 16
"""For so many sizes of batch steps are recorded."""

MOST_CHANGES = 8
"""How often a state that is none of ours is taken for that of a new training."""


class _Step(Tape):
    """A recorded step, and where it wants the rows of its batch."""

    def __init__(
        self,
        recording: Recording,
        moves: list[tuple[HostArray, HostArray]],
        state: State,
        rows: HostArray,
        arena: Arena,
    ) -> None:
        calls = recording.finish(moves)
        super().__init__(calls, state.values(), names=recording.names, arena=arena)
        self._rows = rows

    def look_at(self, rows: HostArray) -> None:
        """Take the next step for these rows."""
        np.copyto(self._rows, rows)


class _Memory:
    """Where the arrays of a state lie that recorded steps read and write; `{}` if nowhere yet.

    What was recorded with other arrays than these is of no use any more. What the steps make lies
    in one arena, since they are taken in turn and pass on nothing but the state.
    """

    def __init__(self) -> None:
        self.state: State = {}
        self.arena = Arena(Account(MOST_MADE))


class Replayer:
    """`run(state, x, y, groups)` of `Backend.repeat`, by recorded steps.

    Parameters
    ----------
    step
        `step(state, x, y, rows) -> state`, which reads nothing on the host, and depends on nothing
        but its arguments.
    counts
        Where to count how steps were taken; to be forgotten if None.
    compiles
        Whether what is recorded is compiled as well, once that pays.
    memory
        Where the state lies, if another has it as well: see `in_turn`.

    Attributes
    ----------
    reason
        Why steps are taken as they are written; empty if they are not.
    """

    def __init__(
        self,
        step: Callable[..., State],
        counts: StepCounts | None = None,
        *,
        compiles: bool = True,
        memory: _Memory | None = None,
    ) -> None:
        self.reason = ""
        self._step = step
        self._counts = StepCounts() if counts is None else counts
        self._compiles = compiles
        self._samples: tuple[Any, Any] | None = None
        self._memory = _Memory() if memory is None else memory
        self._recorded_in: State = self._memory.state
        self._tapes: dict[Hashable, _Step] = {}
        self._last: _Step | None = None
        self._seen: dict[Hashable, int] = {}
        self._changes = 0

    @classmethod
    def in_turn(
        cls, steps: tuple[Callable[..., State], ...], counts: StepCounts, *, compiles: bool = True
    ) -> tuple["Replayer", ...]:
        """The parts of a step, called in turn: all in the memory of one state, of which nothing is
        copied between them. The first of them counts the steps."""
        memory = _Memory()
        each = [counts, *(StepCounts() for _ in steps[1:])]
        return tuple(
            cls(step, counts, compiles=compiles, memory=memory)
            for step, counts in zip(steps, each, strict=True)
        )

    @property
    def _state(self) -> State:
        """The arrays that all recorded steps read and write."""
        return self._memory.state

    def __call__(self, state: State, x: HostArray, y: Any, groups: HostArray) -> State:
        if self._recorded_in is not self._memory.state:
            self._tapes.clear()
            self._recorded_in = self._memory.state
        known = self._are_known(x, y)
        self._leave_to_other_training(state)
        if not _are_in_range(groups, x, y):
            # As it is written a step counts back, or raises; a recorded one takes what is nearest.
            return self._counts.counting(one_by_one(self._step))(state, x, y, groups)
        tape = self._tapes.get(groups.shape[1:]) if known else None
        if tape is not None and self._adopt(state):
            self._play(tape, groups)
            return dict(self._state)
        for number, rows in enumerate(groups):
            self._counts.called += 1
            seen = self._seen[rows.shape] = self._seen.get(rows.shape, 0) + 1
            new = rows.shape not in self._tapes and len(self._tapes) < MOST_TAPES
            if known and not self.reason and seen > WARM_UPS and new:
                state = self._record(state, x, y, rows)
                if rows.shape in self._tapes:
                    self._play(self._tapes[rows.shape], groups[number + 1 :])
                    return dict(self._state)
            else:
                state = self._step(state, x, y, rows)
        return dict(state)

    @contextmanager
    def rehearsal(self) -> Iterator[Callable[[], None] | None]:
        """A scope in which the last recorded step may be taken again and again: at its end the
        state is as it was. What takes it; None where none is recorded."""
        tape = self._last
        if tape is None or tape not in self._tapes.values():
            yield None
            return
        before = [array.copy() for array in tape.live]
        try:
            yield tape.play
        finally:
            tape.restore(before)

    def forget(self) -> None:
        """Let go of the samples, and of the recorded steps, which read them where they lie."""
        self._samples = self._last = None
        self._leave_memory()

    def _play(self, tape: _Step, groups: HostArray) -> None:
        """Replay steps; compiled, once they have taken long enough."""
        compiled = None
        if self._compiles and len(groups) and tape.is_due:
            try:
                compiled = tape.compiled()
            except NotNow:
                pass  # the next group asks again
            except Exception as error:
                tape.is_tried = True
                self._tell_failure(one_line(error) or type(error).__name__)
        if compiled is not None:
            tape.look_at(groups[0])
            if tape.play_both(compiled):
                self._tell_compiler(tape)
            else:
                self._tell_failure("the results are others")
            self._counts.recorded += 1
            groups = groups[1:]
        self._last = tape
        with Stopwatch(tape):
            for rows in groups:
                tape.look_at(rows)
                tape.play()
        if tape.is_compiled:
            self._counts.compiled += len(groups)
        else:
            self._counts.recorded += len(groups)

    def _tell_compiler(self, tape: Tape) -> None:
        if tape.compiler != self._counts.compiler:
            self._counts.compiler = tape.compiler
            log_info("steps are compiled by %s", tape.compiler)

    def _tell_failure(self, reason: str) -> None:
        self._counts.reason = f"not compiled: {reason}"
        log_info("steps are not compiled, which may be slower: %s", reason)

    def _are_known(self, x: HostArray, y: Any) -> bool:
        """Whether these are the samples of the call before; streamed ones are new each time."""
        before, self._samples = self._samples, (x, y)
        if before is not None and before[0] is x and before[1] is y:
            return True
        self._tapes.clear()
        return False

    def _leave_to_other_training(self, state: State) -> None:
        """Give up our arrays, which a state that we returned has, if that of another one comes."""
        own = self._state
        if not own or any(value is own.get(name) for name, value in state.items()):
            return
        self._leave_memory()
        self._changes += 1
        if self._changes > MOST_CHANGES:
            self._refuse("the states of several trainings come in turn")

    def _leave_memory(self, state: State | None = None) -> None:
        """Have the state elsewhere from now on."""
        self._memory.state = self._recorded_in = {} if state is None else state
        self._memory.arena = Arena(Account(MOST_MADE))
        self._tapes.clear()

    def _refuse(self, reason: str) -> None:
        """Take all further steps as they are written."""
        self.reason = reason
        self._counts.reason = f"not recorded: {reason}"

    def _record(self, state: State, x: HostArray, y: Any, rows: HostArray) -> State:
        """Take a step as it is written, and record it."""
        if sum(value.nbytes for value in state.values()) > MOST_BYTES:
            self._refuse("the network is large, and recording its steps would save no time")
            return self._step(state, x, y, rows)
        # Copies: recording overwrites arrays, which may be these, before it turns out to be right.
        before = {name: np.array(value) for name, value in state.items()}
        after = {k: np.array(v) for k, v in self._step(state, x, y, rows).items()}
        recording = Recording()
        try:
            tape = self._try(recording, before, after, x, y, rows)
        except Exception as error:
            self._tapes.clear()
            self._memory.arena = Arena(Account(MOST_MADE))
            self._refuse(one_line(error) or type(error).__name__)
            log_info("steps are not replayed, which may be slower: %s", self.reason)
            return after
        finally:
            recording.close()
        self._tapes[rows.shape] = tape
        return dict(self._state)

    def _try(
        self,
        recording: Recording,
        before: State,
        after: State,
        x: HostArray,
        y: Any,
        rows: HostArray,
    ) -> _Step:
        """Record a step, and try it: a replay from the state before must give the state after.

        It is recorded from the state after and for other rows, so that nothing that should have
        been computed again has the right value by chance.
        """
        if not self._state or not self._adopt(after):
            self._leave_memory({name: value.copy() for name, value in after.items()})
        own = self._state
        other_rows = (rows + 1) % x.shape[0]
        inputs = {name: recording.input(value) for name, value in own.items()}
        result = self._step(
            inputs,
            recording.input(x),
            _inputs(recording, y),
            recording.input(other_rows, in_range=True),
        )
        if set(result) != set(own):
            raise Refused("a step changes which arrays there are")
        moves = [(own[name], np.asarray(recording.read(result[name]))) for name in own]
        tape = _Step(recording, moves, own, other_rows, self._memory.arena)
        self._adopt(before)
        tape.look_at(rows)
        tape.play()
        for name, expected in after.items():
            if expected.dtype != own[name].dtype or expected.tobytes() != own[name].tobytes():
                raise Refused(f"a replay gives another {name}")
        return tape

    def _adopt(self, state: State) -> bool:
        """Bring a state into the arrays that recorded steps have; False if that cannot be.

        It cannot where arrays are of other names, shapes or dtypes.
        """
        own = self._state
        if state.keys() != own.keys():
            return False
        changed = {k: np.asarray(value) for k, value in state.items() if value is not own[k]}
        if any(x.shape != own[k].shape or x.dtype != own[k].dtype for k, x in changed.items()):
            return False
        # Copies: of two that were exchanged, one would be overwritten before it is read.
        for name, value in {name: value.copy() for name, value in changed.items()}.items():
            np.copyto(own[name], value)
        return True


def rehearsal_of(run: Callable[..., Any]) -> AbstractContextManager[Callable[[], None] | None]:
    """As `Replayer.rehearsal`, of what `Backend.repeat` has made."""
    return run.rehearsal() if isinstance(run, Replayer) else nullcontext()


def _are_in_range(groups: HostArray, x: HostArray, y: Any) -> bool:
    """Whether all rows are there, counted from the first."""
    if not groups.size:
        return True
    arrays = [x, *y] if isinstance(y, tuple) else [x, y]
    count = min(array.shape[0] for array in arrays)
    return bool(np.minimum.reduce(groups, None) >= 0 and np.maximum.reduce(groups, None) < count)


def _inputs(recording: Recording, y: Any) -> Any:
    """Targets, or a tuple of targets and their weights, as inputs."""
    if isinstance(y, tuple):
        return type(y)(*(recording.input(array) for array in y))
    return recording.input(y)
