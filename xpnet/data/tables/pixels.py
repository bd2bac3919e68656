"""Tables of pixels: a row for each picture, a column for each pixel, and one for the label.

Kaggle's digits have a header (`label,pixel0,pixel1,...`), MNIST in CSV has none. NumPy reads them:
42,000 rows of 785 columns (77 MB) in 0.6 s of a processor and 34 MB of memory, which is the size of
the result. polars took 0.7 s and 134 MB for that, pandas 1.3 s and 275 MB, pyarrow in parts 1.5 s
and 220 MB (one run of each, the two cores of a busy machine).
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet.data.tables.names import column_number
from xpnet.data.tables.text import Dialect, opened, text_of
from xpnet.typing import HostArray, Shape

_PIXEL = re.compile(r"(pixel|pix|px)[ _.-]?\d+([x_.-]\d+)?|\d+x\d+", re.IGNORECASE)
_NUMBERED = re.compile(r"[a-z]?_?\d+", re.IGNORECASE)
_FEWEST = 64
"""Columns that are not called pixels are taken for them from so many on, if they are a square."""

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


def find_layout(dialect: Dialect, label: str | None) -> Layout | None:
    """How pixels and label lie in a table, by its names and first rows; None if it has no pixels.

    Parameters
    ----------
    dialect
        What the beginning of the file says.
    label
        The column of labels, if it was named; see `column_number`.
    """
    names, count = dialect.names, len(dialect.names)
    place = None if label is None else column_number(names, label, header=dialect.header)
    either = False
    if dialect.header:
        pattern = _PIXEL if sum(map(bool, map(_PIXEL.fullmatch, names))) > 3 else _NUMBERED
        odd = [i for i in range(count) if not pattern.fullmatch(names[i]) and i != place]
        if place is None and len(odd) == 1:
            place, odd = odd[0], []
        called = pattern is _PIXEL
        if odd:
            return None
    else:
        called = False
        if place is None and _is_square(count - 1):
            place, either = 0, True
    n_pixels = count - (place is not None)
    if not called and not (n_pixels >= _FEWEST and _is_square(n_pixels)):
        return None
    ignored = {place, -1 % count} if either else {place}
    if not all(_are_pixels(row, ignored, count) for row in dialect.rows):
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
    with opened(path) as file, text_of(file, dialect.encoding) as text:
        try:
            with np.errstate(all="ignore"):
                return np.loadtxt(
                    text,
                    dtype=np.uint8,
                    comments=None,
                    delimiter=None if dialect.delimiter == " " else dialect.delimiter,
                    skiprows=int(dialect.header),
                    quotechar='"',
                    ndmin=2,
                )
        except ValueError:  # which field it is, nobody asks: others can be read in another way
            return None


def label_column(values: HostArray, layout: Layout) -> int | None:
    """The number of the column with the labels, where the first and the last may have them.

    Labels are several, with no gap between them; of two such columns the one whose values are
    more alike in number has them, because corners of pictures are mostly paper.

    Raises
    ------
    DataError
        If neither has labels.
    """
    if not layout.either:
        return layout.label
    evenness = {}
    for place in (0, values.shape[1] - 1):
        counts = np.bincount(values[:, place])
        seen = counts[int(values[:, place].min()) :]
        if len(seen) > 1 and seen.all():
            shares = seen / seen.sum()
            evenness[place] = float(-(shares * np.log(shares)).sum() / math.log(len(seen)))
    return max(evenness, key=lambda place: evenness[place], default=None)


def pixel_maximum(pixels: HostArray) -> float:
    """What is white: 255; of pictures that go no further 16, as counted ink does, or 1."""
    highest = int(pixels.max(initial=0))
    return next(float(white) for white in (1, 16, LARGEST) if highest <= white)


def _is_square(count: int) -> bool:
    return math.isqrt(count) ** 2 == count


def _are_pixels(row: tuple[str, ...], ignored: set[int | None], count: int) -> bool:
    fields = (field for i, field in enumerate(row) if i not in ignored)
    return len(row) == count and all(f.isdecimal() and int(f) <= LARGEST for f in fields)
