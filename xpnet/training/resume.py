"""Going on with a training that was saved: is it the same one, and what was its state?"""

import math
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.callbacks import Callback
from xpnet.descriptions import as_text, same_description, same_in_words
from xpnet.errors import CheckpointError, counted, one_line, shown
from xpnet.inputs.sets import Sets
from xpnet.inputs.validation import Rows
from xpnet.inputs.weighted import Weighted
from xpnet.layers import Layer, describe_layer
from xpnet.saving.snapshot import LOSS, Snapshot, read_snapshot
from xpnet.saving.tensors import check_arrays
from xpnet.schedules import Plateau
from xpnet.streams import log_warning
from xpnet.training.setup import Setup
from xpnet.typing import Array, SeedSequence, State

_LOOKED_AT = 64
"""So many samples, here and there in a set, tell whether it is the same one."""

_IN_WORDS = ("optimizer", "loss", "augment")
"""What of a training is described by a text."""

_FEW = 1000

_MOST_PROBLEMS = 8

_POOL_SIZE = 4  # of a SeedSequence, unless it is chosen


def open_resume(resume: str | os.PathLike[str] | Snapshot | None) -> Snapshot | None:
    """The snapshot that a training goes on from, if it does.

    Raises
    ------
    TypeError
        If it is neither a path nor a snapshot.
    CheckpointError
        If the file cannot be read.
    """
    if resume is None or isinstance(resume, Snapshot):
        return resume
    if not isinstance(resume, str | os.PathLike):
        raise TypeError(f"resume must be a file, a folder or a Snapshot, got {shown(resume)}")
    return read_snapshot(resume)


def settle_as_before(backend: Backend, saved: Snapshot) -> None:
    """Before the scope of a backend: products by as many threads as before, for the same digits."""
    if backend.name != saved.backend:
        log_warning(
            "the training was saved on %s and goes on with %s: the last digits may differ",
            saved.backend, backend.name,
        )  # fmt: skip
        return
    if saved.threads is None or backend.product_threads() is None:
        return
    if backend.threads is None:
        backend.limit_threads(saved.threads)
    elif backend.threads != saved.threads:
        log_warning(
            "the training was saved with %s and goes on with %d: the last digits may "
            "differ (threads=%d for the same)",
            counted(saved.threads, "thread"), backend.threads, saved.threads,
        )  # fmt: skip


def load_state(backend: Backend, saved: Snapshot, state: State) -> State:
    """The saved state on the device, in the dtypes of the state before the first step.

    Raises
    ------
    CheckpointError
        If the arrays are others than those, or hold what are no numbers.
    """
    is_integer = backend.xp.isdtype
    integers = {name for name, value in state.items() if is_integer(value.dtype, "integral")}
    shapes = {name: tuple(value.shape) for name, value in state.items() if name != LOSS}
    arrays = {name: value for name, value in saved.arrays.items() if name != LOSS}
    check_arrays("resume", arrays, shapes, integers=integers, dtype=backend.dtype_name)
    if LOSS not in saved.arrays or saved.arrays[LOSS].shape != ():
        raise CheckpointError(f"resume: does not fit the model: missing: {LOSS}")
    return {
        name: backend.asarray(saved.arrays[name], dtype=value.dtype, copy=True)
        for name, value in state.items()
    }


def describe_training(backend: Backend, setup: Setup, sets: Sets) -> dict[str, Any]:
    """What is trained and how, as JSON values: all that must be the same when it goes on."""
    import json

    plan = setup.plan
    training = {
        "model": describe_layer(setup.model),
        "optimizer": as_text(setup.optimizer),
        "loss": as_text(setup.loss),
        "seed": describe_seed(plan.seed),
        "batch_size": plan.batch_size,
        "dtype": backend.dtype_name,
        "pixel_maximum": sets.pixel_maximum,
        "classes": None if sets.classes is None else sets.classes.tolist(),
        "train_metrics": plan.train_metrics,
        "shards": setup.reduction.shards,  # None where it is not exact
        # None as in a snapshot from before there were any.
        "drop_last": plan.drop_last or None,
        "augment": None if setup.augment is None else as_text(setup.augment),
        "average_from": plan.average_from and [plan.average_from, plan.epochs],
        "training set": describe_samples(backend, sets.x, sets.y),
        "kept for validation": None if sets.rows is None else sets.x.shape[0] - sets.n_samples,
    }
    others = {"validation set": sets.validation, "test set": sets.test}
    if sets.rows is not None:
        del others["validation set"]  # a part of the training set, known by its number
    for name, pair in others.items():
        training[name] = None if pair is None else describe_samples(backend, *pair)
    described: dict[str, Any] = json.loads(json.dumps(training))
    return described | setup.start.described_for(setup.saved)


