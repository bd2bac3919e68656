"""Frames, and what else is a table of pyarrow, as columns of NumPy.

pyarrow is imported when a table is read.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from xpnet.data.tables.columns import (
    Column,
    Table,
    as_numbers,
    as_text,
    dates_in,
    is_date,
    number_column,
)
from xpnet.data.tables.dialect import is_number
from xpnet.data.tables.names import refuse_twice
from xpnet.data.tables.text import MISSING
from xpnet.errors import DataError, one_line, shown
from xpnet.typing import HostArray

_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_NUMBERS_AMONG = 0.95
"""A column of a text file is of numbers with some that are missing, if so much of it is numbers."""
_WITH_WORDS, _WORDS = 0.5, 3
"""Or so much, where the rest is of a few different words, such as `-` or `unknown`."""
_LOOKED_AT = 1000
"""Of so many different texts one at least is a number, where a column may be of numbers."""
_DIFFERENT = 20
"""Which are more than these: codes of a few categories may be digits as well."""


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
    some = column.texts[:: max(1, len(column.texts) // _LOOKED_AT)]
    if not any(map(is_number, some)):
        return column
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
