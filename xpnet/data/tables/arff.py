"""The beginning of an ARFF file, Weka's format; what follows it is a table of text.

Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/. The readers that
there are know no texts (SciPy's) or are no longer kept (liac-arff); the data are read as CSV.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from xpnet.data.tables.dialect import Dialect
from xpnet.data.tables.names import refuse_twice
from xpnet.data.tables.text import Head, find_encoding, opened, split_lines
from xpnet.errors import DataError, shown

_ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)\s*(.*)""",
    re.IGNORECASE | re.DOTALL,
)
_DATA = re.compile(r"^[ \t]*@data[^\r\n]*(?:\r\n|\r|\n)?", re.IGNORECASE | re.MULTILINE)
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ITEM = re.compile(rf"\s*\d+\s+(?:{_QUOTED}|[^,]*)")
_FIRST = re.compile(rf"\{{\s*({_QUOTED}|[^,}}]*)")
_OF_NUMBERS = ("numeric", "real", "integer", "date")
_LONGEST, _ROWS = 1 << 24, 50


def read_arff_dialect(path: Path) -> Dialect:
    """How the data of an ARFF file are written, and what its head says of the columns.

    Rows may name the columns of their values (sparse ARFF): others have 0, or the first category.

    Raises
    ------
    DataError
        If it is none.
    """
    with opened(path) as file:
        content = file.read(_LONGEST)
    encoding, mark = find_encoding(path, Head(content, len(content) < _LONGEST))
    text = content[mark:].decode(encoding, errors="ignore")
    data = _DATA.search(text)
    if data is None:
        raise DataError(f"{path}: not an ARFF file: there is no line with @data")
    lines = map(str.strip, text[: data.start()].splitlines())
    found = [match for match in map(_ATTRIBUTE.match, lines) if match]
    names = tuple(unquoted(match[1]) for match in found)
    if not names:
        raise DataError(f"{path}: not an ARFF file: there is no line with @attribute")
    refuse_twice(str(path), names)
    # Of a file that goes on the last row is a part of one, but then there are many.
    rows = [row.strip() for row in text[data.end() :].split("\n", 2 * _ROWS)[: 2 * _ROWS]]
    rows = [row for row in rows if row and not row.startswith("%")][:_ROWS]
    sparse = bool(rows) and rows[0].startswith("{")
    omitted = tuple(_omitted(match[2]) for match in found) if sparse else ()
    quote = "'" if any("'" in row for row in rows) else '"'
    delimiter = "\t" if rows and "\t" in rows[0] and "," not in rows[0] else ","
    try:
        fields = list(dense_rows(rows, omitted)) if sparse else split_lines(rows, delimiter, quote)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as sparse ARFF ({error})") from error
    return Dialect(
        encoding,
        "," if sparse else delimiter,
        named=True,
        names=names,
        decimal=".",
        rows=tuple(tuple(field.strip() for field in row) for row in fields),
        start=mark + len(text[: data.end()].encode(encoding)),
        quote=quote,
        comment="%",
        texts=tuple(
            name
            for name, match in zip(names, found, strict=True)
            if not match[2].lower().startswith(_OF_NUMBERS)
        ),
        omitted=omitted,
    )


def _omitted(kind: str) -> str:
    """What a sparse row has in a column of this kind that it does not name."""
    if kind.lower().startswith(_OF_NUMBERS):
        return "0"
    first = _FIRST.match(kind)
    return unquoted(first[1].strip()) if first else ""


def dense_rows(lines: Iterable[str], omitted: Sequence[str]) -> Iterator[list[str]]:
    """The fields of rows such as `{0 1.5, 3 'a b'}`, which say the columns of their values.

    Parameters
    ----------
    lines
        The rows.
    omitted
        What stands in the columns that a row does not name.

    Raises
    ------
    ValueError
        If one is written in another way.
    """
    for line in map(str.strip, lines):
        if not line or line.startswith("%"):
            continue
        if not (line.startswith("{") and line.endswith("}")):
            raise ValueError(f"a row is not in braces: {shown(line, 40)}")
        row = list(omitted)
        quoted = "'" in line or '"' in line
        for item in _ITEM.findall(line[1:-1]) if quoted else line[1:-1].split(","):
            place, _, value = item.strip().partition(" ")
            if not place.isdecimal() or int(place) >= len(row):
                if item.strip():
                    raise ValueError(f"a row has no column {shown(place, 20)}: {shown(line, 40)}")
                continue
            row[int(place)] = unquoted(value.strip())
        yield row


def unquoted(text: str) -> str:
    """What is in the quotes around a text of ARFF; without any, the text."""
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]:
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text
