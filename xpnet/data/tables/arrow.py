"""Tables as pyarrow reads them: CSV, Parquet, Arrow, Feather, and frames; as columns of NumPy.

pyarrow is imported here alone, when a table is read.
"""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.tables.arff import dense_rows
from xpnet.data.tables.columns import (
    Column,
    Table,
    as_numbers,
    as_text,
    dates_in,
    is_date,
    number_column,
)
from xpnet.data.tables.dialect import Dialect, fields_of
from xpnet.data.tables.names import listed, refuse_twice
from xpnet.data.tables.text import MISSING, opened, text_of
from xpnet.errors import DataError, counted, one_line, shown
from xpnet.typing import HostArray

_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_NUMBERS_AMONG = 0.95
"""A column of a text file is of numbers with some that are missing, if so much of it is numbers."""
_WITH_WORDS, _WORDS = 0.5, 3
"""Or so much, where the rest is of a few different words, such as `-` or `unknown`."""
_DIFFERENT = 20
"""Which are more than these: codes of a few categories may be digits as well."""
_BLOCKS = (1 << 20, 1 << 25, 1 << 29)
"""Bytes that are read at once, among which a row has to end: more only where it does not."""


def arrow() -> Any:
    """The module pyarrow.

    Raises
    ------
    DataError
        If it is not installed, with how to install it.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"reading this table needs pyarrow: pip install 'xpnet[table]' ({one_line(error)}); "
            f"tables of pixels in CSV, whole numbers from 0 to 255, are read without"
        ) from error
    return pyarrow


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
        if "UTF8" in str(error):
            raise UnicodeError("not UTF-8") from error
        if ragged:
            raise _ragged(path, ragged[0], dialect) from error
        if "straddl" in str(error):
            raise _LongRowError from error
        if "Empty CSV" in str(error):
            raise DataError(f"{path}: there are no rows in this table") from error
        raise DataError(f"{path}: cannot be read as a table ({one_line(error)})") from error
    if any(pa.types.is_binary(kind) for kind in table.schema.types):
        raise UnicodeError("not UTF-8")
    return table_of(table, str(path), decimal=dialect.decimal, texts=texts)


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
        table = _read_binary(content, ending)
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


def _read_binary(content: Any, ending: str) -> Any:
    pa = arrow()
    if ending in (".parquet", ".pq"):
        from pyarrow import parquet

        return parquet.read_table(content)
    magic = content.read(6)
    content.seek(0)
    if magic == b"ARROW1" or ending == ".feather":
        from pyarrow import feather

        return feather.read_table(content)
    return pa.ipc.open_stream(content).read_all()


def table_of(frame: Any, what: str, *, decimal: str = "", texts: Collection[str] = ()) -> Table:
    """The columns of a frame.

    Parameters
    ----------
    frame
        A table of pyarrow, a data frame of pandas or Polars, a dictionary of lists or arrays, or
        anything that Arrow's PyCapsule interface gives.
    what
        What it is called in messages.
    decimal
        The decimal sign of numbers in texts, which then are such, as in a text file.
    texts
        The columns in which they are not.

    Raises
    ------
    DataError
        If it is no table, or has a column of lists or other things.
    """
    table = _arrow_table(frame, what)
    names = [str(name) for name in table.column_names]
    refuse_twice(what, names)
    found = {}
    for name, values in zip(names, table.columns, strict=True):
        try:
            column = _column(what, name, values)
        except arrow().ArrowException as error:
            raise _no_column(what, name, values.type) from error
        if decimal and name not in texts:
            column = _numbers_in(column, decimal)
        found[name] = column
    return found


def is_frame(x: Any) -> bool:
    """Whether this is a table with names of columns, and no array."""
    if isinstance(x, Mapping):
        return True
    return hasattr(x, "__arrow_c_stream__") or (hasattr(x, "columns") and hasattr(x, "dtypes"))


def _arrow_table(frame: Any, what: str) -> Any:
    pa = arrow()
    if isinstance(frame, pa.Table):
        return frame
    try:
        if hasattr(frame, "collect") and not hasattr(frame, "to_arrow"):
            raise DataError(f"{what}: a LazyFrame has no values yet: give x.collect()")
        if hasattr(frame, "to_arrow"):  # of Polars, of which old ones know no other way
            return frame.to_arrow()
        if hasattr(frame, "iloc") and hasattr(frame, "columns"):
            return pa.Table.from_pandas(frame, preserve_index=False)
        if isinstance(frame, Mapping):
            return pa.table({str(name): _listed(values) for name, values in frame.items()})
        return pa.table(frame)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{what}: cannot be read as a table ({one_line(error)}); a table has columns by their "
            f"names, each of numbers, texts, Booleans or dates alone"
        ) from error


def _listed(values: Any) -> Any:
    return values.tolist() if isinstance(values, np.ndarray) and values.dtype == object else values


def _column(what: str, name: str, values: Any) -> Column:
    pa = arrow()
    types, kind = pa.types, values.type
    if types.is_dictionary(kind):
        # Who says that numbers are categories, means it.
        return as_text(_column(what, name, values.cast(kind.value_type)))
    if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return _text_column(values)
    if types.is_boolean(kind):
        return number_column(_floats(values.cast(pa.uint8())), "truth")
    if types.is_null(kind):
        return number_column(np.full(len(values), np.nan))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return number_column(_floats(values))
    if types.is_temporal(kind) and not types.is_interval(kind):
        return number_column(_days(values, kind), "date")
    raise _no_column(what, name, kind)


def _no_column(what: str, name: str, kind: Any) -> DataError:
    return DataError(
        f"{what}: column {shown(name)} is of the type {one_line(kind)}; columns are of numbers, "
        f"texts, Booleans or dates: leave it out, or make such columns of it"
    )


def _floats(values: Any) -> HostArray:
    pa = arrow()
    numbers = values.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(), dtype=np.float64)  # of what is missing it makes NaN


def _days(values: Any, kind: Any) -> HostArray:
    pa = arrow()
    if pa.types.is_date32(kind):
        return _floats(values.cast(pa.int32()))
    unit = "ms" if pa.types.is_date64(kind) else kind.unit
    wide = pa.int32() if kind.bit_width == 32 else pa.int64()
    return _floats(values.cast(wide)) / _DAY[unit]


def _text_column(values: Any) -> Column:
    pa = arrow()
    from pyarrow import compute

    values = compute.utf8_trim_whitespace(values.cast(pa.large_string()))
    encoded = values.dictionary_encode().combine_chunks()
    chunks = encoded.chunks if isinstance(encoded, pa.ChunkedArray) else [encoded]
    if not chunks:
        return Column("text", np.empty(0, dtype=np.int32))
    # Combined chunks share one dictionary.
    texts = chunks[0].dictionary.to_pylist()
    codes = np.concatenate(
        [np.asarray(chunk.indices.fill_null(-1), dtype=np.int32) for chunk in chunks]
    )
    order = sorted(i for i, text in enumerate(texts) if text not in MISSING)
    order.sort(key=lambda i: texts[i])
    places = np.full(len(texts) + 1, -1, dtype=np.int32)  # the last is for what is missing
    places[order] = np.arange(len(order), dtype=np.int32)
    return Column("text", places[codes], tuple(texts[i] for i in order))


def _numbers_in(column: Column, decimal: str) -> Column:
    """A column of a text file whose texts are numbers, but for a few, as numbers; or dates."""
    if column.kind != "text" or not column.texts:
        return column
    if all(map(is_date, column.texts)):
        return dates_in(column)[0]
    both = [as_numbers(column, sign) for sign in (decimal, "," if decimal == "." else ".")]
    for numbers, odd in both:
        if odd is None:
            return numbers
    numbers = max((numbers for numbers, _ in both), key=lambda n: int((~n.missing).sum()))
    present, found = column.values[~column.missing], ~numbers.missing
    words = len(np.unique(column.values[~column.missing & ~found]))
    share = found.sum() / len(present)
    few = share >= _NUMBERS_AMONG or (share >= _WITH_WORDS and words <= _WORDS)
    return numbers if few and len(np.unique(numbers.values[found])) > _DIFFERENT else column
