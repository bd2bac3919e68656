"""Tables in a place: read by `xpnet.data.tables`, which takes paths."""

import posixpath
import re
import tempfile
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
from xpnet.data.tables import load_table
from xpnet.errors import DataError, one_line

_IN_FOLDERS = (".csv", ".tsv", ".arff", ".parquet", ".pq", ".feather", ".arrow", ".ipc")
ENDINGS = (*_IN_FOLDERS, ".tab", ".txt", ".data")
"""What the names of tables end in; of these the last in a folder may be anything."""
_SHOWN = 4


def find_tables(place: Place, only: str | None) -> Found | None:
    """A table of text, Parquet, Arrow or ARFF; in a folder those for training and for the test."""
    endings = _IN_FOLDERS if only is None else ENDINGS
    names = [name for name in place.sizes if _ending(name) in endings and only in (None, name)]
    if not names:
        return None
    depth = min(depth_of(posixpath.dirname(name)) for name in names)
    folders = {
        posixpath.dirname(name) for name in names if depth_of(posixpath.dirname(name)) == depth
    }
    if len(folders) > 1:
        raise DataError(
            f"{place.path}: holds tables in {len(folders)} folders "
            f"({one_line(', '.join(sorted(folders)))}): give one of them"
        )
    (folder,) = folders
    names = [name for name in names if posixpath.dirname(name) == folder]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(one_line(posixpath.basename(name), 80) for name in names[:_SHOWN])
    said = f"a table: {shown}" if len(names) == 1 else f"tables: {shown}{more}"
    return Found(said, depth, partial(_read, place, folder, names, only), is_table=True)


def _read(
    place: Place, folder: str, names: list[str], only: str | None, name: str, **options: Any
) -> Dataset:
    for file in names:
        kind = kind_of_file(place, file)
        if kind is not None and not _is_compressed(kind):
            raise DataError(f"{place.shown(file)}: expected a table, found {kind}")
    path = place.file(only or (f"{folder}/." if folder else "."))
    if path is not None:
        return _upright(replace(load_table(path, **options), name=name), names)
    with tempfile.TemporaryDirectory(prefix="xpnet-table-") as scratch:
        for file in names:
            base = re.sub(r"\.gz$", "", posixpath.basename(file), flags=re.IGNORECASE)
            with plain_stream(place, file) as content:
                (Path(scratch) / base).write_bytes(content.read())
        tables = list(Path(scratch).iterdir())
        try:
            found = load_table(tables[0] if len(tables) == 1 else scratch, **options)
        except DataError as error:
            raise DataError(str(error).replace(scratch, place.shown(folder))) from None
    return _upright(replace(found, name=name), names)


def _is_compressed(kind: str) -> bool:
    return kind.startswith("a file packed")


def _upright(data: Dataset, names: list[str]) -> Dataset:
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
