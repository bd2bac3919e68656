"""Training steps recorded once as a CUDA graph, and then started together by one call.

Starting a small kernel from Python takes longer than the kernel. A graph holds the kernels of a
group of steps, with their addresses, and is started as a whole. So what changes between groups has
to lie where it lay when they were recorded: the state, and the rows of the batches.

Nothing here names CuPy. What is needed of a device is a `GraphStream`.
"""

import sys
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

from xpnet.backends.base import one_by_one
from xpnet.errors import one_line
from xpnet.streams import log_warning
from xpnet.typing import Array, State

WARM_UPS = 2
"""How often a group is run step by step first: kernels are compiled, memory is found."""

MOST_GRAPHS = 4
"""An epoch has three kinds of groups: whole ones, single batches, the last batch."""

MOST_COPIED = 2**28
"""Samples of more bytes are taken where they lie."""

_MOST_SEEN = 64


class GraphStream(Protocol):
    """A stream of a device with memory of its own, whose work can be recorded."""

    def inside(self) -> AbstractContextManager[Any]:
        """Work goes to this stream, after the caller's so far and before what comes from it then.

        Arrays that are made inside lie in the memory of the stream, which recorded work overwrites.
        """

    def place(self, x: Array) -> Hashable:
        """Where an array lies, and how: its address, shape, strides and dtype."""

    def lasting(self, x: Array) -> Array:
        """A new array like `x`, outside of the memory of the stream; its values are undefined."""

    def temporary(self, x: Array) -> Array:
        """A new array like `x`, in the memory of the stream, with its values."""

    def copy(self, target: Array, source: Array) -> None:
        """Copy values, on the device."""

    def begin(self) -> None:
        """From now on work is recorded, and not done."""

    def end(self) -> Any:
        """The work recorded since `begin`, ready to be started."""

    def abort(self) -> None:
        """Stop recording, if it is going on, and forget what was recorded. Does not raise."""

    def launch(self, graph: Any) -> None:
        """Start recorded work."""

    def wait(self) -> None:
        """Wait until all work of the stream is done."""

    def close(self) -> int:
        """Give stream and memory back, once all is done and no graph is left; how many bytes."""


@dataclass
class GraphUse:
    """What became of the graphs of a backend.

    Attributes
    ----------
    captures, launches
        How many were recorded, and how often they were started.
    most_bytes
        Most bytes of memory that one training held for them, known when it has ended.
    reason
        Why steps are started one by one instead; empty if they are not.
    """

    captures: int = 0
    launches: int = 0
    most_bytes: int = 0
    reason: str = ""


