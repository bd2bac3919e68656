"""Whether the options of a run go together, and what one of them says of another."""

from typing import Any

from xpnet.distributed.reduction import Reduction
from xpnet.dtype_limits import names_in_dtype, problem_in
from xpnet.errors import shown
from xpnet.models import model_options
from xpnet.optimizers import Optimizer
from xpnet.runs.choices import means_nothing, models_with
from xpnet.runs.options import OptionError

OFF = ("batch_norm", "dropout")
"""The options of some models that are off unless they are given."""


def of_cycles(config: Any) -> dict[str, Any]:
    """The options of the schedule that follow from `snapshots`: as many cycles, of whole epochs.

    Raises
    ------
    OptionError
        If the schedule is another, or the cycles are of no whole epochs.
    """
    count = config.snapshots
    if count is None:
        return {}
    if config.schedule not in ("constant", "cosine"):  # the former is the default
        raise OptionError("snapshots", f"needs the schedule cosine, got {config.schedule}")
    if config.schedule_cycles not in (None, count):
        raise OptionError(
            "schedule_cycles",
            f"is the number of snapshots, {count}; got {shown(config.schedule_cycles)}: leave it "
            f"out",
        )
    if config.epochs % count or config.warmup:
        raise OptionError(
            "snapshots",
            f"needs cycles of whole epochs: give a number of epochs that {count} divides, and no "
            f"warmup",
        )
    if config.patience is not None:
        raise OptionError("patience", "cannot be given together with snapshots: give one")
    return {"schedule": "cosine", "schedule_cycles": count}


def check_together(config: Any) -> None:
    """Refuse options that do not go with others.

    Raises
    ------
    OptionError
        Of the option that does not.
    """
    for name in names_in_dtype(Optimizer):
        problem = problem_in(config.dtype, getattr(config, name) or 0.0)
        if problem:
            raise OptionError(name, problem)
    for name in OFF:
        if getattr(config, name) and name not in model_options(config.model):
            raise OptionError(name, means_nothing("model", config.model, models_with(name)))
    if config.clip_norm is not None and config.clip_value is not None:
        raise OptionError("clip_value", "cannot be given together with clip_norm: give one")
    if config.schedule == "plateau" and not (config.schedule_factor or 0) < 1:
        raise OptionError(
            "schedule_factor",
            f"must be below 1 for the schedule plateau, got {shown(config.schedule_factor)}",
        )
    if (config.warmup or 0) >= config.epochs:
        raise OptionError(
            "warmup",
            f"must be below the number of epochs, {config.epochs}; got {shown(config.warmup)}",
        )
    measured = config.train_metrics != "none" or config.validation is not None
    if config.schedule == "plateau" and not measured:
        raise OptionError(
            "train_metrics",
            "none leaves the schedule plateau nothing to follow: give validation as well, such "
            "as 0.1, or take running",
        )
    try:
        Reduction.of(None, config.reduction, config.shards)
    except ValueError as error:
        raise OptionError("shards", str(error).removeprefix("shards ")) from error
    if config.patience is not None and config.validation is None:
        raise OptionError(
            "patience", "needs a validation set: give validation as well, such as 0.1"
        )
    for name in ("ema", "patience", "snapshots"):
        if config.average_from is not None and getattr(config, name) is not None:
            raise OptionError("average_from", f"cannot be given together with {name}: give one")
    if config.fresh is not None and config.start is None:
        raise OptionError("fresh", "needs a network to begin with: give start as well")
