"""Convolution and its gradients, against loops, torch, JAX and differences."""

import math
import random
import tracemalloc

import numpy as np
import pytest
from compiling import check_compiled_steps, needs_compiler

import xpnet
from xpnet import (
    AveragePool2D,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    MaxNorm,
    MaxPool2D,
    Reshape,
    Sequential,
    Tanh,
)
from xpnet.backends import open_backend
from xpnet.backends.numpy.functions import window_columns
from xpnet.initializers import INITIALIZERS, Orthogonal, orthogonal
from xpnet.layers import EVALUATION
from xpnet.operations import convolution as operation
from xpnet.operations import slices
from xpnet.optimizers import Adam
from xpnet.random import stream
from xpnet.testing import check_layer
from xpnet.windows import Windows

pytestmark = pytest.mark.numerics

CASES = [
    # layer, (height, width)
    (Conv2D(2, 3), (4, 5)),
    (Conv2D(1, 2, 2, padding="valid"), (4, 3)),
    (Conv2D(2, 2, 4), (5, 5)),  # an even kernel: one more behind than in front
    (Conv2D(2, 3, 3, 2), (6, 5)),
    (Conv2D(2, 3, (3, 2), (2, 3), "valid"), (8, 9)),  # leftovers
    (Conv2D(2, 2, 2, 4, "same"), (7, 9)),  # gaps
    (Conv2D(1, 2, 3, (1, 2), (1, 0), dilation=(2, 1)), (5, 6)),
    (Conv2D(2, 1, 3, dilation=3), (4, 7)),
    (Conv2D(2, 2, 2, 3, 0, (4, 5)), (6, 9)),
    (Conv2D(4, 6, 3, groups=2), (4, 4)),
    (Conv2D(3, 6, 3, 2, groups=3), (5, 4)),  # depthwise, two kernels for a channel
    (Conv2D(3, 3, (2, 3), padding=2, groups=3, bias=False), (3, 3)),
    (Conv2D(2, 3, (4, 5), padding="valid"), (4, 5)),  # as large as the picture
    (Conv2D(2, 3, (1, 3), padding="valid"), (1, 6)),  # a single row
    (Conv2D(2, 3, 3), (1, 1)),
    (Conv2D(3, 4, 1), (3, 2)),
    (Conv2D(3, 4, 1, 2, groups=1), (5, 4)),
    (Conv2D(2, 2, 2, 2, (3, 4)), (3, 2)),  # more padding than kernel
    (Conv2D(1, 2, 1, 3, 5), (2, 1)),  # windows that have nothing but padding
]

FEW = [CASES[k] for k in (6, 8, 10, 17)]
"""Where each takes longer: of all kinds of arguments."""


def parameters(layer, seed=0):
    return {
        name: stream(seed, name).normal(size=shape)
        for name, shape in layer.parameter_shapes().items()
    }


def arrays(layer, size, batch=2):
    x = stream(0, "x").normal(size=(batch, *size, layer.n_in))
    return x, stream(0, "dy").normal(size=(batch, *layer.output_shape(x.shape[1:])))


def passed(layer, params, x, dy, xp=np):
    """The output, and the gradients of the input and of each parameter."""
    y, cache = layer.forward(xp, params, x, EVALUATION)
    dx, grads = layer.backward(xp, params, cache, dy)
    assert set(grads) == set(params)
    return {"y": y, "x": dx, **grads}


def on(backend, params):
    return {name: backend.asarray(value) for name, value in params.items()}


def close(found, expected, tolerance=1e-12):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name], value, rtol=tolerance, atol=tolerance, err_msg=name, strict=True
        )


