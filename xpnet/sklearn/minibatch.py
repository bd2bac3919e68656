"""The solvers `sgd` and `adam`, or any optimizer: what their epochs begin with."""

import math
from dataclasses import replace

from xpnet.backends import Backend
from xpnet.inputs.batches import check_batch_size
from xpnet.inputs.samples import move
from xpnet.network.state import load_array
from xpnet.optimizers import Optimizer
from xpnet.schedules import Schedule
from xpnet.sklearn.architecture import initial_biases
from xpnet.sklearn.curves import Curves
from xpnet.sklearn.engine import Engine, Recipe
from xpnet.sklearn.epochs import Epochs, network_copy
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.holding import TrainingSet, split_set, whole_set
from xpnet.sklearn.progress import Progress
from xpnet.sklearn.scoring import is_scored
from xpnet.sklearn.settings import Settings, make_optimizer
from xpnet.sklearn.task import Task, draw_seed
from xpnet.sklearn.warning import warn_of_call
from xpnet.training.rates import SCHEDULE_START
from xpnet.training.step import initial_state
from xpnet.typing import Array, State


def solve(task: Task, settings: Settings, before: Fitted | None) -> Fitted:
    """Train by mini-batches.

    Parameters
    ----------
    task, settings
        What is asked for.
    before
        What the training goes on from; None where it begins.

    Raises
    ------
    ValueError
        If the samples make no batches, or none can be held back of them.
    """
    last = None if before is None else before.progress
    known = None if before is None else before.curves
    curves = Curves.for_call(settings, known, validated=task.held is not None)
    # Schedule and arrays of the optimizer are those of a `fit`, and of what goes on from it.
    goes_on = last if task.incremental else None
    seed = draw_seed(settings) if goes_on is None else goes_on.seed
    optimizer = make_optimizer(settings)
    engine = _engine(task, settings, optimizer, seed, before)
    samples = _training_set(task, settings, seed)
    batch_size = _batch_size(settings, samples.n_samples)
    check_batch_size(task.model, samples.n_samples, batch_size)
    steps = math.ceil(samples.n_samples / batch_size)
    state = _initial_state(task, settings, optimizer, seed, steps, before)
    scored = settings.early_stopping and curves.best_validation_score != -math.inf
    best = network_copy(task.work, state) if scored else {}
    begin = _begin(task, state, seed, optimizer, last)
    if isinstance(optimizer.schedule, Schedule):
        _place_schedule(task, begin, steps)
    epochs = Epochs(task, settings, engine, samples, begin, before, curves, best, batch_size)
    try:
        fitted = epochs.run()
    finally:
        engine.forget_samples()
    # The steps are kept for the next partial_fit alone.
    return replace(fitted, engine=engine if task.incremental else None)


def _engine(
    task: Task, settings: Settings, optimizer: Optimizer, seed: int, before: Fitted | None
) -> Engine:
    """The steps: those of the last `partial_fit`, where they are the same."""
    alpha = float(settings.alpha)
    recipe = Recipe(task.model, task.problem, optimizer, alpha, seed)
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


# -- what the epochs begin with -----------------------------------------------------------------


def _initial_state(
    task: Task,
    settings: Settings,
    optimizer: Optimizer,
    seed: int,
    steps: int,
    before: Fitted | None,
) -> State:
    """The state before the first step, of the fitted arrays where there are any."""
    work, structure = task.work, task.structure
    model = task.model if before is None else structure.model(drawn=False)
    state = initial_state(
        work, model, optimizer, seed, epochs=settings.max_iter, steps_per_epoch=steps
    )
    if before is None:
        biases = initial_biases(task.model, structure.between, seed)
        return state | {f"param/{name}": load_array(work, x) for name, x in biases.items()}
    for name, value in before.arrays.items():
        for key in (f"param/{name}", f"buffer/{name}", f"ema/{name}"):
            if key in state:
                state[key] = _like(work, state[key], value)
    return state


def _begin(
    task: Task, state: State, seed: int, optimizer: Optimizer, last: Progress | None
) -> Progress:
    """Consumes `state`: where the training begins, with what is left of the calls before."""
    begin = Progress(state, seed, float(optimizer.learning_rate), optimizer)
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


def _place_schedule(task: Task, begin: Progress, steps: int) -> None:
    """Let the schedule begin with the next step; for `partial_fit`, with the next epoch."""
    work, state, table = task.work, begin.state, begin.state["schedule"]
    state[SCHEDULE_START] = work.asarray(state["step"], copy=True)
    if task.incremental:
        # The parts may be of different sizes: each epoch has its steps of a run of such parts.
        first = min(begin.scheduled * steps, table.shape[0] - 1)
        state["schedule"] = work.asarray(table[first : first + steps], copy=True)


def _like(work: Backend, entry: Array, value: Array) -> Array:
    """A copy of an array where an entry of the state is, and in its dtype."""
    return work.asarray(move(work, value), dtype=entry.dtype, copy=True)
