"""Targets and weights of samples as they enter: moved to the backend and checked once."""

from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.data.stored import stored_array
from xpnet.errors import DataError, counted
from xpnet.inputs.containers import plain
from xpnet.inputs.labels import encode
from xpnet.inputs.samples import Streamed, all_finite, bring, parts_of, source_of
from xpnet.layers import Layer
from xpnet.losses import LossFunction, target_kind
from xpnet.typing import Array, DType, HostArray, Shape


def kind_of_targets(backend: Backend, loss: LossFunction, y: Any, what: str = "targets") -> str:
    """What the targets of a training are: `"classes"`, `"multilabel"` or `"values"`.

    A loss says so in `target_kind`. For a plain function that does not, integers and texts in one
    axis are classes, and all else is values.

    Raises
    ------
    ValueError
        If the loss says something else.
    """
    kind = target_kind(loss)
    if kind is not None:
        return kind
    y = plain(what, y, labels=True)
    if isinstance(y, np.ndarray) and y.dtype.kind == "U":
        return "classes"
    source, y = source_of(backend, y, what)
    return "classes" if y.ndim == 1 and source.xp.isdtype(y.dtype, "integral") else "values"


def load_targets(
    backend: Backend,
    what: str,
    y: Any,
    x: Array,
    model: Layer,
    kind: str = "classes",
    classes: HostArray | None = None,
) -> Array:
    """Targets on the backend, checked against the inputs `x` and the model.

    Parameters
    ----------
    backend
        Where they shall be.
    what
        What they are called in a message.
    y
        An array of any library, nested lists, a data frame or series, a sparse matrix of SciPy.
    x
        The inputs, as `load_inputs` gave them.
    model
        The network.
    kind
        `"classes"`: labels (N,) or (N, 1), or one-hot rows or probabilities (N, C), of which is
        asked only that none is negative. `"multilabel"`: rows (N, C) of 0 and 1, or of numbers
        between; also (N,) for one output. `"values"`: real numbers, (N, ...) of the shape of the
        network's output; also (N,) for one output.
    classes
        What the labels are, where they are text or Booleans, as `learn_classes` gives it; None
        where they are integers.

    Returns
    -------
    y
        Integer labels (N,) in the library's index dtype; all others in the backend's dtype, with
        the axes of the network's output. `Streamed`, and on the host in the dtype they had, where
        the inputs are.

    Raises
    ------
    DataError
        If their number or shape is wrong, something is masked or missing, a label is not an integer
        in range or none of the classes, an entry of one-hot rows is negative, a number of labels
        that hold or not is below 0 or above 1, or one is not finite.
    """
    output = model.output_shape(model.input_shape())
    y = encode(what, backend, plain(f"{what}: targets", y, labels=True), kind, output, classes)
    source, y = source_of(backend, y, f"{what}: targets")
    if kind == "classes":
        return _load_classes(backend, source, what, y, x, output)
    return _load_rows(backend, source, what, y, x, output, kind)


def load_weights(backend: Backend, what: str, weight: Any, x: Array) -> Array:
    """The weights of samples on the backend, or `Streamed` to it where the inputs are.

    Raises
    ------
    DataError
        If there is not one for each input, or one is negative or not finite in the backend's dtype,
        or all are 0 there, or their sum is infinite.
    """
    called = f"{what}: sample weights"
    source, weight = source_of(backend, plain(called, weight), called)
    count = x.shape[0]
    if tuple(weight.shape) != (count,):
        raise DataError(
            f"{what}: {_need(count)} sample weights of shape ({count},), "
            f"got shape {tuple(weight.shape)}"
        )
    placed = _place_targets(backend, source, weight, x, backend.dtype)
    problem = "" if all_finite(backend, placed) else "there are NaN or infinities"
    if not problem:
        low, high = _range(source, weight)
        problem = f"found {low:g}" if low < 0 else "all are 0" if high == 0 else ""
    if problem:
        raise DataError(
            f"{what}: sample weights must be finite, not negative, and not all 0; {problem}"
        )
    name, limits = backend.dtype_name, np.finfo(backend.dtype_name)
    if high < limits.smallest_normal:
        problem = f"the largest, {high:g}, is 0 in {name} on some libraries"
    elif high * count > limits.max and _sum(source, weight) > limits.max:
        problem = f"the sum of these is infinite in {name}"
    if problem:
        raise DataError(
            f"{what}: sample weights multiply the loss, and {problem}: give weights with a mean of "
            f"about 1, such as w / w.mean()"
        )
    return placed


def counting_samples(backend: Backend, weight: Array) -> HostArray | None:
    """Whether each weight, as `load_weights` gave them, counts; None where all do."""
    # Numbers that are not normal XLA takes for 0, and NumPy does not.
    smallest = np.finfo(backend.dtype_name).smallest_normal
    parts = [backend.to_numpy(weight[rows, ...]) >= smallest for rows in parts_of(weight)]
    counts = np.concatenate(parts)
    return None if counts.all() else counts


def _sum(source: Backend, weight: Array) -> float:
    with source.scope():
        parts = [source.to_numpy(weight[rows, ...]) for rows in parts_of(weight)]
    with np.errstate(over="ignore"):
        return float(sum(np.sum(part, dtype=np.float64) for part in parts))


