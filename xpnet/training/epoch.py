"""An epoch of `fit`, or of an estimator: its samples in their order, and the steps on them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from xpnet.backends import Backend
from xpnet.inputs.batches import VARYING_GROUP, batches, counting
from xpnet.layers import Layer
from xpnet.random import Seed, permutation
from xpnet.typing import Array, HostArray, State

_TRIED_ROWS = 1024
"""Of a very large batch a part tells as much of the threads."""


@dataclass(frozen=True)
class Epoch:
    """The samples of one epoch.

    Attributes
    ----------
    order
        Their row numbers, on the host, in the order in which steps are taken on them.
    batch_size
        How many make a step.
    left_out
        How many steps there are not, since no sample of their batches counts.
    """

    order: HostArray
    batch_size: int
    left_out: int = 0

    @property
    def n_steps(self) -> int:
        """How many steps are taken."""
        return math.ceil(len(self.order) / self.batch_size)


def make_epoch(
    number: int,
    n_samples: int,
    batch_size: int,
    *,
    seed: Seed,
    shuffle: bool = True,
    visited: int | None = None,
    rows: HostArray | None = None,
    counts: HostArray | None = None,
) -> Epoch:
    """The epoch with this number, from 1.

    Parameters
    ----------
    number, n_samples, batch_size, seed
        What the order follows from, and how many samples make a step.
    shuffle
        Whether the order is a random one.
    visited
        How many samples it takes, the first of the order; None for all.
    rows
        The row numbers of the samples, on the host; None where they are 0, 1, ...
    counts
        Whether each row counts, its weight not being 0; None if all do.
    """
    batch_size = min(batch_size, n_samples)
    order = permutation(seed, number, n_samples) if shuffle else np.arange(n_samples)
    order = order[:visited]
    planned = math.ceil(len(order) / batch_size)
    order = counting(order if rows is None else rows[order], batch_size, counts)
    return Epoch(order, batch_size, planned - math.ceil(len(order) / batch_size))


def take_steps(
    backend: Backend,
    model: Layer,
    run: Callable[[State, Array, Array, Array], State],
    state: State,
    x: Array,
    y: Array,
    epoch: Epoch,
    *,
    per_call: int,
    skip: int = 0,
) -> Iterator[tuple[State, int]]:
    """Consumes `state`: the steps of an epoch, some in each call.

    Parameters
    ----------
    backend, model
        Where the steps are taken, and on what.
    run
        What `Backend.repeat` made of the step.
    state
        What they change.
    x, y
        Samples and targets, as `batches` takes them.
    per_call
        How many steps are taken in one call, at most.
    skip
        How many steps are left out at the beginning: those that were taken before a break.

    Yields
    ------
    state, count
        After each call: what its steps have changed, and how many these were. Who wants no more
        asks for no more. Steps that no sample counts in are counted at the end, in the state, for a
        schedule that goes by their number.
    """
    shapes = model.parameter_shapes().values()
    weights = [(math.prod(shape[:-1]), shape[-1]) for shape in shapes if len(shape) > 1]
    widest = max(weights, key=math.prod, default=(1, 1))
    if epoch.left_out:
        per_call = min(per_call, VARYING_GROUP)
    groups = batches(backend, x, y, epoch.order, epoch.batch_size, per_call, skip=skip)
    for part_x, part_y, rows in groups:
        backend.settle_threads(run, min(epoch.batch_size, _TRIED_ROWS), *widest)
        state = run(state, part_x, part_y, rows)
        yield state, rows.shape[0]
    if epoch.left_out and "schedule" in state:
        state["step"] = state["step"] + epoch.left_out