def by_loops(layer, params, x, dy):
    """A convolution and its gradients as they are defined: a product for each of seven indices."""
    weight, bias = params["weight"], params.get("bias", np.zeros(layer.n_out))
    height, width, channels, n_out = weight.shape
    (down, right), (below, beside) = layer.windows.stride, layer.windows.dilation
    (top, _), (left, _) = layer.windows.pads(x.shape[1:3])
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(weight.shape)
    batch, rows, columns, _ = dy.shape
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                for o in range(n_out):
                    y[b, i, j, o] = bias[o]
                    first = o // (n_out // layer.groups) * channels
                    for u in range(height):
                        for v in range(width):
                            r, s = i * down + u * below - top, j * right + v * beside - left
                            if not (0 <= r < x.shape[1] and 0 <= s < x.shape[2]):
                                continue
                            for c in range(channels):
                                y[b, i, j, o] += weight[u, v, c, o] * x[b, r, s, first + c]
                                dx[b, r, s, first + c] += weight[u, v, c, o] * dy[b, i, j, o]
                                dw[u, v, c, o] += x[b, r, s, first + c] * dy[b, i, j, o]
    found = {"y": y, "x": dx, "weight": dw}
    return found | ({"bias": dy.sum((0, 1, 2))} if layer.bias else {})


def by_torch(layer, params, x, dy):
    torch = pytest.importorskip("torch")
    windows = layer.windows
    (top, bottom), (left, right) = windows.pads(x.shape[1:3])
    leaf = torch.tensor(x, requires_grad=True)
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    y = torch.nn.functional.conv2d(
        torch.nn.functional.pad(leaf.permute(0, 3, 1, 2), (left, right, top, bottom)),
        leaves["weight"].permute(3, 2, 0, 1).contiguous(), leaves.get("bias"), windows.stride, 0,
        windows.dilation, layer.groups,
    ).permute(0, 2, 3, 1)  # fmt: skip
    y.backward(torch.tensor(dy))
    grads = {name: one.grad.numpy() for name, one in leaves.items()}
    return {"y": y.detach().numpy(), "x": leaf.grad.numpy(), **grads}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_is_what_seven_loops_give(case):
    layer, size = case
    params, (x, dy) = parameters(layer), arrays(layer, size)
    close(passed(layer, params, x, dy), by_loops(layer, params, x, dy))


@pytest.mark.parametrize("case", FEW, ids=str)
def test_every_backend_gives_what_seven_loops_give(backend, case):
    layer, size = case
    params, (x, dy) = parameters(layer), arrays(layer, size)
    found = passed(layer, on(backend, params), backend.asarray(x), backend.asarray(dy), backend.xp)
    found = {name: backend.to_numpy(value) for name, value in found.items()}
    close(found, by_loops(layer, params, x, dy))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_equals_torch(case):
    layer, size = case
    params, (x, dy) = parameters(layer), arrays(layer, size)
    close(passed(layer, params, x, dy), by_torch(layer, params, x, dy))


@pytest.mark.parametrize("seed", range(10))
def test_convolutions_of_random_shapes_equal_torch(seed):
    some, tried = random.Random(seed), 0
    while tried < 12:
        groups = some.choice([1, 1, 2, 3])
        n_in, n_out = groups * some.randint(1, 3), groups * some.randint(1, 3)
        kernel, stride, dilation, size = (
            (some.randint(1, most), some.randint(1, most)) for most in (5, 3, 3, 9)
        )
        padding = some.choice(["same", "valid", (some.randint(0, 6), some.randint(0, 6))])
        layer = Conv2D(
            n_in, n_out, kernel, stride, padding, dilation, groups, bias=some.random() < 0.8
        )
        try:
            params, (x, dy) = parameters(layer), arrays(layer, size, 3)
        except ValueError:
            continue  # there is no window
        tried += 1
        close(passed(layer, params, x, dy), by_torch(layer, params, x, dy))


