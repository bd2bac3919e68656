"""xpnet's `MLPClassifier` beside scikit-learn's: an epoch of `fit` in float32."""

import time
import warnings
from collections.abc import Sequence
from typing import Any

from benchmarking.cases import Case, Job, Task
from benchmarking.peers import PEERS, Peer, sklearn_mlp
from benchmarking.runner import Say, Settings, measure
from benchmarking.summary import quartiles, ratios
from xpnet.typing import HostArray

CASES = (Case((100,), 64), Case((100,), 200))
"""What is measured where no case is asked for."""


SOLVERS = ("plain", "adam", "sgd")
"""Plain SGD, and solvers with the default parameters."""


def estimator_peers(solver: str) -> list[Peer]:
    """Both libraries with a solver."""
    options = () if solver == "plain" else (("solver", solver),)
    return [
        Peer(
            f"{peer.name}-{solver}",
            f"{peer.label}, {solver}",
            f"{sklearn_mlp.__name__}:fit",
            options=(*peer.options, *options),
        )
        for peer in (PEERS["xpnet-sklearn"], PEERS["sklearn"])
    ]


def measure_estimators(
    cases: Sequence[Case], task: Task, settings: Settings, say: Say
) -> list[dict[str, Any]]:
    """A row for each case and solver: seconds of an epoch, and how many times as fast xpnet is."""
    rows = []
    for case in cases:
        for solver in SOLVERS:
            ours, theirs = measure(estimator_peers(solver), task.on(case), settings, say)
            row: dict[str, Any] = {"case": str(case), "solver": solver}
            row["failure"] = ours.failure or theirs.failure
            if not row["failure"]:
                row |= {
                    "seconds": quartiles(ours.seconds),
                    "sklearn_seconds": quartiles(theirs.seconds),
                    "ratio": ratios(theirs.seconds, ours.seconds),
                    "accuracies": [one.result["accuracy"] for one in (ours, theirs)],
                }
            rows.append(row)
    return rows


def estimator_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    lines = [
        "| network | solver | xpnet: s an epoch | scikit-learn | times as fast | accuracies |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        start = f"| {row['case']} | {row['solver']} | "
        if row["failure"]:
            lines.append(f"{start}{row['failure']} | | | |")
            continue
        spreads = [
            f"{median:.3g} ({low:.3g} to {high:.3g})"
            for low, median, high in (row["seconds"], row["sklearn_seconds"], row["ratio"])
        ]
        accuracies = " and ".join(f"{100 * value:.2f} %" for value in row["accuracies"])
        lines.append(f"{start}{' | '.join([*spreads, accuracies])} |")
    return lines


def measure_estimators_on_gpu(
    cases: Sequence[Case], task: Task, settings: Settings, say: Say
) -> list[dict[str, Any]]:
    """The same rows for xpnet on CuPy's arrays, beside scikit-learn on NumPy's.

    An epoch is what `fit` takes longer with some more of them: the first ones make kernels.
    """
    rows = []
    for case in cases:
        job = task.on(case).load()
        for solver in SOLVERS[1:]:
            row: dict[str, Any] = {"case": str(case), "solver": solver, "failure": ""}
            rounds, accuracies = {}, []
            for name, more in (("xpnet", 20), ("sklearn", 1)):
                say(f"{case}: {name}, {solver}")
                fits = _Fits(name, job, solver)
                rounds[name] = [
                    (fits.seconds(3 + more) - fits.seconds(3)) / more
                    for _ in range(settings.repeats)
                ]
                accuracies.append(fits.accuracy())
            row["seconds"], row["sklearn_seconds"] = map(quartiles, rounds.values())
            row["ratio"] = ratios(rounds["sklearn"], rounds["xpnet"])
            rows.append({**row, "accuracies": accuracies})
    return rows


class _Fits:
    """Fits of one library's classifier to the training set, as float32 between 0 and 1."""

    def __init__(self, name: str, job: Job, solver: str) -> None:
        self.job = job
        self.on_gpu = name == "xpnet"
        module = "xpnet.sklearn" if self.on_gpu else "sklearn.neural_network"
        self.make = sklearn_mlp.maker(job, module, solver=solver, n_iter_no_change=1000)
        self.x, self.y = self._moved(job.scaled(job.x)), self._moved(job.y)

    def _moved(self, array: HostArray) -> Any:
        if not self.on_gpu:
            return array
        import cupy

        return cupy.asarray(array)

    def seconds(self, epochs: int) -> float:
        """How long a fit of so many epochs takes, on the host: it ends with the device's work."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged
            started = time.perf_counter()
            self.model = self.make(max_iter=epochs).fit(self.x, self.y)
            return time.perf_counter() - started

    def accuracy(self) -> float:
        """Of the last fit, on the test set."""
        predicted = self.model.predict(self._moved(self.job.scaled(self.job.test_x)))
        return self.job.accuracy(predicted.get() if self.on_gpu else predicted)
