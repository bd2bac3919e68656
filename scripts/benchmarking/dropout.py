"""What dropout costs: steps of a network with and without, in turn, in one process."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from xpnet.backends import Backend
from xpnet.layers import Sequential
from xpnet.losses import softmax_cross_entropy
from xpnet.models import mlp
from xpnet.optimizers import SGD
from xpnet.random import stream
from xpnet.training import initial_state, make_step

BATCH_SIZE = 128
SIZES = (784, 512, 512, 10)
LIMIT = 0.20
"""What two dropout layers may cost at most on NumPy, as a fraction of the step with them."""


def make_runner(backend: Backend, model: Sequential) -> Callable[[], float]:
    """A function that takes ten steps of a model and returns the seconds of one."""
    rng = stream(0, "benchmark")
    x = backend.asarray(rng.integers(256, size=(12_800, SIZES[0]), dtype="uint8"))
    y = backend.asarray(rng.integers(SIZES[-1], size=12_800), dtype=backend.index_dtype)
    order = backend.asarray(rng.permutation(12_800), dtype=backend.index_dtype)
    groups = backend.xp.reshape(order[: 10 * BATCH_SIZE], (10, BATCH_SIZE))
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.01), pixel_maximum=255)
    take = backend.repeat(step)
    state = initial_state(backend, model, SGD(0.01), 0)

    def run() -> float:
        nonlocal state
        started = time.perf_counter()
        state = take(state, x, y, groups)
        backend.synchronize(*state.values())
        return (time.perf_counter() - started) / 10

    return run


def measure_dropout(backend: Backend, repeats: int) -> dict[str, Any]:
    """The cost of two dropout layers, as a fraction of the step that has them."""
    with backend.scope():
        runs = {
            "plain": make_runner(backend, mlp(*SIZES)),
            "dropout": make_runner(backend, mlp(*SIZES, dropout=0.5)),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        for repeat in range(-3, repeats):  # the first three warm up
            for name, run in runs.items():
                seconds = run()
                if repeat >= 0:
                    times[name].append(seconds)
    fractions = [1 - a / b for a, b in zip(times["plain"], times["dropout"], strict=True)]
    fraction = statistics.quantiles(fractions)
    return {
        "backend": backend.name,
        "device": backend.device_name(),
        **{f"{name}_seconds": statistics.quantiles(values) for name, values in times.items()},
        "dropout_fraction": fraction,
        "holds": backend.name != "numpy" or fraction[1] <= LIMIT,
    }


def dropout_lines(result: dict[str, Any]) -> list[str]:
    """The result as Markdown."""
    found = [
        f"{'-'.join(map(str, SIZES))}, batch {BATCH_SIZE}, float32, two dropout layers; "
        f"median (quartiles).",
        "",
        "| backend | µs a step without | µs a step with | share of dropout |",
        "|---|---|---|---|",
        f"| {result['backend']} | {_spread(result['plain_seconds'], 1e6)} "
        f"| {_spread(result['dropout_seconds'], 1e6)} "
        f"| {_spread(result['dropout_fraction'], 100)} % |",
    ]
    if not result["holds"]:
        found += ["", f"Dropout costs more than {100 * LIMIT:.0f} % of a step on NumPy."]
    return found


def _spread(quartiles: list[float], scale: float) -> str:
    low, median, high = (scale * value for value in quartiles)
    return f"{median:.1f} ({low:.1f} to {high:.1f})"
