"""Samples as they enter: moved to the backend and checked once, with errors that say what is wrong.

After this nothing is checked again: a look at an array would make a GPU wait. Samples in a file
that is larger than memory may be stay there, and are moved in parts (`Streamed`).
"""

import math
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np

from xpnet.backends import Backend, backend_of, open_backend
from xpnet.data.preparation import taken_shape
from xpnet.data.stored import StoredArray, stored_array
from xpnet.errors import DataError
from xpnet.inputs.chunks import chunks
from xpnet.inputs.containers import REGISTERED, SparseRows, plain
from xpnet.layers import Layer
from xpnet.layers.container import wanted_shape
from xpnet.typing import Array, DType, HostArray, Shape

_CHECKED_VALUES = 1 << 22
"""About how many numbers are looked at at once, so that the masks of a check stay small."""


class Streamed:
    """Samples, or their targets, that stay on the host and are moved to the device in parts.

    Where all that is done with an array is `x[rows, ...]`, this can stand in its place.

    Attributes
    ----------
    backend
        Where the parts are moved to.
    shape, ndim, dtype
        As the whole array would have them there.
    row_bytes
        The size of one row on the host.
    """

    def __init__(
        self, backend: Backend, source: StoredArray | SparseRows | HostArray, dtype: DType = None
    ) -> None:
        self.backend = backend
        self._source = source
        self._wanted = dtype
        self.shape: Shape = tuple(source.shape)
        self.ndim = len(self.shape)
        self.dtype = self[:0].dtype
        self.row_bytes = math.prod(self.shape[1:]) * source.dtype.itemsize

    def __getitem__(self, rows: Any) -> Array:
        """The rows of a slice, of `(slice, ...)` or of host row numbers, as a device array."""
        values = self._source[rows[0] if isinstance(rows, tuple) else rows]
        part = move(self.backend, values)
        return part if self._wanted is None else self.backend.xp.astype(part, self._wanted)


def place(backend: Backend, x: Any, what: str = "") -> Array:
    """What `move` gives, or `Streamed` for what is too large: in a file, or a sparse matrix.

    Raises
    ------
    DataError
        If it is no array of real numbers, or cannot be read.
    """
    if isinstance(x, Streamed):
        return x
    stored = x if isinstance(x, SparseRows) else stored_array(x)
    return move(backend, x, what) if stored is None else Streamed(backend, stored)


def move(backend: Backend, x: Any, what: str = "") -> Array:
    """An array of any library, or nested lists of numbers, as an array of this backend.

    Nothing is copied where it is there already.

    Raises
    ------
    DataError
        If it is neither an array of real numbers nor nested lists of them.
    """
    source, x = source_of(backend, x, what)
    return bring(backend, source, x)


def dtype_name(x: Any) -> str:
    """The name of the dtype of an array or of `Streamed`, such as `uint8`, in any library."""
    # A dtype of NumPy as text has the order of its bytes where that is not the usual one.
    return str(getattr(x.dtype, "name", x.dtype)).rpartition(".")[2]


def home_of(backend: Backend, x: Any) -> Backend:
    """Where `x` lives: this backend itself, that of another library or device, NumPy for lists."""
    if isinstance(x, Streamed):
        return x.backend
    if backend.holds(x):
        return backend
    try:
        return backend_of(x, backend.dtype_name)
    except TypeError:
        return open_backend("numpy", None, backend.dtype_name)


def home_backend(
    backend: str | Backend, device: str | None, dtype: str | None, x: Any
) -> Backend | None:
    """Where samples live, for a training that may choose; None for NumPy's, or if it may not."""
    if backend != "auto" or device is not None:
        return None
    try:
        source = backend_of(x, dtype or "float32")
    except TypeError:
        return None
    if source.name == "numpy":
        return None
    source.reason = "the training samples live there"
    return source


def load_inputs(
    backend: Backend,
    what: str,
    x: Any,
    model: Layer,
    *,
    allow_none: bool = False,
    finite: bool = True,
) -> Array:
    """Inputs on the backend, or `Streamed` to it, checked against the model.

    With `finite=False` whether values are finite is left to `check_finite`.

    Raises
    ------
    DataError
        If there are none (unless that is allowed), their shape does not fit the model, a value is
        masked, missing or not finite in the backend's dtype, or it is no number.
    """
    called = f"{what}: inputs"
    x = place(backend, plain(called, x), called)
    if x.ndim >= 1 and x.shape[0] == 0 and not allow_none:
        raise DataError(f"{what}: there are no samples (an array of shape {tuple(x.shape)})")
    if x.ndim < 2:
        raise DataError(
            f"{what}: inputs need a first axis for the samples and one or more for the features, "
            f"got shape {tuple(x.shape)}; for a single sample give x[None, ...]"
        )
    wanted, sample = wanted_shape(model), tuple(x.shape[1:])
    try:
        model.output_shape(taken_shape(wanted, sample))
    except ValueError as error:
        how = _how_to_give(model, wanted, tuple(x.shape))
        raise DataError(
            f"{what}: the network takes samples of {_shown(wanted)}, got {sample} "
            f"(an array of shape {tuple(x.shape)}): {error}{how}"
        ) from error
    if finite and backend.xp.isdtype(x.dtype, "real floating"):
        check_finite(backend, what, x)
    return x


