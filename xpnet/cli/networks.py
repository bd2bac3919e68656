"""The commands around a trained network: evaluate, plot."""

import os
from dataclasses import replace
from pathlib import Path

import click

from xpnet.cli.asking import asked
from xpnet.cli.options import describe_backend, run_option
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on, values_verdict
from xpnet.cli.streams import show, tell
from xpnet.cli.types import FILE, Words
from xpnet.data import DATASETS, Dataset, Split, is_table, load_dataset
from xpnet.errors import DataError, RunError, one_line, readable
from xpnet.network import Network, load
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
    data, test = _load_data(run, network, dataset, data_dir)
    part = data.train if split == "train" else test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.preparation = replace(network.preparation, maximum=data.pixel_maximum)
    for note in data.notes if dataset is not None else ():
        tell(f"note: {one_line(note, 500)}", err=True)
    with asked(run):
        found: object = network.evaluate(part.images, part.labels)
        if network.target_kind == "values" and network.table is not None:
            found = values_verdict(network.report(part.images, part.labels))
    show(f"{readable(data.name)} {split} set: {found}")


@click.command()
@click.argument("run", type=FILE)
@run_option("data_dir")
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves, confusion, mistakes, and what is looked at."""
    if os.path.isfile(run):  # noqa: PTH113 - Path.is_file may raise for want of permission
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data, _ = _load_data(run, network, None, data_dir)
    _, split = judged_on(data)
    with asked(run):
        counts = count_confusions(network, split)
        if not draw_pictures(run, network, data, counts):
            raise SystemExit(1)
    tell(f"pictures of {readable(data.name)}: {readable(str(run))}")


def _load_data(
    run: Path, network: Network, dataset: str | None, data_dir: Path | None
) -> tuple[Dataset, Split | None]:
    """The data set that is named, or the one that the run was trained on; and its test set.

    A table that is named is prepared as that of the training was, and all of it is the test, if it
    has no part for it.
    """
    if dataset is not None:
        if network.table is None:
            data = load_dataset(dataset, data_dir=data_dir).numbered_by(network.class_names)
            whole = dataset not in DATASETS and is_table(dataset)
            return data, data.test or (data.train if whole else None)
        data = load_dataset(dataset, data_dir=data_dir, table=network.table, test_fraction=0)
        return data, data.test or data.train
    config = trained_on(run.parent if os.path.isfile(run) else run)  # noqa: PTH113
    # What was begun with the network of another table, is prepared as that was.
    began = network.table if config.start is not None else None
    data = load_dataset(
        config.dataset,
        data_dir=data_dir or config.data_dir,
        table=began,
        **config.table_options(),
    ).numbered_by(network.class_names)
    if data.table != network.table:
        raise DataError(
            f"{config.dataset}: this table is another one than that which the network was trained "
            f"on; to evaluate on all of it, name it: xpnet evaluate RUN TABLE"
        )
    return data, data.test
