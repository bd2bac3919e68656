"""The beginning of an ARFF file, Weka's format; what follows it is a table of text.

Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/. The readers that
there are know no texts (SciPy's) or are no longer kept (liac-arff); the data are read as CSV.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from xpnet.data.tables.names import refuse_twice
from xpnet.data.tables.text import Dialect, find_encoding, opened, read_head, split_lines
from xpnet.errors import DataError, shown

_ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)\s*(.*)""",
    re.IGNORECASE | re.DOTALL,
)
_OF_NUMBERS = ("numeric", "real", "integer", "date")
_LONGEST, _ROWS = 1 << 24, 50


def read_arff_dialect(path: Path) -> Dialect:
    """How the data of an ARFF file are written, and what its head says of the columns.

    Raises
    ------
    DataError
        If it is none, or its rows name the columns of their values (sparse ARFF).
    """
    encoding = find_encoding(path, read_head(path))
    head, rows = _read(path, encoding)
    found = [match for match in map(_ATTRIBUTE.match, head) if match]
    names = tuple(_unquoted(match[1]) for match in found)
    if not names:
        raise DataError(f"{path}: not an ARFF file: there is no line with @attribute")
    refuse_twice(str(path), names)
    if rows and rows[0].startswith("{"):
        raise DataError(
            f"{path}: a sparse ARFF file (its first row is {shown(rows[0], 40)}), which is not "
            f"read: write it dense, as with Weka's filter SparseToNonSparse"
        )
    quote = "'" if any("'" in row for row in rows) else '"'
    delimiter = "\t" if rows and "\t" in rows[0] and "," not in rows[0] else ","
    fields = [tuple(f.strip() for f in r) for r in split_lines(rows, delimiter, quote)]
    return Dialect(
        encoding,
        delimiter,
        header=False,
        names=names,
        decimal=".",
        rows=tuple(fields),
        skip=len(head),
        quote=quote,
        comment="%",
        texts=tuple(
            name
            for name, match in zip(names, found, strict=True)
            if not match[2].lower().startswith(_OF_NUMBERS)
        ),
    )


def _read(path: Path, encoding: str) -> tuple[list[str], Sequence[str]]:
    """The lines up to @data, and the first rows."""
    head: list[str] = []
    size = 0
    with opened(path) as file:
        while size < _LONGEST:
            line = file.readline(_LONGEST)
            size += len(line)
            head.append(line.decode(encoding, errors="replace").strip())
            if head[-1].lower().startswith("@data"):
                rows = [file.readline(_LONGEST) for _ in range(_ROWS)]
                texts = [row.decode(encoding, errors="replace").strip() for row in rows]
                return head, [text for text in texts if text and not text.startswith("%")]
            if not line:
                break
    raise DataError(f"{path}: not an ARFF file: there is no line with @data")


def _unquoted(name: str) -> str:
    if len(name) > 1 and name[0] in "'\"" and name[-1] == name[0]:
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name
