"""Matrix products by cuBLAS itself: they can be captured into a CUDA graph, CuPy's own cannot.

CuPy refuses to call cuBLAS while a stream is captured. So the library is called here, with a handle
of our own for each device and stream, and a workspace of our own, since cuBLAS would allocate one.
The same call is made eagerly and in a capture, so that both give the same bits.
"""

import ctypes
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from xpnet.typing import Array, Shape

WORKSPACE_BYTES = 32 * 2**20
"""What NVIDIA recommends for Hopper; it is more than older GPUs need."""

_LARGEST = 2**31 - 1
_SCALARS: dict[str, Any] = {"f": ctypes.c_float, "d": ctypes.c_double}
_KINDS = {"f": 0, "d": 1}  # CUDA_R_32F, CUDA_R_64F
_COMPUTE, _COMPUTE_TF32 = {"f": 68, "d": 70}, 77  # CUBLAS_COMPUTE_32F, _64F, _32F_FAST_TF32
_DEFAULT_ALGORITHM = -1


class GemmPlan(NamedTuple):
    """What cuBLAS is told of C = A B, but for addresses and scalars.

    cuBLAS stores matrices by columns, and computes an (m, n) matrix from op(first), (m, k), and
    op(second), (k, n); op is nothing (0) or a transposition (1). A row-major C is for it the
    transpose of C, which is Bᵀ Aᵀ: then `swapped` is true, and B is the first operand.
    """

    swapped: bool
    op_first: int
    op_second: int
    m: int
    n: int
    k: int
    ld_first: int
    ld_second: int
    ld_c: int


class _Layout(NamedTuple):
    by_rows: bool
    leading: int


@lru_cache(maxsize=4096)
def matrix_layout(shape: Shape, strides: tuple[int, ...], itemsize: int) -> _Layout | None:
    """Whether a matrix lies by rows or by columns, and how far apart two of them are, in elements.

    None where neither is contiguous, or where they overlap. The stride of an axis of length 1 is
    of no meaning. The matrix has two axes, neither of them empty; strides are in bytes.
    """
    rows, columns = shape
    for by_rows, lines, length in ((True, rows, columns), (False, columns, rows)):
        step, inner = strides if by_rows else reversed(strides)
        whole = lines == 1 or (step % itemsize == 0 and step >= length * itemsize)
        leading = length if lines == 1 else step // itemsize
        if whole and (length == 1 or inner == itemsize) and leading <= _LARGEST:
            return _Layout(by_rows, leading)
    return None


def plan_product(a: _Layout, b: _Layout, c: _Layout, m: int, k: int, n: int) -> GemmPlan:
    """How cuBLAS makes C (m, n) from A (m, k) and B (k, n), whatever way they lie."""
    if c.by_rows:
        return GemmPlan(
            True, int(not b.by_rows), int(not a.by_rows), n, m, k, b.leading, a.leading, c.leading
        )
    return GemmPlan(False, int(a.by_rows), int(b.by_rows), m, n, k, a.leading, b.leading, c.leading)


class CublasError(RuntimeError):
    """cuBLAS answered with a status that is not success."""


class Cublas:
    """The four functions of the library that are needed, by ctypes.

    Parameters
    ----------
    path
        The file of the library.

    Raises
    ------
    OSError, AttributeError
        If it cannot be loaded, or lacks a function.
    """

    def __init__(self, path: str) -> None:
        # PyDLL keeps the interpreter's lock: no two threads are in one handle at the same time.
        library = ctypes.PyDLL(path)
        size, pointer, flag = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
        operand = (pointer, flag, flag)  # address, type, leading dimension
        signatures = {
            "cublasCreate_v2": (ctypes.POINTER(pointer),),
            "cublasDestroy_v2": (pointer,),
            "cublasSetStream_v2": (pointer, pointer),
            "cublasSetWorkspace_v2": (pointer, pointer, size),
            "cublasGemmEx": (
                *(pointer, flag, flag, flag, flag, flag, pointer),
                *(*operand, *operand, pointer, *operand, flag, flag),
            ),
        }
        self._functions: dict[str, Any] = {}
        for name, arguments in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = flag, arguments
            self._functions[name] = function

    def open(self, stream: int, workspace: int) -> int:
        """A handle that works on a stream, with a workspace of `WORKSPACE_BYTES` at an address."""
        handle = ctypes.c_void_p()
        self._call("cublasCreate_v2", ctypes.byref(handle))
        # In this order: setting the stream takes the workspace away.
        self._call("cublasSetStream_v2", handle, stream)
        self._call("cublasSetWorkspace_v2", handle, workspace, WORKSPACE_BYTES)
        return int(handle.value or 0)

    def close(self, handle: int) -> None:
        """Destroy a handle; waits for the device."""
        self._call("cublasDestroy_v2", handle)

    def gemm(
        self,
        handle: int,
        plan: GemmPlan,
        char: str,
        scalars: tuple[float, float],
        addresses: tuple[int, int, int],
        *,
        tf32: bool,
    ) -> None:
        """C = alpha op(first) op(second) + beta C; scalars are alpha and beta.

        Parameters
        ----------
        char
            The dtype of all matrices: "f" or "d".
        addresses
            Of the first operand, of the second, and of C.
        tf32
            Whether float32 products may be made in TF32.
        """
        first, second, c = addresses
        kind, scalar = _KINDS[char], _SCALARS[char]
        compute = _COMPUTE_TF32 if tf32 and char == "f" else _COMPUTE[char]
        self._call(
            "cublasGemmEx",
            *(handle, plan.op_first, plan.op_second, plan.m, plan.n, plan.k),
            ctypes.byref(scalar(scalars[0])),
            *(first, kind, plan.ld_first, second, kind, plan.ld_second),
            ctypes.byref(scalar(scalars[1])),
            *(c, kind, plan.ld_c, compute, _DEFAULT_ALGORITHM),
        )

    def _call(self, name: str, *arguments: Any) -> None:
        status = self._functions[name](*arguments)
        if status:
            raise CublasError(f"{name} failed with status {status}")


