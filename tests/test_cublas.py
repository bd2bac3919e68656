"""Products by cuBLAS: what it is told, against NumPy, with the library emulated on raw memory."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet.backends.cupy.cublas import WORKSPACE_BYTES, Handles, Products, matrix_layout

pytestmark = pytest.mark.compiler

DTYPES = {"f": np.float32, "d": np.float64}


class EmulatedCublas:
    """cuBLAS by its definition: matrices by columns, at addresses, with leading dimensions."""

    def __init__(self):
        self.calls = []
        self.opened = []
        self.closed = []

    def open(self, stream, workspace):
        assert workspace
        self.opened.append(stream)
        return 1000 + stream

    def close(self, handle):
        self.closed.append(handle)

    def gemm(self, handle, plan, char, scalars, addresses, *, tf32):
        self.calls.append((handle, plan, char, tf32))
        m, n, k = plan.m, plan.n, plan.k
        assert min(m, n, k) > 0
        first = by_columns(addresses[0], (k, m) if plan.op_first else (m, k), plan.ld_first, char)
        second = by_columns(
            addresses[1], (n, k) if plan.op_second else (k, n), plan.ld_second, char
        )
        c = by_columns(addresses[2], (m, n), plan.ld_c, char)
        product = (first.T if plan.op_first else first) @ (second.T if plan.op_second else second)
        alpha, beta = scalars
        c[...] = alpha * product + (beta * c if beta else 0)


def by_columns(address, shape, leading, char):
    """The matrix at an address as cuBLAS reads it: element (i, j) is at i + j leading."""
    rows, columns = shape
    assert leading >= max(1, rows), "cuBLAS refuses this leading dimension"
    size = np.dtype(char).itemsize
    buffer = (ctypes.c_char * (((columns - 1) * leading + rows) * size)).from_address(address)
    flat = np.frombuffer(buffer, dtype=char)
    return np.lib.stride_tricks.as_strided(flat, shape, (size, leading * size))


class DeviceArray(np.ndarray):
    """A NumPy array that says where it lies in the way of CuPy."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0], device_id=0)


def on_device(x):
    return np.asarray(x).view(DeviceArray)


def emulated(*, tf32=False):
    """The products, with CuPy and cuBLAS emulated."""
    library = EmulatedCublas()
    others = []

    def other(a, b):
        others.append((a.shape, b.shape))
        return on_device(np.matmul(np.asarray(a), np.asarray(b)))

    cupy = SimpleNamespace(
        matmul=other,
        empty=lambda shape, dtype: on_device(np.full(shape, np.nan, dtype)),
        array=lambda x, order, copy: on_device(np.array(x, order=order, copy=copy)),
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(getDevice=lambda: 0),
            get_current_stream=lambda: SimpleNamespace(ptr=7),
        ),
    )
    handles = Handles(library, lambda size: SimpleNamespace(ptr=size))
    return SimpleNamespace(
        products=Products(cupy, handles, tf32=tf32), cublas=library, others=others, handles=handles
    )


def matrix(rng, rows, columns, form, dtype):
    """A matrix of integers, for exact products, stored in one of several ways."""
    values = rng.integers(-9, 9, (rows, columns)).astype(dtype)
    if form == "rows":
        x = values
    elif form == "transposed":
        x = values.T.copy().T
    elif form == "part of rows":
        whole = np.full((rows + 2, columns + 3), np.nan, dtype)
        whole[1 : rows + 1, 2 : columns + 2] = values
        x = whole[1 : rows + 1, 2 : columns + 2]
    elif form == "part of columns":
        whole = np.full((columns + 1, rows + 2), np.nan, dtype)
        whole[:columns, 1 : rows + 1] = values.T
        x = whole[:columns, 1 : rows + 1].T
    elif form == "every other row":
        x = np.repeat(values, 2, axis=0)[::2]
    elif form == "every other":
        x = np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)[::2, ::2]
    elif form == "backwards":
        x = values[::-1, ::-1].copy()[::-1, ::-1]
    else:
        assert form == "broadcast"
        x = np.broadcast_to(values[:1], (rows, columns))
    return on_device(x)


