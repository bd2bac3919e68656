"""The history file: one row for each version and machine, with the figures that matter."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarking.networks import NETWORKS
from benchmarking.report import case_title
from benchmarking.small_fits import kind_text
from benchmarking.summary import quartiles, ratios

REPORTS = ("benchmark", "predict", "small-fits", "estimators")
"""The reports that have figures for it, as `--out` names them."""

KEY = ("version", "commit_date", "processor", "kernels", "cores", "gpu", "threads", "neighbour")
"""What tells rows apart."""

Figures = dict[str, dict[str, Any]]
"""By name `seconds`, quartiles of xpnet's; `over`, those of its ratio to each of the others; and
`evaluation`, those of what the evaluation after an epoch takes over the epoch's training."""


def record(folder: Path, history: Path) -> list[dict[str, Any]]:
    """Put the figures of the reports in a folder into the history; the rows that it then has.

    A row of the same version and machine keeps what is not measured again.

    Raises
    ------
    RuntimeError
        If there is no report in the folder, or the history is not one.
    """
    paths = [path for name in REPORTS if (path := folder / f"{name}.json").is_file()]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    found = [report for report in found if figures_of(report)]
    if not found:
        raise RuntimeError(
            f"{folder} has no report with figures for the history: run compare, predict, "
            f"small-fits or estimators with --out {folder} first"
        )
    rows = read_history(history)
    for report in found:
        new = _row_of(report)
        old = next((row for row in rows if _key(row) == _key(new)), None)
        if old is None:
            rows.append(new)
        else:
            old.update(new | {"figures": old["figures"] | new["figures"]})
    rows.sort(key=lambda row: (row["commit_date"], row["version"], row["processor"]))
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text(_text({"rows": rows}), encoding="utf-8")
    return rows


def read_history(history: Path) -> list[dict[str, Any]]:
    """The rows of the file; none where there is no file yet.

    Raises
    ------
    RuntimeError
        If it is something else.
    """
    if not history.exists():
        return []
    try:
        rows = json.loads(history.read_text(encoding="utf-8"))["rows"]
        if all({*KEY, "figures"} <= row.keys() for row in rows):
            return list(rows)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise RuntimeError(f"{history} is not a history of benchmarks: mend it, or take it away")


def figures_of(report: Mapping[str, Any]) -> Figures:
    """The figures of a report of one of those commands."""
    found: Figures = {}
    limit = report.get("settings", {}).get("limit")
    few = f", {limit:,} samples" if limit else ""
    for case in report.get("cases", ()):
        found |= _of_peers(f"training {case_title(case)}{few}", case["peers"])
    network = f"{name} " if (name := report.get("network")) in NETWORKS else ""
    for one in report.get("answers", ()):
        found |= _of_peers(f"predict {network}{_rows_text(one)}, {one['dtype']}", one["peers"])
    for one in report.get("table") or ():
        found |= _of_peers(f"predict of the estimator, {_rows_text(one)}", one["peers"])
    for row in report.get("fits", ()):
        if not row["failure"]:
            name = f"fit {row['table'].replace('_', ' ')}, {kind_text(row['options'])}"
            ours = row["xpnet"]
            found[name] = _of_fit(ours["seconds"], row["ratio"])
            found[f"{name}, an epoch"] = _of_fit(ours["epoch_seconds"], row["epoch_ratio"])
    for row in report.get("rows", ()):
        if not row["failure"]:
            name = f"estimator {row['case']}, {row['solver']}"
            found[name] = _of_fit(row["seconds"], row["ratio"])
    return found


def _of_peers(name: str, peers: list[dict[str, Any]]) -> Figures:
    """xpnet's, over each of the others: on the GPU with CuPy, and an estimator if there is none."""
    rounds = {peer["name"]: peer["rounds"] for peer in peers}
    for ours in ("xpnet-numpy", "xpnet-cupy", "xpnet-sklearn"):
        if ours in rounds:
            others = {n: r for n, r in rounds.items() if not n.startswith("xpnet-")}
            over = {n: ratios(rounds[ours], r) for n, r in others.items()}
            figures: dict[str, Any] = {"seconds": quartiles(rounds[ours]), "over": over}
            share = next(peer.get("eval_share") for peer in peers if peer["name"] == ours)
            return {name: figures | ({"evaluation": share} if share else {})}
    return {}


def _of_fit(seconds: list[float], times_as_fast: list[float]) -> dict[str, Any]:
    """Of an estimator, of which is said how many times as fast it is."""
    return {"seconds": seconds, "over": {"sklearn": [1 / t for t in reversed(times_as_fast)]}}


def _rows_text(one: Mapping[str, Any]) -> str:
    return f"{one['rows']:,} row{'' if one['rows'] == 1 else 's'}"


def _row_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history."""
    machine = report["machine"]
    commit = machine.get("commit") or {}
    return {
        "version": machine["versions"].get("xpnet", "not installed"),
        "commit": commit.get("name"),
        "commit_date": commit.get("date") or machine["date"][:10],
        "measured": machine["date"][:10],
        "processor": machine["cpu"],
        "kernels": kernels(machine),
        "cores": machine["cores"],
        "gpu": machine.get("gpu"),
        "threads": machine["threads"],
        "neighbour": report["settings"].get("neighbour"),
        "python": machine["python"],
        "numpy": machine["versions"].get("numpy"),
        "figures": _rounded(figures_of(report)),
    }


def kernels(machine: Mapping[str, Any]) -> str | None:
    """What the BLAS takes the processor for: a virtual machine may not name it."""
    return next(
        (pool["architecture"] for pool in machine["blas"] if pool.get("architecture")), None
    )


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(json.dumps(row[name], sort_keys=True) for name in KEY)


def _rounded(value: Any) -> Any:
    """Numbers of four digits: more are noise, and lines of a file that is compared."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}")


def _text(history: dict[str, Any]) -> str:
    """As JSON with the quartiles of a figure on one line."""
    text = json.dumps(history, indent=2, ensure_ascii=False)
    return re.sub(r"\[\s+([-\d.,e\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text) + "\n"
