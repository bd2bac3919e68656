"""The kernels of convolution and pooling: their source compiled as C++, against the array code."""

import ctypes
import logging
import re
import shutil
import subprocess
from types import SimpleNamespace

import array_api_compat.numpy as xp
import numpy as np
import pytest
from conftest import require

from xpnet import open_backend
from xpnet.backends.cupy.windows import make_window_functions
from xpnet.operations import (
    average_pooling,
    average_pooling_gradient,
    convolution_input_gradient,
    convolution_output,
    convolution_weight_gradient,
    max_pooling,
    max_pooling_gradient,
)
from xpnet.windows import Windows

pytestmark = pytest.mark.compiler

GEOMETRIES = {
    "3x3 same": (Windows.of(3, 1, "same"), (5, 6)),
    "2x2 pooling": (Windows.of(2, 2, "valid"), (6, 7)),
    "even kernel, stride, dilation": (Windows.of((2, 3), (1, 2), "same", (2, 1)), (7, 6)),
    "stride beyond the kernel": (Windows.of(2, 3, (1, 0)), (6, 5)),
    "as large as the picture": (Windows.of((4, 3), 1, "valid"), (4, 3)),
    "one row": (Windows.of((1, 3), (1, 2), (0, 1)), (1, 8)),
}
CHANNELS = 3

each_geometry = pytest.mark.parametrize("name", GEOMETRIES)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


