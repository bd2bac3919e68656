"""How time and memory grow with samples, width, depth and batch size, on synthetic data."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarking.cases import Case, Task
from benchmarking.machine import machine_lines
from benchmarking.peers import PEERS
from benchmarking.runner import Say, Settings, measure
from benchmarking.summary import quartiles


@dataclass(frozen=True)
class Point:
    """One measurement: the value that is varied, the network, the number of samples."""

    value: int
    case: Case
    samples: int


@dataclass(frozen=True)
class Series:
    """Measurements that differ in one thing."""

    name: str
    label: str
    fixed: str
    points: tuple[Point, ...]


def default_series(scale: int = 1) -> list[Series]:
    """Samples, width, depth and batch size; all numbers of samples divided by `scale`."""
    few, some = 15_000 // scale, 6_000 // scale
    samples = [(7_500 << i) // scale for i in range(6)]
    widths = [32 << i for i in range(7)]
    depths = [1, 2, 4, 8, 16]
    batches = [8 << i for i in range(9)]
    return [
        Series(
            "samples",
            "samples",
            "784-128-10, batch 64",
            tuple(Point(n, Case((128,), 64), n) for n in samples),
        ),
        Series(
            "width",
            "width of the hidden layer",
            f"784-w-10, batch 128, {few:,} samples",
            tuple(Point(w, Case((w,), 128), few) for w in widths),
        ),
        Series(
            "depth",
            "hidden layers of 512",
            f"batch 128, {some:,} samples",
            tuple(Point(d, Case((512,) * d, 128), some) for d in depths),
        ),
        Series(
            "batch_size",
            "batch size",
            f"784-128-10, {few:,} samples",
            tuple(Point(b, Case((128,), b), few) for b in batches),
        ),
    ]


def flops_per_epoch(sizes: Sequence[int], samples: int) -> int:
    """Operations of the matrix products: 6 a weight and sample, 4 in the lowest layer."""
    weights = [n_in * n_out for n_in, n_out in itertools.pairwise(sizes)]
    return samples * (6 * sum(weights) - 2 * weights[0])


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of a straight line through log y against log x: 1 is linear, 0 constant."""
    if len(x) < 2 or min(*x, *y) <= 0:
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def measure_scaling(
    series: Sequence[Series], backend: str, settings: Settings, say: Say = lambda text: None
) -> list[dict[str, Any]]:
    """Every point in a process of its own, since memory is measured by its peak.

    Raises
    ------
    RuntimeError
        If a point cannot be measured.
    """
    return [_measure_series(one, backend, settings, say) for one in series]


def _measure_series(one: Series, backend: str, settings: Settings, say: Say) -> dict[str, Any]:
    points = []
    for point in one.points:
        say(f"{one.label}: {point.value:,}")
        points.append(_measure_point(point, backend, settings))
    values = [point.value for point in one.points]
    seconds = [point["seconds"][1] for point in points]
    flops = [point["flops"] for point in points]
    memory = [point["memory_peak"] for point in points]
    growth = [point["memory_peak"] - point["memory_before"] for point in points]
    return {
        "name": one.name,
        "label": one.label,
        "fixed": one.fixed,
        "values": values,
        "points": points,
        "time_exponent": exponent(values, seconds),
        "time_exponent_last": exponent(values[-2:], seconds[-2:]),
        "flops_exponent": exponent(flops, seconds) if len(set(flops)) > 1 else None,
        "flops_exponent_last": exponent(flops[-2:], seconds[-2:]) if len(set(flops)) > 1 else None,
        "memory_exponent": exponent(values, memory),
        "memory_growth_exponent": exponent(values, growth),
        "memory_slope": (memory[-1] - memory[0]) / (values[-1] - values[0]),
    }


def _measure_point(point: Point, backend: str, settings: Settings) -> dict[str, Any]:
    task = Task(point.case, "synthetic", limit=point.samples, epochs=1 + settings.repeats)
    (found,) = measure([PEERS[f"xpnet-{backend}"]], task, settings)
    if found.failure:
        raise RuntimeError(f"xpnet on {backend} cannot be measured: {found.failure}")
    return {
        "value": point.value,
        "case": str(point.case),
        "samples": point.samples,
        "seconds": quartiles(found.seconds),
        "flops": flops_per_epoch(found.result["sizes"], point.samples),
        "memory_before": found.result["memory_before"],
        "memory_peak": found.result["memory_peak"],
    }


def scaling_markdown(report: dict[str, Any]) -> str:
    """The report as a page."""
    found = ["# Scaling", "", *machine_lines(report["machine"]), ""]
    found += [
        f"xpnet on {report['backend']}, synthetic pictures of 28 x 28, float32; medians of "
        f"{report['settings']['repeats']} epochs after one to warm up, each row in a process of "
        f"its own. An exponent is the slope of a straight line through the logarithms: 1 is "
        f"linear, 0 constant. Memory is the most that the process held, and what it had before "
        f"it loaded data is taken off for the exponent of its growth.",
        "",
    ]
    for one in report["series"]:
        found += [*_series_lines(one), ""]
    return "\n".join(found)


def _series_lines(one: dict[str, Any]) -> list[str]:
    found = [
        f"## {one['label'].capitalize()}",
        "",
        f"{one['fixed']}.",
        "",
        f"| {one['label']} | seconds an epoch | GFLOP/s | peak memory (MB) | of it data and work |",
        "|---:|---:|---:|---:|---:|",
    ]
    for point in one["points"]:
        low, median, high = point["seconds"]
        growth = (point["memory_peak"] - point["memory_before"]) / 1e6
        found.append(
            f"| {point['value']:,} | {median:.4f} ({low:.4f} to {high:.4f}) "
            f"| {point['flops'] / median / 1e9:.1f} | {point['memory_peak'] / 1e6:.0f} "
            f"| {growth:.0f} |"
        )
    text = (
        f"Exponent of time {one['time_exponent']:.2f} ({one['time_exponent_last']:.2f} over the "
        f"last two rows)"
    )
    if one["flops_exponent"] is not None:
        text += (
            f", against operations {one['flops_exponent']:.2f} ({one['flops_exponent_last']:.2f})"
        )
    text += (
        f"; of memory {one['memory_exponent']:.2f}, of its growth "
        f"{one['memory_growth_exponent']:.2f}: {one['memory_slope']:,.0f} bytes for each one more."
    )
    return [*found, "", text]
