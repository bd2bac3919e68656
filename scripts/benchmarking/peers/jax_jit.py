"""JAX by hand: `value_and_grad` in a compiled step, or in a compiled epoch with `lax.scan`."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from xpnet.typing import HostArray

Params = dict[str, Any]
State = tuple[Params, Params]
"""Parameters, and the running numbers of batch norm."""
Epoch = Callable[[State, Any, Any, Any], tuple[State, Any]]


def run_steps(job: Job, tick: Tick) -> HostArray:
    """A call of a compiled function for each step."""
    step = jax.jit(_step_of(job), donate_argnums=0)

    def epoch(state: State, images: Any, labels: Any, order: Any) -> tuple[State, Any]:
        loss: Any = None
        for first in range(0, len(order), job.batch_size):
            rows = order[first : first + job.batch_size]
            state, loss = step(state, images, labels, rows)
        return state, loss

    return _train(job, tick, epoch)


def run_epochs(job: Job, tick: Tick) -> HostArray:
    """One call of a compiled function for all steps of an epoch."""
    step = _step_of(job)
    size, whole = job.batch_size, len(job.x) // job.batch_size

    def epoch(state: State, images: Any, labels: Any, order: Any) -> tuple[State, Any]:
        def body(state: State, rows: Any) -> tuple[State, Any]:
            return step(state, images, labels, rows)

        batches = order[: whole * size].reshape(whole, size)
        state, losses = jax.lax.scan(body, state, batches)
        if len(order) % size:
            state, _ = step(state, images, labels, order[whole * size :])
        return state, losses

    return _train(job, tick, jax.jit(epoch, donate_argnums=0))


def parameters(arrays: dict[str, HostArray]) -> Params:
    """What is trained, by name."""
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def statistics(job: Job) -> Params:
    """The running means and variances of batch norm, by name; empty where there is none."""
    return {name: jnp.asarray(array) for name, array in job.model.buffers().items()}


def logits(model: Sequential, params: Params, running: Params, x: Any) -> Any:
    """The output of the network in evaluation."""
    return _apply(model, params, running, x, training=False)[0]


def _apply(
    model: Sequential, params: Params, running: Params, x: Any, *, training: bool
) -> tuple[Any, Params]:
    """The output of the network, and the running numbers after it."""
    x, running = (x[..., None] if x.ndim == 3 else x), dict(running)
    for name, layer in model.layers.items():
        if isinstance(layer, Dense):
            x = x @ params[f"{name}.weight"] + params[f"{name}.bias"]
        elif isinstance(layer, Conv2D):
            x = _convolution(layer, x, params[f"{name}.weight"], params.get(f"{name}.bias"))
        elif isinstance(layer, BatchNorm):
            x, own = _batch_norm(layer, name, params, running, x, training=training)
            running |= own
        elif isinstance(layer, MaxPool2D):
            window = (1, *layer.windows.kernel, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
        else:
            assert isinstance(layer, ReLU), layer
            x = jax.nn.relu(x)
    return x, running


def _convolution(layer: Conv2D, x: Any, weight: Any, bias: Any) -> Any:
    order = ("NHWC", "HWIO", "NHWC")
    padding = str(layer.padding).upper()
    y = jax.lax.conv_general_dilated(x, weight, (1, 1), padding, dimension_numbers=order)
    return y if bias is None else y + bias


def _batch_norm(
    layer: BatchNorm, name: str, params: Params, running: Params, x: Any, *, training: bool
) -> tuple[Any, Params]:
    own = {key: running[f"{name}.{key}"] for key in ("mean", "variance")}
    mean, variance = own["mean"], own["variance"]
    if training:
        mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
        count = x.size // x.shape[-1]
        batch = {"mean": mean, "variance": variance * count / (count - 1)}
        own = {k: v + layer.momentum * (batch[k] - v) for k, v in own.items()}
    scale = params[f"{name}.scale"] * jax.lax.rsqrt(variance + layer.epsilon)
    y = (x - mean) * scale + params[f"{name}.bias"]
    return y, {f"{name}.{key}": value for key, value in own.items()}


def _step_of(job: Job) -> Epoch:
    maximum = job.pixel_maximum

    def loss_of(params: Params, running: Params, x: Any, y: Any) -> Any:
        output, running = _apply(job.model, params, running, x, training=True)
        log_p = jax.nn.log_softmax(output)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean(), running

    def step(state: State, images: Any, labels: Any, rows: Any) -> tuple[State, Any]:
        params, running = state
        x = images[rows].astype(jnp.float32) / maximum
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, running), grads = gradient(params, running, x, labels[rows])
        params = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grads)
        return (params, running), loss

    return step


def _train(job: Job, tick: Tick, epoch: Epoch) -> HostArray:
    place = jax.devices("gpu" if job.cuda else "cpu")[0]
    with jax.default_device(place):
        images, labels = jnp.asarray(job.x), jnp.asarray(job.y.astype(np.int32))
        state = (parameters(job.arrays()), statistics(job))
        for number in range(job.epochs):
            started = time.perf_counter()
            order = jnp.asarray(job.order(number).astype(np.int32))
            state, loss = epoch(state, images, labels, order)
            jax.block_until_ready((state, loss))
            tick(time.perf_counter() - started)
        test_x = job.scaled(job.test_x)
        parts = [test_x[i : i + 1000] for i in range(0, len(test_x), 1000)]
        answers = [np.asarray(logits(job.model, *state, jnp.asarray(part))) for part in parts]
        return np.concatenate(answers).argmax(axis=1)
