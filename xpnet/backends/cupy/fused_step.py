"""Training steps with few kernels, and the namespace by which they are traced."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from xpnet.backends.cupy.fusion import Fuser
from xpnet.errors import one_line
from xpnet.streams import log_warning
from xpnet.typing import Array, Namespace, State

MOST_ARRAYS = 128
"""A state of more is that of a deep network: its hundreds of kernels would take minutes to make."""


class FusedStep:
    """A step that is traced, whose functions of small arrays are fused.

    Parameters
    ----------
    step
        `step(state, x, y, rows) -> state`, with functions of the namespace of `tracing`.
    tracing
        Whether these are traced.
    make
        Makes the `Fuser` of one step.
    """

    def __init__(
        self, step: Callable[..., State], tracing: "Tracing", make: Callable[[], Fuser]
    ) -> None:
        self._step = step
        self._tracing = tracing
        self._make = make
        self._works: set[Hashable] = set()
        self._broken = False

    def __call__(self, state: State, x: Array, y: Any, rows: Array) -> State:
        if self._broken or len(state) > MOST_ARRAYS:
            return self._step(state, x, y, rows)
        shapes = (tuple(x.shape), tuple(rows.shape))
        if shapes in self._works:
            return self._fused(state, x, y, rows)
        try:
            # Copies: a step that fails in the middle may have written to them.
            after = self._fused({name: _copied(x) for name, x in state.items()}, x, y, rows)
        except Exception as error:
            after = self._step(state, x, y, rows)  # raises by itself what is not of our making
            self._broken = True
            text = f"{type(error).__name__}: {one_line(error, 300)}"
            log_warning("small kernels are not put together, which is slower (%s)", text)
        self._works.add(shapes)
        return after

    def _fused(self, state: State, x: Array, y: Any, rows: Array) -> State:
        fuser = self._make()
        before = {name: fuser.defer(value) for name, value in state.items()}
        with self._tracing.to(fuser):
            after = self._step(before, *fuser.defer((x, y, rows)))
        (computed,) = fuser.known(after, alone=True)
        result: State = computed
        return result


class Tracing(threading.local):
    """Whether functions of a namespace are eager or traced, in each thread by itself."""

    fuser: Fuser | None = None

    @contextmanager
    def to(self, fuser: Fuser) -> Iterator[None]:
        """A context in which functions are traced by a fuser."""
        before, self.fuser = self.fuser, fuser
        try:
            yield
        finally:
            self.fuser = before

    def namespace(self, xp: Namespace) -> Namespace:
        """A namespace whose functions are eager, or traced."""
        return SimpleNamespace(
            **{
                name: self._traceable(name, value) if _is_function(name, value) else value
                for name, value in vars(xp).items()
            }
        )

    def _traceable(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def either(*args: Any, **options: Any) -> Any:
            fuser = self.fuser
            if fuser is None:
                return function(*args, **options)
            return fuser.apply(name, function, args, options)

        return either


def _copied(value: Any) -> Any:
    return value.copy() if hasattr(value, "copy") else value


def _is_function(name: str, value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and not name.startswith("_")
