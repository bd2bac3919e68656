"""NumPy's own BLAS, for what NumPy does not pass on: c - a b in one pass over c, and its address.

NumPy's wheels bring OpenBLAS, whose C interface is called here. Where it is not found, as in a
NumPy that was built with another BLAS, the standard's functions do the work.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xpnet.backends.numpy.recording import Tracer
from xpnet.typing import HostArray

SubtractProduct = Callable[[HostArray, HostArray, HostArray], HostArray]

BlasCall: TypeAlias = tuple[Any, tuple[Any, ...]]
"""A function of BLAS, and its arguments."""

_WORTH_IT = 10_000
"""Fewer elements are subtracted in less time than the call of a C function from Python takes."""

LETTERS = {"f": "s", "d": "d"}
"""What the names of BLAS begin with, by the character of a dtype."""

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
"""What C's interface calls the order of a matrix in memory, and whether it is transposed."""


@lru_cache(maxsize=1)
def find_blas() -> dict[str, Any]:
    """The C functions sgemm, dgemm, sgemv and dgemv of NumPy's OpenBLAS; none if not found."""
    for library in _openblas_libraries():
        try:
            functions = _load_functions(library)
        except (OSError, AttributeError):
            continue
        subtract_product = _make_subtract_product(functions)
        if all(_is_right(subtract_product, np.dtype(char)) for char in "fd"):
            return functions
    return {}


def find_subtract_product() -> SubtractProduct | None:
    """`xpnet.operations.subtract_product` by NumPy's OpenBLAS; None where there is none."""
    functions = find_blas()
    return _make_subtract_product(functions) if functions else None


def _is_right(function: SubtractProduct, dtype: np.dtype[Any]) -> bool:
    """What was found by its name is believed when it has given a right answer."""
    c, a, b = np.eye(100, 101), np.arange(200.0).reshape(2, 100).T, np.ones((2, 101))
    found = function(c.astype(dtype), a.astype(dtype), b.astype(dtype))
    return bool((found == c - a @ b).all())


def _openblas_libraries() -> list[Path]:
    """The libraries that NumPy's wheels carry: beside the package, or inside of it on macOS."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs")
    return [path for folder in folders for path in sorted(folder.glob("*openblas*"))]


def _load_functions(path: Path) -> dict[str, Any]:
    library = ctypes.CDLL(str(path))
    # NumPy's wheels have these names, with 64-bit integers, so as to collide with no other BLAS.
    size, pointer, flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    functions = {}
    for letter, real in (("s", ctypes.c_float), ("d", ctypes.c_double)):
        matrix, vector = (pointer, size), (pointer, size)
        gemm = [flag, flag, flag, size, size, size, real, *matrix, *matrix, real, *matrix]
        gemv = [flag, flag, size, size, real, *matrix, *vector, real, *vector]
        for name, kinds in ((f"{letter}gemm", gemm), (f"{letter}gemv", gemv)):
            function = functions[name] = getattr(library, f"scipy_cblas_{name}64_")
            function.restype, function.argtypes = None, kinds
    return functions


def _make_subtract_product(functions: dict[str, Any]) -> SubtractProduct:
    def subtract_product(c: HostArray, a: HostArray, b: HostArray) -> HostArray:
        """Consumes `c`: c - a b."""
        product = subtracted(a, b, c) if _fit(c, a, b) else None
        if product is None:
            c -= np.dot(a, b)
        elif isinstance(c, Tracer):
            c.recording.call_blas(subtracted, inputs=(a, b), output=c)
        else:
            function, arguments = product
            function(*arguments)
        return c

    def subtracted(a: HostArray, b: HostArray, c: HostArray) -> BlasCall | None:
        return matrix_product(functions, -1.0, a, b, 1.0, c)

    return subtract_product


def _fit(c: HostArray, a: HostArray, b: HostArray) -> bool:
    """Whether C may have these arrays; it would read and write whatever it is told to."""
    return (
        c.size >= _WORTH_IT
        and c.ndim == a.ndim == b.ndim == 2
        and c.shape == (a.shape[0], b.shape[1])
        and a.shape[1] == b.shape[0] != 0
        and c.dtype.char in "fd"
        and c.dtype.isnative
        and c.dtype == a.dtype == b.dtype
        and c.flags.carray
    )


def matrix_product(
    functions: dict[str, Any], alpha: float, a: HostArray, b: HostArray, beta: float, c: HostArray
) -> BlasCall | None:
    """The call for c = alpha a b + beta c, of matrices of one dtype, of which `c` is by rows.

    None where BLAS does not take `a` or `b` as it lies. The arrays must outlive the call.
    """
    left, right = _layout(a), _layout(b)
    if left is None or right is None:
        return None
    return functions[f"{LETTERS[c.dtype.char]}gemm"], (
        *(ROW_MAJOR, left[0], right[0], a.shape[0], b.shape[1], a.shape[1]),
        *(alpha, *left[1:], *right[1:], beta, address_of(c), b.shape[1]),
    )


def _layout(x: HostArray) -> tuple[int, int, int] | None:
    """Whether a matrix is stored by rows or by columns, where, and how long one of them is.

    None if neither, as for a part of a larger matrix.
    """
    if x.flags.c_contiguous:
        return PLAIN, address_of(x), x.shape[1]
    if x.flags.f_contiguous:
        return TRANSPOSED, address_of(x.T), x.shape[0]
    return None


def address_of(x: Any) -> int:
    """Where a contiguous array begins."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(x))
    except TypeError:  # a read-only array, which has only the way that takes four times as long
        address: int = x.__array_interface__["data"][0]
        return address