class EmulatedKernels:
    """CuPy as far as these kernels need it: all that were asked for are compiled at once."""

    def __init__(self, folder):
        self.folder, self.made, self.library = folder, [], None
        names = ("empty", "full", "ones", "ascontiguousarray")
        self.cupy = SimpleNamespace(
            **{name: getattr(np, name) for name in names}, ElementwiseKernel=self.kernel
        )

    def kernel(self, given, made, call, name, preamble):
        assert made == "T made"
        arrays = [re.fullmatch(r"raw T (\w+)", part)[1] for part in given.split(", ")]
        number = len(self.made)
        self.made.append((arrays, call, preamble))

        def launch(*inputs, size):
            output = np.zeros(size, inputs[0].dtype)
            values = (*inputs, output)
            assert all(x.flags.c_contiguous and x.dtype == output.dtype for x in values)
            if self.library is not None:
                run = getattr(self.library, f"run{number}_{output.dtype.char}")
                run.argtypes = [ctypes.c_void_p] * len(values) + [ctypes.c_longlong]
                run(*(x.ctypes.data for x in values), size)
            return output

        return launch

    def compile(self):
        compiler = shutil.which("g++") or shutil.which("c++")
        if compiler is None:
            pytest.skip("there is no C++ compiler")
        lines = ["#define __device__"]
        for number, (arrays, call, preamble) in enumerate(self.made):
            # A name that a macro leaves behind would be in the way of what comes after.
            lines.append(f"namespace n{number} {{\n{preamble}\nint H, W, C, TOP, LEFT, KH, OW;")
            given = ", ".join(f"const T* {array}" for array in arrays)
            lines.append(f"template <typename T> void run({given}, T* out, long long n) {{")
            lines.append(f"for (long long i = 0; i < n; i++) {{ T& made = out[i]; {call} }} }} }}")
            for char, kind in (("f", "float"), ("d", "double")):
                parameters = ", ".join(f"const {kind}* {array}" for array in arrays)
                passed = ", ".join([*arrays, "out", "n"])
                lines.append(
                    f'extern "C" void run{number}_{char}({parameters}, {kind}* out, long long n) '
                    f"{{ n{number}::run<{kind}>({passed}); }}"
                )
        (self.folder / "windows.cpp").write_text("\n".join(lines))
        target = self.folder / "windows.so"
        flags = ["-O0", "-Wall", "-Wno-unused-variable", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", target, self.folder / "windows.cpp"], check=True)
        self.library = ctypes.CDLL(str(target))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A namespace with the functions of CuPy, whose kernels run on the host."""
    emulated = EmulatedKernels(tmp_path_factory.mktemp("windows"))
    functions = make_window_functions(emulated.cupy)
    namespace = SimpleNamespace(**{**vars(xp), **functions})
    for name in GEOMETRIES:
        everything(namespace, name, "float32")
    emulated.compile()
    return namespace


def pictures(name, dtype, batch=3):
    windows, size = GEOMETRIES[name]
    rng = np.random.default_rng(3)
    x = rng.integers(-3, 4, (batch, *size, CHANNELS)).astype(dtype)  # so that there are ties
    y_shape = (batch, *windows.output_size(size))
    return windows, size, x, rng.normal(size=(*y_shape, CHANNELS)).astype(dtype), y_shape, rng


def everything(namespace, name, dtype):
    """What all operations give with a namespace."""
    windows, size, x, dy, y_shape, rng = pictures(name, dtype)
    found = {}
    largest = max_pooling(namespace, x, windows)
    found["max"] = largest
    found["max gradient"] = max_pooling_gradient(
        namespace, x, max_pooling(xp, x, windows), dy, windows
    )
    found["mean"] = average_pooling(namespace, x, windows)
    found["mean gradient"] = average_pooling_gradient(namespace, x, dy, windows)
    for n_out in (2, 5):  # fewer and more than come in: the gradient by the input has two ways
        weight = rng.normal(size=(*windows.kernel, CHANNELS, n_out)).astype(dtype)
        dz = rng.normal(size=(*y_shape, n_out)).astype(dtype)
        found[f"output {n_out}"] = convolution_output(namespace, x, weight, windows)
        found[f"dw {n_out}"] = convolution_weight_gradient(namespace, x, dz, windows)
        found[f"dx {n_out}"] = convolution_input_gradient(namespace, dz, weight, windows, size)
    return found


@each_dtype
@each_geometry
def test_kernels_give_what_the_array_code_gives(own, name, dtype):
    expected = everything(xp, name, dtype)
    for what, found in everything(own, name, dtype).items():
        assert (found.shape, found.dtype) == (expected[what].shape, expected[what].dtype)
        if what == "max":
            np.testing.assert_array_equal(found, expected[what])
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(
            found, expected[what], rtol=tolerance, atol=tolerance, err_msg=what
        )


@each_geometry
def test_a_nan_is_the_largest_and_the_first_of_several_takes_the_gradient(own, name):
    windows, _, x, dy, _, _ = pictures(name, "float32")
    x[:, -1, -1, 0] = x[0, 0, :2, 1] = np.nan
    x[1] = -np.inf
    y = max_pooling(xp, x, windows)
    np.testing.assert_array_equal(max_pooling(own, x, windows), y)
    np.testing.assert_allclose(
        max_pooling_gradient(own, x, y, dy, windows),
        max_pooling_gradient(xp, x, y, dy, windows),
        rtol=1e-5,
        atol=1e-6,
    )


def test_views_and_empty_batches(own):
    windows, _, x, _, _, _ = pictures("3x3 same", "float32")
    turned = x[:, ::-1]
    np.testing.assert_array_equal(
        max_pooling(own, turned, windows), max_pooling(xp, turned, windows)
    )
    assert max_pooling(own, x[:0], windows).shape == (0, 5, 6, CHANNELS)


def test_a_kernel_that_cannot_be_made_leaves_the_work_to_the_standard(caplog):
    def broken(*arguments, **options):
        raise RuntimeError("no\ncompiler")

    cupy = SimpleNamespace(**{**vars(np), "ElementwiseKernel": broken})
    namespace = SimpleNamespace(**{**vars(xp), **make_window_functions(cupy)})
    with caplog.at_level(logging.WARNING, "xpnet"):
        found = everything(namespace, "3x3 same", "float64")
    for what, expected in everything(xp, "3x3 same", "float64").items():
        np.testing.assert_array_equal(found[what], expected)
    (record,) = caplog.records
    assert record.getMessage().endswith("cannot be used (no compiler)")


@pytest.mark.gpu
@each_dtype
@each_geometry
def test_kernels_on_a_gpu(name, dtype):
    require("cupy")
    backend = open_backend("cupy", dtype=dtype)
    expected = everything(xp, name, dtype)
    windows, _, x, dy, _, _ = pictures(name, dtype)
    with backend.scope():
        given, gradient = backend.asarray(x), backend.asarray(dy)
        y = max_pooling(backend.xp, given, windows)
        found = {
            "max": y,
            "max gradient": max_pooling_gradient(backend.xp, given, y, gradient, windows),
            "mean": average_pooling(backend.xp, given, windows),
            "mean gradient": average_pooling_gradient(backend.xp, given, gradient, windows),
        }
        for what, value in found.items():
            np.testing.assert_allclose(
                backend.to_numpy(value), expected[what], rtol=1e-5, atol=1e-5, err_msg=what
            )
