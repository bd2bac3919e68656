"""The commands around a trained network: evaluate, predict, plot."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from xpnet.cli.options import describe_backend, run_option
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on, values_verdict
from xpnet.cli.streams import show, tell
from xpnet.cli.tables import predict_tables
from xpnet.cli.types import FILE, Words
from xpnet.data import DATASETS, Dataset, Split, is_table, load_dataset
from xpnet.data.image import check_image_shape, read_image
from xpnet.errors import DataError, RunError, XpnetError, one_line, readable, shortened
from xpnet.network import Network, load
from xpnet.runs.continuation import trained_on

_MOST_SAID = 1000
"""So many values or labels of a picture are said: a file may make a network of millions of them."""


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
    with _asked(run):
        found: object = network.evaluate(part.images, part.labels)
        if network.target_kind == "values" and network.table is not None:
            found = values_verdict(network.report(part.images, part.labels))
    show(f"{readable(data.name)} {split} set: {found}")


@click.command()
@click.argument("run", type=FILE)
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option("--invert", is_flag=True, help="The pictures are dark ink on white paper.")
@click.option(
    "--out", type=FILE, metavar="TABLE", help="Write predictions for tables here: .csv or .parquet."
)
def predict(run: Path, images: tuple[Path, ...], invert: bool, out: Path | None) -> None:
    """Say the class of each picture in IMAGES, or of each row of tables, as the network of RUN
    sees it.

    Pictures (PNG, JPEG, GIF, BMP, PPM, WebP, TIFF) may be of any size; they are fitted to the size
    the network was trained on. Of a network of several labels those are said that hold, of one
    that gives values the values.

    A table (CSV, Parquet, Arrow, Feather, ARFF) is answered by a table, with the prediction for
    each row and the probabilities of the classes: CSV, or the file that --out names.
    """
    network = load(run)
    tables = [path for path in images if is_table(path)]
    if tables or network.table is not None:
        others = [path for path in images if path not in tables]
        if others and tables:
            raise click.UsageError(f"give tables or pictures, not both: {others[0]} is no table")
        with _asked(run):
            predict_tables(network, images, out)
        return
    if out is not None:
        raise click.UsageError("--out is for predictions for tables")
    try:
        check_image_shape(network.sample_shape)
    except DataError as error:
        raise DataError(f"{run}: {error}") from error
    failed = False
    for path in images:
        try:
            with _asked(run):
                answer = _answer(network, path, invert)
        except (DataError, RunError) as error:
            tell(f"error: {shortened(str(error))}", err=True)
            failed = True
            continue
        show(f"{readable(str(path))}: {answer}")
    if failed:
        raise SystemExit(1)


def _answer(network: Network, path: Path, invert: bool) -> str:
    """What the network says of a picture: its class, the labels that hold, or the values."""
    with np.errstate(all="ignore"):
        pixels = read_image(path, network.sample_shape or (), maximum=1.0, invert=invert)
        ask = network.predict if network.target_kind == "values" else network.predict_proba
        numbers = ask(pixels[None, ...])[0]
    if not np.isfinite(numbers).all():
        raise DataError(f"{path}: the network gives no finite numbers for this picture")
    if network.target_kind == "values":
        values = [f"{value:.6g}" for value in numbers.ravel()[:_MOST_SAID].tolist()]
        return "  ".join(values) + _more(numbers.size)
    percent = 100 * numbers.ravel()
    if network.target_kind == "classes":
        best = int(percent.argmax())
        name = best if network.names is None else one_line(network.names[best])
        return f"{name}  ({percent[best]:.1f} %)"
    holding = np.flatnonzero(percent > 50)
    said = [f"{label}  ({percent[label]:.1f} %)" for label in holding[:_MOST_SAID].tolist()]
    return ", ".join(said) + _more(holding.size) if said else f"none of {percent.size} labels"


def _more(count: int) -> str:
    """How many are left out of a list of so many; nothing where all are said."""
    return f" and {count - _MOST_SAID:,} more" if count > _MOST_SAID else ""


@click.command()
@click.argument("run", type=FILE)
@run_option("data_dir")
def plot(run: Path, data_dir: Path | None) -> None:
    """Draw the pictures of RUN again: curves.png, confusion.png and mistakes.png."""
    if os.path.isfile(run):  # noqa: PTH113 - Path.is_file may raise for want of permission
        raise RunError(f"{run}: give the run folder that it is in")
    network = load(run)
    data, _ = _load_data(run, network, None, data_dir)
    _, split = judged_on(data)
    with _asked(run):
        counts = count_confusions(network, split)
        if not draw_pictures(run, network, data, counts):
            raise SystemExit(1)
    tell(f"pictures of {readable(data.name)}: {readable(str(run))}")


@contextmanager
def _asked(run: Path) -> Iterator[None]:
    """What a network cannot be asked, such as classes where it gives values, is one sentence."""
    try:
        yield
    except XpnetError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise RunError(f"{run}: the network cannot be asked this: {one_line(error)}") from error


def _load_data(
    run: Path, network: Network, dataset: str | None, data_dir: Path | None
) -> tuple[Dataset, Split | None]:
    """The data set that is named, or the one that the run was trained on; and its test set.

    A table that is named is prepared as that of the training was, and all of it is the test.
    """
    if dataset is not None:
        if network.table is None:
            data = load_dataset(dataset, data_dir=data_dir).numbered_by(network.class_names)
            return data, data.test
        if dataset in DATASETS or not is_table(dataset):
            raise DataError(
                f"{one_line(dataset)}: the network was trained on a table, and this is none: name "
                f"a file that has its columns"
            )
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
