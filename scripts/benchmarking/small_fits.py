"""Whole trainings on small tables: xpnet's `MLPClassifier` beside scikit-learn's."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarking.cases import TABLES, Case, Task
from benchmarking.peers import Peer
from benchmarking.report import not_measured, ratio_text, table_row, time_text
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.summary import quartiles, ratios
from benchmarking.turns import apart, turns

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"early_stopping": True},
    {"solver": "sgd"},
    {"solver": "sgd", "early_stopping": True},
)
"""The options that are not as they are by default."""

_FUNCTION = "benchmarking.peers.small_fits:run"


def fit_peers(kinds: Sequence[dict[str, Any]]) -> list[Peer]:
    """Both libraries."""
    return [
        Peer(
            name,
            label,
            _FUNCTION,
            options=(("module", module), ("kinds", tuple(kinds))),
            distributions=("scikit-learn",),
        )
        for name, label, module in (
            ("xpnet-sklearn", "xpnet, MLPClassifier", "xpnet.sklearn"),
            ("sklearn", "scikit-learn", "sklearn.neural_network"),
        )
    ]


def measure_small_fits(
    settings: Settings,
    say: Say,
    tables: Sequence[str] = TABLES,
    kinds: Sequence[dict[str, Any]] = KINDS,
) -> list[dict[str, Any]]:
    """A row for each table and kind of options; one with the reason where a library fails."""
    rows = []
    for table in tables:
        task, all_turns = turns(Task(Case((100,), 200), table), settings, len(kinds))

        def tell(text: str, table: str = table) -> None:
            say(f"{table}: {text}")

        found = measure(fit_peers(kinds), task, all_turns, tell)
        failure = next((one.failure for one in found if one.failure), "")
        for number, options in enumerate(kinds):
            row = {"table": table.removeprefix("table_of_"), "options": options}
            row |= {"failure": failure}
            rows.append(row if failure else row | _figures(number, len(kinds), *found))
    return rows


def _figures(number: int, count: int, ours: Measured, theirs: Measured) -> dict[str, Any]:
    """What was found of one kind: times in all and an epoch, and the ratios of both."""
    figures: dict[str, Any] = {"samples": ours.result["train_samples"]}
    seconds, epoch_seconds = {}, {}
    for name, one in (("xpnet", ours), ("sklearn", theirs)):
        fits = one.result["fits"][number]
        seconds[name] = apart(one.seconds, count)[number]
        epoch_seconds[name] = [
            s / epochs for s, epochs in zip(seconds[name], fits["epochs"], strict=True)
        ]
        figures[name] = {
            "rounds": seconds[name],
            "seconds": quartiles(seconds[name]),
            "epoch_seconds": quartiles(epoch_seconds[name]),
            "epochs": statistics.median(fits["epochs"]),
            "score": statistics.fmean(fits["scores"]),
            "first": fits["first"],
        }
    figures["ratio"] = ratios(seconds["sklearn"], seconds["xpnet"])
    figures["epoch_ratio"] = ratios(epoch_seconds["sklearn"], epoch_seconds["xpnet"])
    return figures


def kind_text(options: dict[str, Any]) -> str:
    """The options as they are called in tables."""
    stopping = ", early stopping" if options.get("early_stopping") else ""
    return f"{options.get('solver', 'adam')}{stopping}"


def small_fit_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as Markdown: in all and an epoch, and the epochs and scores behind them."""
    heads = ["table", "", "xpnet: in all", "scikit-learn", "times as fast"]
    heads += ["xpnet: an epoch", "scikit-learn", "times as fast", "epochs", "accuracies"]
    lines = [
        "A fit as it is by default but for what is named, on three quarters of the table; another "
        "seed in each round. Medians (quartiles); ratios are of the same round; accuracies are "
        "means over the seeds, on the last quarter.",
        "",
        table_row(heads),
        "|---|---|" + "---:|" * (len(heads) - 2),
    ]
    for row in rows:
        cells = [row["table"].replace("_", " "), kind_text(row["options"])]
        if row["failure"]:
            cells += [not_measured({"reason": row["failure"]})] + [""] * (len(heads) - 3)
            lines.append(table_row(cells))
            continue
        ours, theirs = row["xpnet"], row["sklearn"]
        for key, ratio in (("seconds", "ratio"), ("epoch_seconds", "epoch_ratio")):
            cells += [time_text(ours[key]), time_text(theirs[key]), ratio_text(row[ratio])]
        cells.append(f"{ours['epochs']:g} and {theirs['epochs']:g}")
        cells.append(f"{100 * ours['score']:.1f} % and {100 * theirs['score']:.1f} %")
        lines.append(table_row(cells))
    return lines
