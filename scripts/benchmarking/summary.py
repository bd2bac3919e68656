"""From times to figures: medians, quartiles, ratios of the same round, and whether all agree."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarking.cases import Case
from benchmarking.runner import Measured


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median and upper quartile."""
    if len(values) == 1:
        return [values[0]] * 3
    return statistics.quantiles(values, method="inclusive")


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Quartiles of the ratios of each round: the speed of the machine drifts between rounds."""
    return quartiles([a / b for a, b in zip(values, others, strict=True)])


def summarise(
    case: Case, found: Sequence[Measured], tolerance: float | None = None
) -> dict[str, Any]:
    """One case as JSON values.

    Parameters
    ----------
    case
        The network and the batch size.
    found
        What the peers showed.
    tolerance
        How many points of accuracy they may be apart. If None that of the case on 10,000 test
        samples, and more on fewer, as the deviation of a mean; and that of a network that has been
        trained on 60,000, and more of one that has seen fewer.
    """
    usable = [one for one in found if not one.failure]
    floor = next((one for one in usable if one.peer.name == "floor"), None)
    ours = [one for one in usable if one.peer.name.startswith("xpnet-")]
    result = usable[0].result if usable else {}
    accuracies = [a for one in usable if (a := one.result["accuracy"]) is not None]
    apart = 100 * (max(accuracies) - min(accuracies)) if accuracies else 0.0
    if tolerance is None:
        tolerance = case.tolerance
        for name, usual in (("test_samples", 10_000), ("train_samples", 60_000)):
            tolerance *= max(1.0, math.sqrt(usual / result.get(name, usual)))
    return {
        "case": str(case),
        "network": case.network,
        "sizes": result.get("sizes"),
        "batch_size": case.batch_size,
        "train_samples": result.get("train_samples"),
        "test_samples": result.get("test_samples"),
        "peers": [_summarise_peer(one, floor, ours) for one in usable],
        "skipped": [
            {"name": one.peer.name, "label": one.peer.label, "reason": one.failure}
            for one in found
            if one.failure
        ],
        "points_apart": apart,
        "points_allowed": tolerance,
        "agree": apart <= tolerance,
    }


def _summarise_peer(
    one: Measured, floor: Measured | None, ours: Sequence[Measured]
) -> dict[str, Any]:
    shares = [e / t for e, t in zip(one.eval_seconds, one.seconds, strict=False)]
    return {
        "name": one.peer.name,
        "label": one.peer.label,
        "rounds": one.seconds,
        "seconds": quartiles(one.seconds),
        "over_floor": None if floor is None else ratios(one.seconds, floor.seconds),
        "over_xpnet": {our.peer.name: ratios(one.seconds, our.seconds) for our in ours},
        "eval_share": quartiles(shares) if shares else None,
        "accuracy": one.result["accuracy"],
        "memory_before": one.result["memory_before"],
        "memory_peak": one.result["memory_peak"],
        "versions": one.result["versions"],
        "pools": one.result["pools"],
    }
