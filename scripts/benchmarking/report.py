"""The report: JSON, Markdown that can be pasted into a page, and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarking.dropout import dropout_lines
from benchmarking.machine import machine_lines
from benchmarking.summary import ratios

SHORT = {
    "xpnet-numpy": "xpnet NumPy",
    "xpnet-cupy": "xpnet CuPy",
    "xpnet-torch": "xpnet PyTorch",
    "xpnet-jax": "xpnet JAX",
}

DIRECT = ("torch", "jax-step", "jax-epoch")
"""The peers that xpnet's ratios to are shown with their quartiles."""


def case_title(case: dict[str, Any]) -> str:
    """The network and the batch size, such as 784-128-10, batch 64, or lenet5, batch 64."""
    network = case.get("network") or "-".join(map(str, case["sizes"] or ()))
    return f"{network}, batch {case['batch_size']}" if network else str(case["case"])


def case_lines(case: dict[str, Any]) -> list[str]:
    """One case as Markdown: a table, fastest first, and whether the accuracies agree."""
    ours = [name for name in SHORT if any(name in p["over_xpnet"] for p in case["peers"])]
    heads = ["", "seconds an epoch", "over the floor", *(f"over {SHORT[name]}" for name in ours)]
    heads.append("test accuracy")
    found = [f"### {case_title(case)}", ""]
    found += [table_row(heads), "|---|" + "---:|" * (len(heads) - 1)]
    for peer in sorted(case["peers"], key=lambda p: p["seconds"][1]):
        over = [f"{peer['over_xpnet'][name][1]:.2f}" for name in ours]
        accuracy = "" if peer["accuracy"] is None else f"{100 * peer['accuracy']:.2f} %"
        label = f"**{peer['label']}**" if peer["name"].startswith("xpnet-") else peer["label"]
        found.append(
            table_row(
                [label, _seconds(peer["seconds"]), ratio_text(peer["over_floor"]), *over, accuracy]
            )
        )
    for peer in case["skipped"]:
        found.append(table_row([peer["label"], not_measured(peer), *[""] * (len(heads) - 2)]))
    found += _over_others(case["peers"])
    verdict = "as allowed" if case["agree"] else "TOO FAR"
    found += [
        "",
        f"Test accuracies are {case['points_apart']:.2f} points apart, {verdict}: "
        f"{case['points_allowed']:.2f} are allowed.",
    ]
    return found


def _over_others(peers: Sequence[dict[str, Any]]) -> list[str]:
    """What xpnet takes over the libraries beneath it, each used directly, with quartiles."""
    ours = [peer for peer in peers if peer["name"].startswith("xpnet-")]
    others = [peer for peer in peers if peer["name"] in DIRECT]
    if not ours or not others:
        return []
    heads = ["time of an epoch", *(f"over {peer['label']}" for peer in others)]
    found = ["", table_row(heads), "|---|" + "---:|" * len(others)]
    for peer in ours:
        over = (ratio_text(ratios(peer["rounds"], other["rounds"])) for other in others)
        found.append(table_row([f"**{peer['label']}**", *over]))
    return found


def evaluation_lines(cases: Sequence[dict[str, Any]]) -> list[str]:
    """What the evaluation after each epoch takes, as a share of the training's time."""
    rows = [
        table_row([case_title(case), peer["label"], *_percentages(peer["eval_share"])])
        for case in cases
        for peer in case["peers"]
        if peer["eval_share"] is not None
    ]
    if not rows:
        return []
    heads = ["network", "", "evaluation over training", "quartiles"]
    return [
        "## Evaluation after each epoch",
        "",
        table_row(heads),
        "|---|---|---:|---:|",
        *rows,
        "",
    ]


def to_markdown(report: dict[str, Any]) -> str:
    """The whole report as a page."""
    found = ["# Benchmark", "", *machine_lines(report["machine"]), ""]
    cases = report.get("cases") or []
    if cases:
        settings = report["settings"]
        found += [
            "## Training",
            "",
            f"{settings['dataset']}, {cases[0]['train_samples'] or 0:,} samples, float32"
            f"{' products in TF32' if settings['tf32'] else ''}, plain SGD, learning rate "
            f"{settings['learning_rate']:g}, on {settings['device']}; {settings['repeats']} epochs "
            f"of each in turn after {settings['warm_up']} to warm up. Times and ratios are medians "
            f"(quartiles); ratios are of the same round.",
            "",
        ]
        for case in cases:
            found += [*case_lines(case), ""]
        found += evaluation_lines(cases)
    if report.get("dropout") is not None:
        found += ["## Dropout", "", *dropout_lines(report["dropout"]), ""]
    return "\n".join(found)


def write_report(folder: Path, name: str, report: dict[str, Any], page: str) -> None:
    """Write `name.json` and `name.md` into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(page, encoding="utf-8")


def not_measured(skipped: dict[str, Any]) -> str:
    """That a peer was not measured, and why."""
    return f"not measured: {' '.join(skipped['reason'].replace('|', '/').split())}"


def time_text(quartiles: Sequence[float]) -> str:
    """Median and quartiles of short times, in a unit that suits the median."""
    low, median, high = quartiles
    unit, scale = _unit(median)
    return f"{_digits(median * scale)} {unit} ({_digits(low * scale)} to {_digits(high * scale)})"


def _unit(seconds: float) -> tuple[str, float]:
    return ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)


def _digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:,.0f}"


def table_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def _seconds(quartiles: Sequence[float]) -> str:
    low, median, high = quartiles
    digits = 4 if median < 0.1 else 3 if median < 1 else 2
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio_text(quartiles: Sequence[float] | None) -> str:
    """Median and quartiles of a ratio; nothing where there is none."""
    if quartiles is None:
        return ""
    low, median, high = quartiles
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _percentages(quartiles: Sequence[float]) -> list[str]:
    low, median, high = (100 * value for value in quartiles)
    return [f"{median:.1f} %", f"{low:.1f} to {high:.1f} %"]
