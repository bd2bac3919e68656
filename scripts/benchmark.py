"""Measure xpnet against other libraries, side by side in one run.

    python scripts/benchmark.py                     # prints tables, writes nothing
    python scripts/benchmark.py --out runs/benchmark
    python scripts/benchmark.py --case 128@64 --peers xpnet-numpy,torch,jax-epoch --threads 2
    python scripts/benchmark.py --gpu --tf32        # the same on CUDA
    python scripts/benchmark.py --scaling           # time and memory against size
    python scripts/benchmark.py --dropout           # the cost of dropout alone
    python scripts/benchmark.py --optimizers        # what each optimizer costs
    python scripts/benchmark.py --estimators        # xpnet.sklearn beside scikit-learn
    python scripts/benchmark.py --quick             # against slowing down, under a minute

Each peer has a process of its own and trains the same network on the same data; they are asked in
turn for one epoch each. A peer that is not installed or fails is left out, with the reason. Exit
code 1 if the peers do not come to the same test accuracy, or if dropout, Adam or `--quick` is over
its limit; 2 for a wrong argument, or where there is no CUDA device for `--gpu`. Run it with nothing
else running.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from benchmarking.cases import CPU_CASES, GPU_CASES, LEARNING_RATE, Case, Task
from benchmarking.dropout import measure_dropout
from benchmarking.estimators import (
    CASES,
    estimator_lines,
    measure_estimators,
    measure_estimators_on_gpu,
)
from benchmarking.machine import describe_machine, machine_lines, why_no_cuda
from benchmarking.optimizers import CASE, measure_optimizers, optimizer_lines
from benchmarking.peers import Peer, select_peers
from benchmarking.quick import REFERENCE_RATIO, check_speed
from benchmarking.report import to_markdown, write_report
from benchmarking.runner import Settings, measure
from benchmarking.scaling import default_series, measure_scaling, scaling_markdown
from benchmarking.summary import summarise

from xpnet.backends import BACKENDS, open_backend
from xpnet.errors import XpnetError

DROPOUT_ROUNDS = 40


def progress(text: str) -> None:
    """Says what is going on, on a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def save_picture(figure: Any, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path)
    click.echo(f"wrote {path}")


def run_peers(
    cases: list[Case],
    peers: list[Peer],
    task: Task,
    settings: Settings,
    tolerance: float | None,
    *,
    dropout: str | None,
) -> dict[str, Any]:
    """All cases, and the cost of dropout on a backend, as one report of JSON values."""
    report: dict[str, Any] = {
        "machine": describe_machine(settings.threads, gpu=task.device == "cuda"),
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


def show_lines(name: str, report: dict[str, Any], lines: list[str], out: Path | None) -> None:
    """Print a report below the machine that it is of, and write its files."""
    page = "\n".join([*machine_lines(report["machine"]), "", *lines]) + "\n"
    click.echo(page)
    if out is not None:
        write_report(out, name, report, page)


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


def run_quick(reference: float, settings: Settings, out: Path | None) -> bool:
    """The small benchmark: print, and write; whether it holds."""
    result = check_speed(reference, settings, click.echo)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quick.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return bool(result["holds"])


def check_cases(texts: tuple[str, ...], *, gpu: bool) -> list[Case]:
    """The cases that are asked for, or those of the device."""
    try:
        return [Case.parse(text) for text in texts] or list(GPU_CASES if gpu else CPU_CASES)
    except ValueError as error:
        raise click.UsageError(f"--case: {error}") from error


def check_peers(names: str | None, *, gpu: bool) -> list[Peer]:
    """The peers that are asked for, or all that run on the device."""
    try:
        return select_peers(names, "cuda" if gpu else "cpu")
    except ValueError as error:
        raise click.UsageError(f"--peers: {error}") from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--case", "case_texts", multiple=True, help="Such as 128@64; may be repeated.")
@click.option("--peers", help="A comma list, module:function for one of your own; all by default.")
@click.option("--dataset", type=click.Choice(["mnist", "digits", "synthetic"]), default="mnist")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Where to look for it first.")
@click.option("--limit", type=click.IntRange(min=1), help="Training samples to take.")
@click.option("--repeats", type=click.IntRange(min=1), help="Measured epochs of each peer.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each library.")
@click.option("--pause", type=click.FloatRange(min=0), default=0.3, show_default=True)
@click.option("--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True)
@click.option("--tolerance", type=click.FloatRange(min=0), help="Points of test accuracy.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write files here.")
@click.option("--gpu", is_flag=True, help="On CUDA, timed there.")
@click.option("--tf32", is_flag=True, help="With --gpu: products may be made in TF32.")
@click.option("--dropout", is_flag=True, help="The cost of dropout alone.")
@click.option("--optimizers", is_flag=True, help="What each optimizer costs.")
@click.option("--estimators", is_flag=True, help="xpnet.sklearn beside scikit-learn.")
@click.option("--scaling", is_flag=True, help="Time and memory against size.")
@click.option("--scale", type=click.IntRange(1, 100), default=1, help="Divides --scaling's data.")
@click.option("--quick", is_flag=True, help="A small benchmark against slowing down.")
@click.option("--reference", type=float, default=REFERENCE_RATIO, help="The ratio for --quick.")
@click.option("--backend", type=click.Choice(BACKENDS), help="For --scaling and --dropout.")
def main(
    case_texts: tuple[str, ...],
    peers: str | None,
    dataset: str,
    data_dir: str | None,
    limit: int | None,
    repeats: int | None,
    threads: int | None,
    pause: float,
    timeout: float,
    tolerance: float | None,
    out: Path | None,
    gpu: bool,
    tf32: bool,
    dropout: bool,
    optimizers: bool,
    estimators: bool,
    scaling: bool,
    scale: int,
    quick: bool,
    reference: float,
    backend: str | None,
) -> None:
    """Measure xpnet against other libraries, side by side in one run."""
    if sum([gpu and not estimators, scaling, quick, dropout, optimizers, estimators]) > 1:
        raise click.UsageError(
            "give one of --gpu, --scaling, --quick, --dropout, --optimizers and --estimators; "
            "--estimators may have --gpu beside it"
        )
    if tf32 and not gpu:
        raise click.UsageError("--tf32 is for --gpu")
    cases, chosen = check_cases(case_texts, gpu=gpu), check_peers(peers, gpu=gpu)
    if gpu and (reason := why_no_cuda()):
        click.echo(f"there is no CUDA device to measure on: {reason}", err=True)
        raise SystemExit(2)
    default = 21 if quick else 3 if scaling else 7
    settings = Settings(repeats or default, threads, pause, timeout)
    task = Task(
        cases[0],
        dataset,
        data_dir,
        limit,
        epochs=1 + settings.repeats,
        device="cuda" if gpu else "cpu",
        tf32=tf32,
    )
    try:
        if quick:
            holds = run_quick(reference, settings, out)
        elif optimizers:
            holds = run_optimizers(task, settings, out)
        elif estimators:
            holds = run_estimators(cases if case_texts else CASES, task, settings, out)
        elif scaling:
            run_scaling(backend or "numpy", scale, settings, out)
            holds = True
        else:
            share = (backend or "numpy") if dropout or not (gpu or peers) else None
            cases = [] if dropout else cases
            report = run_peers(cases, chosen, task, settings, tolerance, dropout=share)
            holds = show_peers(report, out)
    except (XpnetError, RuntimeError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error
    if not holds:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
