"""Data sets from tables in files."""

import os
import re
from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.tables.pixels import (
    Layout,
    find_layout,
    label_column,
    pixel_maximum,
    read_pixels,
)
from xpnet.data.tables.text import Dialect, find_dialect, read_head
from xpnet.errors import DataError, one_line
from xpnet.typing import HostArray

_TEXT_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".data")
_OTHER_ENDINGS = (".parquet", ".pq", ".feather", ".arrow", ".ipc", ".arff")
_FOLDER_ENDINGS = (".csv", ".tsv", *_OTHER_ENDINGS)
"""Other text in a folder may be anything, such as a README."""

_TRAIN = re.compile(r"(^|[^a-z])(train|training|trn)([^a-z]|$)", re.IGNORECASE)
_TEST = re.compile(r"(^|[^a-z])(test|testing|tst)([^a-z]|$)", re.IGNORECASE)


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a table, or of a folder of tables, by the names of the files."""
    path = _expanded(path)
    if os.path.isdir(path):  # noqa: PTH112 - False where Path.is_dir raises
        return bool(_tables_in(path))
    return os.path.isfile(path) and _ending(path) in _TEXT_ENDINGS + _OTHER_ENDINGS  # noqa: PTH113


def load_table(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    test: str | os.PathLike[str] | None = None,
) -> Dataset:
    """A data set from a table, or from a folder of tables.

    Parameters
    ----------
    path
        A table in a file, plain or gzipped; or a folder with one for training, such as `train.csv`
        or `mnist_train.csv`, and perhaps one for the test, such as `test.csv`.
    label
        The column that is to be predicted; found by itself in a table of pixels.
    test
        A table for the test, with labels.

    Raises
    ------
    DataError
        If a file is missing or is no table, or the label is not in it.
    """
    path = _expanded(path)
    name = path.resolve().name
    tests = None if test is None else _expanded(test)
    if os.path.isdir(path):  # noqa: PTH112
        path, found = _pair(path)
        tests = tests or found
    else:
        name = _stem(path)
    return _load_pixels(path, name, label, tests)


def _load_pixels(path: Path, name: str, label: str | None, test: Path | None) -> Dataset:
    dialect = find_dialect(path, read_head(path))
    layout = find_layout(dialect, label)
    values = None if layout is None else read_pixels(path, dialect)
    if layout is None or values is None:
        raise DataError(f"{path}: not a table of pixels")
    place = label_column(values, layout)
    if place is None:
        raise DataError(f"{path}: there is no column of labels in this table of pixels")
    train = _split(values, place, layout)
    tested = None if test is None else _test_split(test, dialect, place, layout)
    n_classes = int(train.labels.max()) + 1
    maximum = pixel_maximum(train.images)
    return Dataset(name, train, tested, n_classes=n_classes, pixel_maximum=maximum)


def _test_split(path: Path, like: Dialect, place: int, layout: Layout) -> Split | None:
    """The test set; None where the table has no labels, as in a competition."""
    dialect = find_dialect(path, read_head(path))
    if len(dialect.names) == len(like.names) - 1:
        return None
    values = read_pixels(path, dialect)
    if values is None or values.shape[1] != len(like.names):
        raise DataError(
            f"{path}: expected the {len(like.names)} columns of the training table, whole numbers "
            f"from 0 to 255; found {len(dialect.names)} columns ({one_line(dialect.names[:4])}, "
            f"...)"
        )
    return _split(values, place, layout)


def _split(values: HostArray, place: int, layout: Layout) -> Split:
    """Consumes `values`: pixels and labels."""
    labels = values[:, place].astype(np.int64)
    return Split(_without_column(values, place).reshape(-1, *layout.shape), labels)


def _without_column(values: HostArray, place: int) -> HostArray:
    """Consumes `values`: moved up within its memory, since a copy would be as large again."""
    width = values.shape[1] - 1
    flat = values.reshape(-1)
    for i, row in enumerate(values):
        flat[i * width : i * width + place] = row[:place]
        flat[i * width + place : (i + 1) * width] = row[place + 1 :]
    return flat[: len(values) * width].reshape(len(values), width)


def _pair(folder: Path) -> tuple[Path, Path | None]:
    """The tables for training and test in a folder."""
    tables = _tables_in(folder)
    train = [table for table in tables if _TRAIN.search(_stem(table))] or tables
    if len(train) > 1:
        raise DataError(
            f"{folder}: expected one table, or one with train in its name, found "
            f"{one_line(', '.join(table.name for table in train))}"
        )
    tests = [table for table in tables if _TEST.search(_stem(table))]
    if len(tests) > 1:
        raise DataError(
            f"{folder}: several tables have test in their names: "
            f"{one_line(', '.join(table.name for table in tests))}; leave one there"
        )
    return train[0], tests[0] if tests and tests != train else None


def _tables_in(folder: Path) -> list[Path]:
    """The tables of a folder: of one in several forms, such as plain and gzipped, the first."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return []
    found: dict[str, Path] = {}
    for name in names:
        if not name.startswith(".") and _ending(Path(name)) in _FOLDER_ENDINGS:
            found.setdefault(_stem(Path(name)).casefold(), folder / name)
    return list(found.values())


def _ending(path: Path) -> str:
    return Path(_unzipped(path)).suffix.lower()


def _stem(path: Path) -> str:
    """The name of a file without what says its form."""
    return Path(_unzipped(path)).stem or path.name


def _unzipped(path: Path) -> str:
    return path.name[:-3] if path.name.lower().endswith(".gz") else path.name


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - it raises where there is no home
