"""Tables in files: which there are, and what is in them."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpnet.data.tables.arff import read_arff_dialect
from xpnet.data.tables.arrow import table_of
from xpnet.data.tables.columns import Table, as_text
from xpnet.data.tables.dialect import Dialect, find_dialect
from xpnet.data.tables.folders import (
    BINARY_ENDINGS,
    FOLDER_ENDINGS,
    Tables,
    ending_of,
    tables_among,
)
from xpnet.data.tables.names import numbered
from xpnet.data.tables.preparation import TablePreparation
from xpnet.data.tables.reading import read_binary_tables, read_text_table
from xpnet.data.tables.text import read_head
from xpnet.errors import DataError, one_line, reason_of, shown

TEXT_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".data")

_ROWS = 50
_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True)
class TableFile:
    """A table in a file, of which the beginning was read.

    Attributes
    ----------
    path
        The file.
    dialect
        How it is written, if it is text.
    frame
        All of it, a table of pyarrow, if it is not.
    """

    path: Path
    dialect: Dialect | None
    frame: Any = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; `column 1` and so on where they have none."""
        return tuple(self.frame.column_names) if self.dialect is None else self.dialect.names

    @property
    def named(self) -> bool:
        """Whether the columns have names of their own."""
        return self.dialect is None or self.dialect.named

    def named_like(self, table: TablePreparation) -> "TableFile":
        """The same with the names of another table, if both have none and the label is not here.

        So that columns which have numbers for names keep these.
        """
        if self.named or self.dialect is None:
            return self
        names = table.names
        if set(names) != {numbered(i) for i in range(len(names))}:
            return self
        others = [name for name in sorted(names, key=_number) if name != table.label.name]
        if len(others) != len(self.names):
            return self
        return replace(self, dialect=replace(self.dialect, names=tuple(others)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of how it is written."""
        return () if self.dialect is None else self.dialect.notes

    def first_rows(self) -> Sequence[Sequence[str]]:
        """Some rows, as texts."""
        if self.dialect is not None:
            return self.dialect.rows
        return [[str(value) for value in row.values()] for row in self.frame[:_ROWS].to_pylist()]

    def table(self, texts: Collection[str] = ()) -> Table:
        """The columns; those that are named are of texts, whatever is in them.

        Raises
        ------
        DataError
            If they cannot be read.
        """
        if self.dialect is None:
            return table_of(self.frame, str(self.path))
        return read_text_table(self.path, self.dialect, texts)

    def values_of(self, name: str, table: Table) -> Sequence[Any]:
        """What stands in a column, as it is there, None where nothing does.

        Parameters
        ----------
        name
            The column.
        table
            This table, in which the column was read as one of texts if it is in a file of text.
        """
        if self.frame is not None:
            values: list[Any] = self.frame.column(name).to_pylist()
            return values
        column = as_text(table[name])
        texts = [None if i < 0 else column.texts[i] for i in column.values.tolist()]
        whole = all(text is None or _WHOLE.fullmatch(text) for text in column.texts)
        return [int(text) if whole and text is not None else text for text in texts]


def open_table(*paths: Path) -> TableFile:
    """A table by its beginning; of several files, which are its pieces, one behind the other.

    Raises
    ------
    DataError
        If one is missing, or no table, or the pieces have other columns.
    """
    for path in paths:
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise for want of permission
            raise DataError(f"{path}: cannot be read ({_why_not(path)})")
    first, ending = paths[0], ending_of(paths[0].name)
    if ending in BINARY_ENDINGS:
        return TableFile(first, None, read_binary_tables(paths, ending))
    if ending == ".arff":
        return TableFile(first, read_arff_dialect(first))
    return TableFile(first, find_dialect(first, read_head(first)))


def _number(name: str) -> int:
    return int(name.rpartition(" ")[2])


def _why_not(path: Path) -> str:
    try:
        path.stat()
    except (OSError, ValueError) as error:
        return reason_of(error)
    return "not a file"


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a table, or of a folder of tables, by the names of the files."""
    path = expanded(path)
    if os.path.isdir(path):  # noqa: PTH112 - False where Path.is_dir raises
        return bool(_tables_in(path))
    known = (*TEXT_ENDINGS, ".arff", *BINARY_ENDINGS)
    return os.path.isfile(path) and ending_of(path.name) in known  # noqa: PTH113


def tables_of(folder: Path) -> Tables:
    """The tables for training and test that lie in a folder.

    Raises
    ------
    DataError
        If it is not clear which they are.
    """
    return tables_among(str(folder), _tables_in(folder))


def _tables_in(folder: Path) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []
    return [n for n in names if not n.startswith(".") and ending_of(n) in FOLDER_ENDINGS]


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with the user's home in the place of a leading `~`."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - it raises where there is no home


def check_no_table(name: str | os.PathLike[str], table_options: Mapping[str, Any]) -> None:
    """Refuse what is said of tables where the data are none; but what holds for all data sets.

    Raises
    ------
    DataError
        If there is any.
    """
    if table_options.get("table") is not None:
        raise DataError(
            f"{one_line(os.fspath(name))}: the network was trained on a table, and this is none: "
            f"name a file that has its columns"
        )
    for option, value in table_options.items():
        if value is not None and option not in ("validation", "seed"):
            raise DataError(
                f"{option}: this is said of tables, and {shown(os.fspath(name))} is none"
            )
