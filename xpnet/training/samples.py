"""Samples as they enter: moved to the backend and checked once, with errors that say what is wrong.

After this nothing is checked again: a look at an array would make a GPU wait.
"""

import math
from typing import Any

import numpy as np

from xpnet.backends import Backend, backend_of, open_backend
from xpnet.errors import DataError
from xpnet.layers import Layer
from xpnet.typing import Array


def move(backend: Backend, x: Any) -> Array:
    """An array of any library, or nested lists of numbers, as an array of this backend.

    Nothing is copied where it is there already.

    Raises
    ------
    DataError
        If it is neither an array of real numbers nor nested lists of them.
    """
    source, x = _source(backend, x)
    return _bring(backend, source, x)


def home_of(backend: Backend, x: Any) -> Backend:
    """Where `x` lives: this backend itself, that of another library or device, NumPy for lists."""
    if backend.holds(x):
        return backend
    try:
        return backend_of(x, backend.dtype_name)
    except TypeError:
        return open_backend("numpy", None, backend.dtype_name)


def load_inputs(
    backend: Backend, what: str, x: Any, model: Layer, *, allow_none: bool = False
) -> Array:
    """Inputs on the backend, checked against the model.

    Raises
    ------
    DataError
        If there are none (unless that is allowed), their shape does not fit the model, or a
        value is not finite in the backend's dtype.
    """
    xp = backend.xp
    x = move(backend, x)
    if x.ndim >= 1 and x.shape[0] == 0 and not allow_none:
        raise DataError(f"{what}: there are no samples (an array of shape {tuple(x.shape)})")
    if x.ndim < 2:
        raise DataError(
            f"{what}: inputs need a first axis for the samples and one or more for the features, "
            f"got shape {tuple(x.shape)}; for a single sample give x[None, ...]"
        )
    wanted, sample = model.input_shape(), tuple(x.shape[1:])
    # A network that takes rows also takes images of as many pixels: they are flattened.
    rows = wanted is not None and len(wanted) == 1
    try:
        model.output_shape((math.prod(sample),) if rows else sample)
    except ValueError as error:
        raise DataError(
            f"{what}: the network takes samples of shape {wanted or 'another shape'}, got {sample} "
            f"(an array of shape {tuple(x.shape)}): {error}"
        ) from error
    if xp.isdtype(x.dtype, "real floating"):
        with np.errstate(over="ignore"):
            finite = xp.all(xp.isfinite(xp.astype(x, backend.dtype, copy=False)))
        if not bool(backend.to_numpy(finite)):
            raise DataError(
                f"{what}: inputs must be finite in {backend.dtype_name}, but there are NaN, "
                f"infinite or too large values"
            )
    return x


def load_targets(backend: Backend, what: str, y: Any, count: int, model: Layer) -> Array:
    """Labels or one-hot rows on the backend, checked against the inputs and the model.

    Returns
    -------
    y
        Integer labels (N,) in the library's index dtype, or rows (N, C) in the backend's dtype.

    Raises
    ------
    DataError
        If their number or shape is wrong, a label is not an integer in range, or a row is not
        finite.
    """
    xp = backend.xp
    source, y = _source(backend, y)
    output = model.output_shape(model.input_shape())
    n_classes = None if output is None else output[-1]
    if y.ndim not in (1, 2) or y.shape[0] != count:
        raise DataError(
            f"{what}: {count} inputs need labels of shape ({count},) or one-hot rows of shape "
            f"({count}, {n_classes or 'C'}), got shape {tuple(y.shape)}"
        )
    if y.ndim == 2:
        if n_classes is not None and y.shape[1] != n_classes:
            raise DataError(
                f"{what}: one-hot rows have {y.shape[1]} columns, the network {n_classes} outputs"
            )
        rows = xp.astype(_bring(backend, source, y), backend.dtype)
        if not bool(backend.to_numpy(xp.all(xp.isfinite(rows)))):
            raise DataError(f"{what}: one-hot rows must be finite, but there are NaN or infinities")
        return rows
    if not source.xp.isdtype(y.dtype, "integral"):
        raise DataError(f"{what}: labels must be integers from 0, got dtype {y.dtype}")
    # Checked where they come from: a narrower integer of another library would wrap.
    with source.scope():
        low = int(source.to_numpy(source.xp.min(y)))
        high = int(source.to_numpy(source.xp.max(y)))
    if low < 0 or (n_classes is not None and high >= n_classes):
        raise DataError(
            f"{what}: the network has {n_classes} outputs, so labels must be from 0 to "
            f"{(n_classes or 0) - 1}; found labels from {low} to {high}"
        )
    return xp.astype(_bring(backend, source, y), backend.index_dtype)


def _source(backend: Backend, x: Any) -> tuple[Backend, Array]:
    """The backend that an array lives on, and the array; lists become NumPy arrays."""
    source = home_of(backend, x)
    if source is not backend and not source.owns(x):
        x = _host_array(x)
    if source.name == "numpy" and x.dtype.kind == "f" and x.dtype.itemsize not in (4, 8):
        x = x.astype(backend.dtype_name)  # float16 and longdouble, which not every library has
    if not source.xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        raise DataError(f"expected an array of real numbers, got one of dtype {x.dtype}")
    return source, x


def _bring(backend: Backend, source: Backend, x: Array) -> Array:
    if source is backend:
        return x
    host = source.to_numpy(x)
    # Other byte orders and negative strides are NumPy's alone.
    host = np.ascontiguousarray(host, dtype=host.dtype.newbyteorder("="))
    return backend.asarray(host)


def _host_array(x: Any) -> np.ndarray:
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"expected an array or nested lists of numbers: {error}") from error
