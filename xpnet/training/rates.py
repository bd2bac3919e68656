"""The learning rate of a step: that of the state, and what a schedule makes of it."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import counted
from xpnet.history import UNMEASURED, EpochRecord
from xpnet.optimizers import Optimizer
from xpnet.schedules import Plateau, ReduceOnPlateau, Schedule
from xpnet.training.memory import check_room
from xpnet.typing import Array, HostArray, Namespace, State

SCHEDULE_START = "schedule_start"
"""The entry of a state with the number of the step that `schedule` begins at, where that is not
the first: of a training that goes on with another table."""

MOST_STEPS = 2**31 - 1
"""So many steps a run with a schedule has at most: the number of a step is an int32."""

_TABLE_BYTES = 5 * 8  # for each step: float64, and what it is computed from, the most of any


def schedule_table(
    backend: Backend, optimizer: Optimizer, epochs: int | None, steps_per_epoch: int | None
) -> dict[str, Array]:
    """The entry `schedule` of a state, in the dtype of the run; none without a schedule.

    Raises
    ------
    ValueError
        If the length of the run is not known or beyond `MOST_STEPS`, or the schedule gives no table
        for it.
    OutOfMemory
        If there is no memory for the table.
    """
    schedule = optimizer.schedule
    if not isinstance(schedule, Schedule):
        return {}
    name = type(schedule).__name__
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            f"the schedule {name} needs the length of the run: "
            f"initial_state(..., epochs=20, steps_per_epoch=938)"
        )
    n_steps = epochs * steps_per_epoch
    if n_steps > MOST_STEPS:
        raise ValueError(
            f"the schedule {name} has a factor for each step, and steps are counted to 2**31 - 1: "
            f"{counted(epochs, 'epoch')} of {steps_per_epoch:,} {'is' if epochs == 1 else 'are'} "
            "too many; give fewer epochs, or a schedule that needs no table (ReduceOnPlateau)"
        )
    check_room(
        n_steps * _TABLE_BYTES, f"the table of the schedule {name} for {n_steps:,} steps takes",
        "give fewer epochs, or a larger batch_size",
    )  # fmt: skip
    factors = np.asarray(schedule.factors(epochs, steps_per_epoch), dtype=np.float64)
    shape = (n_steps,)
    if factors.shape != shape or not (np.isfinite(factors) & (factors >= 0)).all():
        raise ValueError(
            f"{name}.factors({epochs}, {steps_per_epoch}) must give an array of shape {shape} of "
            f"finite numbers that are not negative; got shape {factors.shape}: {factors}"
        )
    with np.errstate(over="ignore"):
        table = factors.astype(backend.dtype_name)
    if not np.isfinite(table).all():
        raise ValueError(
            f"the schedule {schedule!r} makes the learning rate {factors.max():g} times as large, "
            f"which is infinite in {backend.dtype_name}"
        )
    return {"schedule": backend.asarray(table, copy=True)}


def scheduled_rate(xp: Namespace, state: State) -> Array:
    """The learning rate of the next step, on the device: of shape (), and nothing is read."""
    if "schedule" not in state:
        return state["learning_rate"]
    table, step = state["schedule"], state["step"]
    if SCHEDULE_START in state:
        step = step - state[SCHEDULE_START]
    index = xp.minimum(step, table.shape[0] - 1)
    factor = xp.take(table, xp.reshape(index, (1,)), axis=0)
    return state["learning_rate"] * xp.reshape(factor, ())


def last_rate(backend: Backend, state: State) -> HostArray:
    """The learning rate of the last step, on the host, in the dtype of the run."""
    rate = backend.to_numpy(state["learning_rate"])
    if "schedule" not in state:
        return rate
    table = backend.to_numpy(state["schedule"])
    start = int(backend.to_numpy(state[SCHEDULE_START])) if SCHEDULE_START in state else 0
    last = max(int(backend.to_numpy(state["step"])) - start - 1, 0)
    return np.asarray(rate * table[min(last, table.shape[0] - 1)])


def start_plateau(
    optimizer: Optimizer, missing: Sequence[str], train_metrics: str = "evaluated"
) -> Plateau | None:
    """What watches a training for a `ReduceOnPlateau`; None for any other schedule.

    `missing` are the sets, of `validation` and `test`, that there are not; `train_metrics` is that
    of `fit`.

    Raises
    ------
    ValueError
        If what it is to watch is not measured.
    """
    if not isinstance(optimizer.schedule, ReduceOnPlateau):
        return None
    monitor = optimizer.schedule.monitor
    names = [field.name for field in fields(EpochRecord)]
    names = [name for name in names if name.partition("_")[0] not in missing]
    names = [name for name in names if name not in UNMEASURED[train_metrics]]
    if monitor not in names:
        why = f", for there is no {' and no '.join(missing)} set" if missing else ""
        if monitor in UNMEASURED[train_metrics]:
            why = f" with train_metrics={train_metrics!r}{why}"
        raise ValueError(
            f"ReduceOnPlateau: monitor may be {', '.join(names)}{why}; got {monitor!r}"
        )
    return optimizer.schedule.start()


def follow_plateau(backend: Backend, plateau: Plateau, state: State, record: EpochRecord) -> None:
    """Put the learning rate of the next epoch into the state, after an epoch was measured."""
    value = getattr(record, plateau.rule.monitor)
    if value is None:
        raise ValueError(f"ReduceOnPlateau: the epoch has no {plateau.rule.monitor}")
    rate = plateau.next_rate(record.learning_rate, value)
    if rate != record.learning_rate:
        state["learning_rate"] = backend.asarray(rate, dtype=backend.dtype)
