"""Steps whose batch is divided: the gradients of its parts, their sum, one update on all ranks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet.augment import Augmentation
from xpnet.backends import Backend
from xpnet.backends.base import one_by_one
from xpnet.backends.sums import DeviceSums
from xpnet.distributed import Group, threads
from xpnet.distributed.reduction import Reduction
from xpnet.inputs.samples import Streamed
from xpnet.inputs.weighted import rows_of
from xpnet.layers import Layer
from xpnet.layers.container import inner_layers, looks_at_batch, trained_layers
from xpnet.losses import LossFunction
from xpnet.optimizers import Optimizer
from xpnet.purity import is_pure
from xpnet.random import Seed
from xpnet.training.epoch import Epoch
from xpnet.training.packing import NOT_FINITE, STOP, SUMS, Packing
from xpnet.training.step import COUNT, FIRST_ROW, FRACTION, THERE, Penalty, make_halves
from xpnet.typing import Array, HostArray, Namespace, Shape, State

FLAGS_EVERY = 8
"""Where sums are made on the device, it is waited for, and asked whether to stop, once in so many
steps, at the same steps on all ranks."""

Batch = tuple[Array, Any, Array]
"""Samples, targets, and the rows in them, (1, B), as `Backend.repeat` takes them."""


_OWN = (SUMS, FIRST_ROW, FRACTION, COUNT, THERE)
"""The entries of a state that it has within a step alone."""


class _Part(NamedTuple):
    """The rows of a part in a batch of `n` samples, and its fraction of what the mean of the batch
    is divided by."""

    rows: slice
    n: int
    fraction: float

    @property
    def is_empty(self) -> bool:
        return bool(self.rows.start == self.rows.stop)


class SummedSteps:
    """The steps of a training in which each rank has its parts of every batch.

    A step has two halves, each of them recorded or compiled as a whole step would be: what a
    part comes to, put into one array, and the update by the sum of these arrays over all parts.
    The sum is made by one message in a step: on the device, where the backend has what makes it
    there (`connected`), else by way of the host. Batch norm sends more within the first half,
    which is then called as it is written.

    Parameters
    ----------
    backend
        Where this rank computes.
    reduction
        Which parts it has, and how they are added up.
    model, loss, optimizer, pixel_maximum, seed, sum_losses, penalty, augment, sample_shape
        As in `make_step`.
    pure
        As in `Backend.repeat`; None for what `is_pure` says.

    Attributes
    ----------
    not_finite_ago
        How many steps before the last one a part first had a loss that was not finite, of those
        that were not known of yet; None if there is none.
    asked_to_stop
        How many ranks had been asked to stop, as far as is known after the last step. Both are the
        same on all ranks.

    Raises
    ------
    ValueError
        If a layer computes something of a batch as a whole, and cannot do so of its parts.
    """

    def __init__(
        self,
        backend: Backend,
        reduction: Reduction,
        model: Layer,
        loss: LossFunction,
        optimizer: Optimizer,
        *,
        pixel_maximum: float = 1.0,
        seed: Seed = 0,
        sum_losses: bool = False,
        penalty: Penalty | None = None,
        augment: Augmentation | None = None,
        sample_shape: Shape | None = None,
        pure: bool | None = None,
    ) -> None:
        check_takes_parts(model)
        self.not_finite_ago: int | None = None
        self.asked_to_stop = 0
        self._backend, self._reduction = backend, reduction
        self._packing = Packing(backend, model.parameter_shapes())
        gradients, update = make_halves(
            backend, model, loss, optimizer, pixel_maximum=pixel_maximum, seed=seed,
            sum_losses=sum_losses, penalty=penalty, augment=augment, sample_shape=sample_shape,
            total=self._total,
        )  # fmt: skip
        first, second = self._packing.first(gradients), self._packing.second(update)
        pure = is_pure(model, loss, optimizer, augment) if pure is None else pure
        self._neighbours = 0 if augment is None else augment.neighbours
        self._has_totals = looks_at_batch(model)
        if self._has_totals:
            # Other parts are waited for within it, which nothing recorded or compiled can do.
            self._first, self._second = one_by_one(first), backend.repeat(second, pure=pure)
        else:
            self._first, self._second = backend.repeat_in_turn(first, second, pure=pure)
        self._threads = threads(len(reduction.own), timeout=None)
        self._thread = threading.local()
        self._no_rows = backend.asarray(np.zeros((1, 1)), dtype=backend.index_dtype)
        self._place: _Part | None = None
        self._on_device: DeviceSums | None = None
        self._flags: list[Array] = []  # of the last steps, on the device
        self._own: State = {}  # what a state has within a step alone

    @contextmanager
    def connected(self) -> Iterator[None]:
        """A scope, entered by all ranks, in which sums are made on the device where that can be."""
        backend, group = self._backend, self._reduction.group
        if set(group.gather(backend.name)) == {backend.name}:
            self._on_device = backend.device_sums(group)
        failed = True
        try:
            yield
            failed = False
        finally:
            sums, self._on_device, self._flags = self._on_device, None, []
            if sums is not None:
                sums.close(failed=failed)

    def forget(self) -> None:
        """Let go of the samples, and of what a state had in the last step; see `Backend.repeat`."""
        self._own, self._place = {}, None
        for half in (self._first, self._second):
            getattr(half, "forget", lambda: None)()

    def take(
        self,
        state: State,
        x: Array,
        y: Any,
        epoch: Epoch,
        *,
        skip: int = 0,
        stop: Callable[[], bool] = lambda: False,
        weights: HostArray | None = None,
    ) -> Iterator[tuple[State, int]]:
        """Consumes `state`: the steps of an epoch, as `take_steps` takes them.

        Parameters
        ----------
        state, x, y, epoch, skip
            As in `take_steps`.
        stop
            Whether this rank has been asked to stop; asked in each step.
        weights
            By row number, on the host, what samples count for in the mean that the loss is:
            sum(w_i l_i) / sum(w_i). None where it is divided by the number of samples, whatever
            their weights are, as the losses of xpnet are.
        """
        if self._neighbours and weights is not None:
            raise ValueError(
                "samples with weights cannot be mixed on several ranks, where the mean is divided "
                "by their sum: train on one rank, or leave the augmentation out that mixes"
            )
        batch_of = self._batches(x, y, epoch.order, epoch.batch_size)
        size, count = epoch.batch_size, len(epoch.order)
        for first in range(skip * size, count, size):
            rows = epoch.order[first : first + size]
            parts = self._parts(len(rows), None if weights is None else weights[rows])
            state = self._step(state, partial(batch_of, first), parts, stop=stop())
            self._look_at_flags(last=first + size >= count)
            yield state, 1
        if epoch.left_out and "schedule" in state:
            state["step"] = state["step"] + epoch.left_out

    def _batches(
        self, x: Array, y: Any, order: HostArray, size: int
    ) -> Callable[[int, slice], Batch]:
        """The function that gives some rows of the batch that begins at a place of an order.

        In front of them are those that an augmentation mixes with.
        """
        backend, index, before = self._backend, self._backend.index_dtype, self._neighbours

        def places(first: int, part: slice) -> Any:
            if not before:
                return slice(first + part.start, first + part.stop)
            count = min(size, len(order) - first)
            return first + np.arange(part.start - before, part.stop) % count

        if not isinstance(x, Streamed):
            on_device = backend.asarray(order, dtype=index)

            def rows_of_part(first: int, part: slice) -> Batch:
                if not before:
                    return x, y, on_device[None, places(first, part)]
                return x, y, backend.asarray(order[places(first, part)][None, :], dtype=index)

            return rows_of_part

        def read(first: int, part: slice) -> Batch:
            rows = order[places(first, part)]
            local = np.arange(len(rows))[None, :]
            return x[rows], rows_of(y, rows), backend.asarray(local, dtype=index)

        return read

    def _parts(self, n: int, weights: HostArray | None) -> list[_Part]:
        """The parts of this rank in a batch of so many samples, which count for so much."""
        each = [self._reduction.rows(part, n) for part in self._reduction.own]
        if weights is None:
            return [_Part(rows, n, (rows.stop - rows.start) / n) for rows in each]
        total = float(weights.sum(dtype=np.float64)) or 1.0
        return [_Part(rows, n, float(weights[rows].sum(dtype=np.float64)) / total) for rows in each]

    def _step(
        self,
        state: State,
        batch_of: Callable[[slice], Batch],
        parts: list[_Part],
        *,
        stop: bool,
    ) -> State:
        """Consumes `state`: a step on a batch, of which this rank has these parts."""
        state = {**state, **(self._own or self._before_any(parts[0]))}
        first_halves = self._at_once if self._has_totals else self._in_turn
        state, sums = first_halves(state, batch_of, parts)
        if stop:
            sums[0][STOP] = 1
        total = self._reduction.total(sums, self._on_device)
        self._flags.append(+total[NOT_FINITE:])  # a copy: the next step may overwrite it
        if total is not state[SUMS]:
            state[SUMS] = self._backend.asarray(total)
        state = self._second(state, self._no_rows, self._no_rows, self._no_rows)
        self._own = {name: state.pop(name) for name in _OWN}
        return state

    def _look_at_flags(self, *, last: bool) -> None:
        """After a step: what the sums say of it, and of those before that are not known yet."""
        self.not_finite_ago, self.asked_to_stop = None, 0
        on_device, flags = self._on_device, self._flags
        if on_device is not None and len(flags) < FLAGS_EVERY and not last:
            return
        if on_device is None:
            host = np.concatenate(flags)
        else:
            host = on_device.read(self._backend.xp.concat(flags))
        host = host.reshape(-1, 2)
        self._flags = []
        diverged = np.flatnonzero(host[:, 0])
        if diverged.size:
            self.not_finite_ago = len(host) - 1 - int(diverged[0])
        self.asked_to_stop = int(host[-1, 1])

    def _in_turn(
        self, state: State, batch_of: Callable[[slice], Batch], parts: list[_Part]
    ) -> tuple[State, list[Array]]:
        """Consumes `state`: the first halves of all parts of this rank, and their sums."""
        sums = []
        for part in parts:
            if part != self._place:  # of an empty one as well: the update looks at the batch
                state, self._place = self._placed(state, part), part
            if part.is_empty:
                sums.append(self._zeros())
                continue
            state = self._first(state, *batch_of(part.rows))
            sums.append(self._taken(state[SUMS], alone=len(parts) == 1))
        return state, sums

    def _at_once(
        self, state: State, batch_of: Callable[[slice], Batch], parts: list[_Part]
    ) -> tuple[State, list[Array]]:
        """The same in a thread for each part, as they wait for one another within it.

        A part without samples takes part with one that counts for nothing.
        """

        def first_half(group: Group) -> State:
            part = parts[group.rank]
            start, stop = part.rows.start, max(part.rows.stop, part.rows.start + 1)
            batch = batch_of(slice(start, stop))
            self._thread.group = group
            with self._backend.scope():
                return self._first(self._placed(state, part), *batch)

        alone = len(parts) == 1
        states = list(map(first_half, self._threads)) if alone else self._threads.run(first_half)
        return states[0], [self._taken(after[SUMS], alone=False) for after in states]

    def _before_any(self, part: _Part) -> State:
        zeros = np.zeros(self._packing.size, self._backend.dtype_name)
        return self._placed({SUMS: self._backend.asarray(zeros)}, part)

    def _zeros(self) -> Array:
        zeros = np.zeros(self._packing.size, self._backend.dtype_name)
        return zeros if self._on_device is None else self._backend.asarray(zeros)

    def _placed(self, state: State, part: _Part) -> State:
        """The state with what it says of a part, and of the batch."""
        backend = self._backend
        return {
            **state,
            FIRST_ROW: backend.asarray(part.rows.start, dtype=backend.xp.int32),
            FRACTION: backend.asarray(part.fraction, dtype=backend.dtype),
            COUNT: backend.asarray(float(part.n), dtype=backend.dtype),
            THERE: backend.asarray(float(not part.is_empty), dtype=backend.dtype),
        }

    def _taken(self, sums: Array, *, alone: bool) -> Array:
        """The sums where they are added up: themselves if they are there, and no other part
        overwrites them."""
        if self._on_device is not None:
            return sums if alone else +sums
        host = self._backend.to_numpy(sums)
        return host if alone and host is sums else np.array(host)

    def _total(self, xp: Namespace, part: Array) -> Array:
        """The sum over all parts, of an array that each has; see `Context.total`."""
        group, on_device = self._thread.group, self._on_device
        own = np.array(self._backend.to_numpy(part)) if on_device is None else part
        of_parts = group.gather(own)  # copies
        total = self._reduction.total(of_parts, on_device) if group.rank == 0 else None
        return self._backend.asarray(group.share(total), copy=True)


def check_takes_parts(model: Layer) -> None:
    """Check that all layers that are trained can be given parts of a batch.

    Raises
    ------
    ValueError
        If one of one's own looks at a batch as a whole, or changes its buffers, and does not say
        that it does so by `Context.total`.
    """
    for layer in trained_layers(model):
        whole = layer.smallest_batch() > 1 or type(layer).update_buffers is not Layer.update_buffers
        if whole and not inner_layers(layer) and not layer.takes_totals:
            raise ValueError(
                f"{type(layer).__name__} computes something of a batch as a whole, of which each "
                f"rank has a part: let it sum by ctx.total, where that is not None, and say "
                f"takes_totals = True; or train on one rank"
            )
