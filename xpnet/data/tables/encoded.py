"""Tables of pictures: a column of encoded pictures (PNG, JPEG), and one of labels.

As a well-known hub of data sets has them in Parquet: `image`, a struct of `bytes` and `path`, and
`label`, whole numbers whose names stand in the metadata of the file.
"""

import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from xpnet.data.tables.arrow import arrow
from xpnet.data.tables.names import listed
from xpnet.errors import DataError, one_line, shown
from xpnet.typing import HostArray

_GREY = ("1", "L", "LA")
_COLOUR = ("P", "RGB", "RGBA", "CMYK", "YCbCr")
_LABELS = ("label", "labels", "class", "digit", "fine_label")
_LARGEST = 1 << 24
"""Pixels of one picture, for a network that takes each of them."""


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


def read_encoded(
    what: str, frame: Any, label: str | None
) -> tuple[HostArray, str | None, tuple[str, ...] | None]:
    """The pictures of a table, the name of the column of labels, and the names of the classes.

    Parameters
    ----------
    what
        What the table is called in messages.
    frame
        A table of pyarrow with a column of pictures.
    label
        The name of the column of labels; if None one that is called so, or the only other one.

    Raises
    ------
    DataError
        If there is no such column, a picture cannot be read, or they differ in size.
    """
    pa = arrow()
    name = encoded_column(frame)
    others = [other for other in frame.column_names if other != name]
    label = _label_of(what, others, label)
    column = frame.column(name)
    nested = pa.types.is_struct(column.type)
    chunks = (chunk.field("bytes") if nested else chunk for chunk in column.chunks)
    contents = (content for chunk in chunks for content in chunk.to_pylist())
    images = decode_pictures(what, contents, len(column))
    return images, label, None if label is None else _names_of(frame.schema, label)


def decode_pictures(what: str, contents: Iterable[bytes | None], count: int) -> HostArray:
    """So many encoded pictures as an array, uint8, shape (N, height, width), or of RGB (..., 3)."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("reading pictures needs Pillow: pip install 'xpnet[image]'") from error
    images: HostArray | None = None
    for row, content in enumerate(contents, start=1):
        try:
            if content is None:
                raise DataError(f"{what}: there is no picture in row {row}")
            with Image.open(io.BytesIO(content)) as picture:
                if images is None:
                    images = _room(what, count, picture)
                height, width = images.shape[1:3]
                if picture.size != (width, height):
                    raise DataError(
                        f"{what}: pictures are of one size, but the first is {width} x {height} "
                        f"and that in row {row} {picture.width} x {picture.height}"
                    )
                images[row - 1] = np.asarray(picture.convert("L" if images.ndim == 3 else "RGB"))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{what}: the picture in row {row} cannot be read ({one_line(error)})"
            ) from error
    if images is None:
        raise DataError(f"{what}: there are no rows in this table")
    return images


def _room(what: str, count: int, picture: Any) -> HostArray:
    if picture.mode not in (*_GREY, *_COLOUR) or picture.width * picture.height > _LARGEST:
        raise DataError(
            f"{what}: pictures of mode {one_line(picture.mode)} and {picture.width} x "
            f"{picture.height} pixels are not read: save them in 8 bits of grey or RGB, small"
        )
    shape = (count, picture.height, picture.width)
    try:
        return np.empty(shape if picture.mode in _GREY else (*shape, 3), dtype=np.uint8)
    except MemoryError as error:
        raise DataError(f"{what}: the pictures do not fit into memory") from error


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
