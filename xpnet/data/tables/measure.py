"""What is measured of a table before a training: what each column is, and how it is prepared."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xpnet.data.tables.columns import Column, Table, as_numbers
from xpnet.data.tables.label import Class, Label
from xpnet.data.tables.names import listed
from xpnet.data.tables.preparation import MOST_COLUMNS, TablePreparation
from xpnet.data.tables.prepared_columns import CategoryColumn, ColumnPreparation, NumberColumn
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray

TargetKind = Literal["classes", "values"]

MOST_CATEGORIES = 128
"""Categories of a column that have a place of their own: the most frequent ones."""

MOST_WHOLE = 20
"""Whole numbers to be predicted are classes, if there are no more different ones than this."""

_MOST_CLASSES = 1000
_FEW = 20
"""A column with no more different texts than this is of categories, however few rows there are."""

_ID = re.compile(
    r"(.*[ _.-])?(id|uuid|guid|index|row|rowid|key|nr|no)|unnamed: 0|column 1|.*Id|.*ID"
)


def measure_label(
    what: str, name: str, column: Column, target_kind: TargetKind | None = None
) -> Label:
    """What the label is: classes, or numbers of which the scale is to be measured.

    Texts, Booleans and up to 20 different whole numbers are classes.

    Parameters
    ----------
    what
        What the table is called in messages.
    name, column
        The label, of which no value is missing.
    target_kind
        Which of the two it is, if that is known.

    Raises
    ------
    DataError
        If it is a date, all its values are one, or too many classes.
    """
    if column.kind == "date":
        raise DataError(
            f"{what}: the label {shown(name)} is of dates: make numbers of them, such as the days "
            f"from one date to another"
        )
    if target_kind == "values":
        column, odd = as_numbers(column)
        if odd is not None:
            raise DataError(
                f"{what}: the label {shown(name)} is to be predicted as a number, and "
                f"{shown(odd)} is none"
            )
    distinct = np.unique(column.values)
    if not np.isfinite(distinct).all():
        raise DataError(f"{what}: the label {shown(name)} is infinite in some rows; leave them out")
    if len(distinct) < 2:
        raise DataError(
            f"{what}: the label {shown(name)} is the same in all {len(column):,} rows: there is "
            f"nothing to learn"
        )
    few = column.kind != "number" or (column.whole and len(distinct) <= MOST_WHOLE)
    if target_kind == "values" or (target_kind is None and not few):
        return Label(name, column.kind)
    if len(distinct) > min(_MOST_CLASSES, max(_FEW, len(column) // 2)):
        raise DataError(
            f"{what}: the label {shown(name)} has {len(distinct):,} different values in "
            f"{len(column):,} rows, too many to be classes; name another column"
        )
    return Label(name, column.kind, _classes(column, distinct))


def _classes(column: Column, distinct: HostArray) -> tuple[Class, ...]:
    if column.kind == "text":
        return tuple(column.texts[i] for i in distinct.tolist())
    if column.kind == "truth":
        return (False, True)
    return tuple(int(v) if column.whole else v for v in distinct.tolist())


def scaled_label(label: Label, column: Column) -> Label:
    """A label of numbers with the mean and the standard deviation of these rows."""
    values, _ = as_numbers(column)
    mean, scale = mean_and_scale(values.values)
    return Label(label.name, label.kind, None, mean, scale or 1.0)


def measure(
    what: str, table: Table, label: Label, n_rows: int
) -> tuple[TablePreparation, list[str]]:
    """How the columns of a table are prepared, and what is to be said of it.

    Parameters
    ----------
    what
        What the table is called in messages.
    table
        The rows that are trained on.
    label
        The label, as `measure_label` gave it.
    n_rows
        How many rows the whole table has, of which these are a part.

    Raises
    ------
    DataError
        If no column is left.
    """
    columns: list[ColumnPreparation] = []
    left_out: list[tuple[str, str]] = []
    said: list[str] = []
    for name, column in table.items():
        if name == label.name:
            continue
        found = _measure_column(name, column, n_rows)
        if isinstance(found.prepared, str):
            left_out.append((name, found.prepared))
        else:
            columns.append(found.prepared)
        said += found.said
    if not columns:
        reasons = "; ".join(f"{shown(name)}: {why}" for name, why in left_out[:8])
        raise DataError(
            f"{what}: no column is left to learn from beside the label {shown(label.name)}"
            f"{f' ({reasons})' if reasons else ''}"
        )
    if label.classes is None:
        label = scaled_label(label, table[label.name])
    prepared = TablePreparation(tuple(columns), label, tuple(left_out))
    if prepared.width > MOST_COLUMNS:
        raise DataError(f"{what}: a row would become {prepared.width:,} numbers; leave columns out")
    return prepared, said + _said_of(left_out)


def _said_of(left_out: Sequence[tuple[str, str]]) -> list[str]:
    reasons = dict.fromkeys(why for _, why in left_out)
    return [
        f"left out, {why}: {listed([name for name, other in left_out if other == why])}"
        for why in reasons
    ]


@dataclass(frozen=True)
class _Measured:
    """A column, or why it is left out; and what is to be said of it."""

    prepared: ColumnPreparation | str
    said: tuple[str, ...] = ()


def _measure_column(name: str, column: Column, n_rows: int) -> _Measured:
    missing = column.missing
    if missing.all():
        return _Measured("without any value")
    return (_measure_text if column.kind == "text" else _measure_numbers)(name, column, n_rows)


def _measure_text(name: str, column: Column, n_rows: int) -> _Measured:
    present = column.values[column.values >= 0]
    absent = len(column) - len(present)
    counts = np.bincount(present, minlength=len(column.texts))
    different = int((counts > 0).sum())
    if different == 1 and not absent:
        return _Measured("the same in all rows")
    if different > _FEW and different > len(present) / 2:
        return _Measured("texts that differ from row to row")
    said = []
    # Of equally frequent ones those that come first in the alphabet.
    order = np.argsort(-counts, kind="stable")[: min(different, MOST_CATEGORIES)]
    if different > MOST_CATEGORIES:
        said.append(
            f"{shown(name)} has {different:,} categories: the {MOST_CATEGORIES} most frequent are "
            f"told apart, the others are one"
        )
    if absent:
        said.append(f"{absent:,} missing in {shown(name)}: a category of their own")
    categories = tuple(column.texts[i] for i in sorted(order.tolist()))
    prepared = CategoryColumn(name, categories, different > MOST_CATEGORIES, absent > 0)
    return _Measured(prepared, tuple(said))


def _measure_numbers(name: str, column: Column, n_rows: int) -> _Measured:
    values = column.values
    infinite, missing = int(np.isinf(values).sum()), int(np.isnan(values).sum())
    present = values[np.isfinite(values)]
    if not len(present):
        return _Measured("without any finite value")
    if present.min() == present.max():
        return _Measured("the same in all rows")
    if column.whole and not missing and _counts_rows(name, values, n_rows):
        return _Measured("a number for each row")
    said = []
    fill = float(np.median(present))
    if infinite:
        said.append(f"{infinite:,} infinite in {shown(name)}: filled with the median, {fill:g}")
    if missing:
        said.append(f"{missing:,} missing in {shown(name)}: filled with the median, {fill:g}")
    mean, scale = mean_and_scale(np.where(np.isfinite(values), values, fill))
    if not scale:
        return _Measured("the same in all rows")
    return _Measured(NumberColumn(name, column.kind, fill, mean, scale), tuple(said))


def _counts_rows(name: str, values: HostArray, n_rows: int) -> bool:
    """Whether integers are nothing but numbers of rows: from 0 or 1 upwards, or called so."""
    if len(values) < 3 or len(np.unique(values)) < len(values):
        return False
    low, high = values.min(), values.max()
    ordered = bool((np.diff(values) > 0).all())
    return (ordered and low >= 0 and high <= n_rows and len(values) > _FEW) or bool(
        _ID.fullmatch(name) or _ID.fullmatch(name.lower())
    )


def mean_and_scale(values: HostArray) -> tuple[float, float]:
    """The mean of finite numbers, and their standard deviation, of whatever size they are."""
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    shares = values / largest  # sums of numbers near the largest float would be infinite
    return float(shares.mean() * largest), float(shares.std() * largest)