FORMS = [
    "rows", "transposed", "part of rows", "part of columns", "every other row", "every other",
    "backwards", "broadcast",
]  # fmt: skip
WRITABLE = FORMS[:-1]
sizes = st.integers(1, 6)


@given(sizes, sizes, sizes, st.sampled_from(FORMS), st.sampled_from(FORMS),
       st.sampled_from("fd"), st.integers(0, 99))  # fmt: skip
def test_any_two_matrices_are_multiplied(m, k, n, form_a, form_b, char, seed):
    rng = np.random.default_rng(seed)
    device = emulated()
    a = matrix(rng, m, k, form_a, char)
    b = matrix(rng, k, n, form_b, char)
    product = device.products.matmul(a, b)
    np.testing.assert_array_equal(product, np.asarray(a) @ np.asarray(b))
    assert product.dtype == np.dtype(char)
    assert len(device.cublas.calls) == 1
    assert not device.others


@given(sizes, sizes, sizes, st.sampled_from(FORMS), st.sampled_from(FORMS),
       st.sampled_from(WRITABLE), st.sampled_from("fd"), st.integers(0, 99))  # fmt: skip
def test_a_product_is_subtracted_in_place(m, k, n, form_a, form_b, form_c, char, seed):
    rng = np.random.default_rng(seed)
    device = emulated()
    a = matrix(rng, m, k, form_a, char)
    b = matrix(rng, k, n, form_b, char)
    c = matrix(rng, m, n, form_c, char)
    whole = c if c.base is None else c.base
    before, expected = np.array(whole), np.asarray(c) - np.asarray(a) @ np.asarray(b)
    assert device.products.subtract_product(c, a, b) is c
    np.testing.assert_array_equal(c, expected)
    # What lies between its rows is left alone.
    c[...] = 0
    changed = np.array(whole)
    np.testing.assert_array_equal(changed[changed != 0], before[changed != 0])


@pytest.mark.parametrize("form", ["rows", "transposed", "part of rows", "part of columns"])
def test_no_copy_is_made_of_rows_or_columns(form):
    x = matrix(np.random.default_rng(0), 3, 4, form, "f")
    assert matrix_layout(x.shape, x.strides, 4) is not None


@pytest.mark.parametrize(
    ("shape", "strides", "layout"),
    [
        ((3, 4), (16, 4), (True, 4)),
        ((3, 4), (40, 4), (True, 10)),
        ((3, 4), (4, 12), (False, 3)),
        ((3, 4), (4, 20), (False, 5)),
        ((1, 4), (-999, 4), (True, 4)),  # the stride of one row is of no meaning
        ((1, 4), (0, 12), (False, 3)),
        ((4, 1), (4, 0), (True, 1)),
        ((4, 1), (20, 999), (True, 5)),
        ((1, 1), (0, 0), (True, 1)),
        ((3, 4), (32, 8), None),
        ((3, 4), (-16, 4), None),
        ((3, 4), (0, 4), None),
        ((3, 4), (8, 4), None),
        ((3, 4), (18, 4), None),
        ((2, 2), (2**40, 4), None),
    ],
)
def test_layouts(shape, strides, layout):
    assert matrix_layout(shape, strides, 4) == layout


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((2, 3), np.float32), np.ones((3, 2))),
        (np.ones((2, 3), int), np.ones((3, 2), int)),
        (np.ones((4, 2, 3)), np.ones((3, 2))),
        (np.ones(3), np.ones((3, 2))),
        (np.ones((0, 3)), np.ones((3, 2))),
        (np.ones((2, 0)), np.ones((0, 3))),
        (np.ones((2, 3)), np.ones((3, 0))),
    ],
)
def test_all_else_is_left_to_cupy(a, b):
    device = emulated()
    product = device.products.matmul(on_device(a), on_device(b))
    np.testing.assert_array_equal(product, a @ b)
    assert device.others == [(a.shape, b.shape)]
    assert not device.cublas.calls


def test_what_does_not_fit_is_subtracted_in_two_passes():
    device = emulated()
    c = on_device(np.ones((2, 3)))
    result = device.products.subtract_product(
        c, on_device(np.ones((2, 0))), on_device(np.ones((0, 3)))
    )
    assert result is c
    np.testing.assert_array_equal(c, np.ones((2, 3)))


