"""How the rows of a table become what a network takes, and its outputs what the label is.

A description, measured once on the rows that are trained on (`measure.py`), and saved with the
network. A number x becomes (x - mean) / scale; a category a row of 0 with a 1 in its place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from xpnet.data.tables.columns import (
    Column,
    ColumnKind,
    Table,
    as_numbers,
    as_text,
    dates_in,
    number_of_rows,
)
from xpnet.data.tables.names import listed
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray

MOST_COLUMNS = 1 << 20
"""So many numbers a row becomes at the most."""

Class = str | int | float | bool


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
        if odd is not None:
            said.append(f"{shown(self.name)} is of {self.kind}s, and {shown(odd)} is none")
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


@dataclass(frozen=True)
class Label:
    """The column that is predicted.

    Attributes
    ----------
    name
        Its name.
    kind
        What stands in the table: `"text"`, `"truth"` or `"number"`.
    classes
        What it may be, sorted: the place of each is its number. None where it is a number.
    mean, scale
        Of a number y the network predicts (y - mean) / scale.
    """

    name: str
    kind: ColumnKind
    classes: tuple[Class, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def numbers(self, what: str, column: Column) -> HostArray:
        """The numbers of the classes, int64, or the scaled values, float32; shape (N,).

        Raises
        ------
        DataError
            If a value is missing, infinite, or none of the classes.
        """
        if column.missing.any():
            row = int(np.flatnonzero(column.missing)[0])
            raise DataError(f"{what}: the label {shown(self.name)} is missing in row {row + 1}")
        if self.classes is None:
            return self._scaled(what, column)
        known = {written(name): number for number, name in enumerate(self.classes)}
        column = self._texts(column)
        unknown = [text for text in column.texts if text not in known]
        numbers = np.asarray([known.get(text, -1) for text in column.texts], dtype=np.int64)
        found = numbers[column.values]
        if (found < 0).any():
            raise DataError(
                f"{what}: the label {shown(self.name)} has values that the training table had not: "
                f"{listed(unknown)}; there it is one of {listed(list(known))}"
            )
        return found

    def _texts(self, column: Column) -> Column:
        """A column of classes as the texts that `written` gives: 3 for 3.0, true for 1."""
        if self.kind == "text":
            return as_text(column)
        numbers, odd = as_numbers(column)
        if odd is not None or not np.isin(numbers.values, np.asarray(self.classes, float)).all():
            return as_text(column)
        whole = all(isinstance(name, int) for name in self.classes or ())
        return as_text(replace(numbers, kind=self.kind, whole=whole))

    def _scaled(self, what: str, column: Column) -> HostArray:
        values, odd = as_numbers(column)
        if odd is not None:
            raise DataError(
                f"{what}: the label {shown(self.name)} is of numbers, and {shown(odd)} is none"
            )
        with np.errstate(all="ignore"):
            scaled = ((values.values - self.mean) / self.scale).astype(np.float32)
        if not np.isfinite(scaled).all():
            row = int(np.flatnonzero(~np.isfinite(scaled))[0])
            raise DataError(
                f"{what}: the label {shown(self.name)} is {values.values[row]:g} in row {row + 1}: "
                f"such a number cannot be predicted"
            )
        return scaled

    def values(self, outputs: HostArray) -> HostArray:
        """Outputs of the network in the units of the column, float64."""
        return np.asarray(outputs, dtype=np.float64) * self.scale + self.mean


def written(name: Class) -> str:
    """A class as it stands in a table of text."""
    return str(name).lower() if isinstance(name, bool) else str(name)


@dataclass(frozen=True)
class TablePreparation:
    """What is known of the table that a network was trained on, and made of each column.

    Attributes
    ----------
    columns
        How the columns are prepared that the network takes, in the order of the table.
    label
        The column that it predicts.
    left_out
        The names of the other columns, each with the reason.
    """

    columns: tuple[ColumnPreparation, ...]
    label: Label
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def width(self) -> int:
        """So many numbers a row becomes: the inputs of the network."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table: those that are prepared, those left out, and the label."""
        left_out = (name for name, _ in self.left_out)
        return (*(column.name for column in self.columns), *left_out, self.label.name)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that are read as texts, even if numbers stand in them."""
        names = [c.name for c in self.columns if isinstance(c, CategoryColumn)]
        return (*names, self.label.name) if self.label.kind == "text" else tuple(names)

    def rows(self, what: str, table: Table) -> tuple[HostArray, list[str]]:
        """The rows of a table as the network takes them, and what is to be said of them.

        Parameters
        ----------
        what
            What the table is called in messages.
        table
            Its columns, in any order; others than those of the training are not looked at.

        Returns
        -------
        rows
            float32, shape (N, width).
        said
            In words: what was missing and filled, and of which categories the training had none.

        Raises
        ------
        DataError
            If a column is not there, or a number is too large.
        """
        missing = [column.name for column in self.columns if column.name not in table]
        if missing:
            raise DataError(
                f"{what}: of the columns that the network was trained on are not here: "
                f"{listed(missing)}; found {listed(list(table))}"
            )
        try:
            rows = np.zeros((number_of_rows(table), self.width), dtype=np.float32)
        except MemoryError as error:
            raise DataError(
                f"{what}: {number_of_rows(table):,} rows of {self.width:,} numbers do not fit into "
                f"memory"
            ) from error
        said, first = [], 0
        for column in self.columns:
            part = rows[:, first : first + column.width]
            try:
                said += column.write(part, table[column.name])
            except DataError as error:
                raise DataError(f"{what}: {error}") from None
            first += column.width
        return rows, said

    def extra(self, table: Table) -> list[str]:
        """The columns of a table that the training table had not."""
        return [name for name in table if name not in self.names]

    # -- as JSON values -------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The description as JSON values, which `from_dict` reads again."""
        label = asdict(self.label)
        label["classes"] = None if self.label.classes is None else list(self.label.classes)
        columns = [asdict(column) for column in self.columns]
        for column in columns:
            if "categories" in column:
                column["categories"] = list(column["categories"])
        return {
            "columns": columns,
            "label": label,
            "left_out": [list(pair) for pair in self.left_out],
        }

    @classmethod
    def from_dict(cls, value: Any) -> "TablePreparation":
        """The inverse of `to_dict`, each entry checked.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is none that `to_dict` would write.
        """
        columns = tuple(map(_read_column, _list("columns", value["columns"])))
        label = _read_label(value["label"])
        left_out = tuple(
            (_text("left out", name), _text("left out", why))
            for name, why in _list("left_out", value["left_out"])
        )
        found = cls(columns, label, left_out)
        if not columns or len(set(found.names)) != len(found.names):
            raise ValueError("the columns of a table have each a name of its own")
        if found.width > MOST_COLUMNS:
            raise ValueError(f"a row of a table becomes {found.width} numbers, more than there are")
        return found

    def check_fits(self, inputs: int | None, outputs: int | None, target_kind: str) -> None:
        """Check that a network with so many inputs and outputs can be one for this table.

        Raises
        ------
        ValueError
            If it cannot.
        """
        classes = self.label.classes
        kind, count = ("values", 1) if classes is None else ("classes", len(classes))
        if target_kind == "multilabel" and count == 2:  # one output says how probable the second is
            kind, count = "multilabel", 1
        if inputs not in (None, self.width) or outputs not in (None, count) or kind != target_kind:
            raise ValueError(
                f"a table whose rows become {self.width} numbers, with {count} "
                f"{'classes' if classes else 'value'} to predict, and a network of {inputs} inputs "
                f"and {outputs} outputs for {target_kind}"
            )


