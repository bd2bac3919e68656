"""What may happen beside a training: the interface, and a list of it that is called as one."""

import copy
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

import numpy as np

from xpnet.history import EpochRecord
from xpnet.network.network import Network
from xpnet.saving.snapshot import Snapshot
from xpnet.typing import State


class Callback:
    """Told of the course of a training; the methods do nothing unless overridden.

    In a training they are called in this order, each for all callbacks: `on_start`; then, where a
    training goes on (a saved one, or that of an estimator), `load_state_dict`; `on_step` again and
    again; `on_epoch`; after the last epoch `on_finish`; and at the very end, whatever happened,
    `on_end`.

    The network is the one that `fit` will return. Its parameters are those of the last finished
    epoch only while `on_start`, `on_epoch` or `on_finish` runs: keep `network.copy()` where they
    are wanted later, and read the state in `on_step`.

    Attributes
    ----------
    every_step
        Whether `on_step` is to be called after each single step. If no callback of a training asks
        for that, NumPy, JAX and CuPy take several steps in one call, which is faster.
    monitor
        A figure of the record that it cannot do without, such as `"validation_loss"`. `fit` refuses
        a training that has none, before the first step.
    saved_to
        The file that it saved the training to last, for the messages of `fit`; None if there is
        none.
    resume_with
        How to go on from that file, for the same messages.
    """

    every_step: bool = True
    monitor: str | None = None
    saved_to: str | None = None
    resume_with: str = "fit(..., resume=)"
    _given: tuple[Any, ...]  # the arguments of the constructor

    def __new__(cls, *args: Any, **options: Any) -> Self:
        if (args or options) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments")
        self = super().__new__(cls)
        # Also a frozen dataclass may be a callback.
        object.__setattr__(self, "_given", (*args, *options.values()))
        return self

    def __getstate__(self) -> Any:
        state: Any = object.__getstate__(self)
        own, slots = state if isinstance(state, tuple) else (state, None)
        own = {name: value for name, value in (own or {}).items() if name != "_given"}
        return own if slots is None else (own, slots)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with all that the callback made itself, for a fit of an estimator, or a clone.

        What its constructor was given (a list to add to, a file, an array) belongs to who gave it,
        and is the copy's as well; so is what cannot be copied, such as an open file. Callbacks
        within, alone or in a list, are copied.
        """
        new = object.__new__(type(self))
        memo[id(self)] = new
        given = getattr(self, "_given", ())
        memo.update({id(value): value for value in given if not _has_callbacks(value)})
        state: Any = object.__getstate__(self)
        own, slots = state if isinstance(state, tuple) else (state, {})
        for name, value in ((own or {}) | slots).items():
            object.__setattr__(new, name, _copied(value, memo))
        return new

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        """Before the first step, with the numbers of epochs and of steps in each.

        Where a training goes on, the network's history has the epochs that are finished.
        """

    def on_step(self, state: State, count: int) -> None:
        """After one step, or `count` of them, with what they changed (see `initial_state`).

        The steps may still be under way on a device, and reading an array waits for them. The
        arrays are valid until the method returns.
        """

    def on_epoch(self, network: Network, record: EpochRecord) -> bool | None:
        """After an epoch and its evaluation. Return True to end the training with this epoch."""

    def on_finish(self, network: Network) -> None:
        """After the last epoch, unless an error, Ctrl-C or `stop_after` ended the training.

        Here the network may be changed: `fit` returns it as it then is.
        """

    def on_end(self, network: Network) -> None:
        """After all else, also when the training ends by an error or Ctrl-C.

        In the latter case the history is that of the finished epochs, but the parameters are of
        no use: they may be in the middle of a step.
        """

    # -- a training that is saved and goes on ---------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What must be kept for a training that goes on later: JSON values, and NumPy arrays.

        It is saved under the name of the class. A training whose callbacks have kept something goes
        on with such callbacks only.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, after `on_start`, where a saved training goes on."""

    def wants_snapshot(self, epoch: int, step: int, *, last: bool) -> bool:
        """Whether `on_snapshot` is to be called now.

        This is asked before the first step, after the steps that are taken in one call, and after
        each epoch, when every callback has been told of it.

        Parameters
        ----------
        epoch, step
            How many epochs are finished, and how many steps of the next one have been taken.
        last
            Whether the training ends here.
        """
        return False

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Given what the training can go on from, where `wants_snapshot` asked for it."""

    def on_interrupt(self, snapshot: Snapshot) -> None:
        """Given what the training can go on from, when Ctrl-C or SIGTERM ends it.

        Only if a callback overrides this are these signals waited for until the step under way is
        finished. A second one interrupts at once.
        """


def _has_callbacks(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return isinstance(value, Callback) or (
        isinstance(value, dict | list | tuple | set) and any(map(_has_callbacks, inner))
    )


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; the same where there can be none."""
    trial = dict(memo)  # what was copied in part must not be found in it later
    try:
        copied = copy.deepcopy(value, trial)
    except Exception:
        return value
    memo.update(trial)
    return copied


def overrides(callback: Callback, method: str) -> bool:
    """Whether a callback has a method of its own, and not the one that does nothing."""
    own = getattr(getattr(callback, method), "__func__", None)
    return own is not getattr(Callback, method)


def saves(callback: Callback) -> bool:
    """Whether it may want a snapshot of the training."""
    return overrides(callback, "wants_snapshot") or overrides(callback, "on_interrupt")


class CallbackList(list[Callback]):
    """The callbacks of a training, each told in its turn: by `fit`, and by an estimator.

    What is saved, and Ctrl-C, are for `fit` alone to tell them of.
    """

    def start(self, stack: ExitStack, network: Network, *, epochs: int, steps: int) -> None:
        """Tell them that the training begins; when the stack is left, that it is over."""
        for callback in self:
            # Those that are started are ended, in the reverse order, whatever happens.
            stack.callback(callback.on_end, network)
            callback.on_start(network, epochs=epochs, steps=steps)

    def step_hooks(self) -> list[Callable[[State, int], None]]:
        """What is called after steps: nothing where nobody asks for it."""
        return [callback.on_step for callback in self if overrides(callback, "on_step")]

    def want_every_step(self) -> bool:
        """Whether steps are to be taken one in a call."""
        return any(overrides(callback, "on_step") and callback.every_step for callback in self)

    def epoch(self, network: Network, record: EpochRecord) -> bool:
        """Tell all of them of an epoch; whether one of them asks to end the training with it.

        Raises
        ------
        TypeError
            If one answers neither True nor False nor None.
        """
        answers = [callback.on_epoch(network, record) for callback in self]
        return any(map(_asks_to_stop, answers, self))

    def finish(self, network: Network) -> None:
        """Tell them that the last epoch is over; they may change the network."""
        for callback in self:
            callback.on_finish(network)


def _asks_to_stop(answer: Any, callback: Callback) -> bool:
    if answer is not None and not isinstance(answer, bool | np.bool_):
        raise TypeError(
            f"{type(callback).__name__}.on_epoch must return True to end the training, or False or "
            f"None; got {answer!r}"
        )
    return bool(answer)
