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
        If it is neither an array nor nested lists of numbers.
    """
    try:
        source = backend_of(x, backend.dtype_name)
    except TypeError:
        source, x = open_backend("numpy", None, backend.dtype_name), _host_array(x)
    if not source.xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        raise DataError(f"expected an array of real numbers, got one of dtype {x.dtype}")
    if (source.name, source.device) == (backend.name, backend.device):
        return x
    return backend.asarray(source.to_numpy(x))


def load_inputs(
    backend: Backend, what: str, x: Any, model: Layer, *, allow_none: bool = False
) -> Array:
    """Inputs on the backend, checked against the model.

    Raises
    ------
    DataError
        If there are none (unless that is allowed), their shape does not fit the model, or a
        value is not finite.
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
    rows = wanted is not None and len(wanted) == 1 and math.prod(sample) == wanted[0]
    if wanted not in (None, sample) and not rows:
        raise DataError(
            f"{what}: the network takes samples of shape {wanted}, got {sample} "
            f"(an array of shape {tuple(x.shape)})"
        )
    if xp.isdtype(x.dtype, "real floating") and not bool(backend.to_numpy(xp.all(xp.isfinite(x)))):
        raise DataError(f"{what}: inputs must be finite, but there are NaN or infinite values")
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
        If their number or shape is wrong, or a label is not an integer in range.
    """
    xp = backend.xp
    y = move(backend, y)
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
        return xp.astype(y, backend.dtype)
    if not xp.isdtype(y.dtype, "integral"):
        raise DataError(f"{what}: labels must be integers from 0, got dtype {y.dtype}")
    y = xp.astype(y, backend.index_dtype)
    low, high = int(backend.to_numpy(xp.min(y))), int(backend.to_numpy(xp.max(y)))
    if low < 0 or (n_classes is not None and high >= n_classes):
        raise DataError(
            f"{what}: the network has {n_classes} outputs, so labels must be from 0 to "
            f"{(n_classes or 0) - 1}; found labels from {low} to {high}"
        )
    return y


def _host_array(x: Any) -> np.ndarray:
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"expected an array or nested lists of numbers: {error}") from error
