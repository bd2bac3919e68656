"""The commands around array libraries: backends, parity, conformance."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from xpnet.backends import (
    BACKENDS,
    DTYPES,
    Backend,
    backend_class,
    open_backend,
    probe_backends,
    probe_device_sums,
)
from xpnet.cli.help import SectionedCommand
from xpnet.cli.options import given_options, run_option, run_options, sizes, usage_errors
from xpnet.cli.outputs import check_drawing, check_place
from xpnet.cli.streams import show
from xpnet.cli.types import FILE, Words
from xpnet.data import load_dataset
from xpnet.distributed.mpi import probe_mpi
from xpnet.distributed.reduction import SHARDS
from xpnet.errors import readable
from xpnet.files import write_atomically, writing
from xpnet.models import MODELS
from xpnet.optimizers import SGD
from xpnet.runs.config import RunConfig
from xpnet.runs.options import Section


@click.command()
def backends() -> None:
    """List the array libraries, MPI and NCCL: usable or not, version, device, and why not."""
    for name, status in (probe_backends() | {"mpi": probe_mpi()} | probe_device_sums()).items():
        usable = "usable" if status.usable else "not usable"
        detail = status.device if status.usable else status.reason
        show(f"{name:<17} {usable:<11} {status.version or '-':<13} {detail}")


_SHORT = {"epochs": 1, "limit": 6400}
"""What is compared of networks with convolutions where nothing is said of it: the 100 steps whose
losses are held against each other. Twenty epochs of MNIST on four backends would take hours."""


@click.command(cls=SectionedCommand)
@click.argument("dataset", required=False)
@click.option(
    "--backends",
    "names",
    default=",".join(name for name in BACKENDS if not backend_class(name).needs_gpu),
    show_default=True,
    help="The backends to compare with the first one, separated by commas.",
)
@click.option(
    "--ranks",
    callback=sizes,
    metavar="N,N,...",
    help="Compare so many ranks, as threads, with one process instead: on the first backend.",
)
@click.option(
    "--shards",
    "n_shards",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --ranks: the parts of a batch, a power of two, where the reduction is exact.",
)
@run_option("dtype")
@run_options(
    Section.DATA,
    Section.NETWORK,
    Section.TRAINING,
    Section.OPTIMIZER,
    Section.SCHEDULE,
    without=("train_metrics", "split_seed"),
)
@click.option("--json", "json_file", type=FILE, help="Write the report here.")
@click.option("--plot", "plot_file", type=FILE, help="Draw it here (PNG).")
def parity(
    dataset: str | None,
    names: str,
    ranks: tuple[int, ...] | None,
    n_shards: int | None,
    dtype: str,
    json_file: Path | None,
    plot_file: Path | None,
    **options: Any,
) -> None:
    """Train the same network on DATASET (digits) on several backends, and compare them; or, with
    --ranks, on several ranks.

    A network with convolutions is trained for one epoch on the first 6400 samples, unless --epochs
    or --limit say otherwise.

    Exit code 0: the same run on all of them. 1: it is not. 2: a backend cannot be used.
    """
    # Late: the other commands start sooner.
    from xpnet.parity import ParityReport, RankReport, compare_backends, compare_ranks

    given = given_options(dataset, options)
    if given.get("model", MODELS[0]) != MODELS[0]:
        given = _SHORT | given
    with usage_errors():
        config = RunConfig(**given, dtype=dtype)
        fit_options = config.fit_options()
    if ranks is not None and plot_file is not None:
        raise click.UsageError("--plot draws backends: leave it out with --ranks")
    if ranks is None and n_shards is not None:
        raise click.UsageError("--shards is for --ranks: give such as --ranks 1,2,4")
    for file in filter(None, (json_file, plot_file)):
        check_place(file)
    if plot_file is not None:
        check_drawing(plot_file, "--plot")
    opened = _opened(names, dtype, compared=ranks is None)
    data = load_dataset(config.dataset, data_dir=config.data_dir, **config.table_options())
    data = data.limited(config.limit)
    if ranks is not None:
        fit_options = config.fit_options(data.target_kind)
    elif data.target_kind == "values":
        raise click.UsageError(
            "backends are compared by the classes that their networks take for others; "
            f"{readable(data.name)} has numbers to predict"
        )
    with usage_errors():
        described = config.describe(data)
    show(f"data:  {readable(data.describe())}")
    show(f"model: {described}, {dtype}")
    optimizer = config.build_optimizer()
    if optimizer != SGD(optimizer.learning_rate):
        show(f"steps: {optimizer!r}")
    report: ParityReport | RankReport
    with usage_errors():
        if ranks is None:
            report = compare_backends(
                config.build_model(data), data, opened, dtype=dtype, **fit_options
            )
        else:
            report = compare_ranks(
                config.build_model(data), data, ranks, backend=opened[0], dtype=dtype,
                shards=SHARDS if n_shards is None else n_shards, **fit_options,
            )  # fmt: skip
    if json_file is not None:
        _write_json(json_file, report.to_dict())
    if plot_file is not None and not isinstance(report, RankReport):
        from xpnet import plots
        from xpnet.figures import save_figure

        save_figure(plots.plot_parity(report), plot_file)
    show(report)
    if not report.holds:
        raise SystemExit(1)


def _opened(names: str, dtype: str, *, compared: bool) -> list[Backend]:
    """The backends that are named: two or more where they are compared, else the first."""
    named = [part.strip() for part in names.split(",") if part.strip()]
    opened = []
    for name in named if compared else named[:1]:
        with usage_errors("--backends"):
            opened.append(open_backend(name, None, dtype))
    few = 2 if compared else 1
    if len({backend.name for backend in opened}) < max(few, len(opened)):
        raise click.UsageError(f"--backends: give two or more different ones, got {names!r}")
    return opened


@click.command()
@click.argument("namespace", required=False)
@click.option(
    "--dtype",
    type=Words(DTYPES),
    default="float64",
    show_default=True,
    help="The precision to test.",
)
@click.option("--json", "json_file", type=FILE, help="Write the report here.")
@click.option("--list", "list_needed", is_flag=True, help="List what a namespace needs, and exit.")
def conformance(
    namespace: str | None, dtype: str, json_file: Path | None, list_needed: bool
) -> None:
    """Find out whether NAMESPACE, an array-API library, can train a network.

    NAMESPACE is the name of a module, installed or in the current folder: array_api_strict,
    jax.numpy, dask.array, ... Exit code 0: everything works. 1: something does not. 2: the module
    cannot be used.
    """
    from xpnet.conformance import (  # late: it takes as long as all else together
        check_namespace,
        needed_dtypes,
        needed_functions,
        needed_operators,
    )

    if list_needed:
        show("functions: " + ", ".join(needed_functions()))
        show("arrays:    " + ", ".join(needed_operators()))
        show("dtypes:    " + ", ".join(needed_dtypes()))
        return
    if json_file is not None:
        check_place(json_file)
    if namespace is None:
        raise click.UsageError("give a NAMESPACE, such as array_api_strict or dask.array")
    with _current_folder():
        report = check_namespace(namespace, dtype=dtype)
    if json_file is not None:
        _write_json(json_file, report.to_dict())
    show(report)
    if not report.conforms:
        raise SystemExit(1)


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the current folder be imported, as `python -m xpnet` does.

    After all others: a `random.py` there is not taken for Python's. Who starts Python with `-P` or
    PYTHONSAFEPATH wants none of this.
    """
    if sys.flags.safe_path or "" in sys.path:
        yield
        return
    sys.path.append("")
    try:
        yield
    finally:
        with suppress(ValueError):  # the module may do what it likes with the list
            sys.path.remove("")


def _write_json(path: Path, value: Any) -> None:
    # JSON has no infinity: what is infinitely far apart is null.
    def plain(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: plain(part) for key, part in item.items()}
        if isinstance(item, list | tuple):
            return [plain(part) for part in item]
        return None if isinstance(item, float) and not math.isfinite(item) else item

    _write_file(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


def _write_file(path: Path, content: bytes) -> None:
    with writing(path):
        write_atomically(path, content)
