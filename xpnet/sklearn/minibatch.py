"""The solvers `sgd` and `adam`, or any optimizer: training by mini-batches."""

from contextlib import ExitStack
from dataclasses import replace

from xpnet.distributed.group import agreed
from xpnet.sklearn.epochs import Epochs, arrays_of_state
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.ranks import check_same_training
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.setup import Beginning, Setup, make_beginning, make_setup
from xpnet.sklearn.task import Task


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
    setup = make_setup(task, settings, before)
    samples = setup.samples
    try:
        begin = agreed(task.ranks.group, lambda: make_beginning(setup))
        check_same_training(task, samples.x, samples.y, begin.progress.state)
        solved = _trained if samples.any_counts else _as_before
        fitted = solved(setup, begin)
    finally:
        setup.engine.forget_samples()
    # The steps are kept for the next partial_fit alone.
    return replace(fitted, engine=setup.engine if task.incremental else None)


def _trained(setup: Setup, begin: Beginning) -> Fitted:
    """Epoch after epoch, until a rule or a callback ends the training, or it was the last one."""
    epochs = agreed(setup.task.ranks.group, lambda: Epochs(setup, begin))
    with ExitStack() as stack:
        epochs.start(stack)
        while not epochs.are_over:
            epochs.take()
        fitted = epochs.end()
    return fitted


def _as_before(setup: Setup, begin: Beginning) -> Fitted:
    """What a part comes to whose classes have weight 0: it is as if there had been no call."""
    before = setup.before
    found = {"curves": begin.curves, "progress": begin.progress}
    if before is not None:
        found |= {name: getattr(before, name) for name in ("loss", "n_iter", "t", "callbacks")}
    return setup.task.fitted(
        arrays=arrays_of_state({**begin.progress.state, **begin.best}),
        stopped=before is not None and bool(before.stopped),
        **found,
    )
