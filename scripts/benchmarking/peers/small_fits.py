"""Whole trainings of an `MLPClassifier` on a small table: scikit-learn's, or xpnet's."""

import time
import warnings
from functools import partial
from importlib import import_module
from typing import Any

from benchmarking.cases import Job
from benchmarking.peers import Tick
from benchmarking.turns import take_turns


def run(job: Job, tick: Tick, *, module: str, kinds: Any) -> dict[str, Any]:
    """Fit with each of the kinds of options in turn, all others as they are by default.

    Returns for each kind the seconds of the first fit, and of the others the epochs and the
    accuracies on the test set, which are not timed.
    """
    classifier = import_module(module).MLPClassifier
    found: list[dict[str, Any]] = [{"epochs": [], "scores": []} for _ in kinds]

    def measure(options: dict[str, Any], into: dict[str, Any]) -> float:
        # Another seed in each round, the same for both libraries.
        model = classifier(**options, random_state=len(into["epochs"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it may not have converged
            started = time.perf_counter()
            model.fit(job.x, job.y)
            seconds = time.perf_counter() - started
        into["epochs"].append(model.n_iter_)
        into["scores"].append(float(model.score(job.test_x, job.test_y)))
        return seconds

    for options, into in zip(kinds, found, strict=True):
        into["first"] = measure(options, into)
        into["epochs"].clear()
        into["scores"].clear()
    take_turns(
        job,
        tick,
        [partial(measure, options, into) for options, into in zip(kinds, found, strict=True)],
    )
    return {"fits": found}
