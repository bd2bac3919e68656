"""scikit-learn's `MLPClassifier` in float32: plain SGD, an epoch a call of `partial_fit`."""

import time

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray


def run(job: Job, tick: Tick) -> HostArray:
    """Train on pixels that were converted before; scikit-learn takes no others."""
    model = MLPClassifier(
        hidden_layer_sizes=job.task.case.hidden,
        activation="relu",
        solver="sgd",
        alpha=0.0,
        batch_size=job.batch_size,
        learning_rate_init=LEARNING_RATE,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=True,
        random_state=0,
    )
    x = job.scaled(job.x)
    classes = np.arange(job.sizes[-1])
    # It draws Glorot weights when it first sees data. Its optimizer keeps the arrays, so that the
    # common weights are written into them.
    model.partial_fit(x[: job.batch_size], job.y[: job.batch_size], classes=classes)
    for i, (weight, bias) in enumerate(job.weights()):
        model.coefs_[i][...] = weight
        model.intercepts_[i][...] = bias
    for _ in range(job.epochs):
        started = time.perf_counter()
        model.partial_fit(x, job.y)
        tick(time.perf_counter() - started)
    predicted: HostArray = model.predict(job.scaled(job.test_x))
    return predicted
