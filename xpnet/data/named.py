"""The data sets that are known by name: where they are looked for, and downloaded from."""

import os
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xpnet.data.dataset import Dataset, DatasetWithTest
from xpnet.data.known import KNOWN, Known, digest
from xpnet.errors import DataError, one_line
from xpnet.streams import can_flush

if TYPE_CHECKING:
    from xpnet.data.forms.places import Place
    from xpnet.data.forms.sources import Parts

_BETWEEN = ("", "raw", "data", "gzip", "files", "idx")
"""Folders between that of a data set and its files, as libraries and archives have them."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DEEPEST = 3


def load_known(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, download: bool = True
) -> DatasetWithTest:
    """A data set that is known by name, found or downloaded.

    Parameters
    ----------
    name
        Its name, as `KNOWN` has it.
    data_dir, download
        As for `load_mnist`.

    Raises
    ------
    DataError
        As `load_mnist` does.
    """
    row = KNOWN[name]
    searched, others = _folders(row, data_dir), dict[str, str]()
    for folder in searched:
        for data in _candidates(row, folder):
            other = _other(row, data)
            if other is None:
                return data
            others.setdefault(str(folder), other)
    if not download:
        raise DataError(_not_found(row, searched, others, "downloading is switched off"))
    _download(row, searched, others)
    for data in _candidates(row, _cached(row)):
        return data
    raise DataError(_not_found(row, searched, others, "what was downloaded cannot be found again"))


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = True
) -> DatasetWithTest:
    """The 60,000 training and 10,000 test images of MNIST, 28 x 28 pixels from 0 to 255.

    Its files, in any of the forms that `load_dataset` reads, are looked for in `data_dir`, then in
    the folder that the environment variable `XPNET_DATA_DIR` names, then in the user's cache; in
    each of them directly and in its folder `mnist`. If they are nowhere they are downloaded into
    the cache.

    Parameters
    ----------
    data_dir
        Where to look first: a folder that is there. A leading `~` is the user's home, here and in
        the variable.
    download
        Whether to download what is not there.

    Raises
    ------
    DataError
        If `data_dir` is no folder, which is found out before anything is downloaded; if the files
        are not there and cannot be downloaded, or their content is not MNIST's (checked by
        SHA-256).
    """
    return load_known("mnist", data_dir, download=download)


def cache_folder() -> Path:
    """The user's cache folder for downloaded data, as the operating system has it."""
    import pooch

    return Path(pooch.os_cache("xpnet"))


