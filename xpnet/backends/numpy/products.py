"""Recorded products as calls of BLAS from C; see `xpnet.backends.numpy.program`."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.backends.language import literal
from xpnet.backends.numpy.calls import Call, Kind
from xpnet.backends.numpy.openblas import (
    LETTERS,
    PLAIN,
    ROW_MAJOR,
    TRANSPOSED,
    BlasCall,
    address_of,
    find_blas,
    matrix_product,
)
from xpnet.typing import HostArray

_C_TYPES = {
    ctypes.c_int: "int", ctypes.c_int64: "long long", ctypes.c_void_p: "void*",
    ctypes.c_float: "float", ctypes.c_double: "double",
}  # fmt: skip


class Product:
    """A call of a function of BLAS.

    Attributes
    ----------
    arrays
        What it reads and writes.
    """

    def __init__(self, function: Any, args: Sequence[Any], arrays: list[HostArray]) -> None:
        self.arrays = arrays
        self._function = function
        self._args = args

    def line(self, number_of: Callable[[int], int]) -> str:
        """The call in C; `number_of` gives addresses a place in the table of arguments."""
        texts = []
        for kind, x in zip(self._function.argtypes, self._args, strict=True):
            if kind is ctypes.c_void_p:
                texts.append(f"a[{number_of(x)}]")
            elif kind in (ctypes.c_float, ctypes.c_double):
                texts.append(literal(x, np.dtype("f4" if kind is ctypes.c_float else "f8")))
            else:
                texts.append(str(x))
        kinds = ", ".join(_C_TYPES[kind] for kind in self._function.argtypes)
        address = ctypes.cast(self._function, ctypes.c_void_p).value or 0
        return f"((void (*)({kinds}))a[{number_of(address)}])({', '.join(texts)});"


def product_of(call: Call) -> Product | None:
    """A recorded call as a product; None if it is none that BLAS makes as NumPy does."""
    if call.kind is Kind.BLAS:
        function, arguments = call.function(*call.inputs, call.output)
        return Product(function, arguments, call.arrays)
    if call.kind is not Kind.DOT:
        return None
    left, right = call.inputs
    found = _by_blas(left, right, call.output)
    return None if found is None else Product(*found, call.arrays)


def _by_blas(a: HostArray, b: HostArray, out: HostArray) -> BlasCall | None:
    """The call that `numpy.dot` makes."""
    functions = find_blas()
    if not functions or out.dtype.char not in LETTERS:
        return None
    if not all(isinstance(x, np.ndarray) and x.dtype == out.dtype for x in (a, b)):
        return None
    if not all(x.dtype.isnative and x.flags.aligned for x in (a, b)):
        return None
    # For lengths of 0 and 1, and for a matrix with itself, NumPy has ways of its own.
    if min([*a.shape, *b.shape], default=0) < 2 or np.may_share_memory(a, b):
        return None
    if a.ndim == b.ndim == 2:
        return matrix_product(functions, 1.0, a, b, 0.0, out)
    if {a.ndim, b.ndim} != {1, 2} or not (a.flags.c_contiguous and b.flags.c_contiguous):
        return None
    matrix, vector, way = (a, b, PLAIN) if a.ndim == 2 else (b, a, TRANSPOSED)
    return functions[f"{LETTERS[out.dtype.char]}gemv"], (
        *(ROW_MAJOR, way, *matrix.shape, 1.0, address_of(matrix), matrix.shape[1]),
        *(address_of(vector), 1, 0.0, address_of(out), 1),
    )