@pytest.mark.parametrize("case", FEW, ids=str)
def test_gradients_are_those_of_automatic_differentiation(case):
    """jax.vjp of our forward."""
    jax = pytest.importorskip("jax")
    layer, size = case
    params, (x, dy) = parameters(layer), arrays(layer, size)
    backend = open_backend("jax", None, "float64")
    with backend.scope():
        forward = lambda p, x: layer.forward(backend.xp, p, x, EVALUATION)[0]  # noqa: E731
        y, vjp = jax.vjp(forward, on(backend, params), backend.asarray(x))
        grads, dx = vjp(backend.asarray(dy))
        expected = {"y": y, "x": dx, **grads}
        expected = {name: np.array(value) for name, value in expected.items()}
    close(passed(layer, params, x, dy), expected)


@pytest.mark.parametrize("kernel", [1, 2, 3, (4, 5)])
@pytest.mark.parametrize("stride", [1, 2, (3, 4)])
@pytest.mark.parametrize("dilation", [1, (2, 3)])
def test_the_padding_same_is_that_of_jax(kernel, stride, dilation):
    jax = pytest.importorskip("jax")
    layer = Conv2D(2, 3, kernel, stride, "same", dilation, bias=False)
    params, (x, dy) = parameters(layer), arrays(layer, (7, 6))
    windows, backend = layer.windows, open_backend("jax", None, "float64")
    with backend.scope():
        expected = jax.lax.conv_general_dilated(
            backend.asarray(x), backend.asarray(params["weight"]), windows.stride, "SAME",
            rhs_dilation=windows.dilation, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )  # fmt: skip
        expected = np.array(expected)
    found = passed(layer, params, x, dy)["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, strict=True)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_gradients_are_slopes(case):
    layer, (height, width) = case
    check_layer(layer, shape=(height, width, layer.n_in)).raise_if_wrong()


def test_gradients_of_sequences_are_slopes():
    check_layer(Conv1D(2, 4, 3, 2, 2, 2, 2), shape=(7, 2)).raise_if_wrong()


@pytest.mark.parametrize("padding", [0, 2, "valid", "same"])
@pytest.mark.parametrize("stride", [1, 3])
def test_a_sequence_is_convolved_as_torch_does(backend, stride, padding):
    torch = pytest.importorskip("torch")
    layer = Conv1D(4, 6, 3, stride, padding, 2, 2)
    params = parameters(layer)
    x = stream(0, "x").normal(size=(3, 8, 4))
    around = layer.windows.pads((1, 8))[1]
    dy = stream(0, "dy").normal(size=(3, *layer.output_shape((8, 4))))
    leaf = torch.tensor(x, requires_grad=True)
    leaves = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    with torch.enable_grad():  # which the backend of torch has off
        y = torch.nn.functional.conv1d(
            torch.nn.functional.pad(leaf.permute(0, 2, 1), around),
            leaves["weight"].permute(2, 1, 0).contiguous(), leaves["bias"], stride, 0, 2, 2,
        ).permute(0, 2, 1)  # fmt: skip
        y.backward(torch.tensor(dy))
    expected = {"y": y.detach(), "x": leaf.grad, **{n: one.grad for n, one in leaves.items()}}
    found = passed(layer, on(backend, params), backend.asarray(x), backend.asarray(dy), backend.xp)
    close(
        {name: backend.to_numpy(value) for name, value in found.items()},
        {name: value.numpy() for name, value in expected.items()},
    )


@pytest.mark.parametrize("layer", [Conv2D(6, 4, 3, 2), Conv2D(6, 4, 1), Conv2D(6, 6, 2, groups=3)])
def test_views_and_arrays_that_cannot_be_written(layer):
    whole = stream(0, "x").normal(size=(3, 10, 4, 12))
    x = whole.transpose(1, 3, 0, 2)[::2, ::-2, :, ::2]
    x = np.concatenate([x, x, x], axis=3).transpose(0, 2, 1, 3)  # laid out in another order
    dy = stream(0, "dy").normal(size=(5, *layer.output_shape(x.shape[1:])))[::-1]
    params = parameters(layer)
    expected = passed(layer, params, np.ascontiguousarray(x), np.ascontiguousarray(dy))
    turned = {name: np.asfortranarray(value) for name, value in params.items()}
    for one in (x, dy, *turned.values()):
        one.flags.writeable = False
    close(passed(layer, turned, x, dy), expected, 1e-14)


def test_columns_of_numpy_are_the_bits_of_those_in_the_functions_of_the_standard(monkeypatch):
    backend = open_backend("numpy", None, "float32")
    assert backend.xp.window_columns is window_columns
    x = stream(0, "x").normal(size=(3, 8, 9, 2)).astype("float32")
    for windows in (
        Windows((3, 2), (1, 1)),
        Windows((1, 1), (2, 3)),
        Windows((2, 3), (2, 3), "valid", (3, 2)),
        Windows((8, 9), (1, 1)),
    ):
        for array in (x, x[:, ::-1, :, ::-1], x.transpose(0, 2, 1, 3)[:, 1:, :]):
            expected = operation._columns(np, array, windows)
            found = window_columns(array, windows)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, expected, strict=True)
    # And what comes out of whole passes with it.
    layer = Conv2D(2, 3, (3, 2), (2, 1), 1)
    params, (x, dy) = parameters(layer), arrays(layer, (8, 9))
    with_it, without = (passed(layer, params, x, dy, xp) for xp in (backend.xp, np))
    close(with_it, without, 1e-14)


