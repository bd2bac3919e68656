"""Tables of pixels: a row for each picture, a column for each pixel, and one for the label.

Kaggle's digits have a header (`label,pixel0,pixel1,...`), MNIST in CSV has none. NumPy reads them:
42,000 rows of 785 columns (77 MB) in 0.6 s of a processor and 34 MB of memory, which is the size of
the result. polars took 0.7 s and 134 MB for that, pandas 1.3 s and 275 MB, pyarrow in parts 1.5 s
and 220 MB (one run of each, the two cores of a busy machine).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet.data.tables.arff import dense_rows
from xpnet.data.tables.columns import Column, Table, as_text, number_of_rows
from xpnet.data.tables.dialect import Dialect, is_number
from xpnet.data.tables.names import column_number, listed
from xpnet.data.tables.text import opened, text_of
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray, Shape

_PIXEL = re.compile(r"(pixel|pix|px)[ _.-]?\d+([x_.-]\d+)?|\d+x\d+", re.IGNORECASE)
_NUMBERED = re.compile(r"[a-z]?_?\d+", re.IGNORECASE)
_FEWEST = 64
"""Columns that are not called pixels are taken for them from so many on, if they are a square."""

_MOST_CLASSES = 1 << 16

LARGEST = 255
"""Pixels are whole numbers from 0 to this."""


@dataclass(frozen=True)
class Layout:
    """Which columns of a table are pixels: all but the label.

    Attributes
    ----------
    label
        The number of the column with the label; None where there is none.
    either
        Whether the label may as well be in the last column: nothing but the values tells.
    shape
        The shape of a picture: height and width where the pixels are a square, else their number.
    """

    label: int | None
    either: bool
    shape: Shape


def find_layout(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: str | None,
    *,
    named: bool = True,
    labelled: bool = True,
) -> Layout | None:
    """How pixels and label lie in a table, by its names and first rows; None if it has no pixels.

    Parameters
    ----------
    names, rows
        The names of the columns, and some rows, as texts.
    label
        The column of labels, if it was named; see `column_number`.
    named
        Whether the columns have names of their own.
    labelled
        Whether there may be a label that was not named.
    """
    count = len(names)
    place = None if label is None else column_number(names, label, header=named)
    either = False
    if named:
        pattern = _PIXEL if sum(map(bool, map(_PIXEL.fullmatch, names))) > 3 else _NUMBERED
        odd = [i for i in range(count) if not pattern.fullmatch(names[i]) and i != place]
        if place is None and len(odd) == 1 and labelled:
            place, odd = odd[0], []
        called = pattern is _PIXEL
        if odd:
            return None
    else:
        called = False
        if place is None and labelled and _is_square(count - 1):
            place, either = 0, True
    n_pixels = count - (place is not None)
    if not called and not (n_pixels >= _FEWEST and _is_square(n_pixels)):
        return None
    ignored = {place, -1 % count} if either else {place}
    if not all(_are_pixels(row, ignored, count) for row in rows):
        return None
    side = math.isqrt(n_pixels)
    return Layout(place, either, (side, side) if _is_square(n_pixels) else (n_pixels,))


def read_pixels(path: Path, dialect: Dialect) -> HostArray | None:
    """All fields of a table of small whole numbers, shape (N, columns), uint8.

    Returns None if there are other fields in it.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    with opened(path) as file:
        file.read(dialect.start)
        text = text_of(file, dialect.encoding)
        rows = dense_rows(text, dialect.omitted)
        try:
            with np.errstate(all="ignore"):
                return np.loadtxt(
                    map(dialect.delimiter.join, rows) if dialect.omitted else text,
                    dtype=np.uint8,
                    comments=dialect.comment or None,
                    delimiter=None if dialect.delimiter == " " else dialect.delimiter,
                    quotechar=dialect.quote,
                    ndmin=2,
                )
        except ValueError:  # which field it is, nobody asks: others can be read in another way
            return None


def label_place(values: HostArray, layout: Layout) -> int | None:
    """The number of the column with the labels, where the first and the last may have them.

    Pixels in corners are mostly of one value, or of many; so it is the column of which no value is
    in more than half of the rows, or else the one with fewer values. Labels are several.
    """
    if not layout.either:
        return layout.label
    found = {}
    for place in (0, values.shape[1] - 1):
        counts = np.bincount(values[:, place])
        if (counts > 0).sum() > 1:
            found[place] = (bool(counts.max() > len(values) / 2), int((counts > 0).sum()))
    return min(found, key=lambda place: found[place], default=None)


def pixel_maximum(pixels: HostArray) -> float:
    """What is white: 255; of pictures that go no further 16, as counted ink does, or 1."""
    highest = int(pixels.max(initial=0))
    return next(float(white) for white in (1, 16, LARGEST) if highest <= white)


def pixels_of(frame: Table, names: Sequence[str]) -> HostArray | None:
    """Columns of a table as pixels, uint8, shape (N, columns); None if they are none."""
    found = np.empty((number_of_rows(frame), len(names)), dtype=np.uint8)
    for place, name in enumerate(names):
        column = frame[name]
        values = column.values
        if column.kind != "number" or not column.whole or not len(values):
            return None
        if column.missing.any() or values.min() < 0 or values.max() > LARGEST:
            return None
        found[:, place] = values
    return found


def class_names(column: Column) -> tuple[str, ...] | None:
    """The names of the classes of pictures; None where labels are the numbers of the classes.

    They are these if they are whole numbers from 0, or if some between them are left out. Texts,
    and numbers from another one on or of 65,536 and more, are names.
    """
    if column.kind == "number" and column.whole and len(column):
        low, high = float(column.values.min()), float(column.values.max())
        holes = low > 0 and high - low + 1 > len(np.unique(column.values))
        if (low == 0 or holes) and high < _MOST_CLASSES:
            return None
    return tuple(sorted(as_text(column).texts, key=_by_number))


def class_numbers(
    what: str, label: str, column: Column, names: tuple[str, ...] | None
) -> HostArray:
    """Labels of pictures as numbers of classes, int64.

    Parameters
    ----------
    what, label
        What the table and the column are called in messages.
    column
        The labels.
    names
        The names of the classes; None where labels are their numbers.

    Raises
    ------
    DataError
        If one is missing, no whole number, or not among the names.
    """
    if column.missing.any():
        row = int(np.flatnonzero(column.missing)[0]) + 1
        raise DataError(f"{what}: the label {shown(label)} is missing in row {row}")
    numbered = column.kind == "number" and column.whole
    if numbered and (names is None or not set(as_text(column).texts) <= set(names)):
        return column.values.astype(np.int64)
    if names is None:
        raise DataError(
            f"{what}: the label {shown(label)} of pictures must be whole numbers, found "
            f"{'text' if column.kind == 'text' else 'others'}"
        )
    texts = as_text(column)
    unknown = [text for text in texts.texts if text not in names]
    if unknown:
        raise DataError(
            f"{what}: the label {shown(label)} has values that the training table had not: "
            f"{listed(unknown)}"
        )
    return np.asarray([names.index(text) for text in texts.texts], dtype=np.int64)[texts.values]


def _by_number(name: str) -> tuple[float, str]:
    return (float(name) if is_number(name) else math.inf, name)


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count


def _are_pixels(row: Sequence[str], ignored: set[int | None], count: int) -> bool:
    fields = (field for i, field in enumerate(row) if i not in ignored)
    return len(row) == count and all(f.isdecimal() and int(f) <= LARGEST for f in fields)
