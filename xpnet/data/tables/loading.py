"""Data sets from tables in files: of pixels, of pictures, or of anything else."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from xpnet.data.dataset import Dataset
from xpnet.data.tables.files import TableFile, expanded, open_table, tables_of
from xpnet.data.tables.folders import ending_of, stem_of
from xpnet.data.tables.frames import TEST_FRACTION, KeptParts, make_dataset
from xpnet.data.tables.measure import TargetKind
from xpnet.data.tables.pictures import looks_like_pixels, picture_dataset
from xpnet.data.tables.preparation import TablePreparation


def load_table(
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    test: str | os.PathLike[str] | None = None,
    test_fraction: float | None = None,
    validation: float | None = None,
    seed: int = 0,
    target_kind: TargetKind | None = None,
    table: TablePreparation | None = None,
) -> Dataset:
    """A data set from a table, or from a folder of tables: CSV, Parquet, Arrow, Feather or ARFF.

    What is in it decides what it is: a table of pixels, or with a column of pictures (the `bytes`
    of PNG or JPEG), becomes a data set of pictures, with what is in it as it is. Of any other table
    the columns are prepared as `table_dataset` says. `Dataset.notes` has what was found.

    Parameters
    ----------
    path
        A file, plain or gzipped; or a folder with a table for training, such as `train.csv` or
        `mnist_train.csv`, and perhaps one for the test, such as `test.csv`.
    label
        The column that is to be predicted. Without it that is the one that the test table does not
        have; one that is called label, class, target or y; of pixels the only other column; of ARFF
        the last. Columns without names have numbers from 1, or from the end -1, -2, ...
    test
        A table for the test. Without labels in it nothing is tested by it.
    test_fraction
        The part of the rows that is kept for the test where there is no table for it; if None a
        fifth, and of tables of pixels or pictures nothing. 0 keeps none.
    validation, seed
        As for `table_dataset`. Of tables of pixels or pictures nothing is kept: nothing is measured
        there, and `fit` does it.
    target_kind
        `"classes"` or `"values"`: what the label is, where that is in doubt.
    table
        How another table was prepared, which this one then is as well; its columns are found by
        their names.

    Raises
    ------
    DataError
        If a file is missing or is no table, the label is not in it, or there is nothing to learn.
    """
    path = expanded(path)
    if not os.path.isdir(path):  # noqa: PTH112 - False where Path.is_dir raises
        found = TablePaths(stem_of(path.name), (path,))
    else:
        names = tables_of(path)
        found = TablePaths(
            path.resolve().name,
            tuple(path / name for name in names.train),
            tuple(path / name for name in names.test),
            names.left_out,
        )
    return load_tables(
        found,
        label=label,
        test=test,
        test_fraction=test_fraction,
        parts=KeptParts(validation=validation, seed=seed),
        target_kind=target_kind,
        table=table,
    )


@dataclass(frozen=True)
class TablePaths:
    """The files of a data set.

    Attributes
    ----------
    name
        What the data set is called.
    train, test
        The table to train on, and that for the test, which may be none: each a file, or its pieces.
    left_out
        What else was there and is not taken, in words.
    """

    name: str
    train: tuple[Path, ...]
    test: tuple[Path, ...] = ()
    left_out: str = ""


def load_tables(
    paths: TablePaths,
    *,
    label: str | None = None,
    test: str | os.PathLike[str] | None = None,
    test_fraction: float | None = None,
    parts: KeptParts,
    target_kind: TargetKind | None = None,
    table: TablePreparation | None = None,
) -> Dataset:
    """`load_table` of files of which it is known what they are for."""
    tested = paths.test if test is None else (expanded(test),)
    file, test_file = open_table(*paths.train), open_table(*tested) if tested else None
    said = [*file.notes, *([f"left out: {paths.left_out}"] if paths.left_out else [])]
    if len(paths.train) > 1:
        said.append(f"{len(paths.train)} pieces of one table")
    data = None
    if table is None:
        fraction = test_fraction or None
        data = picture_dataset(paths.name, file, label, test_file, fraction=fraction)
    if data is None:
        if table is None and looks_like_pixels(file, label):
            said.append(
                "no pixels, as the first rows are, but columns of numbers: not all values are "
                "whole numbers from 0 to 255"
            )
        data = _of_columns(
            paths.name,
            file if table is None else file.named_like(table),
            label,
            test_file,
            replace(parts, test=TEST_FRACTION if test_fraction is None else test_fraction),
            target_kind,
            table,
        )
    return replace(data, notes=(*said, *data.notes))


def _of_columns(
    name: str,
    file: TableFile,
    label: str | None,
    test: TableFile | None,
    parts: KeptParts,
    target_kind: TargetKind | None,
    table: TablePreparation | None,
) -> Dataset:
    columns = file.table(() if table is None else table.text_columns)
    texts = [column for column in columns if columns[column].kind == "text"]
    return make_dataset(
        name,
        columns,
        label,
        None if test is None else test.table(texts),
        parts,
        target_kind=target_kind,
        prepared=table,
        named=file.named,
        last=ending_of(file.path.name) == ".arff",
    )
