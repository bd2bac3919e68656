"""How the rows of a table become what a network takes, and its outputs what the label is.

A description, measured once on the rows that are trained on (`measure.py`), and saved with the
network. A number x becomes (x - mean) / scale; a category a row of 0 with a 1 in its place.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from xpnet.data.tables.columns import ColumnKind, Table, number_of_rows
from xpnet.data.tables.label import Label
from xpnet.data.tables.names import listed
from xpnet.data.tables.prepared_columns import CategoryColumn, ColumnPreparation, NumberColumn
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray

MOST_COLUMNS = 1 << 20
"""So many numbers a row becomes at the most."""


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
