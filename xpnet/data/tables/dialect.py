"""How a table of text is written: what separates its fields, whether it has a header.

Seen from the beginning of the file, since nobody wants to say it.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xpnet.data.tables.columns import as_number
from xpnet.data.tables.names import numbered, refuse_twice
from xpnet.data.tables.text import MISSING, Head, find_encoding, split_lines, words_of
from xpnet.errors import DataError, shown

_LINES, _TITLES = 50, 8
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")
_DECIMAL_POINT = re.compile(r"[+-]?(\d*|\d{1,3}(,\d{3})+)\.\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,])\d{3}(\1\d{3})*")
# A comma last but one: it is in numbers and in texts as well.
_DELIMITERS = ("\t", ";", "|", ",", " ")


@dataclass(frozen=True)
class Dialect:
    """How a table of text is written.

    Attributes
    ----------
    encoding
        Python's name of it.
    delimiter
        What is between two fields; a space stands for one or more of them.
    named
        Whether the columns have names: in a header, or in what else stands before the rows.
    names
        These names; `column 1` and so on where there are none.
    decimal
        `"."` or `","`, in numbers.
    rows
        The first rows, as texts.
    start
        So many bytes stand before the first row: a mark, a title, the header.
    quote
        What may stand around a field.
    comment
        What a line begins with that is no row; nothing if there are no such.
    texts
        The columns that are known to be of texts, whatever is in them.
    spaced
        Whether spaces stand between the delimiter and a quote.
    omitted
        Of rows that name the columns of their values (sparse ARFF) what the others have; else
        empty.
    notes
        What is to be said of it, a sentence each.
    """

    encoding: str
    delimiter: str
    named: bool
    names: tuple[str, ...]
    decimal: str
    rows: tuple[tuple[str, ...], ...]
    start: int = 0
    quote: str = '"'
    comment: str = ""
    texts: tuple[str, ...] = ()
    spaced: bool = False
    omitted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def is_number(field: str) -> bool:
    """Whether a field is a number, with a decimal point or comma."""
    return as_number(field) is not None or as_number(field, ",") is not None


def find_dialect(path: Path, head: Head) -> Dialect:
    """How a table is written, by the beginning of its file.

    Raises
    ------
    DataError
        If it is no table of text, is empty, or two columns have one name.
    """
    encoding, mark = find_encoding(path, head)
    text = head.content[mark:].decode(encoding, errors="ignore")
    if text.lstrip()[:1] == "<":
        raise DataError(
            f"{path}: expected a table, found an HTML page or XML ({shown(text.lstrip()[:60])}): "
            f"the download was of a page about the file; get the file itself"
        )
    # Of a file that goes on the last line is a part of one.
    ended = [line for line in _LINE.findall(text) if line]
    ended = ended if head.whole else ended[:-1]
    lines = [line.rstrip("\r\n") for line in ended]
    before, delimiter, comment = _before(lines)
    first = next((i for i in range(before, len(lines)) if lines[i].strip()), len(lines))
    if first == len(lines):
        size = f"{len(head.content):,} bytes"
        raise DataError(
            f"{path}: there are no rows in this file of {size}"
            if head.whole
            else f"{path}: no table: its first line goes on for more than {size}"
        )
    sample = [line for line in lines[first:] if line.strip()][: _LINES + 1]
    delimiter = delimiter or _delimiter(sample)
    titles = _count_titles(sample, delimiter)
    for _ in range(titles):
        first = next(i for i in range(first + 1, len(lines)) if lines[i].strip())
    rows = _stripped(split_lines(sample[titles:], delimiter))
    names, header = _names_in(comment, delimiter, rows), _has_header(rows)
    if header:
        first += _height(lines[first:], delimiter)
        names, rows = _names_of(rows[0], rows[1:]), rows[1:]
    given = names or [""] * len(rows[0])
    found = tuple(name or numbered(place) for place, name in enumerate(given))
    refuse_twice(str(path), found)
    return Dialect(
        encoding,
        delimiter,
        bool(names),
        found,
        _decimal(rows, delimiter),
        tuple(rows),
        start=mark + len("".join(ended[:first]).encode(encoding)),
        spaced=any(re.search(rf'{re.escape(delimiter)} +"', line) for line in sample),
        notes=(f"left out, above the table: {shown(sample[0], 60)}",) if titles else (),
    )


def _before(lines: Sequence[str]) -> tuple[int, str, str]:
    """How many lines stand before a table, the delimiter if they name it, and the last comment.

    Spreadsheets are told the delimiter by `sep=;`.
    """
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    found = _SEPARATOR.fullmatch(lines[first].strip(" ")) if lines else None
    if found is not None:
        return first + 1, found[1], ""
    after = first
    while after < len(lines) and lines[after].startswith("# "):
        after += 1
    return (after, "", lines[after - 1]) if after > first else (0, "", "")


def _names_in(comment: str, delimiter: str, rows: Sequence[Sequence[str]]) -> Sequence[str]:
    """The names of the columns in a comment above the rows, as NumPy writes them; else none."""
    names = _stripped(split_lines([comment], delimiter))[0] if comment else ()
    if len(names) != len(rows[0]):
        return ()
    numbers = all(is_number(field) for row in rows for field in row)
    return (names[0][2:].strip(), *names[1:]) if numbers else names


def _count_titles(lines: Sequence[str], delimiter: str) -> int:
    """How many lines with one field alone stand above a header of more."""
    rows = _stripped(row for line in lines[:_TITLES] for row in split_lines([line], delimiter))
    count = next((i for i, row in enumerate(rows) if sum(map(bool, row)) > 1), 0)
    if not count:
        return 0
    below = _stripped(split_lines(lines[count:], delimiter))
    width = max(map(len, below))
    fits = all(len(row) in (width, width - 1) for row in below)
    # Of two columns a row may have one empty field.
    short = all(len(row) == 1 or width > 2 for row in rows[:count])
    return count if fits and short and _has_header(below) else 0


def _names_of(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Sequence[str]:
    """The names of all columns: a header may lack that of the first, or of an empty last one.

    R writes no name above those of the rows, and others write a separator behind each row.
    """
    width = len(names) + 1
    if not rows or any(len(row) != width for row in rows):
        return names
    return ("", *names) if any(row[-1] for row in rows) else (*names, "")


def _height(lines: Sequence[str], delimiter: str) -> int:
    """How many lines the first row takes; in a name in quotes there may be ends of lines."""
    if delimiter == " ":
        return 1
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        next(reader)
    except csv.Error:
        return 1
    return reader.line_num


def _stripped(rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    return [tuple(field.strip() for field in row) for row in rows]


def fields_of(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """The fields of lines with spaces between them, or between the delimiter and a quote."""
    if dialect.delimiter == " ":
        return words_of(lines)
    return filter(None, csv.reader(lines, delimiter=dialect.delimiter, skipinitialspace=True))


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
    if rest and all(len(row) == len(first) + 1 for row in rest):
        return True
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
    """The sign before the fractions, by the numbers that have one which is not for thousands."""
    if delimiter == ",":
        return "."
    fields = [field for row in rows for field in row]
    sure = [field for field in fields if not _THOUSANDS.fullmatch(field)]
    for found in (sure, fields):
        commas = any(map(_DECIMAL_COMMA.fullmatch, found))
        points = any(map(_DECIMAL_POINT.fullmatch, found))
        if commas or points:
            return "." if points else ","
    return "."
