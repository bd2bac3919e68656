"""The commands around a trained network: evaluate, predict, plot."""

from pathlib import Path

import click

from xpnet.cli.options import (
    backend_option,
    data_dir_option,
    describe_backend,
    device_option,
)
from xpnet.cli.pictures import draw_pictures, judged_on
from xpnet.cli.types import FILE, Words
from xpnet.data import Dataset, load_dataset
from xpnet.data.image import read_image
from xpnet.errors import DataError, RunError
from xpnet.training import load
from xpnet.training.run_folder import trained_on


@click.command()
@click.argument("run", type=FILE)
@click.argument("dataset", required=False)
@click.option(
    "--split",
    type=Words(["test", "train"]),
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
    data = _load_data(run, dataset, data_dir)
    part = data.train if split == "train" else data.test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.pixel_maximum = data.pixel_maximum
    click.echo(f"{data.name} {split} set: {network.evaluate(part.images, part.labels)}")


@click.command()
@click.argument("run", type=FILE)
@click.argument("images", nargs=-1, required=True, type=FILE)
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
@click.argument("run", type=FILE)
@data_dir_option
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves.png, confusion.png and mistakes.png."""
    if run.is_file():
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data = _load_data(run, None, data_dir)
    _, split = judged_on(data)
    counts = network.confusion_matrix(split.images, split.labels)
    if not draw_pictures(run, network, data, counts):
        raise SystemExit(1)
    click.echo(f"pictures of {data.name}: {run}")


def _load_data(run: Path, dataset: str | None, data_dir: Path | None) -> Dataset:
    """The data set that is named; if none is, the one that the run was trained on."""
    if dataset is not None:
        return load_dataset(dataset, data_dir=data_dir)
    name, folder = trained_on(run.parent if run.is_file() else run)
    return load_dataset(name, data_dir=data_dir or folder)
