"""A table in memory: its columns by name, each of numbers or of texts by number."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xpnet.typing import HostArray

ColumnKind = Literal["number", "truth", "date", "text"]


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one column.

    Attributes
    ----------
    kind
        `"number"`; `"truth"`, which is 0 or 1; `"date"`, in days since 1970; or `"text"`.
    values
        Shape (N,). Of text the number in `texts`, int32, and -1 where the value is missing; of the
        others the value, float64, and NaN where it is missing.
    texts
        The texts that there are, sorted; of other columns none.
    whole
        Whether all numbers are integers.
    """

    kind: ColumnKind
    values: HostArray
    texts: tuple[str, ...] = ()
    whole: bool = False

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> HostArray:
        """Where there is no value, shape (N,)."""
        return self.values < 0 if self.kind == "text" else np.isnan(self.values)

    def rows(self, rows: HostArray | slice) -> "Column":
        """The same column with these rows alone."""
        return replace(self, values=self.values[rows])


Table = Mapping[str, Column]
"""The columns by their names, in their order; all of one length."""


def number_of_rows(table: Table) -> int:
    """How many rows a table has; 0 for one without columns."""
    return len(next(iter(table.values()), ()))


def some_rows(table: Table, rows: HostArray | slice) -> Table:
    """A table with these rows alone."""
    return {name: column.rows(rows) for name, column in table.items()}


def number_column(values: HostArray, kind: ColumnKind = "number") -> Column:
    """A column of numbers, NaN where there is none."""
    values = np.asarray(values, dtype=np.float64)
    present = values[~np.isnan(values)]
    with np.errstate(invalid="ignore"):
        whole = bool(np.isfinite(present).all() and (present == np.floor(present)).all())
    return Column(kind, values, whole=whole)


def as_text(column: Column) -> Column:
    """A column as texts: numbers as they are written, 3 and not 3.0 where all are whole."""
    if column.kind == "text":
        return column
    found, codes = np.unique(column.values, return_inverse=True)
    present = found[~np.isnan(found)]
    texts = [_written(column, value) for value in present.tolist()]
    order = np.argsort(np.asarray(texts, dtype=object)) if texts else np.empty(0, np.int64)
    places = np.full(len(found), -1, dtype=np.int32)
    places[order] = np.arange(len(order), dtype=np.int32)
    return Column("text", places[codes.reshape(-1)], tuple(sorted(texts)))


def as_numbers(column: Column, decimal: str = ".") -> tuple[Column, str | None]:
    """A column of texts as numbers, as far as they are; and one of those that are none.

    See `as_number` for how they may be written.
    """
    if column.kind != "text":
        return column, None
    numbers = [as_number(text, decimal) for text in column.texts]
    odd = next((t for t, n in zip(column.texts, numbers, strict=True) if n is None), None)
    table = np.asarray([np.nan if n is None else n for n in numbers] + [np.nan])
    words = {text.lower() for text in column.texts} <= {"true", "false"}
    return number_column(table[column.values], "truth" if words else "number"), odd


def dates_in(column: Column) -> tuple[Column, str | None]:
    """A column of texts as dates, as far as they are; and one of those that are none."""
    if column.kind != "text":
        return column, None
    days = [_days(text) for text in column.texts]
    odd = next((t for t, n in zip(column.texts, days, strict=True) if n is None), None)
    table = np.asarray([np.nan if n is None else n for n in days] + [np.nan])
    return number_column(table[column.values], "date"), odd


def is_date(text: str) -> bool:
    """Whether a text is a date that cannot be meant in another way: 31.12.2024 or 2024/12/31."""
    return _DATE.fullmatch(text) is not None and _days(text) is not None


def _days(text: str) -> float | None:
    parts = _DATE.fullmatch(text)
    if parts and parts["day"]:
        text = f"{parts['year']}-{parts['month']:0>2}-{parts['day']:0>2}{parts['time'] or ''}"
    try:
        return float(np.datetime64(text.replace("/", "-"), "us").astype(np.int64)) / 86_400_000_000
    except ValueError:
        return None


def _written(column: Column, value: float) -> str:
    if column.kind == "truth":
        return str(bool(value)).lower()
    return str(int(value)) if column.whole else repr(value)


_DATE = re.compile(
    r"(\d{4}/\d\d/\d\d|(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{4}))"
    r"(?P<time> \d\d:\d\d(:\d\d)?)?",
    re.ASCII,
)


def as_number(text: str, decimal: str = ".") -> float | None:
    """A text as a number, of `true` and `false` 1 and 0; None if it is none.

    Thousands may be set apart, by a comma (or by a point where `decimal` is a comma), an
    apostrophe or a space.

    >>> as_number("1,234.5"), as_number("1.234,5", ","), as_number("1'000"), as_number("1,23")
    (1234.5, 1234.5, 1000.0, None)
    """
    truth = {"true": 1.0, "false": 0.0}.get(text.lower())
    if truth is not None:
        return truth
    text = text.replace("\u2212", "-")
    if _GROUPED[decimal].fullmatch(text):
        text = _BETWEEN[decimal].sub("", text)
    if decimal == ",":
        text = "" if "." in text else text.replace(",", ".")
    # NOTE: float("1_000") is 1000.0, and of other digits than 0 to 9 it reads those as well.
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


_SPACES = "' \u2019\u00a0\u2009\u202f"
_GROUPED = {
    decimal: re.compile(
        rf"[+-]?[1-9]\d{{0,2}}([{other}{_SPACES}])\d{{3}}(\1\d{{3}})*([{decimal}]\d*)?", re.ASCII
    )
    for decimal, other in (".,", ",.")
}
"""Numbers whose digits before the decimal sign stand in threes."""
_BETWEEN = {decimal: re.compile(f"[{other}{_SPACES}]") for decimal, other in (".,", ",.")}