def check_same_training(
    saved: Snapshot, training: Mapping[str, Any], model: Layer, keepers: Collection[str]
) -> None:
    """Check that a snapshot is of the training that shall go on, before memory is taken for it.

    Parameters
    ----------
    saved
        The snapshot.
    training
        What `describe_training` gives of the training that shall go on.
    model
        Its layers.
    keepers
        The names of those that keep something across a break: callbacks, a schedule.

    Raises
    ------
    CheckpointError
        With what differs, as far as it fits into a message.
    """
    before = saved.training
    problems = [
        f"{one_line(name, 80)} was {_short(before.get(name))}, and is {_short(training.get(name))}"
        for name in sorted({*before, *training})
        if not _is_same(name, before.get(name), training.get(name))
    ]
    problems += [
        f"{one_line(name, 80)} was one of the callbacks, and is not"
        for name in sorted(set(saved.callbacks) - set(keepers))
    ]
    if problems:
        others = len(problems) - _MOST_PROBLEMS
        problems = problems[:_MOST_PROBLEMS] + ([f"and {others} more"] if others > 0 else [])
        raise CheckpointError(
            f"resume: the saved training was another one than this: {'; '.join(problems)}. Give "
            f"what it was begun with, or leave resume out to begin anew"
        )
    shapes = {f"param/{name}": shape for name, shape in model.parameter_shapes().items()}
    # Before the state is made, which `load_state` compares with all that was saved.
    wanted = sum(math.prod(shape) for shape in shapes.values())
    if wanted > 2 * sum(value.size for value in saved.arrays.values()) + _FEW:
        there = {name: value for name, value in saved.arrays.items() if name in shapes}
        check_arrays("resume", there, shapes)


def check_place(saved: Snapshot, epochs: int, steps: int, *, left_out: bool = False) -> None:
    """Check where a snapshot says that it is, for `epochs` of `steps` steps each.

    `left_out` if batches may be whose samples all have weight 0: fewer steps are then taken.

    Raises
    ------
    CheckpointError
        If there is no such place, or the arrays are not from there.
    """
    done = saved.epoch * steps + saved.step
    taken, schedule = saved.arrays.get("step"), saved.arrays.get("schedule")
    count = None if taken is None or taken.shape or taken.dtype.kind not in "iu" else int(taken)
    # The number of the step is an int32, which begins anew after 2**31.
    behind = 0 if count is None else (done - count) % 2**32
    if saved.step >= steps or behind > (done if left_out else 0):
        raise CheckpointError(
            f"resume: the checkpoint is damaged: {counted(saved.epoch, 'epoch')} and {saved.step} "
            f"of {counted(steps, 'step')} are done, after {counted(count or 0, 'step')}"
        )
    if schedule is not None and schedule.shape != (epochs * steps,):
        raise CheckpointError(
            f"resume: does not fit the model: schedule has shape {one_line(schedule.shape)}, the "
            f"training {(epochs * steps,)}"
        )


def describe_seed(seed: SeedSequence) -> int | dict[str, Any]:
    """A seed as JSON values: the number that it was made from, where that is all."""
    entropy = seed.entropy
    words = [entropy] if isinstance(entropy, int | np.integer) else list(entropy or ())
    if len(words) == 1 and not seed.spawn_key and seed.pool_size == _POOL_SIZE:
        return int(words[0])
    return {
        "entropy": [int(word) for word in words],
        "spawn_key": [int(word) for word in seed.spawn_key],
        "pool_size": seed.pool_size,
    }


def describe_samples(backend: Backend, x: Array, y: Array) -> dict[str, Any]:
    """Shape, and a checksum of some of the samples with their targets."""
    import hashlib

    n = x.shape[0]
    rows = np.linspace(0, n - 1, min(n, _LOOKED_AT)).astype(np.int64)
    digest = hashlib.sha256()
    for array in (x, *(y if isinstance(y, Weighted) else (y,))):
        part = backend.to_numpy(Rows(backend, array, rows)[: len(rows)])
        # The same on every library, each of which has dtypes of its own for the same samples.
        kind = "<i8" if part.dtype.kind in "iu" else np.dtype(backend.dtype_name).newbyteorder("<")
        with np.errstate(over="ignore"):
            digest.update(np.ascontiguousarray(part, dtype=kind).tobytes())
    return {"shape": list(x.shape), "sha256 of some": digest.hexdigest()[:16]}


def _is_same(name: str, before: Any, now: Any) -> bool:
    """Whether an entry of a description says the same, the numbers in it by their values."""
    if name in _IN_WORDS and isinstance(before, str) and isinstance(now, str):
        return same_in_words(before, now)
    return same_description(before, now)


def _short(value: Any) -> str:
    return one_line(value, 300) if isinstance(value, str) else shown(value, 300)


def keepers(callbacks: Iterable[Callback], plateau: Plateau | None) -> dict[str, Any]:
    """What has a `state_dict`, by the name that it is saved under; a second one as `NAME-2`."""
    named: dict[str, Any] = {}
    for keeper in (*callbacks, *([] if plateau is None else [plateau])):
        kind = name = type(keeper).__name__
        count = 1
        while name in named:
            count += 1
            name = f"{kind}-{count}"
        named[name] = keeper
    return named