def _shown(wanted: Shape | None) -> str:
    """The shape that a network takes, for a message."""
    if wanted is None:
        return "another shape"
    names = {2: ("length",), 3: ("height", "width")}.get(len(wanted), ())
    known = [str(n if n is not None else name) for n, name in zip_longest(wanted, names)]
    return f"shape ({', '.join(known)}{',' if len(known) == 1 else ''})"


def _how_to_give(model: Layer, wanted: Shape | None, shape: Shape) -> str:
    """What to do about samples that are nearly as a network takes them; nothing of others.

    A single sample, pictures with their channels first, or rows of the pixels of pictures.
    """
    sample, hints = shape[1:], ""
    if _takes(model, wanted, shape):
        hints += "; for a single sample give x[None, ...]"
    if wanted is None or len(wanted) != 3:
        return hints
    if len(sample) == 3 and _takes(model, wanted, (*sample[1:], sample[0])):
        hints += (
            "; where the channels come first, let the model begin with Permute((2, 3, 1)), or give "
            "xp.permute_dims(x, (0, 2, 3, 1))"
        )
    if len(sample) == 1:
        channels = wanted[2] or 1
        side = math.isqrt(sample[0] // channels)
        known = wanted if None not in wanted else (side, side, channels)
        if math.prod(known) == sample[0]:
            hints += (
                f"; if these are the pixels of pictures, let the model begin with "
                f"Reshape({known}), or give x.reshape({(-1, *known)})"
            )
    return hints


def _takes(model: Layer, wanted: Shape | None, sample: Shape) -> bool:
    """Whether a network takes samples of a shape."""
    try:
        model.output_shape(taken_shape(wanted, sample))
    except ValueError:
        return False
    return True


def check_finite(backend: Backend, what: str, x: Array) -> None:
    """Check that inputs, which are floating-point, are finite in the dtype of the backend.

    Raises
    ------
    DataError
        If a value is not.
    """
    if not all_finite(backend, x):
        raise DataError(
            f"{what}: inputs must be finite in {backend.dtype_name}, but there are NaN, "
            f"infinite or too large values"
        )


def all_finite(backend: Backend, x: Array) -> bool:
    """Whether all values are finite in the dtype of the backend."""
    if not isinstance(x, Streamed) and math.prod(x.shape) <= _CHECKED_VALUES:
        return backend.are_finite(x)
    return all(backend.are_finite(x[rows, ...]) for rows in parts_of(x))


def parts_of(x: Array) -> Iterator[slice]:
    """The rows of an array in parts that are looked at one after the other."""
    return chunks(x.shape[0], max(1, _CHECKED_VALUES // max(1, math.prod(x.shape[1:]))))


def source_of(backend: Backend, x: Any, what: str = "") -> tuple[Backend, Array]:
    """The backend that an array lives on, and the array; lists become NumPy arrays.

    `what` is what it is called in a message.
    """
    source = home_of(backend, x)
    if source is not backend and not source.owns(x):
        x = _host_array(x)
    if isinstance(x, np.memmap):
        x = np.asarray(x)  # taking rows is a sixth faster without the class
    if source.name == "numpy":
        # float16 and longdouble, which not every library has; bfloat16 and others, of ml_dtypes.
        odd_size = x.dtype.kind == "f" and x.dtype.itemsize not in (4, 8)
        if odd_size or (x.dtype.kind == "V" and x.dtype.isbuiltin == REGISTERED):
            x = x.astype(backend.dtype_name)
    if not source.xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
        which = what and f"{what}: "
        raise DataError(f"{which}expected an array of real numbers, got one of dtype {x.dtype}")
    return source, x


def bring(backend: Backend, source: Backend, x: Array) -> Array:
    if source is backend:
        return x
    host = source.to_numpy(x)
    # Other byte orders and negative strides are NumPy's alone. Not by `ascontiguousarray`, which
    # gives an array without axes one.
    host = np.asarray(host, dtype=host.dtype.newbyteorder("="), order="C")
    return backend.asarray(host)


def _host_array(x: Any) -> np.ndarray:
    try:
        return np.asarray(x)
    except ValueError as error:
        raise DataError(f"expected an array or nested lists of numbers: {error}") from error
