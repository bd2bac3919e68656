"""Data sets from tables in files: of pixels, of pictures, or of anything else."""

import os

from xpnet.data.dataset import Dataset
from xpnet.data.tables.files import expanded, open_table, stem_of, tables_of
from xpnet.data.tables.frames import TEST_FRACTION, Parts, make_dataset
from xpnet.data.tables.measure import TargetKind
from xpnet.data.tables.pictures import picture_dataset
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
    name, tested = path.resolve().name, None if test is None else expanded(test)
    if os.path.isdir(path):  # noqa: PTH112 - False where Path.is_dir raises
        path, found = tables_of(path)
        tested = tested or found
    else:
        name = stem_of(path)
    file = open_table(path)
    test_file = None if tested is None else open_table(tested)
    if table is None:
        pictures = picture_dataset(name, file, label, test_file, fraction=test_fraction or None)
        if pictures is not None:
            return pictures
    if table is not None:
        file = file.named_like(table)
    columns = file.table(() if table is None else table.text_columns)
    texts = [column for column in columns if columns[column].kind == "text"]
    fraction = TEST_FRACTION if test_fraction is None else test_fraction
    return make_dataset(
        name,
        columns,
        label,
        None if test_file is None else test_file.table(texts),
        Parts(fraction, validation, seed),
        target_kind=target_kind,
        prepared=table,
        named=file.named,
        last=path.name.lower().removesuffix(".gz").endswith(".arff"),
    )
