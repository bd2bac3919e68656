"""The mean of the parameters at the ends of epochs, and batch norm made to go with it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.checks import finite_number
from xpnet.data import Preparation
from xpnet.inputs.batches import batches
from xpnet.inputs.sets import Sets
from xpnet.layers import BatchNorm, Context, Layer
from xpnet.layers.container import Container, wanted_shape
from xpnet.network.state import select
from xpnet.optimizers import Optimizer
from xpnet.purity import is_pure
from xpnet.random import derive, stream
from xpnet.training.setup import Plan
from xpnet.typing import Array, State

_AVERAGE = "average/"
"""What the means are called in a snapshot, before the names of the parameters."""


def check_average_from(value: Any, optimizer: Optimizer) -> float | None:
    """Check from where on parameters are to be averaged; None for nowhere.

    Raises
    ------
    ValueError
        If it is not from 0 to below 1, or the optimizer makes averages already.
    """
    if value is None:
        return None
    if isinstance(optimizer, Optimizer) and optimizer.ema is not None:
        raise ValueError(
            "average_from and ema of the optimizer both make averages of the parameters: give one"
        )
    return finite_number("average_from", value, at_least=0, below=1)


class EpochAverage:
    """The mean of the parameters at the ends of epochs, each counting the same.

    After n epochs, average += (parameter - average) / n.

    Parameters
    ----------
    backend
        Where the parameters are.
    state
        The state before the first step.
    plan
        How long the training goes: its `average_from` and `epochs` say which epoch is the first.
    """

    def __init__(self, backend: Backend, state: State, plan: Plan) -> None:
        assert plan.average_from is not None
        # A product such as 0.29 * 100 may be a little less than the number that is meant.
        self._first = int(plan.average_from * plan.epochs + 1e-9) + 1
        params = select(state, "param/")
        self.arrays = {name: backend.xp.zeros_like(value) for name, value in params.items()}

    def in_snapshot(self) -> dict[str, Array]:
        """The means by the names that they have in a snapshot."""
        return {f"{_AVERAGE}{name}": value for name, value in self.arrays.items()}

    def taken_from(self, state: State) -> State:
        """A state that was saved, without the means in it, which are taken on."""
        self.arrays = select(state, _AVERAGE)
        return {name: value for name, value in state.items() if not name.startswith(_AVERAGE)}

    def counted(self, epochs: int) -> int:
        """How many there are in the mean after so many epochs."""
        return max(0, epochs - self._first + 1)

    def follow(self, state: State, epochs: int) -> None:
        """Take in the parameters as they are after so many epochs."""
        count = self.counted(epochs)
        if count:
            self.arrays = {
                name: average + (state[f"param/{name}"] - average) / count
                for name, average in self.arrays.items()
            }


def batch_statistics(
    backend: Backend, model: Layer, arrays: Mapping[str, Array], sets: Sets, plan: Plan
) -> dict[str, Array]:
    """The means and variances of batch norm for these parameters, over the training set.

    It is what `torch.optim.swa_utils.update_bn` makes: a pass over all batches as in training,
    dropout included, of whose statistics the mean is taken; a last batch that is smaller counts for
    less, or not at all if it is too small. The samples come in an order of their own, drawn by the
    seed, since batches of one class have other statistics; and without augmentation, as they will
    be asked about.

    Parameters
    ----------
    backend, model
        Where it is computed, and the layers as they are trained: what is frozen stays as it is.
    arrays
        The parameters and buffers.
    sets, plan
        The samples, and how many make a batch.

    Returns
    -------
    buffers
        The running means and variances by name; empty without batch norm.
    """
    measuring, names = _measuring(model), list(_of_norms(model, ""))
    if not names:
        return {}
    xp, seed = backend.xp, derive(plan.seed, "dropout")
    prepare = Preparation(sets.pixel_maximum, backend.dtype_name, wanted_shape(model))
    # From 0, so that with a weight of 1 the statistics of a batch are what comes out, to the bit.
    given = {**arrays, **{name: xp.zeros_like(arrays[name]) for name in names}}
    buffer_names = list(measuring.buffers())

    def measured(arrays: Mapping[str, Array], x: Array, rows: Array, step: Array) -> Any:
        ctx = Context(training=True, seed=seed, step=step)
        batch = prepare(xp, xp.take(x, rows, axis=0))
        _, cache = measuring.forward(xp, arrays, batch, ctx)
        buffers = {name: arrays[name] for name in buffer_names}
        after = measuring.update_buffers(xp, buffers, cache)
        return tuple(after[name] for name in names)

    measured = backend.compile(measured, pure=is_pure(measuring))
    order = np.arange(sets.x.shape[0]) if sets.rows is None else np.asarray(sets.rows)
    order = order if sets.counts is None else order[sets.counts[order]]
    order = stream(plan.seed, "statistics").permutation(order)
    size = min(plan.batch_size, len(order))
    left = len(order) % size
    if left < measuring.smallest_batch() and left < len(order):
        order = order[: len(order) - left]
    sums: list[Array] | None = None
    for step, (x, _, rows) in enumerate(batches(backend, sets.x, sets.y, order, size, 1)):
        count = rows.shape[1]
        number = backend.asarray(step, dtype=xp.int32)
        found = [value * count for value in measured(given, x, rows[0, ...], number)]
        sums = found if sums is None else [a + b for a, b in zip(sums, found, strict=True)]
    assert sums is not None
    return {name: value * (1 / len(order)) for name, value in zip(names, sums, strict=True)}


def _measuring(layer: Layer) -> Layer:
    """The model with batch norms whose running statistics are those of the last batch."""
    if isinstance(layer, BatchNorm):
        return replace(layer, momentum=1.0)
    if not isinstance(layer, Container):
        return layer
    parts = {name: _measuring(part) for name, part in layer.layers.items()}
    same = all(parts[name] is part for name, part in layer.layers.items())
    return layer if same else layer.with_layers(parts)


def _of_norms(layer: Layer, name: str) -> Iterator[str]:
    """The names of the buffers of batch norms that are trained."""
    if isinstance(layer, BatchNorm):
        yield from (f"{name}.{key}" if name else key for key in layer.buffers())
    elif isinstance(layer, Container):
        for inner, part in layer.layers.items():
            yield from _of_norms(part, f"{name}.{inner}" if name else inner)
