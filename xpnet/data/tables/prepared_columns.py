"""How a column of a table becomes numbers of a row: standardised, or one-hot."""

from dataclasses import dataclass

import numpy as np

from xpnet.data.tables.columns import Column, ColumnKind, as_numbers, as_text, dates_in
from xpnet.data.tables.names import listed
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray

_SAID = {"number": "numbers", "truth": "Booleans", "date": "dates"}


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, Booleans (0 and 1) or dates (days since 1970): one number in a row.

    Attributes
    ----------
    name
        Its name.
    kind
        What stands in the table: `"number"`, `"truth"` or `"date"`.
    fill
        What is put where a value is missing or infinite: the median.
    mean, scale
        The mean, and the standard deviation, of the filled column.
    """

    name: str
    kind: ColumnKind
    fill: float
    mean: float
    scale: float

    width = 1

    def write(self, rows: HostArray, column: Column) -> list[str]:
        """Put what becomes of the column into `rows`, shape (N, 1); what is to be said of it."""
        numbers, odd = dates_in(column) if self.kind == "date" else as_numbers(column)
        values, said = numbers.values, []
        if (self.kind == "date") != (numbers.kind == "date") and not column.missing.all():
            wanted, found = ("dates", "numbers")[:: 1 if self.kind == "date" else -1]
            raise DataError(
                f"column {shown(self.name)}: {wanted} in the training table, {found} here"
            )
        missing = ~np.isfinite(values)
        if self.kind == "truth":
            strange = ~missing & (values != 0) & (values != 1)
            missing |= strange
            odd = odd or (f"{values[strange][0]:g}" if strange.any() else None)
        if odd is not None:
            said.append(f"{shown(self.name)} is of {_SAID[self.kind]}, and {shown(odd)} is none")
        if missing.any():
            said.append(f"{int(missing.sum()):,} missing in {shown(self.name)}")
        with np.errstate(all="ignore"):
            rows[:, 0] = (np.where(missing, self.fill, values) - self.mean) / self.scale
        if not np.isfinite(rows).all():
            row = int(np.flatnonzero(~np.isfinite(rows[:, 0]))[0])
            raise DataError(
                f"column {shown(self.name)}: {values[row]:g} in row {row + 1} is too far from the "
                f"mean of the training rows, {self.mean:g}, for {rows.dtype}"
            )
        return said


@dataclass(frozen=True)
class CategoryColumn:
    """A column of texts: a place in a row for each, one of which is 1.

    Attributes
    ----------
    name
        Its name.
    categories
        The texts that have a place of their own, sorted.
    rest
        Whether there is a place for all others. Where there is none they are a row of 0.
    missing
        Whether there is a place for what is missing; where there is none, that is as all others.
    """

    name: str
    categories: tuple[str, ...]
    rest: bool
    missing: bool

    @property
    def width(self) -> int:
        """So many numbers a value becomes."""
        return len(self.categories) + self.rest + self.missing

    def write(self, rows: HostArray, column: Column) -> list[str]:
        """Put what becomes of the column into `rows`, which are 0; what is to be said of it."""
        column = as_text(column)
        known = {text: place for place, text in enumerate(self.categories)}
        nowhere = -1
        rest = len(known) if self.rest else nowhere
        absent = len(known) + self.rest if self.missing else rest
        places = np.asarray([known.get(text, rest) for text in column.texts] + [absent])
        place = places[column.values]
        there = np.flatnonzero(place >= 0)
        rows[there, place[there]] = 1
        said = []
        unknown = (place < 0) & ~column.missing
        if unknown.any():
            names = [column.texts[i] for i in np.unique(column.values[unknown]).tolist()]
            said.append(
                f"{int(unknown.sum()):,} in {shown(self.name)} of categories that the training "
                f"table had not: {listed(names)}"
            )
        if column.missing.any() and not self.missing:
            said.append(f"{int(column.missing.sum()):,} missing in {shown(self.name)}")
        return said


ColumnPreparation = NumberColumn | CategoryColumn
