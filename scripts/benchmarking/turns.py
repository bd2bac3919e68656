"""Several short measurements in one process, which take turns with those of other processes.

A process that does more than one thing reports them in the same order in each round: what it
answers is sorted apart again by `apart`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import repeat

from benchmarking.cases import Job, Task
from benchmarking.peers import Tick
from benchmarking.runner import Settings

Call = Callable[[], object]

WARM_UP = 0.25
"""Seconds of calls before anything is measured, twice: what compiles beside has then ended."""

ROUND = 0.05
"""Seconds that a measurement of calls takes, if one of them takes less."""

FEWEST = 3
"""Calls of a measurement that has them at the least."""


def turns(task: Task, settings: Settings, count: int) -> tuple[Task, Settings]:
    """Task and settings of so many things in one process: one to warm up, then all in turn."""
    answers = settings.repeats * count
    return replace(task, epochs=1 + answers), replace(settings, repeats=answers)


def apart(seconds: Sequence[float], count: int) -> list[list[float]]:
    """The seconds of each of so many things, from those that were reported in turn."""
    return [list(seconds[first::count]) for first in range(count)]


def take_turns(job: Job, tick: Tick, measures: Sequence[Callable[[], float]]) -> None:
    """Report that all are warm, and then what each measures, in turn, as often as is asked for."""
    tick(0.0)
    for number in range(job.epochs - 1):
        tick(measures[number % len(measures)]())


def warmed(calls: Sequence[Call]) -> list[Callable[[], float]]:
    """Measurements of calls that are warm: each gives the mean seconds of one of many calls."""
    for call in calls:
        _calls_in(WARM_UP, call)
    measures = []
    for call in calls:
        found = _calls_in(WARM_UP, call)
        measures.append(_measure(call, max(FEWEST, round(found * ROUND / WARM_UP))))
    return measures


def _calls_in(seconds: float, call: Call) -> int:
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        call()
        count += 1
    return count


def _measure(call: Call, count: int) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        for _ in repeat(None, count):
            call()
        return (time.perf_counter() - started) / count

    return measure
