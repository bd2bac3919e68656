"""The commands around a trained network: evaluate, plot."""

import os
from dataclasses import replace
from pathlib import Path

import click

from xpnet.cli.asking import asked
from xpnet.cli.options import describe_backend, run_option
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on
from xpnet.cli.streams import show, tell
from xpnet.cli.types import FILE, Words
from xpnet.data import Dataset, load_dataset
from xpnet.errors import DataError, RunError, readable
from xpnet.network import load
from xpnet.runs.continuation import trained_on


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
@run_option("backend")
@run_option("device")
@run_option("data_dir")
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
    show(f"backend: {describe_backend(network.backend)}")
    data = _load_data(run, dataset, data_dir)
    part = data.train if split == "train" else data.test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.preparation = replace(network.preparation, maximum=data.pixel_maximum)
    with asked(run):
        found = network.evaluate(part.images, part.labels)
    show(f"{readable(data.name)} {split} set: {found}")


@click.command()
@click.argument("run", type=FILE)
@run_option("data_dir")
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves.png, confusion.png and mistakes.png."""
    if os.path.isfile(run):  # noqa: PTH113 - Path.is_file may raise for want of permission
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data = _load_data(run, None, data_dir)
    _, split = judged_on(data)
    with asked(run):
        counts = count_confusions(network, split)
        if not draw_pictures(run, network, data, counts):
            raise SystemExit(1)
    tell(f"pictures of {readable(data.name)}: {readable(str(run))}")


def _load_data(run: Path, dataset: str | None, data_dir: Path | None) -> Dataset:
    """The data set that is named; if none is, the one that the run was trained on."""
    if dataset is not None:
        return load_dataset(dataset, data_dir=data_dir)
    name, folder = trained_on(run.parent if os.path.isfile(run) else run)  # noqa: PTH113
    return load_dataset(name, data_dir=data_dir or folder)
