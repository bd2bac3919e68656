"""Files of text: opened, plain or gzipped; their encoding; the fields of their lines."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from xpnet.errors import DataError, one_line, reason_of

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
_HEAD, _LONGEST_HEAD = 1 << 18, 1 << 24
_FEWEST_LINES = 8
# Those of UTF-32 first: one of them begins as one of UTF-16.
_MARKS = {
    b"\xff\xfe\0\0": "utf-32-le", b"\0\0\xfe\xff": "utf-32-be", b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be",
}  # fmt: skip


class Head(NamedTuple):
    """The beginning of a file, unpacked; and whether it is all of it."""

    content: bytes
    whole: bool


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


def read_head(path: Path) -> Head:
    """The beginning of a file, with some lines in it, however long these are."""
    with opened(path) as file:
        head = file.read(_HEAD)
        whole = len(head) < _HEAD
        while not whole and len(head) < _LONGEST_HEAD and _count_lines(head) < _FEWEST_LINES:
            more = file.read(len(head))
            whole = len(more) < len(head)
            head += more
    return Head(head, whole)


def _count_lines(head: bytes) -> int:
    return max(head.count(b"\n"), head.count(b"\r"))


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


def find_encoding(path: Path, head: Head) -> tuple[str, int]:
    """The encoding of a text, by its beginning, and the length of the mark that says it.

    Raises
    ------
    DataError
        If it is no text.
    """
    content = head.content
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding, len(mark)
    if b"\0" in content[:1000]:
        # Text of Latin letters in UTF-16 is zero in every other byte.
        for encoding, zeros in (("utf-16-le", content[1:200:2]), ("utf-16-be", content[0:200:2])):
            if zeros.strip(b"\0") == b"":
                return encoding, 0
        raise DataError(
            f"{path}: expected a table, found a file that is no text (its first bytes are "
            f"{content[:8].hex(' ')}): give a table as CSV, Parquet, Arrow, Feather or ARFF"
        )
    try:
        # Of a letter of several bytes, the head may end in the middle.
        content.decode() if head.whole else content[: content.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "cp1252" if not {0x81, 0x8D, 0x8F, 0x90, 0x9D} & set(content) else "latin-1", 0
    return "utf-8", 0
