"""What data comes in beside arrays and lists: tables, sparse matrices, objects, masked arrays.

pandas, Polars and SciPy are not imported: who has an object of theirs has imported them.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

from xpnet.data.masked import unmasked
from xpnet.data.stored import is_large
from xpnet.errors import DataError, counted, shown
from xpnet.typing import HostArray

_NUMBERS = (Real, Decimal, np.bool_)

REGISTERED = 2
"""What NumPy calls a dtype that another library has brought, in `isbuiltin`."""

_TOO_WIDE = "Int128"
"""The end of the names of dtypes of Polars that NumPy has not."""


class SparseRows:
    """A sparse matrix of SciPy of which some rows at a time are made dense.

    Attributes
    ----------
    shape, dtype
        Of the matrix.
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr()
        self.shape, self.dtype = tuple(matrix.shape), matrix.dtype

    def __getitem__(self, rows: Any) -> HostArray:
        dense: HostArray = self._matrix[rows].toarray()
        return dense


def plain(what: str, x: Any, *, labels: bool = False) -> Any:
    """Samples, targets or weights as an array or lists, or `SparseRows`; arrays as they are.

    Parameters
    ----------
    what
        What they are called in a message.
    x
        An array of any library, lists, a data frame or series, a sparse matrix of SciPy.
    labels
        Whether they may be text, which is then a NumPy array of the kind `"U"`; what is sparse is
        then made dense as a whole.

    Raises
    ------
    DataError
        If a value is masked or missing, a column or an object is no real number (or text, where
        that is allowed), or it is sparse and not SciPy's.
    """
    x = unmasked(what, x)
    if _is_of("pandas", x, "DataFrame") or _is_of("polars", x, "DataFrame"):
        return _table(what, x, labels)
    if _is_of("polars", x, "LazyFrame"):
        raise DataError(f"{what}: a LazyFrame has no values yet: give x.collect()")
    if _is_of("pandas", x, "MultiIndex"):
        raise DataError(f"{what}: a MultiIndex has tuples: give x.to_frame(), or one of its levels")
    if _is_of("pandas", x, "Series", "Index", "api.extensions.ExtensionArray") or _is_of(
        "polars", x, "Series"
    ):
        return _column(what, "", x, labels)
    if _is_sparse(what, x):
        return x.toarray() if labels or not is_large(_dense_bytes(x)) else SparseRows(x)
    if isinstance(x, list | tuple):
        x = _listed(what, x)
    if isinstance(x, np.ndarray):
        if not isinstance(x, np.memmap):
            x = np.asarray(x)  # of a matrix, `*` would be another product
        if x.dtype.kind in "OTUS":
            return _objects(what, "", x, labels)
    _check_numbers(what, x)
    return x


def _check_numbers(what: str, x: Any) -> None:
    """Refuse what NumPy would make an array without axes of, or one of no real numbers.

    Arrays of other libraries are looked at where they are moved.
    """
    if not isinstance(x, np.ndarray):
        if hasattr(x, "dtype"):
            return
        if isinstance(x, bytes | str) or np.asarray(x).dtype == object:
            raise DataError(
                f"{what}: expected an array or nested lists of real numbers, got "
                f"{shown(x)} ({type(x).__name__}){_how_to_list(x)}"
            )
        return
    registered = x.dtype.kind == "V" and x.dtype.isbuiltin == REGISTERED
    if x.dtype.kind not in "biuf" and not registered:
        advice = ": make numbers of it, such as days since the first" * (x.dtype.kind in "mM")
        raise DataError(
            f"{what}: expected an array of real numbers, got one of dtype {x.dtype}{advice}"
        )


def _how_to_list(x: Any) -> str:
    if isinstance(x, Set):
        return ": a set has no order, give a list"
    if isinstance(x, Mapping):
        return ": give its columns as one array, or a data frame"
    return ": give list(x)" if isinstance(x, Iterable) and not isinstance(x, str | bytes) else ""


def _is_of(module: str, x: Any, *names: str) -> bool:
    """Whether `x` is an instance of a class of a library, which need not be installed."""
    if module not in sys.modules:
        return False
    for name in names:
        found: Any = sys.modules[module]
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and isinstance(x, found):
            return True
    return False


def _is_sparse(what: str, x: Any) -> bool:
    sparse: Any = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(x):
        return True
    layout = str(getattr(x, "layout", ""))
    ways = [way for way in ("toarray", "todense", "to_dense") if hasattr(x, way)]
    if ways and ("sparse" in layout or (hasattr(x, "nnz") or hasattr(x, "nse"))):
        raise DataError(
            f"{what}: sparse arrays of {type(x).__module__.partition('.')[0]} are not taken: give "
            f"x.{ways[0]}(), or a sparse matrix of SciPy, of which only batches are made dense"
        )
    return False


def _dense_bytes(x: Any) -> int:
    return int(np.prod(x.shape, dtype=object)) * int(x.dtype.itemsize)


# -- tables ---------------------------------------------------------------------------------------


