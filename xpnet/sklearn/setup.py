"""What the epochs of an estimator go by, and where they begin: made before the first of them."""

import math
from dataclasses import dataclass, replace

from xpnet.augment import checked_augmentation
from xpnet.backends import Backend
from xpnet.distributed.group import agreed
from xpnet.inputs.batches import check_batch_size
from xpnet.inputs.samples import move
from xpnet.network.state import load_array
from xpnet.schedules import Schedule
from xpnet.sklearn.curves import Curves
from xpnet.sklearn.engine import Engine, Recipe
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.holding import TrainingSet, split_set, whole_set
from xpnet.sklearn.progress import Progress, network_copy
from xpnet.sklearn.scoring import is_scored
from xpnet.sklearn.settings import Settings, make_optimizer
from xpnet.sklearn.task import Task, draw_seed
from xpnet.sklearn.warning import warn_of_call
from xpnet.training.rates import SCHEDULE_START
from xpnet.training.step import initial_state
from xpnet.typing import Array, State


@dataclass(frozen=True)
class Setup:
    """What the epochs of a call go by, from the first to the last.

    Attributes
    ----------
    task, settings
        What is asked for.
    before
        What the training goes on from; None where it begins.
    engine
        The steps.
    samples, batch_size
        What steps are taken on, and how many of them make one.
    """

    task: Task
    settings: Settings
    before: Fitted | None
    engine: Engine
    samples: TrainingSet
    batch_size: int

    @property
    def epochs(self) -> int:
        """The most that there are to be: a call of `partial_fit` is one."""
        return 1 if self.task.incremental else self.settings.max_iter

    @property
    def steps(self) -> int:
        """How many make an epoch."""
        return math.ceil(self.samples.n_samples / self.batch_size)


@dataclass(frozen=True)
class Beginning:
    """Where the epochs of a call begin.

    Attributes
    ----------
    progress
        The state before the first step, and what is left of the calls before.
    curves
        The figures until now.
    best
        For early stopping: the arrays of the network that is the best so far, as copies.
    """

    progress: Progress
    curves: Curves
    best: State


def make_setup(task: Task, settings: Settings, before: Fitted | None) -> Setup:
    """What the epochs of a call go by.

    Raises
    ------
    ValueError
        If the samples make no batches, or none can be held back of them.
    """
    last = None if before is None or not task.incremental else before.progress
    seed = draw_seed(settings, task.ranks) if last is None else last.seed

    def made() -> Setup:
        engine = _engine(task, settings, seed, before)
        samples = _training_set(task, settings, seed)
        batch_size = _batch_size(settings, samples.n_samples)
        check_batch_size(task.model, samples.n_samples, batch_size)
        return Setup(task, settings, before, engine, samples, batch_size)

    return agreed(task.ranks.group, made)


def make_beginning(setup: Setup) -> Beginning:
    """Where the epochs of a call begin: the training, or what it goes on from."""
    task, settings = setup.task, setup.settings
    curves = task.curves(settings, setup.before)
    state = _initial_state(setup)
    scored = settings.early_stopping and curves.best_validation_score != -math.inf
    best = network_copy(task.work, state) if scored else {}
    progress = _progress(setup, state)
    if isinstance(setup.engine.recipe.optimizer.schedule, Schedule):
        _place_schedule(setup, progress)
    return Beginning(progress, curves, best)


# -- the setup ----------------------------------------------------------------------------------


def _engine(task: Task, settings: Settings, seed: int, before: Fitted | None) -> Engine:
    """The steps: those of the last `partial_fit`, where they are the same."""
    optimizer = make_optimizer(settings)
    recipe = Recipe(
        task.model, task.problem, optimizer, float(settings.alpha), seed, task.ranks,
        augment=checked_augmentation(settings.augment),
        sample_shape=task.structure.sample_shape,
    )  # fmt: skip
    known = before.engine if before is not None and task.incremental else None
    if known is not None and (known.recipe, known.backend) == (recipe, task.work):
        return known
    return Engine(recipe, task.work)


def _training_set(task: Task, settings: Settings, seed: int) -> TrainingSet:
    """What is trained on, and what is validated on."""
    if task.held is not None or not settings.early_stopping:
        return whole_set(task.work, task.samples, task.problem, task.held)
    return split_set(
        task.work, task.samples, task.problem, seed,
        fraction=settings.validation_fraction, scored=is_scored(settings),
    )  # fmt: skip


def _batch_size(settings: Settings, n_samples: int) -> int:
    given = settings.batch_size
    if given == "auto":
        return min(200, n_samples)
    if given > n_samples:
        warn_of_call(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
        )
    return min(int(given), n_samples)


# -- the beginning ------------------------------------------------------------------------------


def _initial_state(setup: Setup) -> State:
    """The state before the first step, of the fitted arrays where there are any."""
    task, before, recipe = setup.task, setup.before, setup.engine.recipe
    work, structure = task.work, task.structure
    model = task.model if before is None else structure.model(drawn=False)
    state = initial_state(
        work, model, recipe.optimizer, recipe.seed,
        epochs=setup.settings.max_iter, steps_per_epoch=setup.steps,
    )  # fmt: skip
    if before is None:
        biases = structure.initial_biases(recipe.seed)
        return state | {f"param/{name}": load_array(work, x) for name, x in biases.items()}
    for name, value in before.arrays.items():
        for key in (f"param/{name}", f"buffer/{name}", f"ema/{name}"):
            if key in state:
                state[key] = _like(work, state[key], value)
    return state


def _progress(setup: Setup, state: State) -> Progress:
    """Consumes `state`: where the training begins, with what is left of the calls before.

    Schedule and arrays of the optimizer are those of a `fit`, and of what goes on from it.
    """
    task, recipe = setup.task, setup.engine.recipe
    optimizer = recipe.optimizer
    begin = Progress(state, recipe.seed, float(optimizer.learning_rate), optimizer)
    last = None if setup.before is None else setup.before.progress
    if last is None:
        return begin
    begin = replace(begin, epochs=last.epochs, history=last.history)
    kept = last.kept_for(optimizer)
    if task.incremental:
        begin = replace(begin, scheduled=last.scheduled, is_apart=last.is_apart)
        if last.optimizer == optimizer:
            begin = replace(begin, rate=last.rate, plateau=last.plateau)
    else:
        kept = {key: value for key, value in kept.items() if key == "step"}
    for key, value in kept.items():
        if key in state:
            state[key] = _like(task.work, state[key], value)
    return begin


def _place_schedule(setup: Setup, begin: Progress) -> None:
    """Let the schedule begin with the next step; for `partial_fit`, with the next epoch."""
    work, state, steps = setup.task.work, begin.state, setup.steps
    table = state["schedule"]
    state[SCHEDULE_START] = work.asarray(state["step"], copy=True)
    if setup.task.incremental:
        # The parts may be of different sizes: each epoch has its steps of a run of such parts.
        first = min(begin.scheduled * steps, table.shape[0] - 1)
        state["schedule"] = work.asarray(table[first : first + steps], copy=True)


def _like(work: Backend, entry: Array, value: Array) -> Array:
    """A copy of an array where an entry of the state is, and in its dtype."""
    return work.asarray(move(work, value), dtype=entry.dtype, copy=True)
