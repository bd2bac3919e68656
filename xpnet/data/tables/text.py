"""How a table of text is written: its encoding, what separates its fields, whether it has a header.

Seen from the beginning of the file, since nobody wants to say it. A file may be gzipped.
"""

import csv
import gzip
import io
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from xpnet.data.tables.names import numbered, refuse_twice
from xpnet.errors import DataError, one_line, reason_of, shown

# fmt: off
MISSING = frozenset((
    "", "?", "#N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a",
    "nan", "null",
))
# fmt: on
"""What stands in a field that has no value: pandas' words, and the `?` of UCI's tables."""

_GZIP_MAGIC = b"\x1f\x8b"
# Tables come to a tenth or a twentieth.
_MOST_EXPANSION, _SMALL = 100, 64 * 2**20
_HEAD = 1 << 18
_LINES = 50
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+")
# A comma last but one: it is in numbers and in texts as well.
_DELIMITERS = ("\t", ";", "|", ",", " ")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Dialect:
    """How a table of text is written.

    Attributes
    ----------
    encoding
        Python's name of it.
    delimiter
        What is between two fields; a space stands for one or more of them.
    header
        Whether the first line has the names of the columns.
    names
        These names; `column 1` and so on where there are none.
    decimal
        `"."` or `","`, in numbers.
    rows
        The first rows, as texts.
    skip
        So many lines stand before the table.
    quote
        What may stand around a field.
    comment
        What a line begins with that is no row; nothing if there are no such.
    texts
        The columns that are known to be of texts, whatever is in them.
    """

    encoding: str
    delimiter: str
    header: bool
    names: tuple[str, ...]
    decimal: str
    rows: tuple[tuple[str, ...], ...]
    skip: int = 0
    quote: str = '"'
    comment: str = ""
    texts: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether the columns have names: in the first row, or in what stands before the table."""
        return self.header or self.skip > 0


def is_number(field: str) -> bool:
    """Whether a field is a number with a decimal point."""
    return _NUMBER.fullmatch(field) is not None


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, unpacked where it is gzipped, which is seen from its first bytes.

    Raises
    ------
    DataError
        If it cannot be read, or the gzip stream is damaged.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not zipped:
                yield file
                return
            with _Unzipped(path, file) as unzipped:
                yield cast(IO[bytes], unzipped)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip stream is damaged or cut off ({one_line(error)})"
        ) from error
    except MemoryError as error:
        raise DataError(f"{path}: the values do not fit into memory") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


class _Unzipped(gzip.GzipFile):
    """A gzipped file that does not unpack to a thousand times its size, as a trap would."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        size = os.fstat(file.fileno()).st_size
        self._path, self._size, self._most = path, size, max(_SMALL, _MOST_EXPANSION * size)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = self._most + 1
        return self._checked(super().read(size))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def _checked(self, content: bytes) -> bytes:
        if self.tell() > self._most:
            raise DataError(
                f"{self._path}: unpacks to more than {_MOST_EXPANSION} times its {self._size:,} "
                f"bytes: if that is right, unpack it first (gunzip)"
            )
        return content


def read_head(path: Path) -> bytes:
    """The beginning of a file, unpacked."""
    with opened(path) as file:
        return file.read(_HEAD)


def find_dialect(path: Path, head: bytes) -> Dialect:
    """How a table is written, by the beginning of its file.

    Raises
    ------
    DataError
        If it is no table of text, is empty, or two columns have one name.
    """
    encoding = find_encoding(path, head)
    text = head.decode(encoding, errors="ignore")
    if text.lstrip()[:1] == "<":
        raise DataError(
            f"{path}: expected a table, found an HTML page or XML ({shown(text.lstrip()[:60])}): "
            f"the download was of a page about the file; get the file itself"
        )
    # Of a file that goes on the last line is a part of one.
    lines = text.splitlines()[: None if len(head) < _HEAD else -1]
    lines = [line for line in lines if line.strip()][: _LINES + 1]
    if not lines:
        raise DataError(f"{path}: there are no rows in this file of {len(head):,} bytes")
    delimiter = _delimiter(lines)
    rows = [tuple(field.strip() for field in row) for row in split_lines(lines, delimiter)]
    header = _has_header(rows)
    names = rows[0] if header else tuple("" for _ in rows[0])
    names = tuple(name or numbered(place) for place, name in enumerate(names))
    refuse_twice(str(path), names)
    rows = rows[header:]
    return Dialect(encoding, delimiter, header, names, _decimal(rows, delimiter), tuple(rows))