def test_what_numpy_puts_back_and_puts_around_is_what_the_standard_does():
    xp, rng = open_backend("numpy", None, "float64").xp, stream(0, "x")
    for channels, width, windows in (
        (2, 9, Windows((3, 2), (1, 1), (1, 1))),
        (3, 11, Windows((2, 3), (2, 3), "same")),
        (2, 30, Windows((2, 3), (1, 2), (2, 2))),  # too wide to be added by rows
        (20, 8, Windows((3, 3), (1, 1), "same")),  # too many channels
        (2, 9, Windows((2, 2), (2, 1), "valid", (2, 3))),
    ):
        size = windows.output_size((8, width))
        columns = rng.normal(size=(3, *size, math.prod(windows.kernel), channels))
        shape = (3, 8, width, channels)
        expected = slices.put_back_columns(np, columns, windows, shape)
        found = slices.put_back_columns(xp, columns, windows, shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14, strict=True)
        x = rng.normal(size=shape)
        for value in (0.0, -np.inf):
            np.testing.assert_array_equal(
                slices.padded(xp, x, windows, value), slices.padded(np, x, windows, value)
            )


def test_no_samples_give_no_pictures(backend):
    layer = Conv2D(2, 4, 3, 2, groups=2)
    params = parameters(layer)
    x, dy = np.ones((0, 4, 4, 2)), np.ones((0, 2, 2, 4))
    found = passed(layer, on(backend, params), backend.asarray(x), backend.asarray(dy), backend.xp)
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {"y": (0, 2, 2, 4), "x": (0, 4, 4, 2), "weight": (3, 3, 1, 4), "bias": (4,)}
    assert not backend.to_numpy(found["weight"]).any()


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 400, 1000, 4000])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("channels", [(2, 4), (4, 2)])  # two ways to the gradient by the input
def test_a_batch_in_parts_gives_the_same(monkeypatch, most, groups, channels):
    layer = Conv2D(*channels, 3, (2, 1), groups=groups)
    params, (x, dy) = parameters(layer), arrays(layer, (6, 5), 11)
    expected, counted = passed(layer, params, x, dy), []
    made, put_back = operation._columns, operation.put_back_columns

    def columns(xp, x, windows):
        result = made(xp, x, windows)
        counted.append((x.shape[0], math.prod(result.shape)))
        return result

    def put(xp, columns, windows, shape):
        counted.append((shape[0], math.prod(columns.shape)))
        return put_back(xp, columns, windows, shape)

    monkeypatch.setattr(operation, "MOST_COLUMNS", most)
    monkeypatch.setattr(operation, "_columns", columns)
    monkeypatch.setattr(operation, "put_back_columns", put)
    found = passed(layer, params, x, dy)
    close(found, expected, 1e-12)
    assert len(counted) > 3 or most == 4000
    assert sum(samples for samples, _ in counted) == 3 * 11
    # More than the bound is where a single sample has more.
    assert all(numbers <= most or samples == 1 for samples, numbers in counted)


