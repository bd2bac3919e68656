"""The steps of a training, which a later call may take up again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from xpnet.augment import Augmentation
from xpnet.backends import Backend
from xpnet.distributed.reduction import WHOLE, Reduction
from xpnet.layers import Sequential
from xpnet.optimizers import Optimizer
from xpnet.purity import is_pure
from xpnet.sklearn.holding import TrainingSet
from xpnet.sklearn.objective import WeightPenalty
from xpnet.sklearn.problem import Problem
from xpnet.training.epoch import Epoch, take_steps
from xpnet.training.step import make_step
from xpnet.training.summed import SummedSteps
from xpnet.typing import Shape, State


@dataclass(frozen=True)
class Recipe:
    """All that a step is made of. Of equal recipes the steps are the same."""

    model: Sequential
    problem: Problem
    optimizer: Optimizer
    alpha: float
    seed: int
    ranks: Reduction = WHOLE
    augment: Augmentation | None = None
    sample_shape: Shape | None = None


class Engine:
    """The steps of a recipe on a backend, and the figures of a network.

    Raises
    ------
    ValueError
        If a layer must be given whole batches, of which each rank has a part.
    """

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self.recipe, self.backend = recipe, backend
        model, problem, optimizer = recipe.model, recipe.problem, recipe.optimizer
        options: dict[str, Any] = {
            "seed": recipe.seed,
            "sum_losses": True,
            "penalty": WeightPenalty(recipe.alpha) if recipe.alpha else None,
            "augment": recipe.augment,
            "sample_shape": recipe.sample_shape,
        }
        self.run: Any = None
        self._summed: SummedSteps | None = None
        loss = problem.objective()
        pure = is_pure(model, problem.loss, optimizer, recipe.augment)
        if recipe.ranks.is_whole:
            step = make_step(backend, model, loss, optimizer, **options)
            self.run = backend.repeat(step, pure=pure)
        else:
            self._summed = SummedSteps(
                backend, recipe.ranks, model, loss, optimizer,
                pure=pure, **options,
            )  # fmt: skip
        self.evaluate = problem.evaluator(backend, model, recipe.ranks.group)

    def take(
        self,
        state: State,
        samples: TrainingSet,
        epoch: Epoch,
        *,
        per_call: int,
        stop: Callable[[], bool],
    ) -> Iterator[tuple[State, int]]:
        """Consumes `state`: the steps of an epoch, as `take_steps` takes them.

        Parameters
        ----------
        state, samples, epoch, per_call
            As in `take_steps`.
        stop
            Whether this rank has been asked to stop.
        """
        x, y = samples.x, samples.y
        if self._summed is not None:
            return self._summed.take(state, x, y, epoch, stop=stop, weights=samples.weights)
        return take_steps(
            self.backend, self.recipe.model, self.run, state, x, y, epoch, per_call=per_call
        )

    def connected(self) -> AbstractContextManager[Any]:
        """A scope, entered by all ranks, in which they add up on their devices if they can."""
        return nullcontext() if self._summed is None else self._summed.connected()

    def is_asked(self, stop: Callable[[], bool]) -> bool:
        """Whether a rank has been asked to stop, after the same step on all of them."""
        return stop() if self._summed is None else self._summed.asked_to_stop > 0

    def forget_samples(self) -> None:
        """Let go of the samples that steps were taken on: what is recorded reads them."""
        forget = getattr(self.run if self._summed is None else self._summed, "forget", None)
        if forget is not None:
            forget()

    def is_on(self, backend: Backend) -> bool:
        """Whether its steps are taken on the same library and device, in the same dtype and way."""
        mine = self.backend
        return (mine.name, mine.device, mine.dtype_name, mine.steps) == (
            backend.name, backend.device, backend.dtype_name, backend.steps,
        )  # fmt: skip
