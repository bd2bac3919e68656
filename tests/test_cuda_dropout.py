"""The kernel of dropout's mask: its source compiled as C++, against the masks of `xpnet.random`."""

import ctypes
import logging
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import require

from xpnet.backends import open_backend
from xpnet.backends.cupy.dropout import SOURCE, make_fused_mask, mask_arguments
from xpnet.random import keep_mask

pytestmark = pytest.mark.compiler

LOOP = """
#define __device__
%s
extern "C" void masks(
    const int *step, unsigned row_offset, unsigned key0, unsigned key1, unsigned n_columns,
    unsigned n_blocks, long long limit, long long size, bool *keep)
{
    for (long long i = 0; i < size; i++)
        keep[i] = xpnet_keep(step[0], row_offset, key0, key1, n_columns, n_blocks, limit, i);
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The kernel as a function of the host."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "kernel.cpp").write_text(LOOP % SOURCE)
    flags = ["-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run(
        [compiler, *flags, "-o", folder / "kernel.so", folder / "kernel.cpp"], check=True
    )
    masks = ctypes.CDLL(str(folder / "kernel.so")).masks
    masks.restype = None
    unsigned, pointer, long = ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int64
    masks.argtypes = [pointer, *[unsigned] * 5, long, long, pointer]
    return masks


def pretended_cupy(masks):
    """NumPy, with kernels that run on the host."""

    def make_kernel(parameters, result, operation, name, preamble):
        assert preamble == SOURCE
        assert result == "bool keep"
        assert len(parameters.split(",")) == 7

        def kernel(step, *numbers, size):
            keep = np.zeros(size, dtype=bool)
            masks(step.ctypes.data, *(int(number) for number in numbers), size, keep.ctypes.data)
            return keep

        return kernel

    return SimpleNamespace(**{**vars(np), "ElementwiseKernel": make_kernel})


CASES = [
    ((64, 128), 0.5, 0, 0),
    ((3, 1), 0.2, 1, 0),
    ((5, 4), 0.2, 1, 0),
    ((7, 5), 0.3, 9, 3),
    ((6, 2, 3), 0.9, 2**31 - 1, 0),
    ((9,), 0.1, 7, 2**31 - 3),
    ((4, 131), 1e-9, 2, 0),
    ((4, 131), 1 - 2**-16, 2, 1),
    ((5, 10), 0.25, 2**40 + 5, 2**33 + 1),
    ((5, 10), 0.25, -1, 0),
]


@pytest.mark.parametrize(("shape", "rate", "step", "row_offset"), CASES)
@pytest.mark.parametrize("key", [(0, 0), (2**32 - 1, 2**31), (123456789, 4000000000)])
def test_the_kernel_has_the_bits_of_the_array_code(compiled, key, shape, rate, step, row_offset):
    fused = make_fused_mask(pretended_cupy(compiled))
    x = np.ones(shape)
    for number in (step, np.asarray(step)):
        expected = keep_mask(np, key, np.asarray(step), x, rate, row_offset=np.asarray(row_offset))
        mask = fused(key, number, x, rate, row_offset)
        assert mask.shape == shape
        np.testing.assert_array_equal(mask, expected)


def test_a_namespace_with_its_own_mask_is_asked(compiled):
    xp = pretended_cupy(compiled)
    asked = []

    def own(*arguments):
        asked.append(arguments)
        return fused(*arguments)

    fused = make_fused_mask(xp)
    x = np.ones((8, 9), dtype=np.float32)
    mask = keep_mask(
        SimpleNamespace(**{**vars(xp), "keep_mask": own}), (1, 2), np.asarray(3), x, 0.5
    )
    np.testing.assert_array_equal(mask, keep_mask(np, (1, 2), np.asarray(3), x, 0.5))
    assert len(asked) == 1


@pytest.mark.parametrize("case", ["array offset", "nothing"])
def test_what_the_kernel_is_not_for_takes_the_general_way(case):
    fused = make_fused_mask(pretended_cupy(None))
    x = np.ones((0, 3)) if case == "nothing" else np.ones((2, 3))
    offset = np.asarray(1) if case == "array offset" else 0
    assert fused((1, 2), 3, x, 0.5, offset) is None
    xp = SimpleNamespace(**{**vars(np), "keep_mask": fused})
    np.testing.assert_array_equal(
        keep_mask(xp, (1, 2), 3, x, 0.5, row_offset=offset),
        keep_mask(np, (1, 2), 3, x, 0.5, row_offset=offset),
    )


def test_a_kernel_that_cannot_be_compiled_is_said_once(caplog):
    calls = []

    def broken(*arguments, size):
        calls.append(size)
        raise RuntimeError("no\ncompiler")

    fused = make_fused_mask(
        SimpleNamespace(**{**vars(np), "ElementwiseKernel": lambda *a, **k: broken})
    )
    with caplog.at_level(logging.WARNING, "xpnet"):
        assert [fused((1, 2), 3, np.ones((2, 3)), 0.5, 0) for _ in range(3)] == [None] * 3
    assert calls == [6]
    assert [record.getMessage() for record in caplog.records] == [
        "dropout takes many kernels instead of one, which cannot be used (no compiler)"
    ]


def test_arguments_have_the_types_of_the_kernel():
    arguments = mask_arguments(np, (1, 2**32 - 1), np.asarray(7), (5, 6), 0.5, 3)
    assert [np.asarray(a).dtype for a in arguments] == [np.int32, *[np.uint32] * 5, np.int64]
    assert [np.asarray(a).tolist() for a in arguments] == [[7], 3, 1, 2**32 - 1, 6, 2, 0]


@pytest.mark.gpu
@pytest.mark.parametrize(("shape", "rate", "step", "row_offset"), CASES)
def test_the_kernel_on_a_gpu(shape, rate, step, row_offset):
    require("cupy")
    backend = open_backend("cupy")
    with backend.scope():
        x = backend.asarray(np.ones(shape))
        number = backend.asarray(np.asarray(step))
        mask = backend.xp.keep_mask((5, 2**32 - 7), number, x, rate, row_offset)
        assert mask is not None
        np.testing.assert_array_equal(
            backend.to_numpy(mask),
            keep_mask(
                np,
                (5, 2**32 - 7),
                np.asarray(step),
                np.ones(shape),
                rate,
                row_offset=np.asarray(row_offset),
            ),
        )
