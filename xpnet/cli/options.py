"""The options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet.backends import BACKENDS, DTYPES, Backend, open_backend
from xpnet.data import DATASETS
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS
from xpnet.training.config import RunConfig

_F = TypeVar("_F", bound=Callable[..., Any])


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Parse a comma list of positive integers; an empty one is no size at all."""
    try:
        sizes = tuple(int(part) for part in value.split(",")) if value.strip() else ()
    except ValueError:
        sizes = (0,)
    if any(not 1 <= size < 2**31 for size in sizes):
        raise click.BadParameter(
            f"{value!r} is not a comma list of integers from 1 to 2**31 - 1, such as 128 or 256,64"
        )
    return sizes


def sizes_option(default: str) -> Callable[[_F], _F]:
    """The option `--hidden`, with a default of its own for each command."""
    return click.option(
        "--hidden",
        callback=_sizes,
        default=default,
        show_default=True,
        help="Sizes of the hidden layers, separated by commas.",
    )


backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="Array library; auto takes CuPy where a CUDA GPU is usable, else NumPy.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the CPU for NumPy or torch; all, or one on a busy machine, if not given.",
)
device_option = click.option("--device", help="Device of the library, such as cpu or cuda:1.")
tf32_option = click.option(
    "--tf32", is_flag=True, help="Multiply float32 in TF32: faster on recent GPUs, and coarser."
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to look for data files first; then in $XPNET_DATA_DIR and the user's cache.",
)

_RUN_OPTIONS = [
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        help="Precision of weights and activations.",
    ),
    sizes_option("128"),
    click.option(
        "--activation",
        type=click.Choice(list(ACTIVATIONS)),
        default="relu",
        show_default=True,
        help="Function after each hidden layer.",
    ),
    click.option(
        "--dropout",
        type=click.FloatRange(min=0, max=1, max_open=True),
        default=0.0,
        show_default=True,
        help="Fraction of each hidden layer's output that is dropped in training.",
    ),
    click.option(
        "--init",
        type=click.Choice(list(INITIALIZERS)),
        default="he_normal",
        show_default=True,
        help="How the initial weights are drawn.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        help="How often to go through the training set.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Samples in each step; as many as there are for full-batch gradient descent.",
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(min=1e-30),
        default=0.1,
        show_default=True,
        help="Length of the steps.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Same seed, same run.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Train on the first N samples only."),
    data_dir_option,
]


def run_options(command: _F) -> _F:
    """The options that say what is trained and how: `RunConfig`, dtype and data folder."""
    for option in reversed(_RUN_OPTIONS):
        command = option(command)
    return command


def run_config(dataset: str, options: dict[str, Any]) -> RunConfig:
    """The configuration that the options ask for; a wrong one is a mistake of usage."""
    is_folder = Path(dataset).is_dir() and dataset not in DATASETS
    try:
        return RunConfig(str(Path(dataset).resolve()) if is_folder else dataset, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def open_with_options(
    backend: str,
    device: str | None,
    dtype: str,
    *,
    threads: int | None = None,
    tf32: bool = False,
) -> Backend:
    """The backend that the options ask for; what means nothing there is a mistake of usage."""
    try:
        opened = open_backend(backend, device, dtype, tf32=tf32)
    except ValueError as error:
        raise click.UsageError(f"--tf32: {error}") from error
    try:
        if threads is not None:
            opened.limit_threads(threads)
    except ValueError as error:
        raise click.UsageError(f"--threads: {error}") from error
    return opened


def describe_backend(backend: Backend) -> str:
    """The backend in a few words, and where it was chosen automatically, why."""
    why = f" (auto: {backend.reason})" if backend.reason else ""
    tf32 = " with TF32" * backend.tf32
    threads = "" if backend.threads is None else f", threads: {backend.threads}"
    return f"{backend.name} on {backend.device_name()}, {backend.dtype_name}{tf32}{threads}{why}"
