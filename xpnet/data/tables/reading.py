"""Tables in files as pyarrow reads them: CSV, and Parquet, Feather and Arrow."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from xpnet.data.tables.arff import dense_rows
from xpnet.data.tables.arrow import arrow, table_of
from xpnet.data.tables.columns import Table
from xpnet.data.tables.dialect import Dialect, fields_of
from xpnet.data.tables.names import listed
from xpnet.data.tables.text import MISSING, opened, text_of
from xpnet.errors import DataError, counted, one_line, shown

# Values that repeat take next to nothing in a Parquet file; in memory each takes eight bytes.
_VALUE, _SMALL, _MOST_EXPANSION = 8, 1 << 30, 1000
_BLOCKS = (1 << 20, 1 << 25, 1 << 29)
"""Bytes that are read at once, among which a row has to end: more only where it does not."""


def read_text_table(path: Path, dialect: Dialect, texts: Collection[str] = ()) -> Table:
    """The columns of a table of text.

    Parameters
    ----------
    path
        The file.
    dialect
        How it is written.
    texts
        The columns that are of texts, whatever is in them, beside those of the dialect.

    Raises
    ------
    DataError
        If rows are of different length, or it cannot be read.
    """
    texts = {*texts, *dialect.texts}
    # What is no UTF-8 is text of a byte for each letter; what is damaged UTF-16 is nothing else.
    others = ("cp1252", "latin-1") if dialect.encoding == "utf-8" else ("latin-1",)
    wide = dialect.encoding.startswith(("utf-16", "utf-32"))
    for encoding in (dialect.encoding, *(() if wide else others)):
        for block in _BLOCKS:
            try:
                with opened(path) as file:
                    file.read(dialect.start)
                    return _read_text(path, file, dialect, texts, encoding, block)
            except UnicodeError:  # behind the beginning, by which the encoding was chosen
                break
            except _LongRowError:
                continue
        else:
            raise DataError(f"{path}: has a row of more than {_BLOCKS[-1]:,} bytes")
    raise DataError(
        f"{path}: the text is cut off or damaged, or in no encoding that is known here (it begins "
        f"as {dialect.encoding}); write it as UTF-8"
    )


class _LongRowError(Exception):
    """A row is longer than the part of the file that is read at once."""


def _read_text(
    path: Path, file: Any, dialect: Dialect, texts: Collection[str], encoding: str, block: int
) -> Table:
    pa = arrow()
    from pyarrow import csv as arrow_csv

    delimiter, quote = dialect.delimiter, dialect.quote
    if delimiter == " " or dialect.spaced or dialect.omitted:
        file, delimiter, quote = _written_anew(path, file, dialect, encoding), "\t", '"'
        encoding = "utf-8"
    ragged: list[Any] = []

    def refuse(row: Any) -> str:
        if dialect.comment and row.text.lstrip().startswith(dialect.comment):
            return "skip"
        ragged.append(row)
        return "error"

    try:
        table = arrow_csv.read_csv(
            file,
            # In one thread rows have numbers, by which a ragged one is found.
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                column_names=list(dialect.names),
                encoding="utf8" if encoding == "utf-8" else encoding,
                block_size=block,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char=quote,
                escape_char="\\" if quote == "'" else False,
                newlines_in_values=True,
                invalid_row_handler=refuse,
            ),
            convert_options=arrow_csv.ConvertOptions(
                null_values=sorted(MISSING),
                strings_can_be_null=True,
                decimal_point=dialect.decimal,
                column_types={name: pa.string() for name in texts if name in dialect.names},
            ),
        )
    except UnicodeError:
        raise
    except (pa.ArrowException, ValueError) as error:
        if ragged and "UTF8" not in str(error):
            raise _ragged(path, ragged[0], dialect) from error
        raise _meant(path, error) from error
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise UnicodeError("not UTF-8")
    return table_of(table, str(path), decimal=dialect.decimal, texts=texts)


def _meant(path: Path, error: Exception) -> Exception:
    """What an error of pyarrow's means, which only its text tells."""
    said = str(error)
    if "UTF8" in said:
        return UnicodeError("not UTF-8")
    if "straddl" in said:
        return _LongRowError()
    if "Empty CSV" in said:
        return DataError(f"{path}: there are no rows in this table")
    return DataError(f"{path}: cannot be read as a table ({one_line(error)})")


def _ragged(path: Path, row: Any, dialect: Dialect) -> DataError:
    header = dialect.named and not dialect.comment
    where = "a row" if row.number is None else f"row {row.number + header}"
    return DataError(
        f"{path}: {where} has {counted(row.actual_columns, 'field')} where the first has "
        f"{row.expected_columns}: {shown(row.text, 80)}; each row needs one for each column (what "
        f"has the separator in it stands in quotes)"
    )


def _written_anew(path: Path, file: Any, dialect: Dialect, encoding: str) -> io.BytesIO:
    """A table as pyarrow reads it, with tabs."""
    content = io.StringIO(newline="")
    try:
        with text_of(file, encoding) as text:
            rows = dense_rows(text, dialect.omitted) if dialect.omitted else None
            rows = rows or fields_of(text, dialect)
            csv.writer(content, delimiter="\t", lineterminator="\n").writerows(rows)
    except UnicodeError:
        raise
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)})") from error
    return io.BytesIO(content.getvalue().encode())


def read_binary_tables(paths: Sequence[Path], ending: str) -> Any:
    """The table of pyarrow in Parquet, Feather or Arrow files, plain or gzipped.

    Several are pieces of one table.

    Raises
    ------
    DataError
        If one cannot be read, or they have other columns.
    """
    tables = [_read_binary_table(path, ending) for path in paths]
    names = tables[0].column_names
    for path, table in zip(paths, tables, strict=True):
        if table.column_names != names:
            raise DataError(
                f"{path}: has the columns {listed(table.column_names)}, and the first piece of the "
                f"table, {paths[0].name}, {listed(names)}"
            )
    pa = arrow()
    try:
        return (
            tables[0]
            if len(tables) == 1
            else pa.concat_tables(tables, promote_options="permissive")
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{paths[0]}: does not fit the other pieces ({one_line(error)})") from error


def _read_binary_table(path: Path, ending: str) -> Any:
    pa = arrow()
    try:
        with opened(path) as file:
            content = pa.BufferReader(file.read())
        table = _read_binary(path, content, ending)
        # A file says where its texts are, and is believed unless it is looked through.
        table.validate(full=True)
        return table
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        if isinstance(error, DataError):
            raise
        kind = {".parquet": "Parquet", ".pq": "Parquet", ".feather": "Feather"}
        raise DataError(
            f"{path}: not a {kind.get(ending, 'Arrow')} file, or a damaged one ({one_line(error)})"
        ) from error


def _read_binary(path: Path, content: Any, ending: str) -> Any:
    pa = arrow()
    if ending in (".parquet", ".pq"):
        from pyarrow import parquet

        told = parquet.ParquetFile(content).metadata
        size, needed = content.size(), _VALUE * told.num_rows * told.num_columns
        if needed > max(_SMALL, _MOST_EXPANSION * size):
            raise DataError(
                f"{path}: its {size:,} bytes hold {told.num_rows:,} rows of {told.num_columns:,} "
                f"columns, {needed:,} bytes in memory, over {_MOST_EXPANSION} times as many: it is "
                f"damaged, or made to fill the memory"
            )
        content.seek(0)
        return parquet.read_table(content)
    magic = content.read(6)
    content.seek(0)
    if magic == b"ARROW1" or ending == ".feather":
        from pyarrow import feather

        return feather.read_table(content)
    return pa.ipc.open_stream(content).read_all()
