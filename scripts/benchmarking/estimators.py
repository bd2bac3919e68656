"""xpnet's `MLPClassifier` beside scikit-learn's: an epoch of `partial_fit` in float32."""

from collections.abc import Sequence
from typing import Any

from benchmarking.cases import Case, Task
from benchmarking.peers import PEERS, Peer
from benchmarking.runner import Say, Settings, measure
from benchmarking.summary import quartiles, ratios

CASES = (Case((100,), 64), Case((100,), 200))
"""What is measured where no case is asked for."""

SOLVERS = ("adam", "sgd")


def estimator_peers() -> list[Peer]:
    """Both libraries with plain SGD, and by each solver with the default parameters."""
    plain = [PEERS["xpnet-sklearn"], PEERS["sklearn"]]
    return plain + [
        Peer(
            f"{peer.name}-{solver}",
            f"{peer.label}, {solver}",
            peer.function,
            options=(*peer.options, ("solver", solver)),
        )
        for solver in SOLVERS
        for peer in plain
    ]


def measure_estimators(
    cases: Sequence[Case], task: Task, settings: Settings, say: Say
) -> list[dict[str, Any]]:
    """A row for each case and solver: seconds of an epoch, and how many times as fast xpnet is."""
    rows = []
    for case in cases:
        peers = estimator_peers()
        found = {one.peer.name: one for one in measure(peers, task.on(case), settings, say)}
        for solver in ("plain", *SOLVERS):
            end = "" if solver == "plain" else f"-{solver}"
            ours, theirs = found[f"xpnet-sklearn{end}"], found[f"sklearn{end}"]
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
