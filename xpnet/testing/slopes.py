"""Slopes by a backward pass against slopes by differences."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xpnet.random import Seed, stream
from xpnet.testing.report import Check
from xpnet.typing import HostArray

_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
_EPSILON = float(np.finfo(np.float64).eps)


def check_slopes(
    points: Mapping[str, HostArray],
    gradients: Mapping[str, Any],
    value: Callable[[str, HostArray], HostArray],
    directions: int,
    tolerance: float,
    seed: Seed,
) -> Iterator[Check]:
    """The names and shapes of gradients, and the slopes of those that are as they should be.

    `value(name, moved)` is an array, whose sum is the function, with one of the points moved.
    """
    for name in sorted(set(gradients) - set(points)):
        yield Check(name, False, detail="a gradient of what is no parameter")
    for name, point in points.items():
        gradient = gradients.get(name)
        if gradient is None:
            yield Check(name, False, detail="there is no such gradient")
            continue
        gradient = np.asarray(gradient)
        if (gradient.shape, gradient.dtype) != (point.shape, point.dtype):
            detail = (
                f"has shape {gradient.shape} and dtype {gradient.dtype}, "
                f"should be {point.shape} and {point.dtype}"
            )
            yield Check(name, False, detail=detail)
            continue
        for i in range(directions):
            direction = stream(seed, name, i).normal(size=point.shape)
            yield _slope(name, point, gradient, direction, value, tolerance)


def _slope(
    name: str,
    point: HostArray,
    gradient: HostArray,
    direction: HostArray,
    value: Callable[[str, HostArray], HostArray],
    tolerance: float,
) -> Check:
    here = value(name, point)
    size = float(np.sum(np.abs(here)))

    def moved(step: float) -> float:
        # The difference of each element first: a sum would lose what it is small against.
        return float(np.sum(value(name, point + step * direction) - here))

    best = (math.inf, math.nan, 0.0, 0.0)
    for step in _STEPS:
        up, down = moved(step), moved(-step)
        half_up, half_down = moved(step / 2), moved(-step / 2)
        whole, half = (up - down) / (2 * step), (half_up - half_down) / step
        noise = 8 * _EPSILON * size / step
        # How much the slope changes from the left to the right, for the step and for half of it.
        bends = (up + down) / step, 2 * (half_up + half_down) / step
        best = min(best, (abs(half - whole) + noise, (4 * half - whole) / 3, *bends))
    uncertainty, numeric, bend, half_bend = best
    analytic = float(np.sum(gradient * direction))
    larger = max(abs(analytic), abs(numeric))
    error = abs(analytic - numeric) / max(larger, uncertainty / tolerance, 1e-300)
    ok = error <= tolerance
    detail = ""
    if not uncertainty <= max(1e-3 * larger, tolerance * size):
        ok, detail = False, "differences find no slope: give another point"
    elif not ok and abs(bend) > 1e-3 * larger and abs(half_bend) > 0.75 * abs(bend):
        # A change of slope that a smaller step does not lessen.
        detail = "on a kink, where there are two slopes: give another point"
    return Check(name, ok, analytic, numeric, error, detail)
