"""What the commands do: measure, print what was found, and write it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarking.cases import Case, Task
from benchmarking.estimators import (
    estimator_lines,
    measure_estimators,
    measure_estimators_on_gpu,
)
from benchmarking.history import record
from benchmarking.machine import describe_machine
from benchmarking.optimizers import CASE, measure_optimizers, optimizer_lines
from benchmarking.predict import Asked, measure_predictions, predict_lines
from benchmarking.quick import check_speed
from benchmarking.rank_report import rank_lines
from benchmarking.ranks import measure_ranks
from benchmarking.report import write_report
from benchmarking.runner import Settings
from benchmarking.scaling import default_series, measure_scaling, scaling_markdown
from benchmarking.showing import progress, save_picture, show_lines
from benchmarking.small_fits import measure_small_fits, small_fit_lines


def run_scaling(backend: str, scale: int, settings: Settings, out: Path | None) -> None:
    """Time and memory against size: print, and write."""
    report: dict[str, Any] = {
        "machine": describe_machine(settings.threads),
        "settings": asdict(settings),
        "backend": backend,
        "series": measure_scaling(default_series(scale), backend, settings, progress),
    }
    progress("")
    page = scaling_markdown(report)
    click.echo(page)
    if out is not None:
        from benchmarking.chart import plot_scaling

        write_report(out, "scaling", report, page)
        save_picture(plot_scaling(report["series"]), out / "scaling.png")


def run_optimizers(task: Task, settings: Settings, out: Path | None) -> bool:
    """What each optimizer costs: print, and write; whether Adam keeps to its limit."""
    report = {
        "machine": describe_machine(settings.threads),
        "settings": asdict(settings),
        **measure_optimizers(task.on(CASE), settings, progress),
    }
    progress("")
    show_lines("optimizers", report, optimizer_lines(report), out)
    return bool(report["holds"])


def run_estimators(
    cases: tuple[Case, ...] | list[Case], task: Task, settings: Settings, out: Path | None
) -> bool:
    """The estimators beside scikit-learn's: print, and write; whether none failed."""
    gpu = task.device == "cuda"
    rows = (measure_estimators_on_gpu if gpu else measure_estimators)(
        cases, task, settings, progress
    )
    report: dict[str, Any] = {
        "machine": describe_machine(settings.threads, gpu=gpu),
        "settings": asdict(settings),
        "rows": rows,
    }
    progress("")
    show_lines("estimators", report, estimator_lines(report["rows"]), out)
    return not any(row["failure"] for row in report["rows"])


def run_predict(
    chosen: Sequence[Asked], rows: Sequence[int], task: Task, settings: Settings, out: Path | None
) -> bool:
    """What predictions take: print, and write; whether all answers are the same."""
    gpu = task.device == "cuda"
    report = {
        "machine": describe_machine(settings.threads, gpu=gpu, neighbour=settings.neighbour),
        "settings": asdict(settings),
        **measure_predictions(chosen, rows, task, settings, progress),
    }
    progress("")
    show_lines("predict", report, predict_lines(report), out)
    return bool(report["holds"])


def run_small_fits(settings: Settings, out: Path | None, **sizes: Any) -> bool:
    """Whole fits of small tables: print, and write; whether none failed."""
    report: dict[str, Any] = {
        "machine": describe_machine(settings.threads),
        "settings": asdict(settings),
        "fits": measure_small_fits(settings, progress, **sizes),
    }
    progress("")
    show_lines("small-fits", report, small_fit_lines(report["fits"]), out)
    return not any(row["failure"] for row in report["fits"])


def run_ranks(settings: Settings, out: Path | None, **sizes: Any) -> bool:
    """One and two ranks beside one process: print, and write; whether one rank costs little."""
    report = {
        "machine": describe_machine(None),
        "settings": asdict(settings),
        **measure_ranks(settings, progress, **sizes),
    }
    progress("")
    show_lines("ranks", report, rank_lines(report), out)
    if out is not None:
        from benchmarking.rank_chart import plot_ranks

        save_picture(plot_ranks(report), out / "ranks.png")
    return bool(report["holds"])


def run_quick(
    reference: float, guards: tuple[str, ...], settings: Settings, out: Path | None
) -> bool:
    """The small benchmarks: print, and write; whether all hold."""
    result = check_speed(reference, settings, click.echo, guards)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quick.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return bool(result["holds"])


def run_record(folder: Path, history: Path, picture: Path) -> None:
    """The history with the reports of a folder: write it, and its picture."""
    from benchmarking.history_chart import plot_history

    rows = record(folder, history)
    click.echo(f"wrote {history}")
    save_picture(plot_history(rows), picture)
