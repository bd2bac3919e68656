"""Pooling: windows, ties, NaN, padding and gradients, against torch, JAX and differences."""

import math
from itertools import product

import numpy as np
import pytest
from compiling import check_compiled_steps, needs_compiler

import xpnet
from xpnet import (
    SGD,
    AveragePool2D,
    Dense,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    Reshape,
    Sequential,
    Tanh,
)
from xpnet.backends import open_backend
from xpnet.layers import EVALUATION
from xpnet.operations import max_pooling, max_pooling_gradient
from xpnet.random import stream
from xpnet.windows import Windows

pytestmark = pytest.mark.numerics

KINDS = [MaxPool2D, AveragePool2D]

CASES = [
    # size, stride, padding, (height, width)
    (2, None, "valid", (4, 6)),
    (2, None, "valid", (5, 7)),  # leftovers
    (2, None, "same", (5, 7)),
    (3, 1, "same", (4, 5)),
    (3, 2, 1, (5, 6)),
    (3, 2, "valid", (8, 5)),
    ((2, 3), (3, 1), (0, 2), (7, 4)),
    (2, 5, "valid", (8, 9)),  # gaps
    (2, 5, "same", (8, 9)),
    ((4, 5), 1, "valid", (4, 5)),  # as large as the picture
    ((1, 3), (1, 3), "valid", (1, 6)),  # a single row
    (1, 1, "valid", (3, 3)),
    (1, 2, "valid", (4, 3)),
    (4, 3, 3, (1, 2)),  # more padding than picture
    (3, 4, "same", (1, 9)),
]


def passed(layer, x, dy, xp=np):
    y, cache = layer.forward(xp, {}, x, EVALUATION)
    dx, grads = layer.backward(xp, {}, cache, dy)
    assert grads == {}
    return y, dx


def arrays(layer, size, channels=2, batch=2):
    x = stream(0, "x").normal(size=(batch, *size, channels))
    shape = layer.output_shape(x.shape[1:])
    return x, stream(0, "dy").normal(size=(batch, *shape))


