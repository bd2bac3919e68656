"""Measure xpnet against other libraries, side by side in one run.

    python scripts/benchmark.py compare             # prints tables, writes nothing
    python scripts/benchmark.py compare --out runs/benchmark
    python scripts/benchmark.py compare --case 128@64 --peers torch,jax-epoch --threads 2
    python scripts/benchmark.py compare --case lenet5@64 --limit 6000   # a network for pictures
    python scripts/benchmark.py compare --gpu --tf32   # the same on CUDA
    python scripts/benchmark.py compare --neighbour memory   # on a machine that is shared
    python scripts/benchmark.py predict             # one row to 60,000, by each library
    python scripts/benchmark.py predict --model lenet5   # pictures, to 10,000
    python scripts/benchmark.py small-fits          # xpnet.sklearn's whole fits of small tables
    python scripts/benchmark.py scaling             # time and memory against size
    python scripts/benchmark.py dropout             # the cost of dropout alone
    python scripts/benchmark.py optimizers          # what each optimizer costs
    python scripts/benchmark.py estimators          # xpnet.sklearn beside scikit-learn
    python scripts/benchmark.py ranks               # one training on one and two ranks of MPI
    python scripts/benchmark.py quick               # against slowing down, in a minute
    python scripts/benchmark.py record runs/benchmark   # a row of docs/benchmarks.json from --out

Each peer has a process of its own and trains the same network on the same data; they are asked in
turn for one epoch each. A peer that is not installed or fails is left out, with the reason. Exit
code 1 if the peers do not come to the same test accuracy, or do not predict the same classes, or if
dropout, Adam, one rank or `quick` is over its limit; 2 for a wrong argument, or where there is no
CUDA device for `--gpu`. Run it with nothing else running.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click
from benchmarking import optimizers as of_optimizers
from benchmarking import predict as predictions
from benchmarking.cases import CPU_CASES, GPU_CASES, Case, Task
from benchmarking.comparing import run_peers, show_peers
from benchmarking.estimators import CASES
from benchmarking.networks import NETWORKS
from benchmarking.options import (
    case_option,
    check_answerers,
    check_peers,
    data_options,
    gpu_option,
    in_turn,
    make_task,
    neighbour_option,
    out_option,
    parse_cases,
    parse_rows,
    with_neighbour,
)
from benchmarking.peers import PEERS
from benchmarking.quick import GUARDS, REFERENCE_RATIO
from benchmarking.runner import Settings
from benchmarking.running import (
    run_estimators,
    run_optimizers,
    run_predict,
    run_quick,
    run_ranks,
    run_record,
    run_scaling,
    run_small_fits,
)

from xpnet.backends import BACKENDS
from xpnet.errors import XpnetError

DOCS = Path(__file__).resolve().parent.parent / "docs"


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
@click.option(
    "--warm-up",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Epochs of each before those that are measured.",
)
@click.option("--tolerance", type=click.FloatRange(min=0), help="Points of test accuracy.")
@gpu_option
@click.option("--tf32", is_flag=True, help="With --gpu: products may be made in TF32.")
@neighbour_option
@out_option
def compare(
    case_texts: tuple[str, ...],
    peers: str | None,
    settings: Settings,
    warm_up: int,
    tolerance: float | None,
    out: Path | None,
    gpu: bool,
    tf32: bool,
    neighbour: str | None,
    **data: Any,
) -> bool:
    """Train the same network with each library.

    An epoch each in turn; and with all libraries on the CPU, what dropout costs.
    """
    if tf32 and not gpu:
        raise click.UsageError("--tf32 is for --gpu")
    settings = replace(with_neighbour(settings, neighbour), warm_up=warm_up)
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
    report = run_peers([], [], Task(of_optimizers.CASE), settings, None, dropout=backend)
    return show_peers(report, out)


@benchmark
@data_options
@in_turn(repeats=7)
@out_option
def optimizers(settings: Settings, out: Path | None, **data: Any) -> bool:
    """What each optimizer costs, and PyTorch's."""
    return run_optimizers(make_task(of_optimizers.CASE, settings, **data), settings, out)


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
    cases = parse_cases(case_texts, dense=True) or list(CASES)
    return run_estimators(cases, make_task(cases[0], settings, gpu=gpu, **data), settings, out)


@benchmark
@click.option("--model", type=click.Choice(list(NETWORKS)), help="In place of 784-128-10.")
@click.option("--rows", help="Numbers of rows, such as 1,64,1000; 1, 64, 1,000, 60,000 by default.")
@click.option("--peers", help="A comma list; all by default.")
@data_options
@in_turn(repeats=9, pause=0.1)
@gpu_option
@neighbour_option
@out_option
def predict(
    model: str | None,
    rows: str | None,
    peers: str | None,
    settings: Settings,
    gpu: bool,
    neighbour: str | None,
    out: Path | None,
    **data: Any,
) -> bool:
    """What predicting takes, from one row to all of MNIST's.

    The same weights in each library, and the estimators beside scikit-learn. With --model up to
    10,000 pictures.
    """
    counts, chosen = parse_rows(rows, model), check_answerers(peers, gpu=gpu)
    settings = with_neighbour(settings, neighbour)
    case = predictions.CASE if model is None else Case((), predictions.CASE.batch_size, model)
    task = make_task(case, settings, gpu=gpu, **data)
    return run_predict(chosen, counts, task, settings, out)


@benchmark
@in_turn(repeats=7, pause=0.1)
@out_option
def small_fits(settings: Settings, out: Path | None) -> bool:
    """Whole fits of small tables, beside scikit-learn's.

    Iris, breast cancer and digits: in all and an epoch, with and without early stopping.
    """
    return run_small_fits(settings, out)


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
@click.option(
    "--guard", "guards", multiple=True, type=click.Choice(list(GUARDS)), help="Only this."
)
@in_turn(repeats=21)
@out_option
def quick(reference: float, guards: tuple[str, ...], settings: Settings, out: Path | None) -> bool:
    """A small check against slowing down.

    Synthetic pictures: training over the matrix products alone, predicting over plain NumPy; and
    a small fit over scikit-learn's.
    """
    return run_quick(reference, guards or tuple(GUARDS), settings, out)


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DOCS / "benchmarks.json",
    help="The file with a row for each version and machine; docs/benchmarks.json by default.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DOCS / "images" / "history.png",
    help="Its chart; docs/images/history.png by default.",
)
def record(folder: Path, history: Path, picture: Path) -> None:
    """Put the reports of a folder into the history.

    Those that compare, predict, small-fits and estimators have written by --out.
    """
    try:
        run_record(folder, history, picture)
    except (RuntimeError, ValueError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
