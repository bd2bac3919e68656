"""Where a training by mini-batches stands, for the calls that go on from it."""

from dataclasses import dataclass, field, replace
from typing import Any

from xpnet.backends import Backend, backend_of
from xpnet.history import EpochRecord
from xpnet.optimizers import Optimizer
from xpnet.typing import State


@dataclass(frozen=True)
class Progress:
    """Where a training stands: what `partial_fit` goes on from. It is pickled by way of the host.

    Attributes
    ----------
    state
        All that a step changes.
    seed
        That of the run.
    rate
        The learning rate of the state, as a Python number.
    optimizer
        Whose arrays are in the state; None where a solver without steps came last.
    epochs
        How many epochs were trained, which the next order of the samples follows from.
    scheduled
        How many of these there were since the schedule began: since the last call of `fit`.
    plateau
        What a `ReduceOnPlateau` remembers.
    history
        What callbacks were told of these epochs.
    is_apart
        Whether the state is not what the attributes are: those of the best epoch, or what
        callbacks have made of it, while `partial_fit` goes on from the last step.
    """

    state: State
    seed: int
    rate: float
    optimizer: Optimizer | None
    epochs: int = 0
    scheduled: int = 0
    plateau: dict[str, Any] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    is_apart: bool = False

    def kept(self) -> State:
        """What an estimator has not among its attributes: arrays of the optimizer, and the like.

        With averages, those are its attributes, and the parameters are among these.
        """
        others: tuple[str, ...] = ("loss", "schedule")
        if not self.is_apart:
            averaged = any(key.startswith("ema/") for key in self.state)
            others += ("buffer/",) if averaged else ("param/", "buffer/")
        return {key: x for key, x in self.state.items() if not key.startswith(others)}

    def kept_for(self, optimizer: Optimizer) -> State:
        """What of `kept` another call goes on with: all, or with another learning rate all else.

        The arrays of another optimizer are of no use to it, and it begins anew.
        """
        kept = self.kept()
        if optimizer == self.optimizer:
            return kept
        rate = optimizer.learning_rate
        if self.optimizer is None or optimizer != replace(self.optimizer, learning_rate=rate):
            network = ("param/", "buffer/", "step") if self.is_apart else "step"
            return {key: x for key, x in kept.items() if key.startswith(network)}
        return {key: x for key, x in kept.items() if key != "learning_rate"}

    def counts(self) -> "Progress":
        """What is left of it when a solver without steps has come to other arrays."""
        step = {key: x for key, x in self.state.items() if key == "step"}
        return replace(self, state=step, optimizer=None, plateau={}, is_apart=False)

    def __getstate__(self) -> dict[str, Any]:
        host = {key: backend_of(x).to_numpy(x) for key, x in self.kept().items()}
        return {**vars(self), "state": host}


def network_copy(backend: Backend, state: State) -> State:
    """Copies of what makes the network, since the next step may overwrite the arrays."""
    return {
        key: backend.asarray(value, copy=True)
        for key, value in state.items()
        if key.startswith(("param/", "buffer/", "ema/"))
    }
