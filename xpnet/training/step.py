"""One training step: the only function that changes a network."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.data.preparation import prepare
from xpnet.layers import Context, Layer
from xpnet.losses import Loss, LossFunction
from xpnet.optimizers import SGD
from xpnet.random import Seed, derive
from xpnet.training.weighted import Weighted
from xpnet.typing import Array, HostArray, State

Step = Callable[[State, Array, Array, Array], State]


def initial_state(backend: Backend, model: Layer, optimizer: SGD, seed: Seed) -> State:
    """All that a training step changes, on the backend's device, before the first step.

    Keys: `param/NAME` the parameters, `buffer/NAME` the arrays of layers that are not trained,
    `opt/NAME` what the optimizer keeps, `learning_rate`, `step` the number of steps taken, `loss`
    the mean loss of the last batch, before its step. What changes between steps is an array and not
    a Python number: a compiled step would freeze a number.
    """
    host = model.init(derive(seed, "initialization"))
    state = {f"param/{name}": load_array(backend, value) for name, value in host.items()}
    state |= {f"buffer/{n}": load_array(backend, value) for n, value in model.buffers().items()}
    slots = optimizer.init(backend.xp, select(state, "param/"))
    state |= {f"opt/{name}": value for name, value in slots.items()}
    if np.asarray(optimizer.learning_rate, dtype=backend.dtype_name) == 0:
        raise ValueError(
            f"the learning rate {optimizer.learning_rate} is 0 in {backend.dtype_name}: nothing "
            f"would be learnt"
        )
    state["learning_rate"] = backend.asarray(optimizer.learning_rate, dtype=backend.dtype)
    state["step"] = backend.asarray(0, dtype=backend.xp.int32)
    state["loss"] = backend.asarray(0.0, dtype=backend.dtype)
    return state


def make_step(
    backend: Backend,
    model: Layer,
    loss: LossFunction,
    optimizer: SGD,
    *,
    pixel_maximum: float = 1.0,
    seed: Seed = 0,
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

    Returns
    -------
    step
        Consumes `state`. `x` (N, ...) and `y` (N,) or (N, C) are the whole training set on the
        device, `rows` (B,) the indices of the batch. Where samples have weights, `y` is a pair
        `Weighted(targets, weights)`. It reads no array on the host, so that a device is never
        waited for. A batch of another size is compiled once more.

    Raises
    ------
    ValueError
        If the loss does not fit the outputs of the model.
    """
    xp, dtype, shape = backend.xp, backend.dtype, model.input_shape()
    dropout_seed = derive(seed, "dropout")
    loss = loaded_loss(backend, model, loss)
    # Plain gradient descent needs no gradients of the parameters to look at: see Layer.descend.
    plain = type(optimizer).update is SGD.update
    names = {name: f"param/{name}" for name in model.parameter_shapes()}
    buffer_names = {name: f"buffer/{name}" for name in model.buffers()}
    constrained = model.has_constraint()

    def step(state: State, x: Array, y: Array, rows: Array) -> State:
        """Consumes `state`: forward, loss, backward, update."""
        params = {name: state[key] for name, key in names.items()}
        buffers = {name: state[key] for name, key in buffer_names.items()} if buffer_names else {}
        arrays = {**params, **buffers} if buffer_names else params
        slots = {} if plain else select(state, "opt/")
        batch = xp.take(x, rows, axis=0)
        weighted = isinstance(y, Weighted)
        target = xp.take(y.target if weighted else y, rows, axis=0)
        batch = prepare(xp, batch, maximum=pixel_maximum, dtype=dtype, shape=shape)

        ctx = Context(training=True, seed=dropout_seed, step=state["step"])
        output, cache = model.forward(xp, arrays, batch, ctx)
        if weighted:
            weight = xp.take(y.weight, rows, axis=0)
            batch_loss, d_output = loss(xp, output, target, weight=weight)
        else:
            batch_loss, d_output = loss(xp, output, target)
        rate = state["learning_rate"]
        if plain:
            _, params = model.descend(xp, arrays, cache, d_output, rate, need_dx=False)
        else:
            _, grads = model.backward(xp, arrays, cache, d_output, need_dx=False)
            params, slots = optimizer.update(xp, params, grads, slots, rate)
        if buffer_names:
            new = model.update_buffers(xp, buffers, cache)
            buffers = {key: new[name] for name, key in buffer_names.items()}
        if constrained:
            params = model.constrain(xp, params)
        return {
            **{key: params[name] for name, key in names.items()},
            **buffers,
            **{f"opt/{name}": value for name, value in slots.items()},
            "learning_rate": rate,
            "step": state["step"] + 1,
            "loss": batch_loss,
        }

    return backend.compile(step, consumes=True)


def loaded_loss(backend: Backend, model: Layer, loss: LossFunction) -> LossFunction:
    """The loss with what is constant in it on the device; a plain function as it is.

    Raises
    ------
    ValueError
        If the loss does not fit the outputs of the model.
    """
    if not isinstance(loss, Loss):
        return loss
    shape = model.output_shape(model.input_shape())

    def asarray(values: Any) -> Array:
        return load_array(backend, np.asarray(values))

    return loss.loaded(asarray, shape[-1] if shape else None)


def select(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose key starts with `prefix`, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def load_array(backend: Backend, value: HostArray) -> Array:
    """A floating-point host array on the device, in the backend's dtype, always a copy."""
    return backend.asarray(value.astype(backend.dtype_name), copy=True)
