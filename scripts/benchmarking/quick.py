"""A small benchmark against slowing down: xpnet on NumPy over the floor, on synthetic data."""

from dataclasses import replace
from typing import Any

from benchmarking.cases import Case, Task
from benchmarking.peers import PEERS
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.summary import ratios

REFERENCE_RATIO = 1.2
"""What xpnet on NumPy takes, over the floor, with one thread on an idle machine with a compiler."""

FACTOR = 2.0
"""How many times that it may take: less than a busy machine adds, and more than noise."""


def check_speed(
    reference: float, settings: Settings, say: Say = lambda text: None
) -> dict[str, Any]:
    """Measure, and once more if the ratio is too high.

    One thread if none are asked for: two would wait for each other on a machine that is busy.
    """
    settings = replace(settings, threads=settings.threads or 1)
    task = Task(Case((128,), 64), "synthetic", limit=6_000, epochs=1 + settings.repeats)
    peers = [PEERS["floor"], PEERS["xpnet-numpy"]]
    tries: list[list[float]] = []
    while not tries or (len(tries) < 2 and tries[-1][1] > FACTOR * reference):
        floor, ours = measure(peers, task, settings)
        tries.append(ratios(_seconds(ours), _seconds(floor)))
        low, median, high = tries[-1]
        say(
            f"784-128-10, batch 64, 6,000 samples: xpnet on NumPy takes {median:.2f} times the "
            f"floor ({low:.2f} to {high:.2f}); allowed are {FACTOR:g} x {reference:g}"
        )
    return {"reference": reference, "tries": tries, "holds": tries[-1][1] <= FACTOR * reference}


def _seconds(measured: Measured) -> list[float]:
    if measured.failure:
        raise RuntimeError(f"{measured.peer.name} cannot be measured: {measured.failure}")
    return measured.seconds
