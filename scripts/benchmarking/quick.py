"""Small benchmarks against slowing down, on synthetic data: each a ratio in one run, and a limit.

A limit is `FACTOR` times what was found on an idle machine: less than a busy machine adds, since
both sides of a ratio are slower there, and more than noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarking.cases import Case, Task
from benchmarking.peers import PEERS
from benchmarking.predict import ANSWERERS
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.small_fits import fit_peers
from benchmarking.summary import ratios
from benchmarking.turns import apart, turns

REFERENCE_RATIO = 1.2
"""What xpnet on NumPy takes, over the floor, with one thread on an idle machine with a compiler."""

FACTOR = 2.0
"""How many times that it may take."""

TRIES = 3
"""How often it is measured before it is taken for too slow."""

ROUNDS = 9
"""The most rounds of predictions and fits."""

CONVOLVED = 960
"""Pictures of an epoch of a convolution: fifteen steps."""

QUESTIONS = ((1, "float32"), (1_000, "uint8"))

Ratios = dict[str, list[float]]
"""Quartiles, by what is measured; empty where that cannot be."""


@dataclass(frozen=True)
class Guard:
    """What is guarded.

    Attributes
    ----------
    references
        What the ratios were on an idle machine, by what is measured.
    measure
        Measures them once.
    """

    references: dict[str, float]
    measure: Callable[[Settings], Ratios]


def training(settings: Settings) -> Ratios:
    """An epoch of xpnet on NumPy, over the floor."""
    task = Task(Case((128,), 64), "synthetic", limit=6_000, epochs=1 + settings.repeats)
    floor, ours = measure([PEERS["floor"], PEERS["xpnet-numpy"]], task, settings)
    return {_TRAINING: ratios(_seconds(ours), _seconds(floor))}


def convolving(settings: Settings) -> Ratios:
    """An epoch of LeNet-5 on NumPy, over the products of its layers."""
    settings = replace(settings, repeats=min(settings.repeats, ROUNDS), warm_up=4)
    epochs = settings.warm_up + settings.repeats
    task = Task(Case((), 64, "lenet5"), "synthetic", limit=CONVOLVED, epochs=epochs)
    floor, ours = measure([PEERS["floor"], PEERS["xpnet-numpy"]], task, settings)
    return {_CONVOLVING: ratios(_seconds(ours), _seconds(floor))}


def predicting(settings: Settings) -> Ratios:
    """`Network.predict` on NumPy, over the same written by hand."""
    task, settings = _few(Task(Case((128,), 64), "synthetic", limit=1_000), settings, QUESTIONS)
    peers = [ANSWERERS[name].peer(QUESTIONS) for name in ("numpy", "xpnet-numpy")]
    plain, ours = measure(peers, task, settings)
    return _apart(_PREDICTING, ours, plain)


def fitting(settings: Settings) -> Ratios:
    """A whole fit of the estimator, over scikit-learn's; nothing where that is not installed."""
    kinds = [{"solver": "adam", "max_iter": 50}]
    task, settings = _few(Task(Case((100,), 200), "iris"), settings, kinds)
    ours, theirs = measure(fit_peers(kinds), task, settings)
    if theirs.failure == "sklearn is not installed":
        return {}
    return _apart(_FITTING, ours, theirs)


_TRAINING = "784-128-10, batch 64, 6,000 samples: xpnet on NumPy over the floor"
_CONVOLVING = "LeNet-5, batch 64, 960 samples: xpnet on NumPy over the products of its layers"
_PREDICTING = {
    "predict of 1 row: xpnet on NumPy over plain NumPy": 4.0,
    "predict of 1,000 rows of uint8: xpnet on NumPy over plain NumPy": 1.3,
}
_FITTING = {"fit of iris, 50 epochs: xpnet over scikit-learn": 1.0}

GUARDS = {
    "training": Guard({_TRAINING: REFERENCE_RATIO}, training),
    # 2.6 with a compiler, and 5.6 without, which must not fail.
    "convolving": Guard({_CONVOLVING: 3.5}, convolving),
    "predicting": Guard(_PREDICTING, predicting),
    "fitting": Guard(_FITTING, fitting),
}
"""By the name of the command line."""


def check_speed(
    reference: float,
    settings: Settings,
    say: Say = lambda text: None,
    guards: Sequence[str] = tuple(GUARDS),
) -> dict[str, Any]:
    """Measure, and again where a ratio is too high.

    One thread if none are asked for: two would wait for each other on a machine that is busy.

    Parameters
    ----------
    reference
        That of the training.
    settings, say
        As everywhere.
    guards
        Those that are measured.
    """
    settings = replace(settings, threads=settings.threads or 1)
    found = {}
    for name in guards:
        guard = GUARDS[name]
        if name == "training":
            guard = replace(guard, references={_TRAINING: reference})
        found[name] = _check(guard, settings, say)
    return {"guards": found, "holds": all(one["holds"] for one in found.values())}


def _check(guard: Guard, settings: Settings, say: Say) -> dict[str, Any]:
    tries: list[Ratios] = []
    holds = False
    while not holds and len(tries) < TRIES:
        tries.append(guard.measure(settings))
        for what, (low, median, high) in tries[-1].items():
            say(
                f"{what}: {median:.2f} ({low:.2f} to {high:.2f}); "
                f"allowed are {FACTOR:g} x {guard.references[what]:g}"
            )
        # What was within its limit once is not too slow.
        best = {what: min(one[what][1] for one in tries) for what in guard.references if tries[-1]}
        holds = all(best[what] <= FACTOR * guard.references[what] for what in best)
    if not tries[-1]:
        say("a small fit is not compared: scikit-learn is not installed")
    return {"references": guard.references, "tries": tries, "holds": holds}


def _few(task: Task, settings: Settings, things: Sequence[Any]) -> tuple[Task, Settings]:
    return turns(task, replace(settings, repeats=min(settings.repeats, ROUNDS)), len(things))


def _apart(names: dict[str, float], ours: Measured, others: Measured) -> Ratios:
    """The ratios of what was measured in turn, by name."""
    count = len(names)
    both = zip(apart(_seconds(ours), count), apart(_seconds(others), count), strict=True)
    return {name: ratios(*pair) for name, pair in zip(names, both, strict=True)}


def _seconds(measured: Measured) -> list[float]:
    if measured.failure:
        raise RuntimeError(f"{measured.peer.name} cannot be measured: {measured.failure}")
    return measured.seconds
