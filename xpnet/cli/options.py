"""The options that several commands share."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet.backends import BACKENDS, DTYPES, Backend, open_backend
from xpnet.cli.help import Option
from xpnet.cli.types import FILE, FOLDER, Words, expanded
from xpnet.data import DATASETS
from xpnet.errors import XpnetError, shown
from xpnet.runs.config import RunConfig
from xpnet.runs.options import CHOICES, FLAGS, INTEGERS, NAMES, NUMBERS, OptionError

_F = TypeVar("_F", bound=Callable[..., Any])

_DEFAULTS = {field.name: field.default for field in fields(RunConfig)}


def _sizes(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Parse a comma list of positive integers; an empty one is no size at all."""
    if value is None:
        return None
    try:
        sizes = tuple(int(part) for part in value.split(",")) if value.strip() else ()
    except ValueError:
        sizes = (0,)
    if any(not 1 <= size < 2**31 for size in sizes):
        raise click.BadParameter(
            f"{shown(value)} is not a comma list of integers from 1 to 2**31 - 1, such as 128 or "
            f"256,64"
        )
    return sizes


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Parse a comma list of names; what they may be is looked at with the model."""
    if value is None:
        return None
    return tuple(filter(None, (part.strip() for part in value.split(","))))


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
    type=Words(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="Array library; auto takes CuPy where a CUDA GPU is usable, else NumPy.",
)
device_option = click.option("--device", help="Device of the library, such as cpu or cuda:1.")
tf32_option = click.option(
    "--tf32", is_flag=True, help="Multiply float32 in TF32: faster on recent GPUs, and coarser."
)
data_dir_option = click.option(
    "--data-dir",
    type=FOLDER,
    help="Where to look for data files first; then in $XPNET_DATA_DIR and the user's cache.",
)

dtype_option = click.option(
    "--dtype",
    type=Words(DTYPES),
    default="float32",
    show_default=True,
    help="Precision of weights and activations.",
)

DATA, NETWORK, TRAINING = "Data", "Network", "Training"
OPTIMIZER, SCHEDULE, ENDING, COMPUTING = "Optimizer", "Schedule", "Early stopping", "Computing"
TUNING = "Fine-tuning"

_HELP: dict[str, dict[str, str]] = {
    DATA: {
        "limit": "Train on the first N samples only.",
        "validation": "Fraction of the training set that is kept for validation, above 0 and "
        "below 1.",
        "data_dir": "Where to look for data files first; then in $XPNET_DATA_DIR and the user's "
        "cache.",
    },
    NETWORK: {
        "hidden": "Sizes of the hidden layers, separated by commas.",
        "activation": "Function after each hidden layer.",
        "batch_norm": "Batch norm before each activation.",
        "dropout": "Fraction of each hidden layer's output that is dropped in training, from 0 to "
        "below 1.",
        "init": "How the initial weights are drawn.",
    },
    TRAINING: {
        "epochs": "How often to go through the training set.",
        "batch_size": "Samples in each step; as many as there are for full-batch gradient descent.",
        "drop_last": "Leave out a last batch that is smaller.",
        "seed": "Same seed, same run.",
        "label_smoothing": "Part of each target that is spread over all classes, from 0 to below "
        "1.",
        "train_metrics": "Figures of the training set: measured after each epoch; running, the "
        "mean loss of the epoch's batches, which is faster; or none.",
    },
    OPTIMIZER: {
        "optimizer": "How gradients change the parameters.",
        "learning_rate": "Length of the steps, above 0.",
        "momentum": "With momentum and nesterov: from 0 to below 1.",
        "weight_decay": "Decoupled weight decay, 0 or more.",
        "l2": "Penalty in the gradient, 0 or more.",
        "clip_norm": "Largest norm of all gradients together, above 0.",
        "clip_value": "Largest element of a gradient, above 0.",
        "ema": "Decay of averages of the parameters, which the network then has; from 0 to below "
        "1.",
    },
    SCHEDULE: {
        "schedule": "How the learning rate changes.",
        "warmup": "Epochs in which it rises at first, fractions too; not with one-cycle or "
        "plateau.",
        "schedule_every": "With step, which needs it: the epochs after which it falls, again and "
        "again.",
        "schedule_factor": "With step, plateau, and exponential, which needs it: what it is "
        "multiplied by, above 0.",
        "schedule_final": "With cosine and polynomial: the part of it that is left at the end, "
        "from 0 to 1.",
        "schedule_patience": "With plateau: epochs without a better loss that are let pass.",
    },
    ENDING: {
        "patience": "End after so many epochs without a better loss on the validation set, with "
        "the best parameters.",
    },
    TUNING: {
        "start": "Begin with this network instead of random numbers: a run folder or a file.",
        "freeze": "Layers that are not trained, separated by commas, such as fc1,bn1.",
        "fresh": "With --start: layers that begin anew all the same, such as the last one.",
    },
    COMPUTING: {
        "backend": "Array library; auto takes CuPy where a CUDA GPU is usable, else NumPy.",
        "device": "Device of the library, such as cpu or cuda:1.",
        "dtype": "Precision of weights and activations.",
        "tf32": "Multiply float32 in TF32: faster on recent GPUs, and coarser.",
        "threads": "Threads of the CPU for NumPy or torch; all, or one on a busy machine, if not "
        "given.",
        "steps": "How steps are taken: with NumPy compiled (if not given), recorded or called, of "
        "the same bits; with CuPy recorded or called.",
    },
    "Run folder": {
        "checkpoint_every": "Epochs after which the training is saved.",
        "tensorboard": "Write logs for TensorBoard.",
    },
}

_OF_THE_CHOSEN = {
    "learning_rate": "optimizer", "momentum": "optimizer", "weight_decay": "optimizer",
    "schedule_factor": "schedule", "schedule_patience": "schedule",
}  # fmt: skip


def _option(section: str, name: str, text: str) -> Callable[[_F], _F]:
    """The option for a field of `RunConfig`, which has its default and checks its range."""
    default = _DEFAULTS[name]
    if name in _OF_THE_CHOSEN:
        text += f"  [default: that of the {_OF_THE_CHOSEN[name]}]"
    elif name == "hidden":
        text += "  [default: 128]"
    elif name not in FLAGS and default is not None:
        text += f"  [default: {f'{default:g}' if isinstance(default, float) else default}]"
    flag = name.replace("_", "-")
    options: dict[str, Any] = {"help": text, "default": None, "cls": Option, "section": section}
    if name in FLAGS:
        return click.option(f"--{flag}/--no-{flag}", **options)
    if name in CHOICES:
        options["type"] = Words(CHOICES[name])
    elif name in NUMBERS:
        options |= {"type": float, "metavar": "X"}
    elif name in INTEGERS:
        options |= {"type": int, "metavar": "N"}
    elif name == "hidden":
        options |= {"callback": _sizes, "metavar": "N,N,..."}
    elif name in NAMES:
        options |= {"callback": _names, "metavar": "NAME,..."}
    elif name == "start":
        options |= {"type": FILE, "metavar": "RUN"}
    elif name == "data_dir":
        options["type"] = FOLDER
    return click.option(f"--{flag}", **options)


def run_options(*sections: str, without: tuple[str, ...] = ()) -> Callable[[_F], _F]:
    """The options of these sections of the help, in their order; of all if none is named.

    What is not given is None, so that a file can be asked for it.
    """
    chosen = [
        (section, name, text)
        for section, names in _HELP.items()
        for name, text in names.items()
        if (section in sections or not sections) and name not in without
    ]

    def decorate(command: _F) -> _F:
        for section, name, text in reversed(chosen):
            command = _option(section, name, text)(command)
        return command

    return decorate


def given_options(dataset: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of `RunConfig`."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("data_dir", "start"):
        if given.get(name) is not None:
            given[name] = _whole(given[name])
    return given if dataset is None else {"dataset": full_name(dataset), **given}


def placed(config: RunConfig) -> RunConfig:
    """The configuration with whole paths, which mean the same from another folder."""
    data_dir = config.data_dir and _whole(config.data_dir)
    start = config.start and _whole(config.start)
    return replace(config, dataset=full_name(config.dataset), data_dir=data_dir, start=start)


def _whole(path: str | Path) -> str:
    return str(Path(expanded(path)).absolute())


def full_name(dataset: str) -> str:
    """A data set by its name, or by the whole path of its folder."""
    # os.path: unlike Path's methods it is silent about names that cannot be.
    folder = expanded(dataset)
    is_folder = dataset not in DATASETS and os.path.isdir(folder)  # noqa: PTH112
    return str(Path(folder).resolve()) if is_folder else dataset


@contextmanager
def usage_errors() -> Iterator[None]:
    """Values that are not allowed are mistakes of usage, with the name of the option."""
    try:
        yield
    except OptionError as error:
        flag = error.name.replace("_", "-")
        hint = "'DATASET'" if error.name == "dataset" else f"'--{flag}'"
        raise click.BadParameter(error.problem, param_hint=hint) from error
    except XpnetError:
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def open_with_options(
    backend: str,
    device: str | None,
    dtype: str,
    *,
    threads: int | None = None,
    steps: str | None = None,
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
    try:
        if steps is not None:
            opened.choose_steps(steps)
    except ValueError as error:
        raise click.UsageError(f"--steps: {error}") from error
    return opened


def describe_backend(backend: Backend, *, steps: bool = False) -> str:
    """The backend in a few words, and where it was chosen automatically, why.

    With `steps` also how it is going to take training steps.
    """
    why = f" (auto: {backend.reason})" if backend.reason else ""
    tf32 = " with TF32" * backend.tf32
    threads = "" if backend.threads is None else f", threads: {backend.threads}"
    planned = f", {backend.planned_steps()}" if steps else ""
    place = f"{backend.name} on {backend.device_name()}, {backend.dtype_name}"
    return f"{place}{tf32}{threads}{planned}{why}"
