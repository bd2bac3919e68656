"""Tables in files: which there are, and what is in them."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpnet.data.tables.arff import read_arff_dialect
from xpnet.data.tables.arrow import read_binary_table, read_text_table, table_of
from xpnet.data.tables.columns import Table
from xpnet.data.tables.names import numbered
from xpnet.data.tables.preparation import TablePreparation
from xpnet.data.tables.text import Dialect, find_dialect, read_head
from xpnet.errors import DataError, one_line, reason_of, shown

TEXT_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".data")
BINARY_ENDINGS = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
_FOLDER_ENDINGS = (".csv", ".tsv", ".arff", *BINARY_ENDINGS)
"""Other text in a folder may be anything, such as a README."""

_ROWS = 50

_TRAIN = re.compile(r"(^|[^a-z])(train|training|trn)([^a-z]|$)", re.IGNORECASE)
_TEST = re.compile(r"(^|[^a-z])(test|testing|tst)([^a-z]|$)", re.IGNORECASE)


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


def open_table(path: Path) -> TableFile:
    """A table by its beginning.

    Raises
    ------
    DataError
        If it is missing, or no table.
    """
    ending = ending_of(path)
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise for want of permission
        raise DataError(f"{path}: cannot be read ({_why_not(path)})")
    if ending in BINARY_ENDINGS:
        return TableFile(path, None, read_binary_table(path, ending))
    if ending == ".arff":
        return TableFile(path, read_arff_dialect(path))
    return TableFile(path, find_dialect(path, read_head(path)))


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
    return os.path.isfile(path) and ending_of(path) in known  # noqa: PTH113


def tables_of(folder: Path) -> tuple[Path, Path | None]:
    """The tables for training and test in a folder.

    Raises
    ------
    DataError
        If it is not clear which they are.
    """
    tables = _tables_in(folder)
    train = [table for table in tables if _TRAIN.search(stem_of(table))] or tables
    tests = [table for table in tables if _TEST.search(stem_of(table)) and table not in train]
    if len(train) > 1 and len(tests) == 1 and len(tables) == 2:
        train = [table for table in train if table not in tests]
    for wanted, found in (("train", train), ("test", tests)):
        if len(found) > 1 or (wanted == "train" and not found):
            names = one_line(", ".join(table.name for table in found)) or "none"
            raise DataError(
                f"{folder}: expected one table with {wanted} in its name, found {names}; name the "
                f"file itself"
            )
    return train[0], tests[0] if tests else None


def _tables_in(folder: Path) -> list[Path]:
    """The tables of a folder: of one in several forms, such as plain and gzipped, the first."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError:
        return []
    found: dict[str, Path] = {}
    for name in names:
        if not name.startswith(".") and ending_of(Path(name)) in _FOLDER_ENDINGS:
            found.setdefault(stem_of(Path(name)).casefold(), folder / name)
    return list(found.values())


def ending_of(path: Path) -> str:
    """What a file's name ends in, in lower case and without `.gz`."""
    return Path(_unzipped(path)).suffix.lower()


def stem_of(path: Path) -> str:
    """The name of a file without what says its form."""
    return Path(_unzipped(path)).stem or path.name


def _unzipped(path: Path) -> str:
    return path.name[:-3] if path.name.lower().endswith(".gz") else path.name


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
    for option, value in table_options.items():
        if value is not None and option not in ("validation", "seed"):
            raise DataError(
                f"{option}: this is said of tables, and {shown(os.fspath(name))} is none"
            )