def _read_column(value: Mapping[str, Any]) -> ColumnPreparation:
    name = _text("name", value["name"])
    if "categories" in value:
        categories = _list("categories", value["categories"])
        column = CategoryColumn(
            name,
            tuple(_text("category", text) for text in categories),
            _truth("rest", value["rest"]),
            _truth("missing", value["missing"]),
        )
        if list(column.categories) != sorted(set(categories)) or column.width < 1:
            raise ValueError(f"the categories of {shown(name)} are not sorted, or there are none")
        return column
    fill, mean, scale = (_finite(key, value[key]) for key in ("fill", "mean", "scale"))
    if scale <= 0:
        raise ValueError(f"the scale of {shown(name)} is {scale:g}")
    return NumberColumn(name, _kind(value["kind"], "number", "truth", "date"), fill, mean, scale)


def _read_label(value: Mapping[str, Any]) -> Label:
    classes = value["classes"]
    mean, scale = _finite("mean", value["mean"]), _finite("scale", value["scale"])
    if scale <= 0:
        raise ValueError(f"the scale of the label is {scale:g}")
    kind = _kind(value["kind"], "number", "truth", "text")
    if classes is not None:
        wanted: dict[str, tuple[type, ...]] = {
            "text": (str,), "truth": (bool,), "number": (int, float),
        }  # fmt: skip
        classes = tuple(_list("classes", classes))
        fits = all(type(name) in wanted[kind] for name in classes)
        if not fits or len(classes) < 2 or list(classes) != sorted(set(classes)):
            raise ValueError(f"the classes of a label are {shown(classes)}")
    return Label(_text("name", value["name"]), kind, classes, mean, scale)


def _kind(value: Any, *allowed: ColumnKind) -> ColumnKind:
    if value not in allowed or value not in get_args(ColumnKind):
        raise ValueError(f"a column of the kind {shown(value)}")
    found: ColumnKind = value
    return found


def _list(name: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {shown(value)}, and no list")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, and no text")
    return value


def _truth(name: str, value: Any) -> Literal[True, False]:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {shown(value)}, not true or false")
    return value


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {shown(value)}, and no finite number")
    return float(value)
