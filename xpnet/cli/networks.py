"""The commands around a trained network: evaluate, plot."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from xpnet.cli.asking import asked
from xpnet.cli.options import describe_backend, run_option
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on, values_verdict
from xpnet.cli.streams import show, tell
from xpnet.cli.together import is_run, load_together, members_of
from xpnet.cli.types import FILE, Words, expanded
from xpnet.data import DATASETS, Dataset, Split, is_table, load_dataset
from xpnet.errors import DataError, RunError, one_line, readable
from xpnet.network import Network, load
from xpnet.runs.config import RunConfig
from xpnet.runs.continuation import trained_on


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [DATASET]")
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
    runs: tuple[str, ...], split: str, backend: str, device: str | None, data_dir: Path | None
) -> None:
    """Measure the network of RUN on DATASET (the one it was trained on, if not given).

    RUN is a run folder or a model.safetensors file. Of several runs each is measured, and the
    ensemble of them, which predicts the mean of their probabilities; of the folder that --members
    wrote as well.
    """
    *others, last = runs
    dataset = last if others and not is_run(expanded(last)) else None
    paths = [Path(expanded(run)) for run in (runs if dataset is None else others)]
    network = load_together(paths, backend=backend, device=device)
    show(f"backend: {describe_backend(network.backend)}")
    data, test = _load_data(paths, network, dataset, data_dir)
    part = data.train if split == "train" else test
    if part is None:
        raise DataError(f"{data.name} has no test set: take --split train")
    network.preparation = replace(network.preparation, maximum=data.pixel_maximum)
    for note in data.notes if dataset is not None else ():
        tell(f"note: {one_line(note, 500)}", err=True)
    members = members_of(paths, network)
    for name, one in members:
        show(f"{readable(name)}: {_measured(paths[0], one, part)}")
    together = f"ensemble of {len(members)}: " if members else ""
    show(f"{together}{readable(data.name)} {split} set: {_measured(paths[0], network, part)}")


def _measured(run: Path, network: Network, part: Split) -> object:
    """How good a network is on samples, in words."""
    with asked(run):
        if network.target_kind == "values" and network.table is not None:
            return values_verdict(network.report(part.images, part.labels))
        return network.evaluate(part.images, part.labels)


@click.command()
@click.argument("run", type=FILE)
@run_option("data_dir")
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves, confusion, mistakes, and what is looked at."""
    if os.path.isfile(run):  # noqa: PTH113 - Path.is_file may raise for want of permission
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data, _ = _load_data([run], network, None, data_dir)
    _, split = judged_on(data)
    with asked(run):
        counts = count_confusions(network, split)
        if not draw_pictures(run, network, data, counts):
            raise SystemExit(1)
    tell(f"pictures of {readable(data.name)}: {readable(str(run))}")


def _load_data(
    runs: Sequence[Path], network: Network, dataset: str | None, data_dir: Path | None
) -> tuple[Dataset, Split | None]:
    """The data set that is named, or the one that all runs were trained on; and its test set.

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
    config = _trained_on_alike(runs)
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


def _trained_on_alike(runs: Sequence[Path]) -> RunConfig:
    """The configuration of the first of some runs, which have to be of the same data.

    Raises
    ------
    RunError
        If they are not.
    """
    folders = [run.parent if os.path.isfile(run) else run for run in runs]  # noqa: PTH113
    first, *others = map(trained_on, folders)
    for folder, other in zip(folders[1:], others, strict=True):
        mine, its = map(_tested_on, (first, other))
        if mine != its:
            raise RunError(
                f"{folders[0]}, {folder}: these were not trained on the same data, or not tested "
                f"on the same part of it ({first.dataset}, {other.dataset}): name the data set to "
                f"evaluate on, as the last word"
            )
    return first


def _tested_on(config: RunConfig) -> dict[str, Any]:
    """What the rows follow from that a run is tested on."""
    split = {} if config.dataset in DATASETS else config.table_options()
    return {"dataset": config.dataset, **split, "validation": None, "seed": None}