def test_tf32_is_for_float32_only():
    device = emulated(tf32=True)
    for dtype in DTYPES.values():
        device.products.matmul(on_device(np.ones((2, 2), dtype)), on_device(np.ones((2, 2), dtype)))
    assert [(char, tf32) for _, _, char, tf32 in device.cublas.calls] == [("f", True), ("d", True)]


def test_a_handle_is_made_once_for_a_stream_and_released():
    device = emulated()
    handles = device.handles
    assert handles.get(0, 7) == handles.get(0, 7) == 1007
    handles.get(0, 8)
    assert device.cublas.opened == [7, 8]
    handles.release(0, 7)
    handles.release(0, 7)
    assert device.cublas.closed == [1007]
    handles.get(0, 7)
    assert device.cublas.opened == [7, 8, 7]


SOURCE = """
#include <stddef.h>
static int calls[32]; static int count = 0; static size_t bytes; static double seen[2];
int cublasCreate_v2(void **handle) { calls[count++] = 1; *handle = (void *)42; return 0; }
int cublasDestroy_v2(void *handle) { calls[count++] = 2; return handle != (void *)42; }
int cublasSetStream_v2(void *h, void *s) { calls[count++] = 3; return s != (void *)5; }
int cublasSetWorkspace_v2(void *h, void *p, size_t n) { calls[count++] = 4; bytes = n; return 0; }
int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha,
                 const void *a, int at, int lda, const void *b, int bt, int ldb,
                 const void *beta, void *c, int ct, int ldc, int compute, int algorithm) {
  if (h != (void *)42 || at != bt || at != ct || algorithm != -1) return 7;
  seen[0] = at ? *(const double *)alpha : *(const float *)alpha;
  seen[1] = at ? *(const double *)beta : *(const float *)beta;
  int got[] = {ta, tb, m, n, k, lda, ldb, ldc, (int)(size_t)a, (int)(size_t)b, (int)(size_t)c,
               at, compute};
  for (int i = 0; i < 13; i++) calls[i] = got[i];
  return 0;
}
int *last(void) { return calls; }
double *scalars(void) { return seen; }
size_t workspace(void) { return bytes; }
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A shared library with cuBLAS's names, which remembers what it is given."""
    import shutil
    import subprocess

    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("cublas")
    (folder / "it.c").write_text(SOURCE)
    path = folder / "it.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, folder / "it.c"], check=True)
    return str(path)


def test_arguments_reach_the_library_in_order(stand_in):
    from xpnet.backends.cupy.cublas import Cublas, CublasError, GemmPlan

    library, raw = Cublas(stand_in), ctypes.CDLL(stand_in)
    for name, kind in (("last", ctypes.c_int), ("scalars", ctypes.c_double)):
        getattr(raw, name).restype = ctypes.POINTER(kind)
    handle = library.open(5, 99)
    assert handle == 42
    # The stream before the workspace, which it would take away.
    assert raw.last()[:3] == [1, 3, 4]
    assert raw.workspace() == WORKSPACE_BYTES
    plan = GemmPlan(True, 1, 0, 2, 3, 4, 5, 6, 7)
    for char, tf32, kind, compute in (
        ("f", False, 0, 68),
        ("f", True, 0, 77),
        ("d", False, 1, 70),
        ("d", True, 1, 70),
    ):
        library.gemm(handle, plan, char, (-1.0, 0.5), (11, 12, 13), tf32=tf32)
        assert raw.last()[:13] == [1, 0, 2, 3, 4, 5, 6, 7, 11, 12, 13, kind, compute]
        assert raw.scalars()[:2] == [-1.0, 0.5]
    library.close(handle)
    with pytest.raises(CublasError, match="cublasGemmEx failed with status 7"):
        library.gemm(1, plan, "f", (1.0, 0.0), (1, 2, 3), tf32=False)
    with pytest.raises(CublasError, match="cublasSetStream_v2 failed"):
        library.open(6, 99)


def test_a_library_without_the_functions_is_refused():
    from xpnet.backends.cupy.cublas import Cublas

    with pytest.raises(AttributeError):
        Cublas(None)  # the program itself
