"""Thinc on its `NumpyOps`: `begin_update`, the gradient of the loss, `finish_update`."""

import time
from typing import Any

import numpy as np
from thinc.api import SGD, Linear, NumpyOps, Relu, chain, set_current_ops

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray


def run(job: Job, tick: Tick) -> HostArray:
    """Train on pixels that were converted before, with Thinc's own shuffled batches."""
    set_current_ops(NumpyOps())
    x, one_hot = job.scaled(job.x), np.eye(job.sizes[-1], dtype=np.float32)[job.y]
    layers = [Relu(size) for size in job.task.case.hidden]
    model: Any = chain(*layers, Linear(job.sizes[-1]))
    model.initialize(X=x[:2], Y=one_hot[:2])
    for layer, (weight, bias) in zip(model.layers, job.weights(), strict=True):
        layer.set_param("W", np.ascontiguousarray(weight.T))
        layer.set_param("b", bias)
    optimizer = SGD(LEARNING_RATE, grad_clip=0.0, use_averages=False)
    for _ in range(job.epochs):
        started = time.perf_counter()
        for batch, target in model.ops.multibatch(job.batch_size, x, one_hot, shuffle=True):
            logits, backprop = model.begin_update(batch)
            backprop((model.ops.softmax(logits) - target) / len(target))
            model.finish_update(optimizer)
        tick(time.perf_counter() - started)
    predicted: HostArray = model.predict(job.scaled(job.test_x)).argmax(axis=1)
    return predicted
