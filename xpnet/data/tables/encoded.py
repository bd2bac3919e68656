"""Tables of pictures: a column of encoded pictures (PNG, JPEG), and one of labels.

As a well-known hub of data sets has them in Parquet: `image`, a struct of `bytes` and `path`, and
`label`, whole numbers whose names stand in the metadata of the file.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpnet.data.pictures import check_pillow
from xpnet.data.stacking import PictureSource, stack_pictures
from xpnet.data.tables.arrow import arrow
from xpnet.data.tables.names import listed
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray, Shape

_LABELS = ("label", "labels", "class", "digit", "fine_label")


@dataclass(frozen=True, eq=False)
class Encoded:
    """The pictures of a column, as they were read.

    Attributes
    ----------
    images
        uint8, shape (N, height, width) or (N, height, width, 3).
    label
        The name of the column of labels; None where there is none.
    names
        The names of the classes, where the file has them.
    note
        What is to be said of the size of the pictures; empty where they stay as they are.
    """

    images: HostArray
    label: str | None
    names: tuple[str, ...] | None
    note: str


def encoded_column(frame: Any) -> str | None:
    """The name of the column of a table of pyarrow that has pictures, if one has."""
    pa = arrow()
    for field in frame.schema:
        kind = field.type
        if pa.types.is_struct(kind) and "bytes" in [kind.field(i).name for i in range(len(kind))]:
            return str(field.name)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return str(field.name)
    return None


def read_encoded(what: str, frame: Any, label: str | None, shape: Shape | None = None) -> Encoded:
    """The pictures of a table.

    Parameters
    ----------
    what
        What the table is called in messages.
    frame
        A table of pyarrow with a column of pictures.
    label
        The name of the column of labels; if None one that is called so, or the only other one.
    shape
        That of the pictures, if they are to be as others: (height, width), or (height, width, 3) in
        colour. If None they have the size that all have, or the usual one, see `stack_pictures`,
        and are in colour if the first is.

    Raises
    ------
    DataError
        If there is no such column, or a picture cannot be read.
    """
    pictures = encoded_column(frame)
    label = _label_of(what, [name for name in frame.column_names if name != pictures], label)
    images, note = decode_pictures(what, frame, shape)
    return Encoded(images, label, None if label is None else _names_of(frame.schema, label), note)


def decode_pictures(what: str, frame: Any, shape: Shape | None) -> tuple[HostArray, str]:
    """The pictures of a table alone, and what is to be said of their size; see `read_encoded`."""
    check_pillow(what)
    sources = []
    for row, content in enumerate(_contents(frame), start=1):
        if content is None:
            raise DataError(f"{what}: there is no picture in row {row}")
        name = f"{what}: the picture in row {row}"
        sources.append(PictureSource(name, partial(io.BytesIO, content)))
    if not sources:
        raise DataError(f"{what}: there are no rows in this table")
    if shape is None:
        return stack_pictures(what, sources, colour=sources[0].head().coloured)
    return stack_pictures(what, sources, size=(shape[0], shape[1]), colour=len(shape) == 3)


def _contents(frame: Any) -> Iterator[bytes | None]:
    """The files in the column of pictures."""
    pa = arrow()
    column = frame.column(encoded_column(frame))
    nested = pa.types.is_struct(column.type)
    for chunk in column.chunks:  # together they may be more than one array can hold
        yield from (chunk.field("bytes") if nested else chunk).to_pylist()


def _label_of(what: str, names: list[str], label: str | None) -> str | None:
    """The column of labels; None where there is nothing but pictures."""
    if label is not None and label in names:
        return label
    if label is None:
        called = [name for name in names if name.casefold() in _LABELS]
        for found in (called, names):
            if len(found) == 1:
                return found[0]
        if not names:
            return None
    raise DataError(
        f"{what}: which column has the labels of the pictures? Give its name as the label "
        f"(--label), got {shown(label)}; there are {listed(names)}"
    )


def _names_of(schema: Any, label: str) -> tuple[str, ...] | None:
    """The names of the classes in the metadata of the hub's files; None if there are none."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        names = told["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    fits = isinstance(names, list) and len(names) > 1 and all(isinstance(n, str) for n in names)
    return tuple(names) if fits else None