class Handles:
    """A handle of cuBLAS for each device and stream, made when it is first asked for.

    Parameters
    ----------
    cublas
        A `Cublas`.
    allocate
        Gives memory of a number of bytes on the current device: an object with its address as
        `ptr`, which frees it when it goes. The memory must belong to no pool.
    """

    def __init__(self, cublas: Any, allocate: Callable[[int], Any]) -> None:
        self.cublas = cublas
        self._allocate = allocate
        self._open: dict[tuple[int, int], tuple[int, Any]] = {}
        self._lock = threading.Lock()

    def get(self, device: int, stream: int) -> int:
        """The handle for a device, the current one, and for the address of a stream of it."""
        found = self._open.get((device, stream))
        if found is None:
            with self._lock:
                found = self._open.get((device, stream))
                if found is None:
                    workspace = self._allocate(WORKSPACE_BYTES)
                    found = (self.cublas.open(stream, workspace.ptr), workspace)
                    self._open[device, stream] = found
        return found[0]

    def release(self, device: int, stream: int) -> None:
        """Destroy the handle of a stream that is about to go, if there is one."""
        found = self._open.pop((device, stream), None)
        if found is not None:
            self.cublas.close(found[0])


class Products:
    """`matmul` and `subtract_product` for CuPy, by cuBLAS.

    Two matrices of one dtype, float32 or float64, that lie on the current device are multiplied
    by `cublasGemmEx`, also if they are transposed views or slices with whole rows or columns. One
    with other strides is copied first. All else is left to CuPy's own `matmul`: other dtypes,
    other numbers of axes, shapes that do not fit, empty matrices.

    Parameters
    ----------
    cupy
        The module, or something like it.
    handles
        The handles.
    tf32
        Whether float32 products may be made in TF32.
    """

    def __init__(self, cupy: Any, handles: Handles, *, tf32: bool = False) -> None:
        self._cupy = cupy
        self._handles = handles
        self._tf32 = tf32

    def matmul(self, x1: Array, x2: Array, /) -> Array:
        """The product of two arrays, as in the array-API standard."""
        if not self._fits(x1, x2):
            return self._cupy.matmul(x1, x2)
        c = self._cupy.empty((x1.shape[0], x2.shape[1]), dtype=x1.dtype)
        self._run(x1, x2, c, (1.0, 0.0))
        return c

    def subtract_product(self, c: Array, a: Array, b: Array) -> Array:
        """Consumes `c`: c - a b, in one pass over c; see `xpnet.operations`."""
        fits = self._fits(a, b) and c.dtype == a.dtype and c.data.device_id == a.data.device_id
        if fits and c.shape == (a.shape[0], b.shape[1]) and _layout(c) is not None:
            self._run(a, b, c, (-1.0, 1.0))
        else:
            c -= self.matmul(a, b)
        return c

    def _fits(self, a: Array, b: Array) -> bool:
        if not (a.ndim == b.ndim == 2 and a.dtype == b.dtype and a.dtype.char in _SCALARS):
            return False
        device = self._cupy.cuda.runtime.getDevice()
        if not (a.data.device_id == b.data.device_id == device and a.shape[1] == b.shape[0]):
            return False
        return bool(a.size and b.size) and max(*a.shape, b.shape[1]) <= _LARGEST

    def _run(self, a: Array, b: Array, c: Array, scalars: tuple[float, float]) -> None:
        a, left = self._laid_out(a)
        b, right = self._laid_out(b)
        target = _layout(c)
        assert target is not None
        (m, k), n = a.shape, b.shape[1]
        plan = plan_product(left, right, target, m, k, n)
        first, second = (b, a) if plan.swapped else (a, b)
        stream = self._cupy.cuda.get_current_stream().ptr
        self._handles.cublas.gemm(
            self._handles.get(c.data.device_id, stream),
            plan,
            c.dtype.char,
            scalars,
            (first.data.ptr, second.data.ptr, c.data.ptr),
            tf32=self._tf32,
        )

    def _laid_out(self, x: Array) -> tuple[Array, _Layout]:
        """A matrix as cuBLAS can take it, copied if it cannot."""
        layout = _layout(x)
        if layout is None:
            x = self._cupy.array(x, order="C", copy=True)
            return x, _Layout(True, x.shape[1])
        return x, layout


def _layout(x: Array) -> _Layout | None:
    return matrix_layout(x.shape, x.strides, x.dtype.itemsize)


@lru_cache(maxsize=1)
def find_handles() -> Handles:
    """The handles of the cuBLAS that CuPy works with, for the whole process.

    Raises
    ------
    Exception
        Whatever the search for the library, or loading it, ends in.
    """
    import cupy

    return Handles(Cublas(_find_library()), cupy.cuda.Memory)


def _find_library() -> str:
    """The file of cuBLAS: as NVIDIA's own search finds it, else the one that CuPy has loaded."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        path = load_nvidia_dynamic_lib("cublas").abs_path
        if path:
            return str(path)
    except Exception as error:
        reason = error
    else:
        reason = RuntimeError("it has no path")
    # CuPy's own module is linked with the library: once it is imported, the name is enough.
    from cupy_backends.cupy.libs import cublas as _loaded  # noqa: F401

    for name in ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11"):
        try:
            ctypes.PyDLL(name)
        except OSError:
            continue
        return name
    raise reason