def test_memory_is_bounded():
    """The columns of the whole batch would be 160 MB, those of a part are 32 MB in float64."""
    layer = Conv2D(8, 2, 5, padding="valid")
    params, (x, dy) = parameters(layer), arrays(layer, (20, 20), 400)
    xp = open_backend("numpy", None, "float64").xp
    tracemalloc.start()
    try:
        passed(layer, params, x, dy, xp)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    columns = 8 * operation.MOST_COLUMNS
    assert columns // 2 < peak < 2 * columns + 3 * (x.nbytes + dy.nbytes)
    assert 2 * columns + 3 * (x.nbytes + dy.nbytes) < 400 * 16 * 16 * 25 * 8 * 8


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0, 1), "Conv2D: n_in must be a positive integer, got 0"),
        (lambda: Conv2D(1, True), "Conv2D: n_out must be a positive integer, got True"),
        (lambda: Conv2D(1.0, 1), "n_in must be a positive integer, got 1.0"),
        (lambda: Conv2D("1", 1), "n_in must be a positive integer, got '1'"),
        (lambda: Conv2D(1, 1, 0), "Conv2D: kernel must be a positive integer, or two .* got 0"),
        (lambda: Conv2D(1, 1, True), "kernel must be a positive integer, or two .* got True"),
        (lambda: Conv2D(1, 1, "3"), "kernel must be a positive integer, or two .* got '3'"),
        (lambda: Conv2D(1, 1, (3, 3, 3)), r"kernel must be a positive .* got \(3, 3, 3\)"),
        (lambda: Conv2D(1, 1, (3, -1)), r"kernel must be a positive integer.* got \(3, -1\)"),
        (lambda: Conv2D(1, 1, 2.5), "kernel must be a positive integer.* got 2.5"),
        (lambda: Conv2D(1, 1, stride=0), "stride must be a positive integer.* got 0"),
        (lambda: Conv2D(1, 1, stride=None), "stride must be a positive integer.* got None"),
        (lambda: Conv2D(1, 1, dilation=-2), "dilation must be a positive integer.* got -2"),
        (lambda: Conv2D(1, 1, padding=-1), "padding must be 'same', 'valid', or an integer"),
        (lambda: Conv2D(1, 1, padding=False), "padding must be 'same', 'valid', or an .* False"),
        (lambda: Conv2D(1, 1, padding=0.5), "padding must be 'same', 'valid', or an .* got 0.5"),
        (lambda: Conv2D(1, 1, padding="full"), "padding must be 'same', 'valid', .* got 'full'"),
        (lambda: Conv2D(1, 1, padding=None), "padding must be 'same', 'valid', .* got None"),
        (lambda: Conv2D(1, 1, 2**31), "kernel must be .*, below 2\\*\\*31, got 2147483648"),
        (lambda: Conv2D(1, 1, stride=(1, 2**60)), "stride must be .*, below 2\\*\\*31, got"),
        (lambda: Conv2D(1, 1, padding=(2**60, 0)), "padding must be .*, below 2\\*\\*31, got"),
        (lambda: Conv2D(1, 1, dilation=2**60), "dilation must be .*, below 2\\*\\*31, got"),
        (lambda: Conv1D(1, 1, 2**60), "kernel must be a positive integer below 2\\*\\*31, got"),
        (lambda: Conv1D(1, 1, padding=2**60), "padding must be .*, below 2\\*\\*31, got"),
        (
            lambda: Conv2D(1, 1, padding=2**30).output_shape((4, 4, 1)),
            r"Conv2D\(1, 1\): with its padding a picture of 4 x 4 pixels would have "
            r"2,147,483,652 x 2,147,483,652: take less padding",
        ),
        (
            lambda: Conv2D(1, 1, dilation=2**30).output_shape((4, 4, 1)),
            "with its padding .* take less padding, or a smaller kernel or dilation",
        ),
        (lambda: Conv2D(1, 1, groups=0), "groups must be a positive integer, got 0"),
        (lambda: Conv2D(1, 1, bias=2), "bias must be True or False, got 2"),
        (
            lambda: Conv2D(3, 4, groups=2),
            r"Conv2D: groups must divide n_in, 3, got 2: 3 = 1 x 2 \+ 1",
        ),
        (
            lambda: Conv2D(4, 6, groups=4),
            r"Conv2D: groups must divide n_out, 6, got 4: 6 = 1 x 4 \+ 2",
        ),
        (lambda: Conv2D(2, 2, init_weight=3), "init_weight"),
        (lambda: Conv2D(2, 2, constraint=3), "constraint"),
        (lambda: Conv1D(1, 1, (3, 3)), r"Conv1D: kernel must be a positive integer, got \(3, 3\)"),
        (lambda: Conv1D(1, 1, stride=(1, 2)), "Conv1D: stride must be a positive integer"),
        (lambda: Conv1D(1, 1, dilation=True), "dilation must be a positive integer, got True"),
        (lambda: Conv1D(1, 1, padding=(1, 1)), "padding must be 'same', 'valid', or an integer"),
        (lambda: Conv1D(1, 1, padding=-1), "padding must be 'same', 'valid', or an integer"),
        (
            lambda: Conv2D(1, 1, 5, padding="valid", dilation=2).output_shape((9, 7, 1)),
            r"Conv2D\(1, 1\): a kernel of 5 with dilation 2 spans 9 pixels, more than the 7 that "
            r"the picture is wide and its padding of 0 \+ 0: take a smaller kernel",
        ),
        (
            lambda: Conv2D(1, 1, 6, padding=1).output_shape((3, 9, 1)),
            r"a kernel of 6 is more than the 3 that the picture is high and its padding of 1 \+ 1",
        ),
        (
            lambda: Conv1D(2, 1, 4, padding="valid").output_shape((3, 2)),
            r"Conv1D\(2, 1\): a kernel of 4 is more than the 3",
        ),
        (
            lambda: Conv2D(1, 1).output_shape((0, 4, 1)),
            r"Conv2D\(1, 1\): a kernel of 3 .* more than the 0",
        ),
        (
            lambda: Conv2D(3, 1).output_shape((4, 4, 1)),
            r"Conv2D\(3, 1\) takes samples of shape \(height, width, 3\), but is given shape "
            r"\(4, 4, 1\)",
        ),
        (
            lambda: Conv2D(1, 1).output_shape((28, 28)),
            r"is given shape \(28, 28\); give pictures in grey a channel by Reshape\(\(28, 28, 1\)",
        ),
        (
            lambda: Conv1D(3, 1).output_shape((9, 4)),
            r"Conv1D\(3, 1\) takes samples of shape \(length, 3\), but is given shape \(9, 4\)",
        ),
        (
            lambda: Conv2D(2, 2).forward(
                np, parameters(Conv2D(2, 2)), np.ones((1, 4, 4, 3)), EVALUATION
            ),
            r"takes samples of shape \(height, width, 2\), but is given shape \(4, 4, 3\)",
        ),
        (
            lambda: Sequential(picture=Reshape((4, 4, 1)), conv=Conv2D(1, 2, 5, padding="valid")),
            "Sequential: conv: .*: a kernel of 5 is more than the 4",
        ),
        (
            lambda: Sequential(conv1=Conv2D(1, 2), conv2=Conv2D(3, 2)),
            r"Sequential: conv2.*Conv2D\(3, 2\) takes samples of shape \(height, width, 3\)",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_stride_beyond_the_picture_is_that_of_one_window(backend):
    """And takes no memory for the pixels that it jumps over."""
    x = backend.asarray(stream(0, "x").normal(size=(2, 4, 5, 2)))
    for layer, near in (
        (Conv2D(2, 3, 2, 2**31 - 1), Conv2D(2, 3, 2, 5)),
        (MaxPool2D(2, 2**31 - 1), MaxPool2D(2, 5)),
        (AveragePool2D((4, 2), 2**31 - 1, "same"), AveragePool2D((4, 2), 5, "same")),
    ):
        params = {name: backend.asarray(value) for name, value in parameters(near).items()}
        found, expected = (
            [y, *each.backward(backend.xp, params, cache, y)]
            for each in (layer, near)
            for y, cache in (each.forward(backend.xp, params, x, EVALUATION),)
        )
        for one, other in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))


