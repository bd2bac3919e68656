"""The commands around one network: train, evaluate, predict, plot."""

import time
from pathlib import Path
from typing import Any

import click

from xpnet import plots
from xpnet.cli.options import (
    backend_option,
    data_dir_option,
    describe_backend,
    device_option,
    open_with_options,
    run_config,
    run_options,
    tf32_option,
    threads_option,
)
from xpnet.data import Dataset, Split, load_dataset
from xpnet.data.image import read_image
from xpnet.errors import DataError, RunError
from xpnet.training import Network, ProgressBar, load
from xpnet.training.run_folder import NumberedRunFolder, RunFolder, read_summary
from xpnet.typing import HostArray


@click.command()
@click.argument("dataset", default="digits")
@backend_option
@device_option
@threads_option
@tf32_option
@run_options
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
    threads: int | None,
    tf32: bool,
    dtype: str,
    data_dir: Path | None,
    out: Path | None,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network on DATASET: digits (the default, embedded), mnist, or a folder of IDX
    or .npy files.

    Writes a run folder: history.jsonl, summary.json, model.safetensors and three pictures.
    """
    started = time.perf_counter()
    config = run_config(dataset, options)
    opened = open_with_options(backend, device, dtype, threads=threads, tf32=tf32)
    written = {**config.to_dict(), "tf32": tf32}
    data = load_dataset(dataset, data_dir=data_dir)
    folder = NumberedRunFolder(data.name) if out is None else RunFolder(out, force=force)
    if not quiet:
        click.echo(f"backend: {describe_backend(opened)}")
        click.echo(f"data:    {data.limited(config.limit).describe()}")
        click.echo(f"model:   {config.describe(data)}")
    try:
        network = config.fit(data, opened, (folder,) if quiet else (folder, ProgressBar()))
    except KeyboardInterrupt:
        message = f"{folder.path} holds the epochs that were finished"
        raise KeyboardInterrupt(message) from None

    which, split = _judged_on(data)
    counts = network.confusion_matrix(split.images, split.labels)
    seconds = time.perf_counter() - started
    # Before the pictures, which may fail: and again, with their time.
    folder.write_summary(network, written, counts, which, total_seconds=seconds)
    _draw(folder.path, network, data, counts)
    seconds = time.perf_counter() - started
    folder.write_summary(network, written, counts, which, total_seconds=seconds)
    errors, n = int(counts.sum() - counts.trace()), int(counts.sum())
    click.echo(
        f"{which} accuracy {100 * (n - errors) / n:.2f} % ({errors:,} errors in {n:,}) after "
        f"{config.epochs} epoch{'s' * (config.epochs > 1)} in {seconds:.1f} s; "
        f"run folder: {folder.path}"
    )


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", required=False)
@click.option(
    "--split",
    type=click.Choice(["test", "train"]),
    default="test",
    show_default=True,
    help="Which part of the data set.",
)
@backend_option
@device_option
@data_dir_option
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
    click.echo(f"backend: {describe_backend(network.backend)}")
    data = load_dataset(dataset or _trained_on(run), data_dir=data_dir)
    part = data.train if split == "train" else data.test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.pixel_maximum = data.pixel_maximum
    click.echo(f"{data.name} {split} set: {network.evaluate(part.images, part.labels)}")


@click.command()
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


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@data_dir_option
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves.png, confusion.png and mistakes.png."""
    if run.is_file():
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data = load_dataset(_trained_on(run), data_dir=data_dir)
    _, split = _judged_on(data)
    counts = network.confusion_matrix(split.images, split.labels)
    if not _draw(run, network, data, counts):
        raise SystemExit(1)
    click.echo(f"pictures of {data.name}: {run}")


def _trained_on(run: Path) -> str:
    """The data set that a finished run was trained on."""
    summary = read_summary(run.parent if run.is_file() else run)
    return str(summary["configuration"]["dataset"])


def _judged_on(data: Dataset) -> tuple[str, Split]:
    """The split that the final figures and the pictures are of, and its name."""
    return ("training", data.train) if data.test is None else ("test", data.test)


def _draw(folder: Path, network: Network, data: Dataset, counts: HostArray) -> bool:
    """Draw the pictures of a run; False, with a hint, where matplotlib is missing."""
    which, split = _judged_on(data)
    try:
        plots.draw_run(folder, network, split, counts, f"{data.name}, {which} set")
    except ImportError as error:
        hint = "they need pip install 'xpnet[plot]'"
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            hint = str(error)
        click.echo(f"pictures left out: {hint}", err=True)
        return False
    return True
