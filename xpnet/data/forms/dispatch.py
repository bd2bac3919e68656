"""What a path is: the forms in which people have training data, tried one after the other."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpnet.data.dataset import Dataset
from xpnet.data.forms.array_files import find_idx, find_npy, find_npz, kinds_at
from xpnet.data.forms.class_folders import find_pictures, why_no_pictures
from xpnet.data.forms.kinds import (
    HEAD,
    is_idx,
    kind_of,
    kind_of_archive,
    kind_of_file,
    unzipped_head,
)
from xpnet.data.forms.places import Folder, Place, Tar, Zip, is_tar, is_zip
from xpnet.data.forms.roles import role_of
from xpnet.data.forms.sources import Found
from xpnet.data.forms.table_files import ENDINGS as TABLE_ENDINGS
from xpnet.data.forms.table_files import find_tables
from xpnet.data.known import FILES
from xpnet.data.tables import check_no_table
from xpnet.errors import DataError, one_line, reason_of, shown
from xpnet.streams import log_info

Find = Callable[[Place, str | None], Found | None]


@dataclass(frozen=True)
class Form:
    """A form in which training data are kept.

    Attributes
    ----------
    find
        Finds them in a place; called with the place, and with the name of the only file there if
        that was given itself. None if there are none of this form.
    alone
        Whether the form counts only where no other is found but a table, since what it is made of
        lies beside other data as well.
    """

    find: Find
    alone: bool = False


FORMS: tuple[Form, ...] = (
    Form(find_idx),
    Form(find_npy),
    Form(find_npz),
    Form(find_tables),
    Form(find_pictures, alone=True),
)
"""All that there are. To add one, write a file with its `find`, and name it here."""

WANTED = (
    f"the IDX files {' and '.join(FILES[:2])} (plain or .gz), .npy files or a .npz with x_train "
    f"and y_train, a table (.csv, .parquet, .arrow, .arff), pictures in a folder for each class, "
    f"or a .zip or .tar.gz of any of these"
)
_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip", ".tar")
_SHOWN = 8


def load_path(path: str | os.PathLike[str], **table_options: Any) -> Dataset:
    """A data set from a file, a folder or an archive, in whichever form it is.

    Parameters
    ----------
    path
        What it is read from; a leading `~` is the user's home.
    table_options
        What is said of a table: options of `load_table`.

    Returns
    -------
    data
        Named after the path. `Dataset.notes` begins with what was found.

    Raises
    ------
    DataError
        If it holds no training data, or more than one data set, or they are damaged.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111 - it raises where there is no home
    with open_place(path) as (place, only):
        found = _found(place, only)
        if found is None and only is None:
            inner = [name for name in place.sizes if name.lower().endswith(_ARCHIVES)]
            if len(inner) == 1 and place.file(inner[0]) is not None:
                return load_path(path / inner[0], **table_options)
        if found is None:
            raise DataError(_refusal(place, only))
        if not found.is_table:
            check_no_table(path, table_options)
        data = found.read(_name_of(path, only), **(table_options if found.is_table else {}))
    told = f"found {found.what}"
    log_info("data: %s", told)
    return replace(data, notes=(told, *data.notes))


@contextmanager
def open_place(path: Path) -> Iterator[tuple[Place, str | None]]:
    """Where a path leads, and the name of the file there if the path is that of one file.

    Raises
    ------
    DataError
        If there is nothing, it cannot be read, or is an archive that is damaged.
    """
    place, only = _place(path)
    try:
        yield place, only
    finally:
        place.close()


def _place(path: Path) -> tuple[Place, str | None]:
    # os.path: False where Path's methods raise, for want of permission.
    if os.path.isdir(path):  # noqa: PTH112
        return Folder(path), None
    if not os.path.isfile(path):  # noqa: PTH113
        raise DataError(f"{path}: found {_why_nothing(path)}; expected {WANTED}")
    head = _head(path)
    if is_zip(head) and not path.name.lower().endswith(".npz"):
        return Zip(path), None
    if is_tar(path, head):
        return Tar(path), None
    if is_idx(unzipped_head(head)) or (role_of(path.name) and path.name.lower().endswith(".npy")):
        return Folder(path.parent, deepest=0), path.name  # the files that belong to it lie beside
    return Folder(path.parent, only=path.name), path.name


