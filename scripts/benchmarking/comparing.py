"""Training with each library: all cases as one report, and what is shown of it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarking.cases import LEARNING_RATE, Case, Task
from benchmarking.dropout import measure_dropout
from benchmarking.machine import describe_machine
from benchmarking.peers import Peer
from benchmarking.report import to_markdown, write_report
from benchmarking.runner import Settings, measure
from benchmarking.showing import progress, save_picture
from benchmarking.summary import summarise
from xpnet.backends import open_backend

DROPOUT_ROUNDS = 40


def run_peers(
    cases: Sequence[Case],
    peers: Sequence[Peer],
    task: Task,
    settings: Settings,
    tolerance: float | None,
    *,
    dropout: str | None,
) -> dict[str, Any]:
    """All cases, and the cost of dropout on a backend, as one report of JSON values."""
    report: dict[str, Any] = {
        "machine": describe_machine(
            settings.threads, gpu=task.device == "cuda", neighbour=settings.neighbour
        ),
        "settings": {
            **asdict(settings),
            "dataset": task.dataset,
            "limit": task.limit,
            "device": task.device,
            "tf32": task.tf32,
            "learning_rate": LEARNING_RATE,
        },
        "cases": [],
        "dropout": None,
    }
    for case in cases:

        def say(text: str, case: Case = case) -> None:
            progress(f"{case}: {text}")

        found = measure(peers, task.on(case), settings, say)
        report["cases"].append(summarise(case, found, tolerance))
    if dropout is not None:
        progress("dropout")
        report["dropout"] = measure_dropout(open_backend(dropout), DROPOUT_ROUNDS)
    progress("")
    return report


def show_peers(report: dict[str, Any], out: Path | None) -> bool:
    """Print the report and write its files; whether all of it holds."""
    page = to_markdown(report)
    click.echo(page)
    if out is not None:
        write_report(out, "benchmark", report, page)
        if any(_can_be_drawn(case) for case in report["cases"]):
            from benchmarking.chart import plot_benchmark

            save_picture(plot_benchmark(report["cases"]), out / "benchmark.png")
    agree = all(case["agree"] for case in report["cases"])
    return agree and (report["dropout"] is None or report["dropout"]["holds"])


def _can_be_drawn(case: dict[str, Any]) -> bool:
    return sum(peer["over_floor"] is not None for peer in case["peers"]) > 1
