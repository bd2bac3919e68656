"""Which of the tables in a folder is for training, and which for the test, by their names."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpnet.errors import DataError, one_line

BINARY_ENDINGS = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
FOLDER_ENDINGS = (".csv", ".tsv", ".arff", *BINARY_ENDINGS)
"""Other text in a folder may be anything, such as a README."""

_PARTS = {
    part: re.compile(rf"(^|[^a-z])({words})([^a-z]|$)", re.IGNORECASE)
    for part, words in {
        "train": "train|training|trn",
        "test": "test|testing|tst",
        "validation": "val|valid|validation|dev",
    }.items()
}
_PIECE = re.compile(
    r"(?P<name>.*?)[-_.]?(?P<hub>\d{3,})-of-(?P<count>\d{3,})(-[0-9a-f]{8,})?"
    r"|(?P<spark>part)[-_.](?P<number>\d+)([-.].*)?|(?P<plain>\d{3,})",
    re.IGNORECASE,
)
"""What programs call the pieces of one table: `train-00000-of-00002`, `part-00000-ab1`, `0000`."""


@dataclass(frozen=True)
class Tables:
    """The tables of a data set: each one file, or several that are pieces of one.

    Attributes
    ----------
    train, test
        The names of the files, in their order; there may be none for the test.
    left_out
        What else was there and is not taken, in words.
    """

    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All that are read."""
        return (*self.train, *self.test)


def tables_among(what: str, names: Iterable[str]) -> Tables:
    """The tables for training and test.

    Parameters
    ----------
    what
        The folder, for messages.
    names
        The names of tables, with `/` between folders; those of one in several forms, such as plain
        and gzipped, are one, and the first is taken.

    Raises
    ------
    DataError
        If it is not clear which they are, or a piece of one is missing.
    """
    found: dict[str, dict[str, dict[str, str]]] = {part: {} for part in ("", *_PARTS)}
    for name in sorted(names):
        folder, stem = posixpath.dirname(name), stem_of(name)
        piece = _PIECE.fullmatch(stem) if ending_of(name) in BINARY_ENDINGS else None
        table = stem if piece is None else piece["name"] or piece["spark"] or ""
        part = part_of(stem) or part_of(posixpath.basename(folder))
        pieces = found[part].setdefault(f"{folder}/{table}".casefold(), {})
        pieces.setdefault(stem.casefold(), name)
    train = found["train"] or found[""] or found["test"] or found["validation"]
    test = {} if train is found["test"] or train is found["validation"] else found["test"]
    left = "the validation set" if found["validation"] and test else ""
    if not test and train is not found["validation"]:
        test = found["validation"]
    return Tables(_only(what, "train", train), _only(what, "test", test), left)


def _only(what: str, wanted: str, tables: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """The files of the one table that there is; none if there is none for the test."""
    if len(tables) > 1 or (wanted == "train" and not tables):
        files = [posixpath.basename(name) for pieces in tables.values() for name in pieces.values()]
        names = one_line(", ".join(files)) or "none"
        raise DataError(
            f"{what}: expected one table with {wanted} in its name, found {names}; name the "
            f"file itself"
        )
    for pieces in tables.values():
        for stem, name in pieces.items():
            piece = _PIECE.fullmatch(stem)
            if piece and piece["count"] and int(piece["count"]) != len(pieces):
                raise DataError(
                    f"{what}: {one_line(posixpath.basename(name))} is one of "
                    f"{int(piece['count'])} pieces of a table, of which {len(pieces)} are there: "
                    f"add the others, or name the file itself"
                )
        return tuple(pieces.values())
    return ()


def is_piece(name: str) -> bool:
    """Whether a file is one of several pieces of a table, by its name."""
    piece = _PIECE.fullmatch(stem_of(name))
    return piece is not None and ending_of(name) in BINARY_ENDINGS and int(piece["count"] or 1) > 1


def part_of(name: str) -> str:
    """The part that a name says: `"train"`, `"test"` or `"validation"`; else nothing."""
    return next((part for part, pattern in _PARTS.items() if pattern.search(name)), "")


def ending_of(name: str) -> str:
    """What a file's name ends in, in lower case and without `.gz`."""
    return PurePosixPath(_unzipped(name)).suffix.lower()


def stem_of(name: str) -> str:
    """The name of a file without what says its form."""
    base = posixpath.basename(name)
    return PurePosixPath(_unzipped(base)).stem or base


def _unzipped(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name
