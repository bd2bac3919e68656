"""Measure what training costs, as ratios within one run.

    python scripts/benchmark.py                 # writes nothing, prints a table
    python scripts/benchmark.py --json FILE

Times are of single training steps through `make_step`, interleaved, so that a change of the
machine's speed meets all alike; the figures are medians with their quartiles. Run it with nothing
else running.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xpnet.backends import BACKENDS, Backend, open_backend
from xpnet.errors import BackendUnavailable
from xpnet.losses import softmax_cross_entropy
from xpnet.model import Sequential, mlp
from xpnet.optimizers import SGD
from xpnet.random import stream
from xpnet.training import initial_state, make_step

BATCH_SIZE = 128
SIZES = (784, 512, 512, 10)
DROPOUT_LIMIT = 0.20
"""What two dropout layers may cost at most on NumPy, as a fraction of the step with them."""


def make_runner(backend: Backend, model: Sequential) -> Callable[[], float]:
    """A function that takes ten steps of a model and returns the seconds of one."""
    rng = stream(0, "benchmark")
    x = backend.asarray(rng.integers(256, size=(12_800, SIZES[0]), dtype="uint8"))
    y = backend.asarray(rng.integers(SIZES[-1], size=12_800), dtype=backend.index_dtype)
    order = backend.asarray(rng.permutation(12_800), dtype=backend.index_dtype)
    batches = [order[i * BATCH_SIZE : (i + 1) * BATCH_SIZE] for i in range(10)]
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.01), pixel_maximum=255)
    state = initial_state(backend, model, SGD(0.01), 0)

    def run() -> float:
        nonlocal state
        started = time.perf_counter()
        for rows in batches:
            state = step(state, x, y, rows)
        backend.synchronize(*state.values())
        return (time.perf_counter() - started) / len(batches)

    return run


def measure(backend: Backend, repeats: int) -> dict[str, Any]:
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
    return {
        "backend": backend.name,
        "device": backend.device_name(),
        **{f"{name}_seconds": statistics.quantiles(values) for name, values in times.items()},
        "dropout_fraction": statistics.quantiles(fractions),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--backends", default="numpy", show_default=True, help="A comma list.")
@click.option("--device", help="Such as cuda:0.")
@click.option("--repeats", type=click.IntRange(min=3), default=40, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures here.")
def main(backends: str, device: str | None, repeats: int, json_file: Path | None) -> None:
    """Measure the cost of dropout: 784-512-512-10, batch 128, two dropout layers, float32."""
    results = []
    click.echo(
        f"{'-'.join(map(str, SIZES))}, batch {BATCH_SIZE}, float32; "
        f"microseconds a step and fractions as median (quartiles)"
    )
    for name in backends.split(","):
        if name not in BACKENDS:
            raise click.UsageError(f"--backends: {name!r} is not one of {', '.join(BACKENDS)}")
        try:
            result = measure(open_backend(name, device), repeats)
        except BackendUnavailable as error:
            click.echo(f"{name}: left out: {error}")
            continue
        results.append(result)
        click.echo(
            f"{name:<17} plain {_spread(result['plain_seconds'], 1e6)}  "
            f"with dropout {_spread(result['dropout_seconds'], 1e6)}  "
            f"dropout's share {_spread(result['dropout_fraction'], 100)} %"
        )
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    numpy_fraction = [r["dropout_fraction"][1] for r in results if r["backend"] == "numpy"]
    if numpy_fraction and numpy_fraction[0] > DROPOUT_LIMIT:
        click.echo(f"dropout costs more than {100 * DROPOUT_LIMIT:.0f} % of a step on NumPy")
        raise SystemExit(1)


def _spread(quartiles: list[float], scale: float) -> str:
    low, median, high = (scale * value for value in quartiles)
    return f"{median:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