def split_lines(lines: Sequence[str], delimiter: str, quote: str = '"') -> list[list[str]]:
    """The fields of lines, of which some may be in quotes."""
    if delimiter == " ":
        return list(words_of(lines))
    try:
        return list(csv.reader(lines, delimiter=delimiter, quotechar=quote, skipinitialspace=True))
    except csv.Error:  # a field longer than 131,072 characters
        return [line.split(delimiter) for line in lines]


def words_of(lines: Iterable[str]) -> Iterator[list[str]]:
    """The fields of lines that have spaces between them, one or more; none of an empty line."""
    stripped = (line.strip().replace("\t", " ") for line in lines)
    rows = csv.reader((line for line in stripped if line), delimiter=" ", skipinitialspace=True)
    return iter(rows)


def text_of(file: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """The text of a file; newlines stay as they are, as the `csv` module wants it."""
    return io.TextIOWrapper(file, encoding=encoding, newline="")


def find_encoding(path: Path, head: bytes) -> str:
    """The encoding of a text, by its beginning.

    Raises
    ------
    DataError
        If it is no text.
    """
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" in head[:1000]:
        # Text of Latin letters in UTF-16 is zero in every other byte.
        for encoding, zeros in (("utf-16-le", head[1:200:2]), ("utf-16-be", head[0:200:2])):
            if zeros.strip(b"\0") == b"":
                return encoding
        raise DataError(
            f"{path}: expected a table, found a file that is no text (its first bytes are "
            f"{head[:8].hex(' ')}): give a table as CSV, Parquet, Arrow, Feather or ARFF"
        )
    try:
        # Of a letter of several bytes, the head may end in the middle.
        head.decode() if len(head) < _HEAD else head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "cp1252" if not {0x81, 0x8D, 0x8F, 0x90, 0x9D} & set(head) else "latin-1"
    return "utf-8"


def _delimiter(lines: Sequence[str]) -> str:
    """The first that all lines have equally often; else the one that most lines agree on."""
    best, most = ",", (0, 0)
    for delimiter in _DELIMITERS:
        counts = Counter(map(len, split_lines(lines, delimiter)))
        width, agreeing = max(counts.items(), key=lambda item: (item[1], item[0]))
        if width > 1 and agreeing == len(lines):
            return delimiter
        if width > 1 and (agreeing, width) > most:
            best, most = delimiter, (agreeing, width)
    return best


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: by what is numbers below it, and what is not."""
    first, rest = rows[0], rows[1:]
    if all(map(is_number, first)):
        # pandas numbers columns that have no names.
        counted = [str(i) for i in range(len(first))]
        return len(first) > 2 and list(first) == counted
    votes = 0
    for i, name in enumerate(first):
        below = [row[i] for row in rest if i < len(row) and row[i] not in MISSING]
        if below and all(map(is_number, below)):
            votes += 1 if not is_number(name) and name not in MISSING else -is_number(name)
    if votes:
        return votes > 0
    seen = [{row[i] for row in rest if i < len(row)} for i in range(len(first))]
    return len(set(first)) == len(first) and not any(
        name in values for name, values in zip(first, seen, strict=True)
    )


def _decimal(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    if delimiter == ",":
        return "."
    fields = [field for row in rows for field in row]
    points = any(_DECIMAL_POINT.fullmatch(field) for field in fields)
    return "," if not points and any(map(_DECIMAL_COMMA.fullmatch, fields)) else "."
