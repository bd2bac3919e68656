"""Training steps of NumPy recorded once, and then done again without the Python around them.

A step of a small network spends as much time between the calls of NumPy as in them. What it calls
is the same in every step, on arrays of the same shapes, so it is written down once.

A recording is believed when it has given, bit for bit, what the step itself gives. Where a step
cannot be recorded, it is taken as it is written, which is slower and otherwise the same.
"""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends.numpy_recording import Call, Recording, Refused
from xpnet.errors import one_line
from xpnet.typing import HostArray, State

logger = logging.getLogger("xpnet")

WARM_UPS = 2
"""How many steps of a shape are taken as they are written before one is recorded."""

MOST_BYTES = 64 * 2**20
"""How much memory the state may take, and what a recorded step makes, which all stays. Where that
is much, what is saved is little beside the arithmetic."""


@dataclass
class _Tape:
    """A recorded step: where it wants the rows of its batch, and its calls."""

    rows: HostArray
    calls: list[Call]


class Replayer:
    """`run(state, x, y, groups)` of `Backend.repeat`, by recorded steps.

    Parameters
    ----------
    step
        `step(state, x, y, rows) -> state`, which reads nothing on the host.

    Attributes
    ----------
    reason
        Why steps are taken as they are written; empty if they are not.
    """

    def __init__(self, step: Callable[..., State]) -> None:
        self.reason = ""
        self._step = step
        self._samples: tuple[HostArray, HostArray] | None = None
        # The arrays that all recorded steps read and write.
        self._state: State = {}
        self._tapes: dict[Hashable, _Tape] = {}
        self._seen: dict[Hashable, int] = {}

    def __call__(self, state: State, x: HostArray, y: HostArray, groups: HostArray) -> State:
        tape = self._tapes.get(groups.shape[1:]) if self._are_recorded(x, y) else None
        if tape is not None and self._adopt(state):
            for rows in groups:
                self._play(tape, rows)
            return dict(self._state)
        for rows in groups:
            state = self._take(state, x, y, rows)
        return dict(state)

    def _play(self, tape: _Tape, rows: HostArray) -> None:
        np.copyto(tape.rows, rows)
        for call in tape.calls:
            call()

    def _are_recorded(self, x: HostArray, y: HostArray) -> bool:
        """Whether these are the samples of the recorded steps; streamed ones are new each time."""
        if self._samples is None:
            self._samples = (x, y)
        return self._samples[0] is x and self._samples[1] is y

    def _take(self, state: State, x: HostArray, y: HostArray, rows: HostArray) -> State:
        """A step as it is written, recorded if it is time."""
        seen = self._seen[rows.shape] = self._seen.get(rows.shape, 0) + 1
        if self.reason or seen != WARM_UPS + 1 or not self._are_recorded(x, y):
            return self._step(state, x, y, rows)
        if sum(value.nbytes for value in state.values()) > MOST_BYTES:
            self.reason = "the network is large, and recording its steps would save no time"
            return self._step(state, x, y, rows)
        before = {name: np.array(value) for name, value in state.items()}
        after = self._step(state, x, y, rows)
        try:
            self._tapes[rows.shape] = self._record(before, after, x, y, rows)
        except Exception as error:
            self._tapes.clear()
            self.reason = one_line(error) or type(error).__name__
            logger.info("steps are not replayed, which may be slower: %s", self.reason)
            return after
        return dict(self._state)

    def _record(
        self, before: State, after: State, x: HostArray, y: HostArray, rows: HostArray
    ) -> _Tape:
        """Record a step, and try it: a replay from the state before must give the state after.

        It is recorded from the state after, so that nothing that should have been computed again
        has the right value by chance.
        """
        if not self._adopt(after):
            self._tapes.clear()
            self._state = {name: np.array(value) for name, value in after.items()}
        own = self._state
        recording = Recording(MOST_BYTES)
        tape = _Tape(rows.copy(), [])
        inputs = {name: recording.input(value) for name, value in own.items()}
        result = self._step(inputs, *(_inputs(recording, array) for array in (x, y, tape.rows)))
        if set(result) != set(own):
            raise Refused("a step changes which arrays there are")
        moves = [(own[name], np.asarray(recording.read(result[name]))) for name in own]
        tape.calls = recording.finish(moves)
        self._adopt(before)
        self._play(tape, rows)
        for name, value in after.items():
            expected = np.asarray(value)
            if expected.dtype != own[name].dtype or expected.tobytes() != own[name].tobytes():
                raise Refused(f"a replay gives another {name}")
        return tape

    def _adopt(self, state: State) -> bool:
        """Bring a state into the arrays that recorded steps have; False if it has others."""
        own = self._state
        if state.keys() != own.keys() or any(
            value.shape != own[name].shape or value.dtype != own[name].dtype
            for name, value in state.items()
        ):
            return False
        for name, value in state.items():
            if value is not own[name]:
                np.copyto(own[name], value)
        return True


def _inputs(recording: Recording, x: Any) -> Any:
    """An array, or a tuple of them such as targets with their weights, as inputs."""
    if isinstance(x, tuple):
        return type(x)(*(recording.input(array) for array in x))
    return recording.input(x)
