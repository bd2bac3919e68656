"""One training step: the only function that changes a network."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.augment import Augmentation, Augmenter
from xpnet.backends import Backend
from xpnet.backends.base import with_overrides
from xpnet.data import Preparation
from xpnet.dtype_limits import check_numbers
from xpnet.inputs.weighted import Weighted
from xpnet.layers import Context, Layer
from xpnet.layers.base import Total
from xpnet.layers.constraints import constrained
from xpnet.layers.container import check_constraints, looks_at_batch, wanted_shape
from xpnet.losses import LossFunction, target_kind
from xpnet.network.output import check_output, loaded_loss, n_outputs
from xpnet.network.state import load_array, put, select
from xpnet.operations import Unmade
from xpnet.optimizers import Optimizer
from xpnet.purity import is_pure
from xpnet.random import Seed, derive
from xpnet.training.memory import check_parameters_fit
from xpnet.training.rates import schedule_table, scheduled_rate
from xpnet.typing import Array, Grads, HostArray, Namespace, Params, Shape, State

Step = Callable[[State, Array, Array, Array], State]

LOSS_SUM = "loss_sum"
"""The entry of a state with the sum of the losses of samples, where that is asked for."""

FIRST_ROW, FRACTION, COUNT = "part/first_row", "part/fraction", "part/count"
THERE = "part/there"
"""What a state says where the rows of a step are a part of a batch: the number of the first of them
in the batch, int32; the fraction that the part is of what the mean of the batch is divided by; the
number of samples of the batch; and whether there is a part, which is 0 of a row that stands for
none, and 1 otherwise. All of shape ()."""

Penalty = Callable[..., tuple[Array, Mapping[str, Array]]]
"""`penalty(xp, params, weight) -> (value, grads)`: what is added to the loss of a batch, and its
gradients, of those parameters that it acts on. `weight` is what the batch counts for: the number
of its samples, or the sum of their weights, an array of shape ()."""


def initial_state(
    backend: Backend,
    model: Layer,
    optimizer: Optimizer,
    seed: Seed,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    sum_losses: bool = False,
    arrays: Mapping[str, HostArray] | None = None,
) -> State:
    """All that a training step changes, on the backend's device, before the first step.

    Keys: `param/NAME` the parameters, `buffer/NAME` the arrays of layers that are not trained,
    `opt/NAME` what the optimizer keeps, `learning_rate`, `step` the number of steps taken, `loss`
    the mean loss of the last batch, before its step. What changes between steps is an array and not
    a Python number: a compiled step would freeze a number.

    With averaging (`ema`) there are `ema/NAME`, the averages of the parameters; with a schedule
    `schedule`, the factors of `learning_rate` in all steps. A schedule needs to know how long the
    run is: `epochs` and `steps_per_epoch`. With `sum_losses` there is `loss_sum`, the sum of the
    losses of all samples that steps were taken on, for `make_step(..., sum_losses=True)`.

    `arrays` are the parameters and buffers to begin with, by name, on the host; those that the
    model begins with, drawn by the seed, if None.

    Raises
    ------
    ValueError
        If a number of the model or the optimizer is 0 or infinite in the dtype of the backend (see
        `check_numbers`), or the schedule gives no table for the run.
    OutOfMemory
        If the parameters, or the table, are larger than the memory that is left.
    """
    check_numbers(backend.dtype_name, model, optimizer)
    check_parameters_fit(backend, model.parameter_shapes(), arrays_kept(optimizer))
    if arrays is None:
        arrays = {**model.init(derive(seed, "initialization")), **model.buffers()}
    host = {name: arrays[name] for name in model.parameter_shapes()}
    state = {f"param/{name}": load_array(backend, value) for name, value in host.items()}
    state |= {f"buffer/{name}": load_array(backend, arrays[name]) for name in model.buffers()}
    slots = optimizer.init(backend.xp, select(state, "param/"))
    state |= {f"opt/{name}": value for name, value in slots.items()}
    if optimizer.ema is not None:
        state |= {f"ema/{name}": load_array(backend, value) for name, value in host.items()}
    state |= schedule_table(backend, optimizer, epochs, steps_per_epoch)
    state["learning_rate"] = backend.asarray(optimizer.learning_rate, dtype=backend.dtype)
    state["step"] = backend.asarray(0, dtype=backend.xp.int32)
    state["loss"] = backend.asarray(0.0, dtype=backend.dtype)
    if sum_losses:
        state[LOSS_SUM] = backend.asarray(0.0, dtype=backend.dtype)
    return state


def make_step(
    backend: Backend,
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
) -> Step:
    """The function `step(state, x, y, rows) -> state` that trains on one mini-batch.

    Parameters
    ----------
    backend
        Where the arrays live; the step is compiled if the backend has a compiler.
    model, loss, optimizer
        What is trained, on what, and how.
    pixel_maximum
        What integer inputs are divided by.
    seed
        The seed of the run, which random layers derive their numbers from.
    sum_losses
        Whether each step adds the losses of its samples to `loss_sum`: the mean of the batch times
        the number of its samples. The state must be one of `initial_state(..., sum_losses=True)`.
    penalty
        What is minimised beside the loss, `penalty(xp, params, weight) -> (value, grads)`, such as
        a sum of squares of weights: its value is added to the loss of a batch, and its gradients,
        arrays by name of the parameters that it acts on, to theirs. `weight` is the number of
        samples of the batch, or the sum of their weights, an array of shape ().
    augment
        How the samples of a batch are changed; see `xpnet.augment`.
    sample_shape
        The shape of one sample of `x`, which an augmentation needs to know before there are any.

    Returns
    -------
    step
        Consumes `state`. `x` (N, ...) and `y` (N,) or (N, C) are the whole training set on the
        device, `rows` (B,) the indices of the batch. Where samples have weights, `y` is a pair
        `Weighted(targets, weights)`. It reads no array on the host, so that a device is never
        waited for. A batch of another size is compiled once more. A batch whose weights are all 0
        has a gradient of 0, and is a step like any other for decay and momentum: `fit` leaves it
        out.

    Raises
    ------
    ValueError
        If the loss does not fit the outputs of the model, or takes logits where the model ends in
        probabilities; or if the model has a constraint of what is no parameter.
    TypeError
        If the constraints of the model are no functions by name.
    """
    gradients, update = make_halves(
        backend, model, loss, optimizer,
        pixel_maximum=pixel_maximum, seed=seed, sum_losses=sum_losses, penalty=penalty,
        augment=augment, sample_shape=sample_shape,
    )  # fmt: skip

    def step(state: State, x: Array, y: Array, rows: Array) -> State:
        """Consumes `state`: forward, loss, backward, update."""
        return update(state, gradients(state, x, y, rows))

    return backend.compile(step, consumes=True)


class Gradients(NamedTuple):
    """What a mini-batch comes to.

    Attributes
    ----------
    loss
        The mean loss, of shape ().
    grads
        Its gradients by parameter.
    buffers
        The buffers as they are after it.
    n_samples
        How many samples it has.
    weight
        What they count for: their number, or the sum of their weights, of shape ().
    """

    loss: Array
    grads: Grads
    buffers: Params
    n_samples: Array | int
    weight: Array | int


def make_halves(
    backend: Backend,
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
    total: Total | None = None,
) -> tuple[Callable[..., Gradients], Callable[[State, Gradients], State]]:
    """The two halves of a step: `gradients(state, x, y, rows)` and `update(state, gradients)`.

    Parameters
    ----------
    backend, model, loss, optimizer, pixel_maximum, seed, sum_losses, penalty, augment, \
    sample_shape
        As in `make_step`; neither half is compiled yet.
    total
        Where the rows are a part of a batch: what makes a sum over the whole batch of one over a
        part (see `Context.total`). The rows then begin with those in front of the part that the
        augmentation mixes with (`Augmentation.neighbours`), and the state has `FIRST_ROW`,
        `FRACTION`, `COUNT` and `THERE`. Loss and gradients are the part's share in those of the
        batch: they add up. None for whole batches.

    Raises
    ------
    ValueError, TypeError
        As `make_step`.
    """
    check_constraints(model)
    xp = backend.xp
    dropout_seed = derive(seed, "dropout")
    augmenter = None
    if augment is not None:
        augmenter = make_augmenter(backend, model, loss, augment, sample_shape, seed=seed)
    batch_loss = _make_batch_loss(backend, model, loss, pixel_maximum, augmenter)
    # A penalty, layers of one's own, and a sum over the parts of a batch look at gradients.
    unseen = optimizer.takes_unmade and penalty is None and total is None
    unmade = unseen and is_pure(model)
    backward_xp = with_overrides(xp, unmade_gradient=Unmade) if unmade else xp
    averaged, constraints = optimizer.ema is not None, model.constraints()

    def gradients(state: State, x: Array, y: Array, rows: Array) -> Gradients:
        params, buffers = select(state, "param/"), select(state, "buffer/")
        arrays = {**params, **buffers}
        ctx = Context(training=True, seed=dropout_seed, step=state["step"])
        part = None
        count = rows.shape[0]
        if total is not None:
            ctx = ctx._replace(row_offset=state[FIRST_ROW], total=total)
            part = state[THERE], state[FRACTION], state[COUNT]
            count -= 0 if augmenter is None else augmenter.neighbours
        value, d_output, cache, weight = batch_loss(arrays, x, y, rows, ctx, part)
        _, grads = model.backward(backward_xp, arrays, cache, d_output, need_dx=False)
        if buffers:
            buffers = model.update_buffers(xp, buffers, cache)
        return Gradients(value, grads, buffers, count, count if weight is None else xp.sum(weight))

    def update(state: State, of: Gradients) -> State:
        """Consumes `state` and the gradients."""
        params, slots = select(state, "param/"), select(state, "opt/")
        value, grads = of.loss, of.grads
        if penalty is not None:
            value, grads = penalized(xp, penalty, params, of.weight, value, grads)
        params, slots = optimizer.update(xp, params, grads, slots, scheduled_rate(xp, state))
        if constraints:
            params = constrained(xp, constraints, params)
        after = {**state, "step": state["step"] + 1, "loss": value}
        if sum_losses:
            after[LOSS_SUM] = state[LOSS_SUM] + value * of.n_samples
        if averaged:
            averages, slots = optimizer.average(select(state, "ema/"), params, slots)
            put(after, "ema/", averages)
        for prefix, arrays in (("param/", params), ("buffer/", of.buffers), ("opt/", slots)):
            put(after, prefix, arrays)
        return after

    return gradients, update


def make_augmenter(
    backend: Backend,
    model: Layer,
    loss: LossFunction,
    augment: Augmentation,
    sample_shape: Shape | None,
    *,
    seed: Seed,
) -> Augmenter:
    """An augmentation on a backend, with what it needs there.

    Raises
    ------
    ValueError
        If the shape of samples is None, or they cannot be augmented so.
    """
    if sample_shape is None:
        raise ValueError("augment needs sample_shape, the shape of one sample, such as (28, 28)")
    # For a loss that does not say integers are labels, as for `fit`.
    of_classes = target_kind(loss) in ("classes", None)
    n_classes = n_outputs(model, sample_shape) if of_classes else None
    if of_classes and n_classes is None and augment.changes_targets:
        raise ValueError(
            f"augment: {augment!r} mixes labels as rows of a number for each class, and how many "
            f"outputs there are is not known: give the last layer an output_shape, or the targets "
            f"as such rows to a loss of values"
        )
    return Augmenter(
        augment,
        sample_shape,
        seed=seed,
        dtype=backend.dtype_name,
        asarray=backend.asarray,
        index_dtype=backend.index_dtype,
        n_classes=n_classes,
    )


def _make_batch_loss(
    backend: Backend,
    model: Layer,
    loss: LossFunction,
    pixel_maximum: float,
    augmenter: Augmenter | None,
) -> Callable[..., Any]:
    """The function that gives, of a batch, its loss, the gradient of that by the output, the cache
    of the forward pass, and the weights of the samples, if they have any."""
    xp, dtype = backend.xp, backend.dtype
    check_output(model, loss)
    loss = loaded_loss(backend, model, loss)
    prepare = Preparation(pixel_maximum, backend.dtype_name, wanted_shape(model))
    # Layers that look at the batch as a whole do without the samples of weight 0.
    needs_present = looks_at_batch(model)
    smallest = float(np.finfo(backend.dtype_name).smallest_normal)  # below it XLA takes 0

    def batch_loss(
        arrays: Params,
        x: Array,
        y: Any,
        rows: Array,
        ctx: Context,
        part: tuple[Array, Array, Array] | None,
    ) -> Any:
        if augmenter is not None and part is None:
            rows = augmenter.with_neighbours(xp, rows)
        batch = prepare(xp, xp.take(x, rows, axis=0))
        target, options = y, {}
        weight = present = None
        if isinstance(y, Weighted):
            target = y.target
            weight = xp.take(y.weight, rows, axis=0)
        target = xp.take(target, rows, axis=0)
        if augmenter is not None:
            batch, target, weight = augmenter(
                xp, batch, target, weight,
                step=ctx.step, first_row=ctx.row_offset,
                count=rows.shape[0] - augmenter.neighbours if part is None else part[2],
            )  # fmt: skip
        if weight is not None:
            options["weight"] = weight
            present = xp.astype(weight >= smallest, dtype)
        if part is not None:
            there = part[0]
            present = there * (xp.ones_like(_one_of_each(batch)) if present is None else present)
        if needs_present:
            ctx = ctx._replace(present=present)
        output, cache = model.forward(xp, arrays, batch, ctx)
        value, d_output = loss(xp, output, target, **options)
        if part is not None:
            fraction = part[1]
            value, d_output = value * fraction, d_output * fraction
        return value, d_output, cache, weight

    return batch_loss


def penalized(
    xp: Namespace,
    penalty: Penalty,
    params: Params,
    weight: Array | int,
    value: Array,
    grads: dict[str, Array],
) -> tuple[Array, dict[str, Array]]:
    """Consumes `grads`: the loss and its gradients with those of a penalty."""
    more, own = penalty(xp, params, weight)
    for name, gradient in own.items():
        grads[name] += gradient
    return value + more, grads


def arrays_kept(optimizer: Optimizer) -> int:
    """How many arrays are kept for each parameter beside itself: slots, and an average."""
    return len(optimizer.slots()) + (optimizer.ema is not None)


def _one_of_each(batch: Array) -> Array:
    """The first number of each sample, shape (B,)."""
    return batch[(slice(None), *(0 for _ in batch.shape[1:]))]
