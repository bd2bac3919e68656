"""Data sets: by name (`known`), and from files in the forms that people have (`forms`)."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, overload

from xpnet.data.dataset import Dataset, DatasetWithTest, Split, check_labels
from xpnet.data.digits import load_digits
from xpnet.data.framing import Framing, measure_framing
from xpnet.data.idx import read_idx, write_idx
from xpnet.data.known import KNOWN, Known
from xpnet.data.named import load_known, load_mnist
from xpnet.data.npy import read_npy
from xpnet.data.pictures import read_picture
from xpnet.data.preparation import Preparation, flatten, normalize, taken_shape
from xpnet.data.prepared import Prepared, find_figures, fit_picture, prepare_picture
from xpnet.data.tables import TablePreparation, check_no_table, is_table, load_table, table_dataset
from xpnet.errors import DataError, shown
from xpnet.suggestions import did_you_mean

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetWithTest",
    "Framing",
    "Known",
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
    "taken_shape",
    "write_idx",
]

DATASETS: dict[str, Callable[[str | os.PathLike[str] | None], DatasetWithTest]] = {
    "digits": lambda data_dir: load_digits(),
    **{name: partial(load_known, name) for name in KNOWN},
}
"""How each named data set is loaded, given the folder to look in first (or None)."""


@overload
def load_dataset(
    name: Literal[
        "digits",
        "mnist",
        "fashion-mnist",
        "kmnist",
        "qmnist",
        "emnist-balanced",
        "emnist-letters",
        "emnist-digits",
        "emnist-byclass",
        "emnist-bymerge",
        "emnist-mnist",
    ] = "digits",
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
    """Load a data set by name, or from a file, a folder or an archive in any of the usual forms.

    Parameters
    ----------
    name
        A name of `DATASETS`, such as `"digits"`, `"mnist"` or `"fashion-mnist"`; or the path of
        files: IDX, `.npy` or `.npz`, a table, pictures in a folder for each class, or an archive of
        any of these. `Dataset.notes` says what was found. A name wins over a path of the same name;
        write `./mnist` for the folder. A leading `~` is the user's home.
    data_dir
        Where to look for the files of a name first (see `load_mnist`).
    table_options
        What is said of a table: `label="income"`, `test="more.csv"`, and the others of
        `load_table`.

    Raises
    ------
    DataError
        If there is no such data set, or its files are missing, corrupt, or no training data; or if
        it is no table, and an option of tables is given.

    Examples
    --------
    >>> load_dataset("digits")
    <Dataset digits: 1,438 training and 359 test images of 8 x 8, 10 classes>
    """
    if name in DATASETS:
        check_no_table(name, table_options)
        return DATASETS[str(name)](data_dir)
    # os.path: silent where Path's methods raise, for want of permission.
    if os.path.exists(os.path.expanduser(name)):  # noqa: PTH110, PTH111
        return load_folder(name, **table_options)
    raise DataError(
        f"there is no data set {shown(os.fspath(name))}: give one of "
        f"{', '.join(DATASETS)}, or the path of a file, a folder or an archive"
        + did_you_mean(os.fspath(name), DATASETS)
    )


def load_folder(path: str | os.PathLike[str], **table_options: Any) -> Dataset:
    """A data set from the path of a file, a folder or an archive, as `load_dataset` reads it.

    Parameters
    ----------
    path
        The path; never a name.
    table_options
        As for `load_dataset`.

    Returns
    -------
    data
        Named after the path. The number of classes is the largest training label plus one, or that
        of the names. Images of more than 256 MiB in a plain IDX or `.npy` file stay in their file:
        training reads them batch by batch.

    Raises
    ------
    DataError
        If there are no training data, or they are damaged, or do not belong together.
    """
    from xpnet.data.forms import load_path  # late: archives take libraries that nothing else needs

    return load_path(path, **table_options)