def _load_classes(
    backend: Backend, source: Backend, what: str, y: Array, x: Array, output: Shape | None
) -> Array:
    count = x.shape[0]
    n_classes = None if output is None else output[-1]
    if y.ndim not in (1, 2) or y.shape[0] != count:
        raise DataError(
            f"{what}: {_need(count)} labels of shape ({count},) or one-hot rows of shape "
            f"({count}, {n_classes or 'C'}), got shape {tuple(y.shape)}"
        )
    if y.ndim == 2:
        if n_classes is not None and y.shape[1] != n_classes:
            raise DataError(
                f"{what}: one-hot rows have {counted(y.shape[1], 'column')}, the "
                f"network {counted(n_classes, 'output')}"
            )
        rows = _place_targets(backend, source, y, x, backend.dtype)
        if not all_finite(backend, rows):
            raise DataError(f"{what}: one-hot rows must be finite, but there are NaN or infinities")
        _check_not_negative(backend, what, rows)
        return rows
    if not source.xp.isdtype(y.dtype, "integral"):
        raise DataError(
            f"{what}: labels must be integers from 0, Booleans or text, got dtype {y.dtype} (for "
            f"whole numbers give y.astype(int); for real numbers as targets take a loss such as "
            f"mean_squared_error)"
        )
    # Checked where they come from: a narrower integer of another library would wrap.
    low, high = map(int, _range(source, y))
    if low < 0 or (n_classes is not None and high >= n_classes):
        allowed = "labels must not be negative"
        if n_classes is not None:
            outputs = counted(n_classes, "output")
            allowed = f"the network has {outputs}, so labels must be from 0 to {n_classes - 1}"
        raise DataError(f"{what}: {allowed}; found labels from {low} to {high}")
    return _place_targets(backend, source, y, x, backend.index_dtype)


def _need(count: int) -> str:
    return f"{counted(count, 'input')} need{'s' * (count == 1)}"


def _check_not_negative(backend: Backend, what: str, rows: Array) -> None:
    """Check one-hot rows in parts, on the device; where one is negative, say which."""
    xp = backend.xp
    for numbers in parts_of(rows):
        part = rows[numbers, ...]
        if float(backend.to_numpy(xp.min(part))) < 0:
            host = backend.to_numpy(part)
            row = int((host < 0).any(axis=1).argmax())
            raise DataError(
                f"{what}: one-hot rows have a 1 (or probabilities from 0 to 1) and no negative "
                f"number, but row {numbers.start + row} has {host[row].min():g} (for real numbers "
                f"as targets take a loss such as mean_squared_error)"
            )


def _load_rows(
    backend: Backend,
    source: Backend,
    what: str,
    y: Array,
    x: Array,
    output: Shape | None,
    kind: str,
) -> Array:
    """Targets of the shape of the network's output: of several labels, or values."""
    name = "rows of 0 and 1" if kind == "multilabel" else "values"
    count = x.shape[0]
    sample = tuple(y.shape[1:])
    if y.ndim == 1 and output in (None, (1,)):
        # As the output has it: (N,) and (N, 1) would broadcast to (N, N) in a loss.
        y = source.xp.reshape(y, (count, 1)) if y.shape[0] == count else y
        sample = (1,)
    if y.ndim == 0 or y.shape[0] != count or sample != (output or sample):
        shape = ", ".join(map(str, output or ("C",)))
        raise DataError(
            f"{what}: {_need(count)} {name} of shape ({count}, {shape})"
            f"{f' or ({count},)' if output in (None, (1,)) else ''}, got shape {tuple(y.shape)}"
            f"{_hint(source, y, kind)}"
        )
    rows = _place_targets(backend, source, y, x, backend.dtype)
    if not all_finite(backend, rows):
        raise DataError(
            f"{what}: {name} must be finite in {backend.dtype_name}, but there are NaN, infinite "
            f"or too large values"
        )
    if kind == "multilabel":
        low, high = _range(source, y)
        if low < 0 or high > 1:
            raise DataError(
                f"{what}: each entry says whether a label holds, from 0 (no) to 1 (yes); found "
                f"{low:g} to {high:g}{_hint(source, y, kind)}"
            )
    return rows


def _hint(source: Backend, y: Array, kind: str) -> str:
    if y.ndim == 1 and source.xp.isdtype(y.dtype, "integral"):
        what = "one label is right" if kind == "multilabel" else "these are classes"
        return f" (if {what} for each sample, take softmax_cross_entropy as the loss)"
    return ""


def _range(source: Backend, y: Array) -> tuple[float, float]:
    """The smallest and the largest number, where they come from."""
    xp = source.xp
    with source.scope():
        y = xp.astype(y, xp.uint8) if xp.isdtype(y.dtype, "bool") else y
        return source.to_numpy(xp.min(y)).item(), source.to_numpy(xp.max(y)).item()


def _place_targets(backend: Backend, source: Backend, y: Array, x: Array, dtype: DType) -> Array:
    if isinstance(x, Streamed):
        host = source.to_numpy(y)
        return Streamed(backend, stored_array(host) or host, dtype)
    return backend.xp.astype(bring(backend, source, y), dtype)