def _table(what: str, frame: Any, labels: bool) -> HostArray:
    """A data frame as one array, of the dtype that holds all columns."""
    n_rows, n_columns = frame.shape
    kinds = set(frame.dtypes)
    if len(kinds) == 1 and not str(*kinds).endswith(_TOO_WIDE):
        values: HostArray = np.ascontiguousarray(frame.to_numpy())
        if values.dtype.kind in "biu" or (values.dtype.kind == "f" and not np.isnan(values).any()):
            return values
    named = [
        (name, _column(what, f"column {name!r}", column, labels and n_columns == 1))
        for name, column in _columns(frame)
    ]
    dtypes = {values.dtype for _, values in named}
    dtype = np.result_type(*dtypes) if dtypes else np.dtype("float64")
    if len(dtypes) > 1 and dtype == np.uint8:
        dtype = np.dtype("int16")  # Booleans beside small numbers are no pixels
    table = np.empty((n_rows, n_columns), dtype=dtype)
    for number, (name, values) in enumerate(named):
        if values.ndim != 1:
            raise DataError(f"{what}: column {name!r} has arrays in it: give them as an array")
        table[:, number] = values
    return table


def _columns(frame: Any) -> Iterator[tuple[Any, Any]]:
    if hasattr(frame, "iter_columns"):
        return ((column.name, column) for column in frame.iter_columns())
    return ((name, frame.iloc[:, i]) for i, name in enumerate(frame.columns))


def _column(what: str, name: str, column: Any, labels: bool) -> HostArray:
    """The values of a column or a series, without any that is missing."""
    place = f"{what}: {name}" if name else what
    missing = column.is_null() if hasattr(column, "is_null") else column.isna()
    missing = np.asarray(missing, dtype=bool)
    if missing.any():
        raise _missing(place, missing)
    if str(column.dtype).endswith(_TOO_WIDE):
        column = column.cast(float)
    # Those of pandas that can hold missing values say what NumPy has for them.
    dtype = getattr(column.dtype, "numpy_dtype", None)
    values = np.asarray(column) if dtype is None else np.asarray(column, dtype=dtype)
    if values.dtype.kind in "OTUS":
        return _objects(what, name, values, labels)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{place}: expected real numbers, got {column.dtype}")
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise _missing(place, np.isnan(values))
    return values


def _missing(place: str, missing: HostArray) -> DataError:
    count = int(missing.sum())
    return DataError(
        f"{place}: {count:,} of {counted(missing.size, 'value')} {'is' if count == 1 else 'are'} "
        f"missing or NaN (the first in row {int(np.flatnonzero(missing)[0])}): fill them in, or "
        "leave those rows out"
    )


# -- objects --------------------------------------------------------------------------------------


def _listed(what: str, x: Any) -> HostArray:
    """Nested lists as an array; where there is text, as objects, so that no number becomes text."""
    try:
        found = np.asarray(x)
    except ValueError as error:
        raise DataError(f"{what}: expected an array or nested lists of numbers: {error}") from error
    return np.asarray(x, dtype=object) if found.dtype.kind in "US" else found


def _objects(what: str, name: str, x: HostArray, labels: bool) -> HostArray:
    """Python objects as numbers, or as text where that is allowed."""
    place = f"{what}: {name}" if name else what
    if labels and x.dtype.kind == "U":
        return x
    values = x.astype(object).reshape(-1).tolist()
    types = set(map(type, values))
    if labels and types and all(issubclass(kind, str) for kind in types):
        return np.asarray(values, dtype=str).reshape(x.shape)
    right = str if labels and any(issubclass(kind, str) for kind in types) else _NUMBERS
    if not all(issubclass(kind, right) for kind in types):
        odd = next(v for v in values if not isinstance(v, right))
        wanted = "real numbers, or text alone" if labels else "an array of real numbers"
        raise DataError(
            f"{place}: expected {wanted}, got one of dtype {x.dtype} with "
            f"{repr(odd)[:60]} ({type(odd).__name__}){_advice(odd, right is str)}"
        )
    booleans = [issubclass(kind, bool | np.bool_) for kind in types]
    if types and all(booleans):
        return np.asarray(values, dtype=bool).reshape(x.shape)
    dtype: type = float
    if not any(booleans) and all(issubclass(kind, Integral) for kind in types):
        dtype = int
    try:
        return np.asarray(values, dtype=dtype).reshape(x.shape)
    except OverflowError:
        return np.asarray([float(v) for v in values]).reshape(x.shape)


def _advice(odd: Any, among_text: bool) -> str:
    no_number = isinstance(odd, float) and odd != odd
    if odd is None or no_number or type(odd).__name__ in ("NAType", "NaTType"):
        return ": fill in what is missing, or leave those rows out"
    if isinstance(odd, bytes) or among_text:
        return ": make text of all, as with astype(str)"
    if isinstance(odd, str):
        return ": make numbers of it, as with one-hot columns (pandas.get_dummies)"
    return ""
