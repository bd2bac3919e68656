"""The steps of a training, where it stands, and what it is given."""

from dataclasses import dataclass, field, replace
from typing import Any

from xpnet.backends import Backend, backend_of
from xpnet.history import EpochRecord
from xpnet.inputs.weighted import Weighted
from xpnet.model import Sequential
from xpnet.network.evaluation import make_evaluator
from xpnet.network.state import load_array
from xpnet.optimizers import Optimizer
from xpnet.sklearn.objective import WeightPenalty
from xpnet.sklearn.problem import Problem
from xpnet.training.step import is_pure, make_step
from xpnet.typing import HostArray, State


@dataclass(frozen=True)
class Recipe:
    """All that a step is made of. Of equal recipes the steps are the same."""

    model: Sequential
    problem: Problem
    optimizer: Optimizer
    alpha: float
    seed: int
    recorded: bool


class Engine:
    """The steps of a recipe on a backend, which a later call may take up again."""

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self.recipe, self.backend = recipe, backend
        model, problem, optimizer = recipe.model, recipe.problem, recipe.optimizer
        step = make_step(
            backend, model, problem.objective(), optimizer, seed=recipe.seed,
            sum_losses=True, penalty=WeightPenalty(recipe.alpha) if recipe.alpha else None,
        )  # fmt: skip
        pure = recipe.recorded and is_pure(model, problem.loss, optimizer)
        self.run = backend.repeat(step, pure=pure)
        self.evaluate = make_evaluator(
            backend, model, problem.objective(divided=False), kind=problem.kind
        )

    def forget_samples(self) -> None:
        """Let go of the samples that steps were taken on: what is recorded reads them."""
        forget = getattr(self.run, "forget", None)
        if forget is not None:
            forget()

    def is_on(self, backend: Backend) -> bool:
        """Whether its steps are taken on the same library and device, in the same dtype."""
        mine = self.backend
        return (mine.name, mine.device, mine.dtype_name) == (
            backend.name, backend.device, backend.dtype_name,
        )  # fmt: skip


@dataclass
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


@dataclass(frozen=True)
class Held:
    """A validation set: samples and targets on the backend, and what a score is made from.

    The weights with the targets have a mean of 1. Those of classes are not among them.
    """

    x: Any
    y: Any
    target: HostArray
    weight: HostArray | None
    scored: tuple[Any, Any] | None = None
    """Samples on the host and their targets as they were given, where a scorer wants them."""

    @classmethod
    def weighted(
        cls,
        work: Backend,
        x: Any,
        y: Any,
        target: HostArray,
        weight: HostArray | None,
        scored: tuple[Any, Any] | None,
    ) -> "Held":
        """With the weights of the samples, where they have any, at the targets."""
        if weight is not None:
            y = Weighted(y, load_array(work, weight / (weight.mean() or 1.0)))
        return cls(x, y, target, weight, scored)


@dataclass(frozen=True)
class Sets:
    """What is trained on: `x`, `y` on the backend, their `rows` (None for all), and `held`.

    `counts` says of each row of `y` whether its weight is not 0; None where there are no others.
    """

    x: Any
    y: Any
    n_samples: int
    rows: HostArray | None = None
    held: Held | None = None
    counts: HostArray | None = None


def network_copy(backend: Backend, state: State) -> State:
    """Copies of what makes the network, since the next step may overwrite the arrays."""
    return {
        key: backend.asarray(value, copy=True)
        for key, value in state.items()
        if key.startswith(("param/", "buffer/", "ema/"))
    }