def test_layers_are_said_in_one_way():
    assert Conv2D(1, 2, 3) == Conv2D(1, 2, (3, 3)) == Conv2D(1, 2, [3, np.int64(3)])
    assert hash(Conv2D(1, 2, 3)) == hash(Conv2D(1, 2, (3, 3)))
    assert Conv2D(1, 2, 3, padding=1) == Conv2D(1, 2, 3, padding=(1, 1))
    assert repr(Conv2D(1, 2, 5, padding=(1, 1), stride=(1, 2))) == (
        "Conv2D(1, 2, 5, stride=(1, 2), padding=1)"
    )
    assert repr(Conv1D(1, 2)) == "Conv1D(1, 2)"
    assert Conv2D(1, 2).output_shape(None) == (None, None, 2)
    assert Conv1D(1, 2).output_shape(None) == (None, 2)
    assert Conv2D(4, 6, 3, groups=2).flops((5, 5, 4)) == 5 * 5 * 6 * (2 * 9 * 2 + 1)


# -- how weights are drawn ------------------------------------------------------------------------


def test_an_initializer_of_ones_own_is_told_how_many_outputs_a_number_goes_into():
    told = []

    def drawn(rng, fan_in, fan_out, *, outgoing=None):
        told.append((fan_in, fan_out, outgoing))
        return np.zeros((fan_in, fan_out))

    Conv2D(4, 6, (3, 5), groups=2, init_weight=drawn).init(0)
    Dense(4, 6, drawn).init(0)
    assert told == [(30, 3, 45), (30, 3, 45), (4, 6, None)]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("name", [n for n in INITIALIZERS if n.startswith(("he", "xav", "lec"))])
