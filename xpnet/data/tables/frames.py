"""Data sets of tables: the label chosen, a part kept for the test, the rows prepared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.splitting import split_rows
from xpnet.data.tables.arrow import table_of
from xpnet.data.tables.columns import Table, number_of_rows, some_rows
from xpnet.data.tables.label import Label, written
from xpnet.data.tables.measure import TargetKind, measure, measure_label
from xpnet.data.tables.names import column_number, listed
from xpnet.data.tables.preparation import TablePreparation
from xpnet.errors import DataError, counted, shown
from xpnet.typing import HostArray

TEST_FRACTION = 0.2
"""So much of a table is kept for the test where there is no table for it."""

_LABELS = ("label", "labels", "class", "target", "y")


@dataclass(frozen=True)
class KeptParts:
    """Which parts of a table are kept, and not trained on.

    Attributes
    ----------
    test
        The fraction for the test, drawn in the same way each time; None or 0 for none.
    validation
        The fraction of the rest for validation, drawn by `seed`; None for none.
    seed
        The seed of the run.

    Raises
    ------
    ValueError
        If a fraction is not from 0 to below 1.
    """

    test: float | None = None
    validation: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test", "validation"):
            fraction = getattr(self, name)
            if fraction is not None and not 0 <= fraction < 1:
                raise ValueError(
                    f"{name} must be a fraction of the rows, from 0 to below 1, got {fraction:g}"
                )


def table_dataset(
    frame: Any,
    *,
    label: str | None = None,
    test: Any = TEST_FRACTION,
    validation: float | None = None,
    seed: int = 0,
    target_kind: TargetKind | None = None,
    table: TablePreparation | None = None,
    name: str = "table",
) -> Dataset:
    """A data set from a table in memory.

    Numbers, Booleans and dates are standardised, as (x - mean) / standard deviation, missing ones
    filled with the median; categories are one-hot, and missing ones a category of their own.
    Columns without information are left out. All of it is measured on the training rows alone, is
    in `Dataset.table`, and goes into the network.

    Parameters
    ----------
    frame
        A data frame of pandas or Polars, a table of pyarrow, a dictionary of columns, or what else
        has Arrow's PyCapsule interface.
    label
        The column that is to be predicted. Rows without it are left out.
    test
        A table for the test like the first, whose columns may have another order; or the fraction
        of the rows that is kept for it, drawn in the same way each time, each class with its share;
        or None.
    validation, seed
        The fraction of the other rows that is kept for validation, drawn by the seed, as `fit` does
        with `validation` and `seed`; but then nothing is measured on these rows.
    target_kind
        `"classes"` or `"values"`; if None, texts, Booleans and up to 20 different whole numbers are
        classes, and all other numbers values.
    table
        How another table was prepared, which this one then is as well, such as `network.table`, to
        train a network on (`fit(..., start=network)`).
    name
        What the data set is called.

    Raises
    ------
    DataError
        If it is no table, there is no such label, or nothing to learn from.
    ValueError
        If the fraction is not between 0 and 1.

    Examples
    --------
    >>> fruit = {"weight": [150.0, 8.0, 170.0, 7.0], "kind": ["apple", "cherry", "apple", "cherry"]}
    >>> data = table_dataset(fruit, label="kind", test=None)
    >>> data
    <Dataset table: 4 training and 0 test rows of 1 column, 2 classes of kind>
    >>> [round(float(x), 2) for x in data.train.images[:, 0]]
    [0.87, -0.99, 1.13, -1.0]
    """
    columns = table_of(frame, name)
    tested, parts = None, KeptParts(validation=validation, seed=seed)
    if isinstance(test, float | int | np.number) and not isinstance(test, bool):
        parts = replace(parts, test=float(test))
    elif test is not None:
        tested = table_of(test, f"{name}: test")
    return make_dataset(
        name, columns, label, tested, parts, target_kind=target_kind, prepared=table
    )


def make_dataset(
    name: str,
    table: Table,
    label: str | None,
    test: Table | None,
    parts: KeptParts,
    *,
    target_kind: TargetKind | None = None,
    prepared: TablePreparation | None = None,
    named: bool = True,
    last: bool = False,
) -> Dataset:
    """`table_dataset` of tables as columns.

    Parameters
    ----------
    name, table, label, test, target_kind
        As there.
    parts
        Which parts are kept; that for the test only where there is no table for it.
    prepared
        How another table was prepared, which this one then is as well.
    named
        Whether the columns have names of their own.
    last
        Whether the last column is the label if none is named.
    """
    label = label if prepared is None else prepared.label.name
    chosen, notes = _find_label(name, table, label, test, named=named, last=last)
    table, dropped = _with_label(name, table, chosen)
    notes += dropped
    if prepared is None:
        described = measure_label(name, chosen, table[chosen], target_kind)
    else:
        described = prepared.label
    if test is not None and chosen not in test:
        notes.append(f"the test table has no column {shown(chosen)}, so nothing is tested by it")
        test = None
    tables, drawn = _drawn(name, table, described, parts, test)
    notes += drawn
    trained = tables["train"]
    if prepared is None:
        prepared, said = measure(name, trained, described, number_of_rows(table))
        train = split_of(name, prepared, trained)[0]
    else:
        train, said = split_of(name, prepared, trained)
        extra = prepared.extra(table)
        if extra:
            said.append(f"not looked at, the training table had no such column: {listed(extra)}")
    notes += said
    others = {
        part: split_of(name, prepared, tables[part])[0]
        for part in ("test", "validation")
        if part in tables
    }
    if test is not None:
        what = f"{name}: test"
        test, dropped = _with_label(what, test, chosen)
        others["test"], said = split_of(what, prepared, test)
        notes += [f"test: {sentence}" for sentence in (*dropped, *said)]
    classes = prepared.label.classes
    return Dataset(
        name,
        train,
        others.get("test"),
        n_classes=len(classes or ()),
        pixel_maximum=1.0,
        validation=others.get("validation"),
        table=prepared,
        class_names=None if classes is None else tuple(map(written, classes)),
        notes=tuple(notes),
    )


def _drawn(
    name: str, table: Table, label: Label, parts: KeptParts, test: Table | None
) -> tuple[dict[str, Table], list[str]]:
    """The rows to train on, and those that are kept; and what is to be said of these."""
    numbers = None if label.classes is None else label.numbers(name, table[label.name])
    rows, tables, said = np.arange(number_of_rows(table)), {}, []
    wanted = {"test": None if test is not None else parts.test, "validation": parts.validation}
    for purpose, fraction in wanted.items():
        if not fraction:
            continue
        seed = 0 if purpose == "test" else parts.seed
        groups = None if numbers is None else numbers[rows]
        try:
            left, kept = split_rows(groups, len(rows), fraction, seed, purpose=purpose)
        except DataError as error:
            raise DataError(f"{name}: {error}; or keep none, with a fraction of 0") from None
        tables[purpose] = some_rows(table, rows[kept])
        said.append(f"{len(kept):,} of {len(rows):,} rows, drawn at random, kept for the {purpose}")
        rows = rows[left]
    return {"train": some_rows(table, rows), **tables}, said


def split_of(what: str, prepared: TablePreparation, table: Table) -> tuple[Split, list[str]]:
    """Samples and labels of a table, and what is to be said of them."""
    rows, said = prepared.rows(what, table)
    return Split(rows, prepared.label.numbers(what, table[prepared.label.name])), said


def _with_label(what: str, table: Table, label: str) -> tuple[Table, list[str]]:
    """The rows that have a label, and what is to be said of the others."""
    if not number_of_rows(table):
        raise DataError(f"{what}: there are no rows in this table")
    missing = table[label].missing
    count = int(missing.sum())
    if count == len(missing):
        raise DataError(f"{what}: the label {shown(label)} is missing in all {count:,} rows")
    if not count:
        return table, []
    rows: HostArray = np.flatnonzero(~missing)
    said = f"left out, without the label {shown(label)}: {counted(count, 'row')}"
    return some_rows(table, rows), [said]


def _find_label(
    what: str, table: Table, label: str | None, test: Table | None, *, named: bool, last: bool
) -> tuple[str, list[str]]:
    """The name of the label, and how it was found if it was not given."""
    names = list(table)
    if label is not None:
        return names[column_number(names, label, header=named)], []
    found, why = (
        _only([] if test is None else [n for n in names if n not in test]),
        ("the test table does not have it"),
    )
    if found is None:
        found = _only([name for name in names if name.casefold() in _LABELS])
        why = "by its name"
    if found is None and last:
        found, why = names[-1], "the last column"
    if found is None:
        how = "" if named else "; this table has no names: give the number of the column, or -1"
        raise DataError(
            f"{what}: which column is to be predicted? Give its name as the label (--label); there "
            f"are {listed(names)}{how}"
        )
    return found, [f"label: {shown(found)} ({why})"]


def _only(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None
