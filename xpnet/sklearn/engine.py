"""The steps of a training, which a later call may take up again."""

from dataclasses import dataclass

from xpnet.backends import Backend
from xpnet.layers import Sequential
from xpnet.optimizers import Optimizer
from xpnet.sklearn.objective import WeightPenalty
from xpnet.sklearn.problem import Problem
from xpnet.training.step import is_pure, make_step


@dataclass(frozen=True)
class Recipe:
    """All that a step is made of. Of equal recipes the steps are the same."""

    model: Sequential
    problem: Problem
    optimizer: Optimizer
    alpha: float
    seed: int


class Engine:
    """The steps of a recipe on a backend."""

    def __init__(self, recipe: Recipe, backend: Backend) -> None:
        self.recipe, self.backend = recipe, backend
        model, problem, optimizer = recipe.model, recipe.problem, recipe.optimizer
        step = make_step(
            backend, model, problem.objective(), optimizer, seed=recipe.seed,
            sum_losses=True, penalty=WeightPenalty(recipe.alpha) if recipe.alpha else None,
        )  # fmt: skip
        self.run = backend.repeat(step, pure=is_pure(model, problem.loss, optimizer))
        self.evaluate = problem.evaluator(backend, model)

    def forget_samples(self) -> None:
        """Let go of the samples that steps were taken on: what is recorded reads them."""
        forget = getattr(self.run, "forget", None)
        if forget is not None:
            forget()

    def is_on(self, backend: Backend) -> bool:
        """Whether its steps are taken on the same library and device, in the same dtype and way."""
        mine = self.backend
        return (mine.name, mine.device, mine.dtype_name, mine.steps) == (
            backend.name, backend.device, backend.dtype_name, backend.steps,
        )  # fmt: skip