def test_the_variance_is_that_of_the_fans_of_a_kernel(name, groups):
    n_in, n_out = 32, 64
    layer = Conv2D(n_in, n_out, (3, 5), groups=groups, init_weight=INITIALIZERS[name])
    weight = layer.init(0)["weight"]
    assert weight.shape == (3, 5, n_in // groups, n_out)
    fan_in, fan_out = 15 * n_in // groups, 15 * n_out // groups
    variance = {"he": 2 / fan_in, "xavier": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}
    expected = variance[name.partition("_")[0]]
    assert weight.var() == pytest.approx(expected, rel=5 * math.sqrt(2 / weight.size))
    # Groups have numbers of their own.
    parts = np.split(weight, groups, axis=3)
    assert groups == 1 or not np.any(parts[0] == parts[1])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_orthogonal_kernels(groups, gain):
    layer = Conv2D(4, 8, 3, groups=groups, init_weight=Orthogonal(gain))
    weight = layer.init(0)["weight"]
    for part in np.split(weight, groups, axis=3):
        columns = part.reshape(-1, 8 // groups)
        np.testing.assert_allclose(columns.T @ columns, gain**2 * np.eye(8 // groups), atol=1e-12)
    plain = Conv2D(4, 8, 3, groups=groups, init_weight=orthogonal).init(0)["weight"]
    np.testing.assert_allclose(gain * plain, weight, rtol=1e-14)
    # More outputs than numbers that come into one: the rows are orthonormal.
    wide = Conv2D(2, 8, (1, 2), init_weight=orthogonal).init(0)["weight"].reshape(4, 8)
    np.testing.assert_allclose(wide @ wide.T, np.eye(4), atol=1e-12)


def test_the_longest_norm_is_that_of_what_comes_into_an_output(backend):
    weight = stream(0, "weight").normal(size=(3, 3, 2, 4)) * np.array([0.01, 1, 2, 3])
    found = MaxNorm(1.5)(backend.xp, 1.0 * backend.asarray(weight))  # which is consumed
    norms = np.sqrt((weight**2).sum((0, 1, 2)))
    expected = weight * np.minimum(1, 1.5 / norms)
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-14)


# -- in a training --------------------------------------------------------------------------------

PICTURES = stream(0, "pictures").integers(0, 256, (40, 8, 8)).astype("uint8")
LABELS = stream(0, "labels").integers(0, 3, 40)

MODEL = Sequential(
    picture=Reshape((8, 8, 1)), conv1=Conv2D(1, 4, 3, constraint=MaxNorm(1.0)), act1=Tanh(),
    conv2=Conv2D(4, 6, (3, 2), 2, 1, groups=2), act2=Tanh(),
    conv3=Conv2D(6, 4, 2, padding="valid", dilation=2, bias=False), act3=Tanh(),
    flat=Flatten(), fc=Dense(24, 3),
)  # fmt: skip
"""All kinds of convolution, and smooth, so that two libraries stay equal."""


@pytest.mark.compiler
@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("most", [operation.MOST_COLUMNS, 1500], ids=["whole", "parts"])
def test_recorded_and_compiled_steps_have_the_same_bits(monkeypatch, dtype, most):
    monkeypatch.setattr(operation, "MOST_COLUMNS", most)
    check_compiled_steps(monkeypatch, MODEL, PICTURES.reshape(40, 64), LABELS, dtype)


def test_every_backend_gives_the_same_run(training_backend):
    options = {"epochs": 4, "batch_size": 16, "dtype": "float64", "optimizer": Adam(0.01)}
    x = PICTURES.reshape(40, 64)
    expected = xpnet.fit(MODEL, (x, LABELS), backend="numpy", **options)
    network = xpnet.fit(MODEL, (x, LABELS), backend=training_backend, **options)
    for name, value in expected.params.items():
        found = training_backend.to_numpy(network.params[name])
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-12, err_msg=name)


def test_sequences_are_learned_and_loaded_again(tmp_path):
    """Which half a bump is in."""
    x = 0.1 * stream(0, "noise").normal(size=(80, 12, 2)).astype("float32")
    labels = np.arange(80) % 2
    x[np.arange(80), 2 + 6 * labels, 0] += 2
    model = Sequential(
        conv1=Conv1D(2, 4, 3, 2), act1=Tanh(), conv2=Conv1D(4, 4, 3, groups=2), act2=Tanh(),
        flat=Flatten((6, 4)), fc=Dense(24, 2),
    )  # fmt: skip
    network = xpnet.fit(model, (x, labels), epochs=10, batch_size=8, backend="numpy")
    assert network.evaluate(x, labels).accuracy == 1.0
    network.save(tmp_path / "network.safetensors")
    loaded = xpnet.load(tmp_path / "network.safetensors")
    assert loaded.model == model
    np.testing.assert_array_equal(loaded.predict(x), network.predict(x))


def test_pictures_are_loaded_again(tmp_path):
    network = xpnet.fit(MODEL, (PICTURES.reshape(40, 64), LABELS), epochs=1, backend="numpy")
    network.save(tmp_path / "network.safetensors")
    loaded = xpnet.load(tmp_path / "network.safetensors")
    assert loaded.model == MODEL
    x = PICTURES.reshape(40, 64)
    np.testing.assert_array_equal(loaded.predict(x), network.predict(x))
