"""Training steps of NumPy recorded once, and then done again without the Python around them.

A step of a small network spends as much time between the calls of NumPy as in them. What it calls
is the same in every step, on arrays of the same shapes, so it is written down once.

A recording is believed when it has given, bit for bit, what the step itself gives. Where a step
cannot be recorded, it is taken as it is written, which is slower and otherwise the same.

Where there is a C compiler, what a recording calls is compiled once that pays: `cpu.program`.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from xpnet.backends.base import one_by_one
from xpnet.backends.numpy.calls import Bound, Call
from xpnet.backends.numpy.compiler import NotNow
from xpnet.backends.numpy.program import Program
from xpnet.backends.numpy.recording import Recording, Refused
from xpnet.backends.steps import StepCounts
from xpnet.errors import one_line
from xpnet.streams import log_info
from xpnet.typing import HostArray, State

WARM_UPS = 2
"""How many steps of a shape are taken as they are written before one is recorded."""

MOST_BYTES = 64 * 2**20
"""How much memory the state may take, and what a recorded step makes, which all stays. Where that
is much, what is saved is little beside the arithmetic."""


COMPILING_PAYS = 0.2
"""Seconds that replays of a step take before it is compiled, which takes about as long.

For a step of few calls: see `_Tape.pays`. After a tenth of that its C is written; if the same C has
been compiled before, for another training, the library is there and is taken at once.
"""

MOST_TAPES = 16
"""For so many sizes of batch steps are recorded: what each of them makes stays in memory."""

CALLS_AS_LONG = 150
"""So many calls take as long to compile as what is the same for all steps."""

MOST_CHANGES = 8
"""How often a state that is none of ours is taken for that of a new training."""


@dataclass
class _Tape:
    """A recorded step.

    Attributes
    ----------
    rows
        Where it wants the rows of its batch.
    calls
        What was recorded, which holds all arrays.
    bound
        What is called now: these calls, or what they were compiled to.
    seconds
        How long its replays have taken.
    program
        Its calls as C, once that has been written.
    is_tried, is_compiled
        Whether to compile it has been tried, and it is what is called now.
    """

    rows: HostArray
    calls: list[Call]
    bound: list[Bound]
    seconds: float = 0.0
    program: Program | None = None
    is_tried: bool = False
    is_compiled: bool = False

    @property
    def pays(self) -> float:
        """Seconds of replays after which compiling it pays."""
        return COMPILING_PAYS * (1 + len(self.calls) / CALLS_AS_LONG)

    def play(self, rows: HostArray) -> None:
        """Take the step for these rows, from and to the arrays that it was recorded with."""
        np.copyto(self.rows, rows)
        for call in self.bound:
            call()


class _Memory:
    """Where the arrays of a state lie that recorded steps read and write; `{}` if nowhere yet.

    What was recorded with other arrays than these is of no use any more.
    """

    def __init__(self) -> None:
        self.state: State = {}


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
        self._tapes: dict[Hashable, _Tape] = {}
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

    def forget(self) -> None:
        """Let go of the samples, and of the recorded steps, which read them where they lie."""
        self._samples = None
        self._leave_memory()

    def _play(self, tape: _Tape, groups: HostArray) -> None:
        """Replay steps; compiled, once they have taken long enough."""
        compiled = None
        if self._compiles and not tape.is_tried and len(groups) and tape.seconds > tape.pays / 10:
            try:
                compiled = self._compile_if_it_pays(tape)
            except NotNow:
                pass  # the next group asks again
            except Exception as error:
                self._give_up(tape, one_line(error) or type(error).__name__)
        if compiled is not None:
            self._verify_and_swap(tape, compiled, groups[0])
            self._counts.recorded += 1
            groups = groups[1:]
        began = perf_counter()
        for rows in groups:
            tape.play(rows)
        tape.seconds += perf_counter() - began
        if tape.is_compiled:
            self._counts.compiled += len(groups)
        else:
            self._counts.recorded += len(groups)

    def _compile_if_it_pays(self, tape: _Tape) -> list[Bound] | None:
        if tape.program is None:
            tape.program = Program(tape.calls, self._state.values())
        if tape.seconds > tape.pays or tape.program.is_compiled():
            return tape.program.compile()
        return None

    def _verify_and_swap(self, tape: _Tape, compiled: list[Bound], rows: HostArray) -> None:
        """Take a step by recorded and by compiled calls, used from now on if they give the same."""
        tape.is_tried = True
        before = {name: value.copy() for name, value in self._state.items()}
        tape.play(rows)
        after = {name: value.copy() for name, value in self._state.items()}
        self._adopt(before)
        replace(tape, bound=compiled).play(rows)
        if all(value.tobytes() == self._state[name].tobytes() for name, value in after.items()):
            tape.bound, tape.is_compiled = compiled, True
            self._tell_compiler(tape)
        else:
            self._adopt(after)
            self._give_up(tape, "the results are others")

    def _tell_compiler(self, tape: _Tape) -> None:
        compiler = "" if tape.program is None else tape.program.compiler
        if compiler != self._counts.compiler:
            self._counts.compiler = compiler
            log_info("steps are compiled by %s", compiler)

    def _give_up(self, tape: _Tape, reason: str) -> None:
        tape.is_tried = True
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
        recording = Recording(MOST_BYTES)
        try:
            tape = self._try(recording, before, after, x, y, rows)
        except Exception as error:
            self._tapes.clear()
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
    ) -> _Tape:
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
        calls = recording.finish(moves)
        tape = _Tape(other_rows, calls, [call.bound() for call in calls])
        self._adopt(before)
        tape.play(rows)
        for name, expected in after.items():
            if expected.dtype != own[name].dtype or expected.tobytes() != own[name].tobytes():
                raise Refused(f"a replay gives another {name}")
        return tape

    def _adopt(self, state: State) -> bool:
        """Bring a state into the arrays that recorded steps have; False if that cannot be.

        It cannot where arrays are of other names, shapes or dtypes.
        """
        own = self._state
        given = {name: np.asarray(value) for name, value in state.items()}
        if given.keys() != own.keys() or any(
            value.shape != own[name].shape or value.dtype != own[name].dtype
            for name, value in given.items()
        ):
            return False
        changed = {name: value for name, value in given.items() if value is not own[name]}
        # Copies: of two that were exchanged, one would be overwritten before it is read.
        for name, value in {name: value.copy() for name, value in changed.items()}.items():
            np.copyto(own[name], value)
        return True


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