class GraphRunner:
    """`run(state, x, y, groups)` of `Backend.repeat`, by graphs.

    A group is run step by step twice, is recorded when it comes for the third time, and is then
    started from the record. What counts is its shape and where `x` and `y` lie: samples that come
    elsewhere, as where they are streamed, are copied to one place. The arrays of the first state
    become those that all later states have, overwritten by each group.

    Whatever goes wrong with recording is said once, in the log; all further steps are then taken
    one by one, from the state as it was before.

    Parameters
    ----------
    step
        `step(state, x, y, rows) -> state`, which reads nothing on the host.
    open_stream
        Makes the stream, when the first group comes.
    use
        Where to count, and to say why there is no graph.
    fallback
        The step to take one by one where there can be no graph; `step` if None.
    """

    def __init__(
        self,
        step: Callable[..., State],
        open_stream: Callable[[], GraphStream],
        use: GraphUse | None = None,
        fallback: Callable[..., State] | None = None,
    ) -> None:
        self.use = GraphUse() if use is None else use
        self._one_by_one = one_by_one(step)
        self._without = one_by_one(step if fallback is None else fallback)
        self._open_stream = open_stream
        self._stream: GraphStream | None = None
        self._gave_up = False
        self._state: State = {}
        self._rows: dict[Hashable, Array] = {}
        self._place: Hashable = None
        self._samples: dict[Hashable, Array] = {}
        self._graphs: dict[Hashable, Any] = {}
        self._seen: dict[Hashable, int] = {}
        self._sharing = WeakSet([self])  # those whose graphs write to the arrays of this state

    def share_state(self, other: "GraphRunner") -> None:
        """Have the same arrays as another, with which this one is called in turn.

        Else each would adopt others where an array is replaced between them, and copy them in
        every call.
        """
        other._state = self._state
        self._sharing = other._sharing = WeakSet([self, other])

    def __call__(self, state: State, x: Array, y: Array, groups: Array) -> State:
        stream = self._opened()
        if stream is None:
            return self._without(state, x, y, groups)
        changed = self._adopt(stream, state)
        x, y = self._settled(stream, x, y)
        key = (tuple(groups.shape), groups.dtype, _places(stream, x), _places(stream, y))
        if key[:2] not in self._rows:
            self._rows[key[:2]] = stream.lasting(groups)
        rows = self._rows[key[:2]]
        with stream.inside():
            for name in changed:
                stream.copy(self._state[name], state[name])
            stream.copy(rows, groups)
            taken = self._take(stream, key, x, y, rows)
        if taken:
            return dict(self._state)
        self.close()
        self._gave_up = True
        return self._without(dict(self._state), x, y, groups)

    def close(self) -> None:
        """Give back what the graphs hold; waits for them. The state stays valid."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.wait()
            self._graphs.clear()
            self._seen.clear()
            self._rows.clear()
            self._samples.clear()
            self.use.most_bytes = max(self.use.most_bytes, stream.close())

    def forget(self) -> None:
        """Let go of the samples: what they were copied to, and the graphs that read them."""
        self.close()
        self._place = None
        self._state.clear()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()

    def _opened(self) -> GraphStream | None:
        if self._stream is None and not self._gave_up:
            try:
                self._stream = self._open_stream()
            except Exception as error:
                self._gave_up = True
                self._say(error)
        return self._stream

    def _settled(self, stream: GraphStream, x: Array, y: Any) -> tuple[Array, Any]:
        """Samples where graphs find them: those of the first call as they lie, others copied."""
        place = (_places(stream, x), _places(stream, y))
        if self._place is None:
            self._place = place
        if place == self._place or x.nbytes > MOST_COPIED:
            return x, y
        return self._copied(stream, "x", x), self._copied(stream, "y", y)

    def _copied(self, stream: GraphStream, name: Hashable, array: Any) -> Any:
        if isinstance(array, tuple):
            parts = [self._copied(stream, (name, i), part) for i, part in enumerate(array)]
            return type(array)(*parts) if hasattr(array, "_fields") else tuple(parts)
        key = (name, tuple(array.shape), array.dtype)
        if key not in self._samples:
            self._samples[key] = stream.lasting(array)
        stream.copy(self._samples[key], array)
        return self._samples[key]

    def _adopt(self, stream: GraphStream, state: State) -> list[str]:
        """Make the arrays of a state ours; the names of those to be copied into the ones we have.

        The latter are those that a caller has replaced, such as a new learning rate.
        """
        changed = []
        for name, value in state.items():
            own = self._state.get(name)
            if own is None or not _alike(own, value):
                if any(value is other for key, other in self._state.items() if key != name):
                    value, shared = stream.lasting(value), value  # each name has its own
                    stream.copy(value, shared)
                self._state[name] = value
                self._forget_graphs()
            elif own is not value:
                changed.append(name)
        return changed

    def _take(self, stream: GraphStream, key: Hashable, x: Array, y: Array, rows: Array) -> bool:
        """Take the steps of a group; False if that has to be done in another way."""
        graph = self._graphs.get(key)
        try:
            if graph is None and self._is_due(key):
                graph = self._capture(stream, x, y, rows)
                self._graphs[key] = graph
                self.use.captures += 1
            if graph is not None:
                stream.launch(graph)
                self.use.launches += 1
                return True
        except Exception as error:
            self._say(error)
            return False
        self._keep(stream, self._one_by_one(dict(self._state), x, y, rows))
        return True

    def _is_due(self, key: Hashable) -> bool:
        """Whether a group came often enough to be recorded."""
        count = self._seen.get(key, 0)
        if count >= WARM_UPS and len(self._graphs) < MOST_GRAPHS:
            return True
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[key] = count + 1
        return False

    def _capture(self, stream: GraphStream, x: Array, y: Array, rows: Array) -> Any:
        """Record the steps of a group; the state is afterwards as before."""
        before = {name: stream.temporary(value) for name, value in self._state.items()}
        try:
            stream.begin()
            after = self._one_by_one(dict(self._state), x, y, rows)
            for name, value in after.items():
                if not _alike(self._state[name], value):
                    raise TypeError(f"the step changes the shape or the dtype of {name!r}")
            self._keep(stream, after)
            return stream.end()
        except BaseException:
            stream.abort()
            # Nothing was done, unless the step did something that is not recorded.
            for name, value in before.items():
                stream.copy(self._state[name], value)
            raise

    def _keep(self, stream: GraphStream, state: State) -> None:
        """Copy what a step made into the arrays of the state; most are those already."""
        moved = {k: v for k, v in state.items() if v is not self._state.get(k)}
        ours = {id(value) for value in self._state.values()}
        for name, value in moved.items():
            if id(value) in ours:  # exchanged: it may be overwritten before it is copied
                moved[name] = stream.temporary(value)
        for name, value in moved.items():
            if name not in self._state or not _alike(self._state[name], value):
                self._state[name] = stream.lasting(value)
                self._forget_graphs()
            stream.copy(self._state[name], value)

    def _forget_graphs(self) -> None:
        """Drop the graphs: they write to arrays that are not those of the state any more."""
        for runner in self._sharing:
            if runner._graphs and runner._stream is not None:
                runner._stream.wait()
            runner._graphs.clear()
            runner._seen.clear()

    def _say(self, error: Exception) -> None:
        text = one_line(error, 300)
        self.use.reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
        log_warning(
            "steps are started one by one, which is slower on a GPU: they cannot be recorded as a "
            "CUDA graph (%s)",
            self.use.reason,
        )


def _places(stream: GraphStream, x: Any) -> Hashable:
    """Where an array lies, or each of the arrays of a tuple, such as targets with weights."""
    return tuple(map(stream.place, x)) if isinstance(x, tuple) else stream.place(x)


def _alike(a: Array, b: Array) -> bool:
    return bool(tuple(a.shape) == tuple(b.shape) and a.dtype == b.dtype)
