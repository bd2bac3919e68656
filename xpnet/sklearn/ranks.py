"""What an estimator does on several ranks, beside the steps: it compares what they were given."""

from collections.abc import Mapping
from typing import Any

from xpnet.descriptions import as_text
from xpnet.distributed.group import check_same
from xpnet.layers import describe_layer
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.task import Task
from xpnet.training.ranks import digest_of
from xpnet.training.resume import describe_samples
from xpnet.typing import Array

_GIVE_THE_SAME = "give all ranks the same parameters and samples, in the same calls"

_OF_RANK_0 = ("activation", "callbacks", "hidden_layer_sizes", "random_state", "scoring", "verbose")
"""Settings that are for rank 0 alone, or follow from others: the seed is shared, the layers are
compared."""


def check_same_call(task: Task, settings: Settings, before: Fitted | None) -> None:
    """Check that all ranks are asked for the same, so that each knows what the others will do.

    Parameters
    ----------
    task, settings
        What is asked for.
    before
        What the training goes on from; None where it begins.

    Raises
    ------
    GroupError
        On all ranks, naming the first that is asked for something else than rank 0.
    """
    if task.ranks.group.size == 1:
        return
    of = {name: as_text(x) for name, x in vars(settings).items() if name not in _OF_RANK_0}
    goes_on = before is not None and (before.t, before.n_iter, before.progress is None)
    call = of, task.incremental, task.ranks.shards, task.work.dtype_name, goes_on
    check_same(task.ranks.group, "the call", call, _GIVE_THE_SAME)


def check_same_training(task: Task, x: Any, y: Any, begin: Mapping[str, Array]) -> None:
    """Check that all ranks train the same network on the same samples.

    Parameters
    ----------
    task
        What is asked for.
    x, y
        The samples and the targets on the backend.
    begin
        The arrays that are begun with.

    Raises
    ------
    GroupError
        On all ranks, naming the first whose training is another than that of rank 0.
    """
    if task.ranks.group.size == 1:
        return
    work, problem, held = task.work, task.problem, task.held
    training = {
        "model": describe_layer(task.model),
        "loss": (as_text(problem.loss), problem.value_scale, problem.gradient_scale),
        "training set": describe_samples(work, x, y),
        "validation set": None if held is None else describe_samples(work, held.x, held.y),
        "begin": digest_of(work, begin),
    }
    check_same(task.ranks.group, "the training", training, _GIVE_THE_SAME)
