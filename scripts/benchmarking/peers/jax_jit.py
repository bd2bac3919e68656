"""JAX by hand: `value_and_grad` in a compiled step, or in a compiled epoch with `lax.scan`."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray

Params = list[tuple[Any, Any]]
Epoch = Callable[[Params, Any, Any, Any], tuple[Params, Any]]


def run_steps(job: Job, tick: Tick) -> HostArray:
    """A call of a compiled function for each step."""
    step = jax.jit(_step_of(job), donate_argnums=0)

    def epoch(params: Params, images: Any, labels: Any, order: Any) -> tuple[Params, Any]:
        loss: Any = None
        for first in range(0, len(order), job.batch_size):
            rows = order[first : first + job.batch_size]
            params, loss = step(params, images, labels, rows)
        return params, loss

    return _train(job, tick, epoch)


def run_epochs(job: Job, tick: Tick) -> HostArray:
    """One call of a compiled function for all steps of an epoch."""
    step = _step_of(job)
    size, whole = job.batch_size, len(job.x) // job.batch_size

    def epoch(params: Params, images: Any, labels: Any, order: Any) -> tuple[Params, Any]:
        def body(params: Params, rows: Any) -> tuple[Params, Any]:
            return step(params, images, labels, rows)

        batches = order[: whole * size].reshape(whole, size)
        params, losses = jax.lax.scan(body, params, batches)
        if len(order) % size:
            params, _ = step(params, images, labels, order[whole * size :])
        return params, losses

    return _train(job, tick, jax.jit(epoch, donate_argnums=0))


def logits(params: Params, x: Any) -> Any:
    """The output of the network."""
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    return x @ weight + bias


def _step_of(job: Job) -> Epoch:
    maximum = job.pixel_maximum

    def loss_of(params: Params, x: Any, y: Any) -> Any:
        log_p = jax.nn.log_softmax(logits(params, x))
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()

    def step(params: Params, images: Any, labels: Any, rows: Any) -> tuple[Params, Any]:
        x = images[rows].astype(jnp.float32) / maximum
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels[rows])
        return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grads), loss

    return step


def _train(job: Job, tick: Tick, epoch: Epoch) -> HostArray:
    place = jax.devices("gpu" if job.cuda else "cpu")[0]
    with jax.default_device(place):
        images, labels = jnp.asarray(job.x), jnp.asarray(job.y.astype(np.int32))
        params = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in job.weights()]
        for number in range(job.epochs):
            started = time.perf_counter()
            order = jnp.asarray(job.order(number).astype(np.int32))
            params, loss = epoch(params, images, labels, order)
            jax.block_until_ready((params, loss))
            tick(time.perf_counter() - started)
        return np.asarray(logits(params, jnp.asarray(job.scaled(job.test_x)))).argmax(axis=1)
