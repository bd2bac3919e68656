"""Tables in a place: read by `xpnet.data.tables`, which takes paths."""

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xpnet.data.dataset import Dataset, Split
from xpnet.data.forms.kinds import kind_of_file
from xpnet.data.forms.places import Place, plain_stream
from xpnet.data.forms.roles import words_of
from xpnet.data.forms.sources import Found, depth_of
from xpnet.data.known import KNOWN, Known
from xpnet.data.tables.folders import (
    FOLDER_ENDINGS,
    Tables,
    is_piece,
    part_of,
    tables_among,
)
from xpnet.data.tables.frames import KeptParts
from xpnet.data.tables.loading import TablePaths, load_tables
from xpnet.errors import DataError, one_line, reason_of

ENDINGS = (*FOLDER_ENDINGS, ".tab", ".txt", ".data")
"""What the names of tables end in; of these the last in a folder may be anything."""
_SHOWN = 4


def find_tables(place: Place, only: str | None) -> Found | None:
    """A table of text, Parquet, Arrow or ARFF; in a folder those for training and for the test."""
    endings = FOLDER_ENDINGS if only is None else ENDINGS
    names = [name for name in place.sizes if _ending(name) in endings and only in (None, name)]
    if not names:
        return None
    depth = min(depth_of(posixpath.dirname(name)) for name in names)
    folders = {
        posixpath.dirname(name) for name in names if depth_of(posixpath.dirname(name)) == depth
    }
    base = _base_of(place, folders)
    inside = {
        name.removeprefix(f"{base}/"): name for name in names if posixpath.dirname(name) in folders
    }
    if only is None:
        found = tables_among(place.shown(base) if base else str(place.path), inside)
    else:
        found = Tables((only,), left_out="the other pieces of this table" * is_piece(only))
    count = len(found.names)
    more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
    shown = ", ".join(one_line(name, 80) for name in found.names[:_SHOWN])
    said = f"a table: {shown}" if count == 1 else f"tables: {shown}{more}"
    taken = replace(
        found,
        train=tuple(inside.get(name, name) for name in found.train),
        test=tuple(inside.get(name, name) for name in found.test),
    )
    return Found(said, depth, partial(_read, place, taken), is_table=True)


def _base_of(place: Place, folders: set[str]) -> str:
    """The folder that tables lie in; that above where each part has a folder of its own."""
    above = {posixpath.dirname(folder) for folder in folders}
    if len(folders) == 1:
        return next(iter(folders))
    if len(above) == 1 and all(part_of(posixpath.basename(folder)) for folder in folders):
        return next(iter(above))
    raise DataError(
        f"{place.path}: holds tables in {len(folders)} folders "
        f"({one_line(', '.join(sorted(folders)))}): give one of them"
    )


def _read(place: Place, tables: Tables, name: str, **options: Any) -> Dataset:
    for file in tables.names:
        kind = kind_of_file(place, file)
        if kind is not None and not _is_compressed(kind):
            raise DataError(f"{place.shown(file)}: expected a table, found {kind}")
    with _scratch(any(place.file(file) is None for file in tables.names)) as scratch:
        train, test = (
            tuple(_on_disk(place, file, scratch) for file in files)
            for files in (tables.train, tables.test)
        )
        parts = KeptParts(validation=options.pop("validation", None), seed=options.pop("seed", 0))
        paths = TablePaths(name, train, test, tables.left_out)
        try:
            data = load_tables(paths, parts=parts, **options)
        except DataError as error:
            if not scratch:
                raise
            raise DataError(str(error).replace(f"{scratch}/", place.shown(""))) from None
    return _upright(data, tables.names)


@contextmanager
def _scratch(wanted: bool) -> Iterator[str]:
    """A folder for what is unpacked, which is deleted then; none if none is wanted."""
    if not wanted:
        yield ""
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="xpnet-table-")
    except OSError as error:
        raise DataError(
            f"a table in an archive is unpacked into a temporary folder, and there can be none "
            f"({reason_of(error)}): unpack it, and give the file"
        ) from error
    with folder:
        yield folder.name


def _on_disk(place: Place, name: str, scratch: str) -> Path:
    """A file of a place; of an archive unpacked into a folder, which is deleted then."""
    path = place.file(name)
    if path is None:
        path = Path(scratch) / re.sub(r"\.gz$", "", name, flags=re.IGNORECASE)
        with plain_stream(place, name) as content:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)
            except OSError as error:
                raise DataError(
                    f"{place.shown(name)}: cannot be unpacked to {scratch} ({reason_of(error)})"
                ) from error
    return path


def _is_compressed(kind: str) -> bool:
    return kind.startswith("a file packed")


def _upright(data: Dataset, names: Iterable[str]) -> Dataset:
    """The tables of EMNIST, known by their names, as its files: upright, and counted from 0."""
    known = next((row for name in names for row in KNOWN.values() if _is_of(name, row)), None)
    if known is None or data.table is not None or data.train.images.ndim != 3:
        return data
    splits = [data.train, *([data.test] if data.test else [])]
    images = known.upright([split.images for split in splits])
    labels = [split.labels for split in splits]
    if data.class_names is None:
        labels = known.from_zero(labels)
    both = [Split(x, y) for x, y in zip(images, labels, strict=True)]
    return replace(
        data,
        train=both[0],
        test=both[1] if data.test else None,
        n_classes=len(known.class_names),
        class_names=known.class_names,
    )


def _is_of(name: str, row: Known) -> bool:
    words = words_of(posixpath.basename(name))
    return row.turned and list(row.series) == words[: len(row.series)]


def _ending(name: str) -> str:
    base = posixpath.basename(name).lower()
    return Path(re.sub(r"\s*\(\d+\)|\.gz$", "", base)).suffix
