"""Functions of the standard, other than those of each element, that a `Fuser` can note.

Each is called with the fuser, the function that computes at once, and the arguments of the latter.
It answers `NotImplemented` where the function is to be called.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backends.cupy.deferred import Deferred
from xpnet.backends.cupy.nodes import Builder, Node
from xpnet.typing import Array, DType, Shape

MOST_PRODUCTS = 2**20
"""Products of matrices with so many multiplications at most are made here."""

LONGEST_LOOP = 1024
"""Sums of so many numbers at most are made here."""

MOST_REDUCED = 2**16
"""So many numbers at most are reduced here in all."""


def _astype(
    fuser: Builder, eager: Any, x: Any, dtype: DType, /, *, copy: bool = True, device: Any = None
) -> Any:
    x, dtype = fuser.defer(x), np.dtype(dtype)
    if not isinstance(x, Deferred) or device is not None or x.dtype.kind == "c":
        return NotImplemented
    if x.dtype == dtype and not copy:
        return x
    return fuser.note(Node("astype", (x.node,), x.shape, dtype))


def _sum(
    fuser: Builder, eager: Any, x: Any, /, *, axis: Any = None, dtype: Any = None,
    keepdims: bool = False,
) -> Any:  # fmt: skip
    if dtype is not None:
        return NotImplemented
    return _reduced("sum", fuser, x, axis, keepdims)


def _max(fuser: Builder, eager: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return _reduced("max", fuser, x, axis, keepdims)


def _mean(
    fuser: Builder, eager: Any, x: Any, /, *, axis: Any = None, keepdims: bool = False
) -> Any:
    total = _reduced("sum", fuser, x, axis, keepdims)
    return total if total is NotImplemented else total / (x.size // total.size)


def _reduced(name: str, fuser: Builder, x: Any, axis: Any, keepdims: bool) -> Any:
    x = fuser.defer(x)
    if not isinstance(x, Deferred) or x.dtype.kind != "f" or not 0 < x.size <= MOST_REDUCED:
        return NotImplemented
    if axis is not None and (not isinstance(axis, int) or not -x.ndim <= axis < x.ndim):
        return NotImplemented
    length, shape = x.size, ()
    if axis is None and keepdims:
        return NotImplemented
    if axis is not None:
        axis %= x.ndim
        length = x.shape[axis]
        middle = (1,) if keepdims else ()
        shape = (*x.shape[:axis], *middle, *x.shape[axis + 1 :])
    if length > LONGEST_LOOP:
        return NotImplemented
    return fuser.note_loop(Node(name, (x.node,), shape, x.dtype, axis))


def _matmul(fuser: Builder, eager: Any, a: Any, b: Any, /) -> Any:
    a, b = fuser.defer(a), fuser.defer(b)
    if not (isinstance(a, Deferred) and isinstance(b, Deferred) and a.ndim == b.ndim == 2):
        return NotImplemented
    (m, k), (other, n) = a.shape, b.shape
    small = 0 < m * n * k <= MOST_PRODUCTS and k <= LONGEST_LOOP
    if not small or k != other or a.dtype != b.dtype or a.dtype.kind != "f":
        return NotImplemented
    return fuser.note_loop(Node("product", (a.node, b.node), (m, n), a.dtype))


def _subtract_product(fuser: Builder, eager: Any, c: Any, a: Any, b: Any) -> Any:
    product = _matmul(fuser, eager, a, b)
    if product is not NotImplemented and isinstance(c, Deferred):
        c -= product
        return c
    known, a, b = fuser.known(c, a, b)
    fuser.compute_readers(known)
    return fuser.defer(eager(known, a, b))


def _take(fuser: Builder, eager: Any, x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
    x, indices = fuser.defer(x), fuser.defer(indices)
    if not (isinstance(x, Deferred) and isinstance(indices, Deferred)) or x.node.value is None:
        return NotImplemented
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or not x.ndim or not x.size:
        return NotImplemented
    if axis not in (0, -x.ndim) and not (axis is None and x.ndim == 1):
        return NotImplemented
    shape = (*indices.shape, *x.shape[1:])
    return fuser.note(Node("gather", (x.node, indices.node), shape, x.dtype))


def _reshape(fuser: Builder, eager: Any, x: Any, /, shape: Shape, *, copy: Any = None) -> Any:
    if not isinstance(x, Deferred) or copy is not None or x.node.value is not None:
        return NotImplemented
    shape = (shape,) if isinstance(shape, int) else shape
    long = [axis for axis, n in enumerate(shape) if n != 1]
    if [shape[axis] for axis in long] != [n for n in x.shape if n != 1]:
        return NotImplemented
    axes = iter(long)
    return fuser.view(x, tuple(shape), tuple(None if n == 1 else next(axes) for n in x.shape))


def _arange(
    fuser: Builder, eager: Any, start: Any, /, stop: Any = None, step: Any = 1, *,
    dtype: Any = None, device: Any = None,
) -> Any:  # fmt: skip
    dtype = np.dtype(np.int64 if dtype is None else dtype)
    whole = type(start) is int and stop is None and step == 1
    if not whole or dtype.kind not in "iu" or start <= 0:
        return NotImplemented
    return fuser.note(Node("index", (), (start,), dtype))


def _zeros_like(fuser: Builder, eager: Any, x: Any, /, **options: Any) -> Any:
    return _full_like(fuser, eager, x, 0, **options)


def _ones_like(fuser: Builder, eager: Any, x: Any, /, **options: Any) -> Any:
    return _full_like(fuser, eager, x, 1, **options)


def _full_like(fuser: Builder, eager: Any, x: Any, /, fill_value: Any, **options: Any) -> Any:
    if not isinstance(x, Deferred) or options or type(fill_value) not in (int, float):
        return NotImplemented
    if x.dtype.kind != "f":
        return NotImplemented
    return fuser.note(Node("constant", (), x.shape, x.dtype, fill_value))


def _keep_mask(
    fuser: Builder, eager: Any, key: Any, step: Any, x: Array, rate: float, row_offset: Any
) -> Any:
    # Of x only the shape is used: it need not be computed.
    (step,) = fuser.known(step)
    return fuser.defer(eager(key, step, x, rate, row_offset))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "astype": _astype, "sum": _sum, "max": _max, "mean": _mean, "matmul": _matmul, "take": _take,
    "subtract_product": _subtract_product, "reshape": _reshape, "arange": _arange,
    "zeros_like": _zeros_like, "ones_like": _ones_like, "full_like": _full_like,
    "keep_mask": _keep_mask,
}  # fmt: skip
"""By the standard's names, and those of `xpnet.operations`."""