def _folders(row: Known, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The folders that are searched, each if it is there; the first that has all is taken."""
    given = [data_dir, os.environ.get("XPNET_DATA_DIR")]
    # A shell leaves the ~ of --data-dir=~/data, and of quoted text, as it is.
    roots = [Path(os.path.expanduser(place)) for place in given if place]  # noqa: PTH111
    if data_dir and not os.path.isdir(roots[0]):  # noqa: PTH112
        found = "a file" if os.path.exists(roots[0]) else "no such folder"  # noqa: PTH110
        raise DataError(f"data_dir: {roots[0]}: expected a folder, found {found}")
    folders = []
    for root in roots:
        folders += _of_root(row, root)
    return [*folders, *map(Path, row.places), *_of_root(row, cache_folder())]


def _of_root(row: Known, root: Path) -> list[Path]:
    own = [name for name in _names_in(root) if _plain(name) in row.folders]
    return [root, *(root / name for name in own or [row.name])]


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def _plain(name: str) -> str:
    """A name in small letters, without what is between its words."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _candidates(row: Known, folder: Path) -> Iterator[DatasetWithTest]:
    """The data sets in a folder, or in the archives there, that are named like this one."""
    from xpnet.data.forms.dispatch import open_place
    from xpnet.data.forms.places import Folder

    if not os.path.isdir(folder):  # noqa: PTH112 - False where Path.is_dir raises
        return
    try:
        own = _plain(folder.name) in row.folders
        place = Folder(folder, deepest=_DEEPEST if own else 1)
    except DataError:  # it may not be read, or holds a million files
        return
    yield from _in_place(row, place, _plain(folder.name))
    for name in place.sizes:
        stem = _archive_stem(name)
        if stem in (*row.folders, "gzip" * bool(row.archive)) and _is_near(row, name):
            with open_place(folder / name) as (inner, _):
                yield from _in_place(row, inner, stem)


def _in_place(row: Known, place: "Place", called: str) -> Iterator[DatasetWithTest]:
    from xpnet.data.forms.array_files import idx_sources, npy_sources, npz_sources
    from xpnet.data.forms.build import build
    from xpnet.data.forms.sources import pair_up

    def fits(parts: "Parts") -> bool:
        folder, series = posixpath.dirname(f"{parts.folder}/"), _plain("".join(parts.series))
        if parts.test is None or not _is_near(row, f"{folder}/file"):
            return False
        if row.archive is None:
            return series in ("", *row.folders, _plain("".join(row.series)))
        own = {_plain(part) for part in (called, *folder.split("/"))}
        return series == _plain(row.name) or (not series and _plain(row.name) in own)

    for sources in (idx_sources, npy_sources, npz_sources):
        try:
            sets = pair_up(sources(place))
        except DataError:  # only half of it is there
            continue
        for parts in filter(fits, sets):
            data = build(row.name, parts, known=row)
            if data.test is None:
                continue
            if data.class_names != row.class_names:
                raise DataError(
                    f"{parts.train[1].shown}: labels go up to {data.n_classes - 1}, and {row.name} "
                    f"has {len(row.class_names)} classes; for another data set give its folder as "
                    f"the data set"
                )
            told = f"found in {place.path}"
            yield DatasetWithTest(
                row.name, data.train, data.test, n_classes=data.n_classes,
                pixel_maximum=data.pixel_maximum, class_names=data.class_names,
                notes=(told, *data.notes),
            )  # fmt: skip


def _is_near(row: Known, name: str) -> bool:
    """Whether a file lies in no folders but those that may lie around files of the data set."""
    folders = [_plain(part) for part in posixpath.dirname(name).split("/")]
    return all(folder in (*_BETWEEN, *row.folders) for folder in folders)


def _archive_stem(name: str) -> str:
    base = posixpath.basename(name).lower()
    ending = next((end for end in sorted(_ARCHIVES, key=len)[::-1] if base.endswith(end)), "")
    return _plain(base.removesuffix(ending)) if ending else ""


def _other(row: Known, data: Dataset) -> str | None:
    """Which other data set it is, known by its content; None if it is the one that is meant.

    Raises
    ------
    DataError
        If it is none that is known, and the content of this one is.
    """
    splits = [split for split in (data.train, data.test) if split is not None]
    arrays = [array for split in splits for array in (split.images, split.labels)]
    labels = digest(arrays[1])
    other = next(
        (k.name for k in KNOWN.values() if k.sha256[1:2] == (labels,) != row.sha256[1:2]),
        None,
    )
    if not row.sha256 or other is not None:
        return other
    for name, array, expected in zip(row.files, arrays, row.sha256, strict=True):
        found = digest(array)
        if found != expected:
            where = data.notes[0].removeprefix("found in ")
            raise DataError(
                f"{os.path.join(where, name)}: the content is not that of {row.name}: expected "  # noqa: PTH118
                f"SHA-256 {expected}, found {found}; for another data set give its folder as the "
                f"data set"
            )
    return None


def _cached(row: Known) -> Path:
    return cache_folder() / ("emnist" if row.archive else row.name)


def _download(row: Known, searched: list[Path], others: dict[str, str]) -> None:
    if not can_flush(sys.stderr):  # what pooch tells there would be an error of each mirror
        import pooch

        for handler in pooch.get_logger().handlers:
            handler.setLevel("CRITICAL")
    if row.archive is not None:
        address, md5 = row.archive
        files = [([address], address.rpartition("/")[2], md5)]
    else:
        names = [f"{name}.gz" for name in row.files]
        files = [
            ([mirror + name for mirror in row.mirrors], name, md5)
            for name, md5 in zip(names, row.md5, strict=True)
        ]
    for addresses, name, md5 in files:
        problems = _retrieve(addresses, name, md5, _cached(row))
        if problems:
            why = "downloading failed: " + "; ".join(problems)
            raise DataError(_not_found(row, searched, others, why))


def _retrieve(addresses: list[str], name: str, md5: str, folder: Path) -> list[str]:
    """Download a file from the first address that has it; what was wrong if none has."""
    import pooch

    problems = []
    for address in addresses:
        try:
            pooch.retrieve(address, known_hash=f"md5:{md5}", fname=name, path=folder)
        except (OSError, ValueError) as error:  # no network, full disk; wrong checksum
            problems.append(f"{address.removesuffix(name)}: {one_line(error)}")
        else:
            return []
    return problems


def _not_found(row: Known, searched: list[Path], others: dict[str, str], why: str) -> str:
    found = "".join(f" ({folder} holds {name}.)" for folder, name in others.items())
    files = ", ".join(row.files)
    whole = f", or {row.archive[0].rpartition('/')[2]} with them" if row.archive else ""
    return (
        f"{row.name} is not here and {why}. Searched: {', '.join(map(str, searched))}.{found} "
        f"Wanted: {files} (plain or .gz){whole}. "
        f"Put the files there, or name their folder with --data-dir or XPNET_DATA_DIR; "
        f"or go on with the embedded data set: digits"
    )
