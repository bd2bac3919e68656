"""An `MLPClassifier` in float32: scikit-learn's, or xpnet's."""

import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray

EPOCHS_OF_A_FIT = 5

_PLAIN: dict[str, Any] = {
    "solver": "sgd",
    "alpha": 0.0,
    "learning_rate_init": LEARNING_RATE,
    "momentum": 0.0,
    "nesterovs_momentum": False,
}


def run(job: Job, tick: Tick, *, module: str = "sklearn.neural_network") -> HostArray:
    """Train by plain SGD as the other peers, an epoch a call of `partial_fit`.

    On pixels that were converted before: scikit-learn takes no others.
    """
    model = maker(job, module, **_PLAIN)()
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


def fit(
    job: Job, tick: Tick, *, module: str = "sklearn.neural_network", solver: str | None = None
) -> HostArray:
    """Call `fit` for some epochs, again and again: an epoch is its part of the whole call.

    By plain SGD, or by a solver with all parameters as they are by default.
    """
    options = _PLAIN if solver is None else {"solver": solver}
    make = maker(job, module, max_iter=EPOCHS_OF_A_FIT, **options)
    x = job.scaled(job.x)
    for _ in range(job.epochs):
        model = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged
            started = time.perf_counter()
            model.fit(x, job.y)
            tick((time.perf_counter() - started) / EPOCHS_OF_A_FIT)
    predicted: HostArray = model.predict(job.scaled(job.test_x))
    return predicted


def maker(job: Job, module: str, **options: Any) -> Callable[..., Any]:
    """Makes classifiers for a case of the benchmark."""
    return partial(
        import_module(module).MLPClassifier,
        hidden_layer_sizes=job.task.case.hidden,
        batch_size=job.batch_size,
        random_state=0,
        **options,
    )
