"""A training step written straightforwardly with NumPy, or with CuPy in its place."""

import time
from typing import Any

import numpy as np

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray


def run_numpy(job: Job, tick: Tick) -> HostArray:
    """Train with NumPy."""
    return np.asarray(_train(np, job, tick, lambda: None))


def run_cupy(job: Job, tick: Tick) -> HostArray:
    """Train with CuPy: the same program, and a wait at the end of each epoch."""
    import cupy

    predicted = _train(cupy, job, tick, cupy.cuda.Device().synchronize)
    found: HostArray = cupy.asnumpy(predicted)
    return found


def _train(np: Any, job: Job, tick: Tick, synchronize: Any) -> Any:
    images, labels = np.asarray(job.x), np.asarray(job.y)
    params = [(np.asarray(weight), np.asarray(bias)) for weight, bias in job.weights()]
    for epoch in range(job.epochs):
        started = time.perf_counter()
        order = np.asarray(job.order(epoch))
        for first in range(0, len(order), job.batch_size):
            rows = order[first : first + job.batch_size]
            x = images[rows].astype(np.float32) / job.pixel_maximum
            _step(np, params, x, labels[rows])
        synchronize()
        tick(time.perf_counter() - started)
    return _forward(np, params, np.asarray(job.scaled(job.test_x)))[-1].argmax(axis=1)


def _forward(np: Any, params: list[tuple[Any, Any]], x: Any) -> list[Any]:
    """The input, the hidden activations and the logits."""
    activations = [x]
    for i, (weight, bias) in enumerate(params):
        z = activations[-1] @ weight + bias
        activations.append(z if i == len(params) - 1 else np.maximum(z, 0))
    return activations


def _step(np: Any, params: list[tuple[Any, Any]], x: Any, y: Any) -> None:
    activations = _forward(np, params, x)
    logits = activations[-1]
    delta = np.exp(logits - logits.max(axis=1, keepdims=True))
    delta /= delta.sum(axis=1, keepdims=True)
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    for i in reversed(range(len(params))):
        weight, bias = params[i]
        grad_weight, grad_bias = activations[i].T @ delta, delta.sum(axis=0)
        if i:
            delta = (delta @ weight.T) * (activations[i] > 0)
        weight -= LEARNING_RATE * grad_weight
        bias -= LEARNING_RATE * grad_bias
