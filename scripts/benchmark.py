"""Measure xpnet against other libraries, side by side in one run.

    python scripts/benchmark.py compare             # prints tables, writes nothing
    python scripts/benchmark.py compare --out runs/benchmark
    python scripts/benchmark.py compare --case 128@64 --peers torch,jax-epoch --threads 2
    python scripts/benchmark.py compare --gpu --tf32   # the same on CUDA
    python scripts/benchmark.py scaling             # time and memory against size
    python scripts/benchmark.py dropout             # the cost of dropout alone
    python scripts/benchmark.py optimizers          # what each optimizer costs
    python scripts/benchmark.py estimators          # xpnet.sklearn beside scikit-learn
    python scripts/benchmark.py ranks               # one training on one and two ranks of MPI
    python scripts/benchmark.py quick               # against slowing down, under a minute

Each peer has a process of its own and trains the same network on the same data; they are asked in
turn for one epoch each. A peer that is not installed or fails is left out, with the reason. Exit
code 1 if the peers do not come to the same test accuracy, or if dropout, Adam, one rank or `quick`
is over its limit; 2 for a wrong argument, or where there is no CUDA device for `--gpu`. Run it with
nothing else running.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
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
from benchmarking.machine import describe_machine, machine_lines
from benchmarking.optimizers import CASE, measure_optimizers, optimizer_lines
from benchmarking.options import (
    case_option,
    check_peers,
    data_options,
    gpu_option,
    in_turn,
    make_task,
    out_option,
    parse_cases,
)
from benchmarking.peers import PEERS, Peer
from benchmarking.quick import REFERENCE_RATIO, check_speed
from benchmarking.rank_report import rank_lines
from benchmarking.ranks import measure_ranks
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


def run_quick(reference: float, settings: Settings, out: Path | None) -> bool:
    """The small benchmark: print, and write; whether it holds."""
    result = check_speed(reference, settings, click.echo)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quick.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return bool(result["holds"])


# -- the commands ---------------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure xpnet against other libraries, side by side in one run."""


def benchmark(run: Callable[..., bool]) -> click.Command:
    """A command that measures; unless all of it holds, or where it fails, its exit code is 1."""

    @wraps(run)
    def command(**options: Any) -> None:
        try:
            holds = run(**options)
        except (XpnetError, RuntimeError, OSError) as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(1) from error
        if not holds:
            raise SystemExit(1)

    return main.command()(command)


@benchmark
@case_option
@click.option("--peers", help="A comma list, module:function for one of your own; all by default.")
@data_options
@in_turn(repeats=7)
@click.option("--tolerance", type=click.FloatRange(min=0), help="Points of test accuracy.")
@gpu_option
@click.option("--tf32", is_flag=True, help="With --gpu: products may be made in TF32.")
@out_option
def compare(
    case_texts: tuple[str, ...],
    peers: str | None,
    settings: Settings,
    tolerance: float | None,
    out: Path | None,
    gpu: bool,
    tf32: bool,
    **data: Any,
) -> bool:
    """Train the same network with each library.

    An epoch each in turn; and with all libraries on the CPU, what dropout costs.
    """
    if tf32 and not gpu:
        raise click.UsageError("--tf32 is for --gpu")
    cases = parse_cases(case_texts) or list(GPU_CASES if gpu else CPU_CASES)
    chosen = check_peers(peers, gpu=gpu)
    task = make_task(cases[0], settings, gpu=gpu, tf32=tf32, **data)
    dropout = None if gpu or peers else "numpy"
    report = run_peers(cases, chosen, task, settings, tolerance, dropout=dropout)
    return show_peers(report, out)


@benchmark
@click.option(
    "--backend",
    type=click.Choice([name for name in BACKENDS if f"xpnet-{name}" in PEERS]),
    default="numpy",
    show_default=True,
)
@click.option("--scale", type=click.IntRange(1, 100), default=1, help="Divides the samples.")
@in_turn(repeats=3)
@out_option
def scaling(backend: str, scale: int, settings: Settings, out: Path | None) -> bool:
    """Time and memory of xpnet against size.

    The number of samples, the width and depth of the network, and the batch size.
    """
    run_scaling(backend, scale, settings, out)
    return True


@benchmark
@click.option("--backend", type=click.Choice(BACKENDS), default="numpy", show_default=True)
@out_option
def dropout(backend: str, out: Path | None) -> bool:
    """What dropout costs of a step."""
    settings = Settings()
    report = run_peers([], [], Task(CASE), settings, None, dropout=backend)
    return show_peers(report, out)


@benchmark
@data_options
@in_turn(repeats=7)
@out_option
def optimizers(settings: Settings, out: Path | None, **data: Any) -> bool:
    """What each optimizer costs, and PyTorch's."""
    return run_optimizers(make_task(CASE, settings, **data), settings, out)


@benchmark
@case_option
@data_options
@in_turn(repeats=7)
@gpu_option
@out_option
def estimators(
    case_texts: tuple[str, ...], settings: Settings, out: Path | None, gpu: bool, **data: Any
) -> bool:
    """The classifier of xpnet.sklearn beside scikit-learn's."""
    cases = parse_cases(case_texts) or list(CASES)
    return run_estimators(cases, make_task(cases[0], settings, gpu=gpu, **data), settings, out)


@benchmark
@in_turn(repeats=5, pause=0.05, timeout=60.0)
@out_option
def ranks(settings: Settings, out: Path | None) -> bool:
    """One training on one and two ranks of MPI, beside one process.

    Steps, exact reduction, messages, and a model of larger clusters.
    """
    return run_ranks(settings, out)


@benchmark
@click.option("--reference", type=float, default=REFERENCE_RATIO, show_default=True)
@in_turn(repeats=21)
@out_option
def quick(reference: float, settings: Settings, out: Path | None) -> bool:
    """A small check against slowing down.

    Synthetic pictures, xpnet on NumPy over the matrix products alone.
    """
    return run_quick(reference, settings, out)


if __name__ == "__main__":
    main()
