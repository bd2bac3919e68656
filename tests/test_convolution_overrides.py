"""Convolutions and pooling of a backend's own, against those in the standard's functions."""

import itertools
import math

import numpy as np
import pytest
from conftest import require

from xpnet import operations
from xpnet.backends import open_backend
from xpnet.backends.base import with_overrides
from xpnet.windows import Windows

pytestmark = pytest.mark.numerics

CONVOLUTIONS = [
    "convolution_output", "convolution_weight_gradient", "convolution_input_gradient",
]  # fmt: skip
POOLING = ["max_pooling", "max_pooling_gradient", "average_pooling", "average_pooling_gradient"]

WINDOWS = [
    # kernel, stride, padding, dilation, groups, (height, width)
    (3, 1, "same", 1, 1, (6, 5)),
    (2, 1, "same", 1, 1, (5, 4)),  # more behind than in front
    ((2, 3), 1, "same", 1, 1, (4, 5)),  # of one axis only
    ((4, 1), (3, 2), "same", 1, 2, (7, 6)),
    (3, 2, "valid", 1, 1, (8, 8)),  # leftovers
    ((3, 2), (2, 1), (2, 1), 1, 2, (5, 4)),
    (2, 1, 5, 1, 1, (3, 4)),  # padding larger than the kernel
    (1, 3, 2, 1, 4, (4, 4)),
    (3, (1, 2), "same", (2, 1), 4, (7, 6)),
    (2, 2, (0, 3), (3, 2), 1, (6, 5)),
    ((5, 4), 1, "valid", 1, 1, (5, 4)),  # as large as the picture
]


def without(backend, names):
    return with_overrides(backend.xp, **dict.fromkeys(names))


def own_names(backend, names):
    if backend.name == "torch":
        backend.limit_threads(1)  # of many threads most of the time would be waiting
    found = [name for name in names if getattr(backend.xp, name, None) is not None]
    if not found:
        pytest.skip(f"{backend.name} has none of its own")
    return found


def views(backend, host, form):
    """The array on a backend: as it is, of other memory, or with axes in another order."""
    if form == "every other":
        wide = np.repeat(host, 2, axis=2)
        return backend.asarray(np.pad(wide, ((0, 0), (1, 0), (0, 0), (0, 1))))[:, 1:, ::2, :-1]
    if form == "channels first":
        return backend.xp.permute_dims(
            backend.asarray(np.ascontiguousarray(host.transpose(0, 3, 1, 2))), (0, 2, 3, 1)
        )
    return backend.asarray(host)


def convolved(xp, x, weight, dy, windows, groups):
    size = (x.shape[1], x.shape[2])
    return (
        operations.convolution_output(xp, x, weight, windows, groups=groups),
        operations.convolution_weight_gradient(xp, x, dy, windows, groups=groups),
        operations.convolution_input_gradient(xp, dy, weight, windows, size, groups=groups),
    )


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_convolution(training_backend, case, batch):
    backend = training_backend
    own_names(backend, CONVOLUTIONS)
    kernel, stride, padding, dilation, groups, size = case
    windows, rng = Windows.of(kernel, stride, padding, dilation), np.random.default_rng(0)
    for n_in, n_out in {(groups, groups), (2 * groups, 3 * groups)}:
        x = rng.normal(size=(batch, *size, n_in))
        weight = rng.normal(size=(*windows.kernel, n_in // groups, n_out))
        dy = rng.normal(size=(batch, *windows.output_size(size), n_out))
        for form in ("rows", "every other", "channels first"):
            with backend.scope():
                arrays = [views(backend, host, form) for host in (x, weight, dy)]
                before = [backend.to_numpy(array).copy() for array in arrays]
                own = convolved(backend.xp, *arrays, windows, groups)
                again = convolved(backend.xp, *arrays, windows, groups)
                standard = convolved(without(backend, CONVOLUTIONS), *arrays, windows, groups)
            for mine, same, theirs in zip(own, again, standard, strict=True):
                assert mine.dtype == theirs.dtype
                np.testing.assert_allclose(
                    backend.to_numpy(mine), backend.to_numpy(theirs), rtol=1e-12, atol=1e-12,
                    strict=True,
                )  # fmt: skip
                np.testing.assert_array_equal(backend.to_numpy(mine), backend.to_numpy(same))
            for array, value in zip(arrays, before, strict=True):
                np.testing.assert_array_equal(backend.to_numpy(array), value)


def pooled(xp, x, dy, windows):
    y = operations.max_pooling(xp, x, windows)
    return (
        y,
        operations.max_pooling_gradient(xp, x, y, dy, windows),
        operations.average_pooling(xp, x, windows),
        operations.average_pooling_gradient(xp, x, dy, windows),
    )


POOLED = {
    "any": lambda rng, shape: rng.normal(size=shape),
    "ties": lambda rng, shape: rng.integers(0, 2, shape).astype(float),
    "signs of zero": lambda rng, shape: rng.choice([0.0, -0.0], shape),
    "nan": lambda rng, shape: rng.choice([math.nan, 1.0, math.inf, -math.inf], shape),
    "all -inf": lambda rng, shape: np.full(shape, -math.inf),
}


@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize("batch", [0, 2])
def test_pooling(training_backend, kind, batch):
    backend = training_backend
    own_names(backend, POOLING)
    rng = np.random.default_rng(1)
    for (kernel, stride, padding, dilation, _, size), form in itertools.product(
        WINDOWS, ("rows", "every other", "channels first")
    ):
        windows = Windows.of(kernel, stride, padding, dilation)
        if padding not in ("same", "valid") and max(windows.pads(size)[0]) >= windows.spans[0]:
            continue  # windows of padding alone, which no layer has
        x = POOLED[kind](rng, (batch, *size, 5))
        dy = rng.normal(size=(batch, *windows.output_size(size), 5))
        with backend.scope(), np.errstate(invalid="ignore"):
            arrays = [views(backend, host, form) for host in (x, dy)]
            own = pooled(backend.xp, *arrays, windows)
            standard = pooled(without(backend, POOLING), *arrays, windows)
        for mine, theirs in zip(own, standard, strict=True):
            np.testing.assert_allclose(
                backend.to_numpy(mine), backend.to_numpy(theirs), rtol=1e-12, atol=1e-12,
                strict=True, err_msg=f"{windows} {size} {form}",
            )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_takes_its_own_convolution(dtype):
    require("torch")
    backend = open_backend("torch", dtype=dtype)
    names = own_names(backend, CONVOLUTIONS)
    assert names == CONVOLUTIONS
    rng, windows = np.random.default_rng(2), Windows.of(3, 1, "same")
    x, weight = rng.normal(size=(2, 6, 6, 4)), rng.normal(size=(3, 3, 4, 8))
    with backend.scope():
        arrays = [backend.asarray(host, dtype=backend.dtype) for host in (x, weight)]
        dy = backend.asarray(np.ones((2, 6, 6, 8)), dtype=backend.dtype)
        results = convolved(backend.xp, *arrays, dy, windows, 1)
    for array in results:
        assert array.dtype == backend.dtype
        assert array.is_contiguous()
        assert not array.requires_grad
