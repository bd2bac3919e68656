"""Data sets. To add one, write a file here with its loader and name it in `DATASETS`."""

import os
from collections.abc import Callable
from typing import Any, Literal, overload

from xpnet.data.dataset import Dataset, DatasetWithTest, Split, check_labels
from xpnet.data.digits import load_digits
from xpnet.data.framing import Framing, measure_framing
from xpnet.data.idx import read_idx, write_idx
from xpnet.data.mnist import load_folder, load_mnist
from xpnet.data.npy import read_npy
from xpnet.data.pictures import read_picture
from xpnet.data.preparation import Preparation, flatten, normalize
from xpnet.data.prepared import Prepared, find_figures, fit_picture, prepare_picture
from xpnet.data.tables import TablePreparation, is_table, load_table, table_dataset
from xpnet.errors import DataError, shown
from xpnet.suggestions import did_you_mean

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetWithTest",
    "Framing",
    "Preparation",
    "Prepared",
    "Split",
    "TablePreparation",
    "check_labels",
    "find_figures",
    "fit_picture",
    "flatten",
    "is_table",
    "load_dataset",
    "load_digits",
    "load_folder",
    "load_mnist",
    "load_table",
    "measure_framing",
    "normalize",
    "prepare_picture",
    "read_idx",
    "read_npy",
    "read_picture",
    "table_dataset",
    "write_idx",
]

DATASETS: dict[str, Callable[[str | os.PathLike[str] | None], Dataset]] = {
    "digits": lambda data_dir: load_digits(),
    "mnist": load_mnist,
}
"""How each named data set is loaded, given the folder to look in first (or None)."""


@overload
def load_dataset(
    name: Literal["digits", "mnist"] = "digits",
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> DatasetWithTest: ...


@overload
def load_dataset(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **table_options: Any,
) -> Dataset: ...


def load_dataset(
    name: str | os.PathLike[str] = "digits",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **table_options: Any,
) -> Dataset:
    """Load a data set by name, or from a table, or from a folder of IDX or `.npy` files.

    Parameters
    ----------
    name
        `"digits"`, `"mnist"`, a table or a folder of tables (see `load_table`), or a folder of IDX
        or `.npy` files (see `load_folder`). A name wins over a folder of the same name; write
        `./mnist` for the folder. A leading `~` is the user's home.
    data_dir
        Where to look for files first (see `load_mnist`).
    table_options
        What is said of a table: `label="income"`, `test="more.csv"`, and the others of
        `load_table`.

    Raises
    ------
    DataError
        If there is no such data set, or its files are missing or corrupt; or if it is no table, and
        an option of tables is given.

    Examples
    --------
    >>> load_dataset("digits")
    <Dataset digits: 1,438 training and 359 test images of 8 x 8, 10 classes>
    """
    given = [option for option, value in table_options.items() if value is not None]
    is_there = name in DATASETS or os.path.exists(os.path.expanduser(name))  # noqa: PTH110, PTH111
    if given and is_there and (name in DATASETS or not is_table(name)):
        raise DataError(f"{given[0]}: this is said of tables, and {shown(os.fspath(name))} is none")
    if name in DATASETS:
        return DATASETS[str(name)](data_dir)
    if is_table(name):
        return load_table(name, **table_options)
    # False where Path.is_dir raises, for want of permission.
    if os.path.isdir(os.path.expanduser(name)):  # noqa: PTH111, PTH112
        return load_folder(name)
    raise DataError(
        f"there is no data set {shown(os.fspath(name))}: give one of {', '.join(DATASETS)}, "
        f"or a folder of IDX files or .npy files, or a table"
        + did_you_mean(os.fspath(name), DATASETS)
    )