def by_loops(layer, x, dy):
    """What every pixel of every window does, one after the other."""
    windows = layer.windows
    (top, _), (left, _) = windows.pads(x.shape[1:3])
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for b, i, j, c in np.ndindex(dy.shape):
        inside = [
            (r, s)
            for u, v in product(*map(range, windows.kernel))
            if 0 <= (r := i * windows.stride[0] + u - top) < x.shape[1]
            and 0 <= (s := j * windows.stride[1] + v - left) < x.shape[2]
        ]
        values = [x[b, r, s, c] for r, s in inside]
        if isinstance(layer, MaxPool2D):
            # The first of the largest, and of NaN before all.
            best = next((k for k, v in enumerate(values) if math.isnan(v)), None)
            best = values.index(max(values)) if best is None else best
            y[b, i, j, c] = values[best]
            dx[b, *inside[best], c] += dy[b, i, j, c]
        else:
            y[b, i, j, c] = sum(values) / len(values)
            for r, s in inside:
                dx[b, r, s, c] += dy[b, i, j, c] / len(values)
    return y, dx


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_pooling_is_what_loops_over_all_pixels_give(kind, case):
    size, stride, padding, picture = case
    layer = kind(size, stride, padding)
    x, dy = arrays(layer, picture)
    for found, expected in zip(passed(layer, x, dy), by_loops(layer, x, dy), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
def test_pooling_equals_torch(case, ties):
    """Ties too: PyTorch also takes the first in row order."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    size, stride, padding, picture = case
    for kind in KINDS:
        layer = kind(size, stride, padding)
        x, dy = arrays(layer, picture)
        x = np.floor(2 * x) if ties else x
        windows = layer.windows
        (top, bottom), (left, right) = windows.pads(picture)
        leaf = torch.tensor(x, requires_grad=True)
        pads, options = (left, right, top, bottom), (windows.kernel, windows.stride)
        first = leaf.permute(0, 3, 1, 2)
        if kind is MaxPool2D:
            padded = functional.pad(first, pads, value=-math.inf)
            y = functional.max_pool2d(padded, *options)
        else:
            total = functional.avg_pool2d(functional.pad(first, pads), *options, divisor_override=1)
            ones = functional.pad(torch.ones_like(first), pads)
            y = total / functional.avg_pool2d(ones, *options, divisor_override=1)
        y = y.permute(0, 2, 3, 1)
        y.backward(torch.tensor(dy))
        found = passed(layer, x, dy)
        for one, other in zip(found, (y.detach(), leaf.grad), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("padding", [0, 1])
def test_the_average_is_that_of_torch_without_its_padding(padding):
    torch = pytest.importorskip("torch")
    layer = AveragePool2D(3, 2, padding)
    theirs = torch.nn.AvgPool2d(3, 2, padding, count_include_pad=False)
    x, dy = arrays(layer, (7, 6))
    y, _ = passed(layer, x, dy)
    expected = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_automatic_differentiation(kind, case):
    """jax.vjp of our forward; without ties, in which it divides the gradient."""
    jax = pytest.importorskip("jax")
    size, stride, padding, picture = case
    layer = kind(size, stride, padding)
    x, dy = arrays(layer, picture)
    backend = open_backend("jax", None, "float64")
    with backend.scope():
        forward = lambda x: layer.forward(backend.xp, {}, x, EVALUATION)[0]  # noqa: E731
        _, vjp = jax.vjp(forward, backend.asarray(x))
        (expected,) = vjp(backend.asarray(dy))
        expected = np.array(expected)
    np.testing.assert_allclose(passed(layer, x, dy)[1], expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_backend_has_the_same_bits_and_the_same_rule_for_ties(backend, case):
    size, stride, padding, picture = case
    layer = MaxPool2D(size, stride, padding)
    x, dy = arrays(layer, picture)
    x = np.floor(2 * x)
    expected = by_loops(layer, x, dy)
    found = passed(layer, backend.asarray(x), backend.asarray(dy), backend.xp)
    np.testing.assert_array_equal(backend.to_numpy(found[0]), expected[0])
    np.testing.assert_allclose(backend.to_numpy(found[1]), expected[1], rtol=1e-13, atol=1e-14)


def test_the_first_in_row_order_takes_the_gradient(backend):
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 0], x[0, 0, 1] = 1, 1  # the upper right one comes before the lower left one
    dy = np.arange(1.0, 5).reshape(1, 2, 2, 1)
    _, dx = passed(MaxPool2D(2), backend.asarray(x), backend.asarray(dy), backend.xp)
    expected = [[0, 1, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert backend.to_numpy(dx)[0, :, :, 0].tolist() == expected


def test_overlapping_windows_add_up(backend):
    x = np.zeros((1, 3, 3, 1))
    x[0, 1, 1] = 5
    dy = np.array([1.0, 2, 4, 8]).reshape(1, 2, 2, 1)
    layer = MaxPool2D(2, stride=1)
    _, dx = passed(layer, backend.asarray(x), backend.asarray(dy), backend.xp)
    assert backend.to_numpy(dx)[0, :, :, 0].tolist() == [[0, 0, 0], [0, 15, 0], [0, 0, 0]]


def test_a_nan_wins_and_takes_the_gradient(backend):
    x = np.array([[1.0, np.nan, 3, 4], [9, np.nan, 1, 2]]).reshape(1, 2, 4, 1)
    dy = np.array([10.0, 20]).reshape(1, 1, 2, 1)
    for layer in (MaxPool2D(2), MaxPool2D(2, padding="same")):
        y, dx = passed(layer, backend.asarray(x), backend.asarray(dy), backend.xp)
        np.testing.assert_array_equal(backend.to_numpy(y).reshape(-1), [np.nan, 4])
        assert backend.to_numpy(dx)[0, :, :, 0].tolist() == [[0, 10, 0, 20], [0, 0, 0, 0]]
    y, _ = passed(AveragePool2D(2), backend.asarray(x), backend.asarray(dy), backend.xp)
    np.testing.assert_array_equal(np.isnan(backend.to_numpy(y)).reshape(-1), [True, False])


@pytest.mark.parametrize("value", [-5.0, -math.inf, math.inf])
def test_padding_never_wins(backend, value):
    x, dy = np.full((1, 3, 3, 1), value), np.ones((1, 2, 2, 1))
    layer = MaxPool2D(2, padding=1)
    y, dx = passed(layer, backend.asarray(x), backend.asarray(dy), backend.xp)
    np.testing.assert_array_equal(backend.to_numpy(y), np.full((1, 2, 2, 1), value))
    # Each window has a pixel that takes what there is.
    assert backend.to_numpy(dx)[0, :, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_an_infinite_gradient_stays_where_it_is():
    """A product with a mask would make NaN of it everywhere else."""
    x, dy = np.arange(4.0).reshape(1, 2, 2, 1), np.full((1, 1, 1, 1), np.inf)
    _, dx = passed(MaxPool2D(2), x, dy)
    assert dx.reshape(-1).tolist() == [0, 0, 0, np.inf]


@pytest.mark.parametrize("kind", [*KINDS, GlobalAveragePool2D])
def test_views_and_arrays_that_cannot_be_written(kind):
    layer = kind()
    whole = stream(0, "x").normal(size=(3, 10, 4, 12))
    x = whole.transpose(1, 3, 0, 2)[::2, ::-2, :, ::2]
    x.flags.writeable = False
    plain = np.ascontiguousarray(x)
    dy = stream(0, "dy").normal(size=(5, *layer.output_shape(x.shape[1:])))[::-1]
    dy.flags.writeable = False
    for found, expected in zip(passed(layer, x, dy), passed(layer, plain, dy.copy()), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_global_average_pooling(backend, dtype):
    x = stream(0, "x").normal(size=(3, 4, 5, 2)).astype(dtype)
    dy = stream(0, "dy").normal(size=(3, 2)).astype(dtype)
    y, dx = passed(GlobalAveragePool2D(), backend.asarray(x), backend.asarray(dy), backend.xp)
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(backend.to_numpy(y), x.mean((1, 2)), rtol=tolerance, atol=tolerance)
    expected = np.broadcast_to(dy[:, None, None, :] / 20, x.shape)
    np.testing.assert_allclose(backend.to_numpy(dx), expected, rtol=tolerance)


def test_no_samples_give_no_pictures(backend):
    x, dy = backend.asarray(np.ones((0, 4, 4, 2))), backend.asarray(np.ones((0, 2, 2, 2)))
    for layer in (MaxPool2D(2), AveragePool2D(2)):
        y, dx = passed(layer, x, dy, backend.xp)
        assert (tuple(y.shape), tuple(dx.shape)) == ((0, 2, 2, 2), (0, 4, 4, 2))


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxPool2D(0), "MaxPool2D: size must be a positive integer, or two .* got 0"),
        (lambda: MaxPool2D((2, 2, 2)), r"size must be a positive integer.* got \(2, 2, 2\)"),
        (lambda: MaxPool2D("2"), "size must be a positive integer.* got '2'"),
        (lambda: MaxPool2D(True), "size must be a positive integer.* got True"),
        (lambda: AveragePool2D(2, stride=0), "AveragePool2D: stride must be a positive integer"),
        (lambda: AveragePool2D(2, stride=1.5), "stride must be a positive integer.* got 1.5"),
        (lambda: MaxPool2D(2, padding="full"), "padding must be 'same', 'valid', or an integer"),
        (lambda: MaxPool2D(2, padding=-1), "padding must be 'same', 'valid', or an integer"),
        (lambda: MaxPool2D(2, padding=None), "padding must be 'same', 'valid', or an integer"),
        (lambda: MaxPool2D(2, padding=True), "padding must be 'same', 'valid', or an integer"),
        (lambda: MaxPool2D(2**60), "size must be a positive integer.*, below 2\\*\\*31, got"),
        (lambda: AveragePool2D(2, 2**60), "stride must be .*, below 2\\*\\*31, got"),
        (lambda: MaxPool2D(2, padding=2**60), "padding must be .*, below 2\\*\\*31, got"),
        (lambda: MaxPool2D((3, 2), padding=2), "padding must be less than the size, 2, got 2"),
        (
            lambda: MaxPool2D(3).output_shape((5, 2, 1)),
            r"MaxPool2D: a kernel of 3 is more than the 2 that the picture is wide and its padding "
            r"of 0 \+ 0: take a smaller kernel",
        ),
        (
            lambda: AveragePool2D(6, 1, 1).output_shape((3, 9, 1)),
            r"AveragePool2D: a kernel of 6 is more than the 3 that the picture is high and its "
            r"padding of 1 \+ 1",
        ),
        (
            lambda: passed(MaxPool2D(3), np.ones((2, 2, 2, 1)), np.ones((2, 0, 0, 1))),
            "MaxPool2D: a kernel of 3 is more than the 2",
        ),
        (
            lambda: Sequential(pool=MaxPool2D(2)).output_shape((28, 28)),
            r"samples of shape \(height, width, channels\), but is given shape \(28, 28\); give "
            r"pictures in grey a channel by Reshape\(\(28, 28, 1\)\) in front",
        ),
        (lambda: GlobalAveragePool2D().output_shape((784,)), r"but is given shape \(784,\)"),
        (
            lambda: Sequential(picture=Reshape((4, 4, 1)), pool=MaxPool2D(5)),
            "Sequential: pool: MaxPool2D: a kernel of 5 is more than the 4",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_windows_are_said_in_one_way():
    assert MaxPool2D(2) == MaxPool2D((2, 2)) == MaxPool2D([2, np.int64(2)])
    assert AveragePool2D(3, 1, 0).output_shape((5, 4, 7)) == (3, 2, 7)
    assert AveragePool2D(3, 1, [1, 0]) == AveragePool2D(3, 1, (1, 0))
    assert hash(MaxPool2D(2)) == hash(MaxPool2D((2, 2)))
    assert MaxPool2D(2).output_shape(None) is None


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_has_as_many_windows_as_strides_begin(n, stride, dilation):
    for kernel in (1, 2, 3, 5):
        windows = Windows((kernel, 1), (stride, 1), "same", (dilation, 1))
        assert windows.output_size((n, 4)) == (math.ceil(n / stride), 4)
        (before, after), around = windows.pads((n, 4))
        assert 0 <= after - before <= 1
        assert around == (0, 0)


def test_dilated_windows(backend):
    """What no layer asks for, but windows say."""
    windows, x = Windows((2, 2), (2, 1), "valid", (2, 3)), np.arange(5 * 6.0).reshape(1, 5, 6, 1)
    x = -(x**2) % 17
    dy = 1 + np.arange(2 * 3.0).reshape(1, 2, 3, 1)
    there, up = backend.asarray(x), backend.asarray(dy)
    y = max_pooling(backend.xp, there, windows)
    dx = backend.to_numpy(max_pooling_gradient(backend.xp, there, y, up, windows))
    expected, expected_dx = np.zeros(dy.shape), np.zeros(x.shape)
    for i, j in np.ndindex(2, 3):
        places = [(2 * i + u, j + v) for u in (0, 2) for v in (0, 3)]
        best = max(places, key=lambda place: x[0, *place, 0])
        expected[0, i, j, 0] = x[0, *best, 0]
        expected_dx[0, *best, 0] += dy[0, i, j, 0]
    np.testing.assert_array_equal(backend.to_numpy(y), expected)
    np.testing.assert_array_equal(dx, expected_dx)


# -- in a training --------------------------------------------------------------------------------

PICTURES = stream(0, "pictures").integers(0, 256, (40, 8, 8)).astype("uint8")
LABELS = stream(0, "labels").integers(0, 3, 40)

MODEL = Sequential(
    picture=Reshape((8, 8, 1)), pool1=MaxPool2D(3, 2, "same"), act=Tanh(), pool2=AveragePool2D(2),
    flat=Flatten(), fc=Dense(4, 3),
)  # fmt: skip


@pytest.mark.compiler
@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recorded_and_compiled_steps_have_the_same_bits(monkeypatch, dtype):
    """With something to train below the pooling, so that its gradient is taken."""
    model = Sequential(fc1=Dense(64, 64), **MODEL.layers)
    check_compiled_steps(monkeypatch, model, PICTURES.reshape(40, 64), LABELS, dtype)


def test_every_backend_gives_the_same_run(training_backend):
    model = Sequential(fc1=Dense(64, 64), **MODEL.layers)
    options = {"epochs": 2, "batch_size": 8, "dtype": "float64", "optimizer": SGD(0.1)}
    x = PICTURES.reshape(40, 64)
    expected = xpnet.fit(model, (x, LABELS), backend="numpy", **options)
    network = xpnet.fit(model, (x, LABELS), backend=training_backend, **options)
    for name, value in expected.params.items():
        found = training_backend.to_numpy(network.params[name])
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_summary_has_shapes_and_operations():
    table = MODEL.summary().splitlines()
    assert [line.split()[-5] for line in table[2:4]] == ["1", "1"]
    assert "4 x 4 x 1" in table[2]
    assert table[2].split()[-2] == str(16 * 8)  # eight comparisons for each window
    assert table[4].split()[-2] == str(4 * 4)