def _found(place: Place, only: str | None) -> Found | None:
    """What lies least deep; where that are several forms nobody knows which is meant."""
    found = [one for form in FORMS if not form.alone and (one := form.find(place, only))]
    if all(one.is_table for one in found):  # beside pictures it is a list of them
        others = [one for form in FORMS if form.alone and (one := form.find(place, only))]
        found = others or found
    first = [one for one in found if one.depth == min(each.depth for each in found)]
    kinds = [one.what.partition(":")[0] for one in first]
    if len(kinds) == 1 and only is None:  # also a file or two that are left of another set
        kinds += [kind for kind in kinds_at(place, first[0].depth) if kind not in kinds]
    if len(kinds) > 1:
        said = " and ".join(kinds)
        raise DataError(
            f"{place.path}: found {said}: leave one kind of them there, or give the file that is "
            f"meant"
        )
    return first[0] if first else None


def _refusal(place: Place, only: str | None) -> str:
    """What was found in a place without training data, and what is wanted."""
    where = place.path if only is None else place.path / only
    found = _listing(place) if only is None else _kind_of_one(place, only)
    return (
        f"{where}: no training data: found {found}; expected {WANTED}"
        f"{why_no_pictures(place) if only is None else ''}"
    )


def _kind_of_one(place: Place, name: str) -> str:
    head = _head(place.path / name)
    if name.lower().endswith(".npz") and is_zip(head):
        inner = Zip(place.path / name)
        names = [key.removesuffix(".npy") for key in inner.sizes]
        inner.close()
        if "xpnet" in names:
            return "a saved network and no data to train on: give it to xpnet evaluate"
        return (
            f"a .npz file with the arrays {_some(names)}, whose names are none of the usual, or "
            f"which lack their labels"
        )
    return kind_of(head) or f"a file that begins with {shown(head[:8])}"


def _listing(place: Place) -> str:
    """The names in a folder or archive; and what the files are, if one thing is known of them."""
    names = sorted(place.sizes, key=lambda name: (name.count("/"), name))
    if not names:
        what = "an empty folder"
        return (
            what if isinstance(place, Folder) else "an archive without files (links are no files)"
        )
    strange = [name for name in names[:_SHOWN] if role_of(name.rpartition("/")[2]) is None]
    kinds = {kind for name in strange if (kind := kind_of_file(place, name)) is not None}
    kind = kind_of_archive(place) or (kinds.pop() if len(kinds) == 1 else None)
    if kind is None and all(name.lower().endswith(_ARCHIVES) for name in names):
        kind = "archives: unpack them, and give the folder"
    return _some(names) + (f" ({kind})" if kind else "")


def _some(names: list[str]) -> str:
    more = "" if len(names) <= _SHOWN else f" and {len(names) - _SHOWN} more"
    return ", ".join(one_line(name, 80) for name in names[:_SHOWN]) + more


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def _why_nothing(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "no such folder or file"
    except (OSError, ValueError) as error:
        return f"what cannot be read ({reason_of(error)})"
    return "a pipe or a device, and no file"


def _name_of(path: Path, only: str | None) -> str:
    """The name of the data set: that of the folder, or of the file without what says its form."""
    path = path.resolve()
    whole = (".npz", *TABLE_ENDINGS)
    if only and role_of(only) and not _without(only.lower(), (".gz",)).endswith(whole):
        path = path.parent
    if os.path.isdir(path):  # noqa: PTH112
        return path.name
    if only is None:
        return _without(path.name, _ARCHIVES)
    return _without(_without(path.name, (".gz",)), (".npz", ".npy", *TABLE_ENDINGS))


def _without(name: str, endings: tuple[str, ...]) -> str:
    ending = next((end for end in endings if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] or name
