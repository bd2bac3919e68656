"""The command line: a thin shell over the Python API."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet import plots
from xpnet.backends import BACKENDS, DTYPES, open_backend, probe_backends
from xpnet.data import DATASETS, Dataset, load_dataset
from xpnet.data.image import read_image
from xpnet.errors import BackendUnavailable, DataError, TrainingDiverged, XpnetError
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS
from xpnet.training import Network, ProgressBar, load
from xpnet.training.config import RunConfig
from xpnet.training.run_folder import RunFolder, next_run_folder, read_summary
from xpnet.typing import HostArray

_F = TypeVar("_F", bound=Callable[..., Any])


class _Commands(click.Group):
    """Turns xpnet's errors into one message and an exit code: no traceback for a mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except XpnetError as error:
            click.echo(f"error: {error}", err=True)
            codes = {BackendUnavailable: 2, TrainingDiverged: 3}
            ctx.exit(next((code for kind, code in codes.items() if isinstance(error, kind)), 1))
        except MemoryError as error:
            click.echo(f"error: not enough memory ({error}): use smaller layers", err=True)
            ctx.exit(1)


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Parse a comma list of positive integers; an empty one is no size at all."""
    try:
        sizes = tuple(int(part) for part in value.split(",")) if value.strip() else ()
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise click.BadParameter(
            f"{value!r} is not a comma list of positive integers, such as 128 or 256,64"
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


_backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="Array library; auto takes CuPy where a CUDA GPU is usable, else NumPy.",
)
_device_option = click.option("--device", help="Device of the library, such as cpu or cuda:1.")
_data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to look for data files first; then in $XPNET_DATA_DIR and the user's cache.",
)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xpnet")
def main() -> None:
    """Train neural networks wherever your arrays live: NumPy, CuPy, PyTorch, JAX.

    Start with: xpnet train
    """


@main.command()
@click.argument("dataset", default="digits")
@_backend_option
@_device_option
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="Precision of weights and activations.",
)
@sizes_option("128")
@click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    default="relu",
    show_default=True,
    help="Function after each hidden layer.",
)
@click.option(
    "--init",
    type=click.Choice(list(INITIALIZERS)),
    default="he_normal",
    show_default=True,
    help="How the initial weights are drawn.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How often to go through the training set.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Samples in each step; as many as there are for full-batch gradient descent.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=0.1,
    show_default=True,
    help="Length of the steps.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same seed, same run.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Train on the first N samples only.")
@_data_dir_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder to write; runs/DATASET-NUMBER if not given.",
)
@click.option("--force", is_flag=True, help="Replace a run that is in the folder already.")
@click.option("--quiet", is_flag=True, help="Print the final summary only.")
def train(
    dataset: str,
    backend: str,
    device: str | None,
    dtype: str,
    data_dir: Path | None,
    out: Path | None,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network on DATASET: digits (the default, embedded), mnist, or a folder of IDX files.

    Writes a run folder: history.jsonl, summary.json, model.safetensors and three pictures.
    """
    started = time.perf_counter()
    is_folder = Path(dataset).is_dir() and dataset not in DATASETS
    try:
        config = RunConfig(str(Path(dataset).resolve()) if is_folder else dataset, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    opened = open_backend(backend, device, dtype)
    data = load_dataset(dataset, data_dir=data_dir)
    folder = RunFolder(out if out is not None else next_run_folder(data.name), force=force)
    if not quiet:
        why = f" (auto: {opened.reason})" if opened.reason else ""
        click.echo(f"backend: {opened.name} on {opened.device_name()}, {dtype}{why}")
        click.echo(f"data:    {data.limited(config.limit).describe()}")
        click.echo(f"model:   {config.describe(data)}")
    try:
        network = config.fit(data, opened, (folder,) if quiet else (folder, ProgressBar()))
    except KeyboardInterrupt:
        click.echo(f"interrupted: {folder.path} holds the epochs that were finished", err=True)
        raise SystemExit(130) from None

    which, counts = _draw(folder.path, network, data)
    seconds = time.perf_counter() - started
    folder.write_summary(network, config.to_dict(), counts, which, total_seconds=seconds)
    errors, n = int(counts.sum() - counts.trace()), int(counts.sum())
    click.echo(
        f"{which} accuracy {100 * (n - errors) / n:.2f} % ({errors:,} errors in {n:,}) after "
        f"{config.epochs} epochs in {seconds:.1f} s; run folder: {folder.path}"
    )


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", required=False)
@click.option(
    "--split",
    type=click.Choice(["test", "train"]),
    default="test",
    show_default=True,
    help="Which part of the data set.",
)
@_backend_option
@_device_option
@_data_dir_option
def evaluate(
    run: Path,
    dataset: str | None,
    split: str,
    backend: str,
    device: str | None,
    data_dir: Path | None,
) -> None:
    """Measure the network of RUN on DATASET (the one it was trained on, if not given).

    RUN is a run folder or a model.safetensors file.
    """
    network = load(run, backend=backend, device=device)
    data = load_dataset(dataset or _trained_on(run), data_dir=data_dir)
    part = data.train if split == "train" else data.test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.pixel_maximum = data.pixel_maximum
    click.echo(f"{data.name} {split} set: {network.evaluate(part.images, part.labels)}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--invert", is_flag=True, help="The pictures are dark ink on white paper.")
def predict(run: Path, images: tuple[Path, ...], invert: bool) -> None:
    """Say the class of each picture in IMAGES, as the network of RUN sees it.

    Pictures may be of any size; they are fitted to the size the network was trained on.
    """
    network = load(run)
    shape, failed = network.sample_shape or (), False
    for path in images:
        try:
            pixels = read_image(path, shape, maximum=1.0, invert=invert)
        except DataError as error:
            click.echo(f"error: {error}", err=True)
            failed = True
            continue
        probabilities = network.predict_proba(pixels[None, ...])[0]
        best = int(probabilities.argmax())
        click.echo(f"{path}: {best}  ({100 * float(probabilities[best]):.1f} %)")
    if failed:
        raise SystemExit(1)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@_data_dir_option
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves.png, confusion.png and mistakes.png."""
    network = load(run)
    data = load_dataset(_trained_on(run), data_dir=data_dir)
    _draw(run, network, data)
    click.echo(f"pictures of {data.name}: {run}")


@main.command()
def backends() -> None:
    """List the array libraries: usable here or not, version, device, and why not."""
    for name, status in probe_backends().items():
        usable = "usable" if status.usable else "not usable"
        detail = status.device if status.usable else status.reason
        click.echo(f"{name:<17} {usable:<11} {status.version or '-':<13} {detail}")


def _trained_on(run: Path) -> str:
    """The data set that a finished run was trained on."""
    summary = read_summary(run if run.is_dir() else run.parent)
    return str(summary.get("configuration", {}).get("dataset", "digits"))


def _draw(folder: Path, network: Network, data: Dataset) -> tuple[str, HostArray]:
    """Draw the pictures of a run, or give a hint where matplotlib is missing.

    Returns which split they are of (the test set where there is one), and its confusion matrix.
    """
    which, split = ("training", data.train) if data.test is None else ("test", data.test)
    counts = network.confusion_matrix(split.images, split.labels)
    try:
        plots.draw_run(folder, network, split, counts, f"{data.name}, {which} set")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        click.echo("pictures left out: they need pip install 'xpnet[plot]'", err=True)
    return which, counts
