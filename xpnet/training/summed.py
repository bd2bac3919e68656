"""Steps whose batch is divided: the gradients of its parts, their sum, one update on all ranks."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.backends.base import one_by_one
from xpnet.backends.sums import DeviceSums
from xpnet.distributed import Group, threads
from xpnet.distributed.reduction import Reduction
from xpnet.inputs.samples import Streamed
from xpnet.inputs.weighted import rows_of
from xpnet.layers import Layer
from xpnet.layers.container import inner_layers
from xpnet.layers.frozen import Frozen
from xpnet.losses import LossFunction
from xpnet.optimizers import Optimizer
from xpnet.random import Seed
from xpnet.training.epoch import Epoch
from xpnet.training.packing import NOT_FINITE, STOP, SUMS, Packing
from xpnet.training.step import COUNT, FIRST_ROW, FRACTION, Penalty, is_pure, make_halves
from xpnet.typing import Array, HostArray, Namespace, State

FLAGS_EVERY = 8
"""Where sums are made on the device, it is waited for, and asked whether to stop, once in so many
steps, at the same steps on all ranks."""

Batch = tuple[Array, Any, Array]
"""Samples, targets, and the rows in them, (1, B), as `Backend.repeat` takes them."""


class SummedSteps:
    """The steps of a training in which each rank has its parts of every batch.

    A step has two halves, each of them recorded or compiled as a whole step would be: what a part
    comes to, put into one array, and the update by the sum of these arrays over all parts. The sum
    is made by one message in a step: on the device, where the backend has what makes it there
    (`connect`), else by way of the host. Batch norm sends more within the first half, which is then
    called as it is written.

    Parameters
    ----------
    backend
        Where this rank computes.
    reduction
        Which parts it has, and how they are added up.
    model, loss, optimizer, pixel_maximum, seed, sum_losses, penalty
        As in `make_step`.

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
    ) -> None:
        check_takes_parts(model)
        self.not_finite_ago: int | None = None
        self.asked_to_stop = 0
        self._backend, self._reduction = backend, reduction
        self._packing = Packing(backend, model.parameter_shapes())
        gradients, update = make_halves(
            backend, model, loss, optimizer, pixel_maximum=pixel_maximum, seed=seed,
            sum_losses=sum_losses, penalty=penalty, total=self._total,
        )  # fmt: skip
        first, second = self._packing.first(gradients), self._packing.second(update)
        pure = is_pure(model, loss, optimizer)
        self._has_totals = model.smallest_batch() > 1
        if self._has_totals:
            # Other parts are waited for within it, which nothing recorded or compiled can do.
            self._first, self._second = one_by_one(first), backend.repeat(second, pure=pure)
        else:
            self._first, self._second = backend.repeat_in_turn(first, second, pure=pure)
        self._threads = threads(len(reduction.own), timeout=None)
        self._thread = threading.local()
        self._no_rows = backend.asarray(np.zeros((1, 1)), dtype=backend.index_dtype)
        self._place: tuple[slice, int] | None = None
        self._on_device: DeviceSums | None = None
        self._flags: list[Array] = []  # of the last steps, on the device
        self._own: State = {}  # what a state has within a step alone

    def connect(self) -> None:
        """Together with all ranks: find out what adds up their sums, from here on."""
        backend, group = self._backend, self._reduction.group
        if set(group.gather(backend.name)) == {backend.name}:
            self._on_device = backend.device_sums(group)

    def disconnect(self, *error: object) -> None:
        """The opposite; the error that has ended the training, as `ExitStack.push` gives it."""
        on_device, self._on_device = self._on_device, None
        if on_device is not None:
            on_device.close(failed=any(error))

    def forget(self) -> None:
        """Let go of the samples; see `Backend.repeat`."""
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
    ) -> Iterator[tuple[State, int]]:
        """Consumes `state`: the steps of an epoch, as `take_steps` takes them.

        Parameters
        ----------
        state, x, y, epoch, skip
            As in `take_steps`.
        stop
            Whether this rank has been asked to stop; asked in each step.
        """
        batch_of = self._batches(x, y, epoch.order)
        size, count = epoch.batch_size, len(epoch.order)
        for first in range(skip * size, count, size):
            state = self._step(state, batch_of, first, min(size, count - first), stop=stop())
            self._look_at_flags(last=first + size >= count)
            yield state, 1
        if epoch.left_out and "schedule" in state:
            state["step"] = state["step"] + epoch.left_out

    def _batches(self, x: Array, y: Any, order: HostArray) -> Callable[[slice], Batch]:
        """The function that gives the samples at some places of an order."""
        backend, index = self._backend, self._backend.index_dtype
        if not isinstance(x, Streamed):
            on_device = backend.asarray(order, dtype=index)
            return lambda places: (x, y, on_device[None, places])

        def read(places: slice) -> Batch:
            rows = order[places]
            local = np.arange(len(rows))[None, :]
            return x[rows], rows_of(y, rows), backend.asarray(local, dtype=index)

        return read

    def _step(
        self, state: State, batch_of: Callable[[slice], Batch], first: int, n: int, *, stop: bool
    ) -> State:
        """Consumes `state`: a step on the so many samples from a place of the order on."""
        parts = [self._reduction.rows(part, n) for part in self._reduction.own]
        state = {**state, **(self._own or self._before_any(parts[0], n))}
        first_halves = self._at_once if self._has_totals else self._in_turn
        state, sums = first_halves(state, batch_of, first, n, parts)
        if stop:
            sums[0][STOP] = 1
        total = self._reduction.total(sums, self._on_device)
        self._flags.append(+total[NOT_FINITE:])  # a copy: the next step may overwrite it
        if total is not state[SUMS]:
            state[SUMS] = self._backend.asarray(total)
        state = self._second(state, self._no_rows, self._no_rows, self._no_rows)
        self._own = {name: state.pop(name) for name in (SUMS, FIRST_ROW, FRACTION, COUNT)}
        return state

    def _look_at_flags(self, *, last: bool) -> None:
        """After a step: what the sums say of it, and of those before that are not known yet."""
        self.not_finite_ago, self.asked_to_stop = None, 0
        on_device, flags = self._on_device, self._flags
        if on_device is not None and len(flags) < FLAGS_EVERY and not last:
            return
        if on_device is None:
            host = np.stack(flags)
        else:
            host = on_device.read(self._backend.xp.stack(flags))
        self._flags = []
        diverged = np.flatnonzero(host[:, 0])
        if diverged.size:
            self.not_finite_ago = len(host) - 1 - int(diverged[0])
        self.asked_to_stop = int(host[-1, 1])

    def _in_turn(
        self,
        state: State,
        batch_of: Callable[[slice], Batch],
        first: int,
        n: int,
        parts: list[slice],
    ) -> tuple[State, list[Array]]:
        """Consumes `state`: the first halves of all parts of this rank, and their sums."""
        sums = []
        for part in parts:
            if (part, n) != self._place:
                state, self._place = self._placed(state, part, n), (part, n)
            if part.start == part.stop:
                sums.append(self._zeros())
                continue
            batch = batch_of(slice(first + part.start, first + part.stop))
            state = self._first(state, *batch)
            sums.append(self._taken(state[SUMS], alone=len(parts) == 1))
        return state, sums

    def _at_once(
        self,
        state: State,
        batch_of: Callable[[slice], Batch],
        first: int,
        n: int,
        parts: list[slice],
    ) -> tuple[State, list[Array]]:
        """The same in a thread for each part, as they wait for one another within it.

        A part without samples takes part with one that counts for nothing.
        """

        def first_half(group: Group) -> State:
            part = parts[group.rank]
            batch = batch_of(slice(first + part.start, first + max(part.stop, part.start + 1)))
            self._thread.group = group
            with self._backend.scope():
                return self._first(self._placed(state, part, n), *batch)

        alone = len(parts) == 1
        states = list(map(first_half, self._threads)) if alone else self._threads.run(first_half)
        return states[0], [self._taken(after[SUMS], alone=False) for after in states]

    def _before_any(self, part: slice, n: int) -> State:
        zeros = np.zeros(self._packing.size, self._backend.dtype_name)
        return self._placed({SUMS: self._backend.asarray(zeros)}, part, n)

    def _zeros(self) -> Array:
        zeros = np.zeros(self._packing.size, self._backend.dtype_name)
        return zeros if self._on_device is None else self._backend.asarray(zeros)

    def _placed(self, state: State, part: slice, n: int) -> State:
        """The state with what it says of a part, and of a batch of so many samples."""
        backend, count = self._backend, part.stop - part.start
        return {
            **state,
            FIRST_ROW: backend.asarray(part.start, dtype=backend.xp.int32),
            FRACTION: backend.asarray(count / n, dtype=backend.dtype),
            COUNT: backend.asarray(float(n), dtype=backend.dtype),
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
    layers = [model]
    for layer in layers:
        inner = inner_layers(layer)
        layers += inner.values()
        whole = layer.smallest_batch() > 1 or type(layer).update_buffers is not Layer.update_buffers
        if whole and not inner and not layer.takes_totals and not isinstance(layer, Frozen):
            raise ValueError(
                f"{type(layer).__name__} computes something of a batch as a whole, of which each "
                f"rank has a part: let it sum by ctx.total, where that is not None, and say "
                f"takes_totals = True; or train on one rank"
            )
