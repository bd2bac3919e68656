"""The contract that every layer keeps, on the examples that its class gives."""

import json
from dataclasses import dataclass

import array_api_extra.testing as xpt
import numpy as np
import pytest

import xpnet
from xpnet import (
    ELU,
    GELU,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    MaxNorm,
    ReLU,
    Sequential,
)
from xpnet.conformance.examples import LAYER_EXAMPLES
from xpnet.layers import ACTIVATIONS, EVALUATION, LAYERS, Activation, Context
from xpnet.network.state import load_array
from xpnet.random import derive, stream
from xpnet.testing import check_layer

pytestmark = pytest.mark.numerics

TRAINING = Context(training=True)

each_row = pytest.mark.parametrize("row", LAYER_EXAMPLES, ids=str)


def host_arrays(row, dtype="float64"):
    """Parameters, input and output gradient on the host."""
    params, x, dy = row.arrays()
    return {n: p.astype(dtype) for n, p in params.items()}, x.astype(dtype), dy.astype(dtype)


def load(backend, row):
    params, x, dy = host_arrays(row, backend.dtype_name)
    return (
        {name: load_array(backend, value) for name, value in params.items()},
        load_array(backend, x),
        load_array(backend, dy),
    )


def run(backend, row, **options):
    params, x, dy = load(backend, row)
    y, cache = row.layer.forward(backend.xp, params, x, row.context())
    dx, grads = row.layer.backward(backend.xp, params, cache, dy, **options)
    return y, dx, grads


def test_every_public_layer_has_a_row():
    public = {
        value
        for value in (getattr(xpnet, name) for name in xpnet.__all__)
        if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
    }
    assert public == {type(row.layer) for row in LAYER_EXAMPLES}
    assert set(LAYERS.values()) == public


@each_row
def test_equals_numpy_on_every_backend(backend, row):
    expected_y, expected_dx, expected_grads = run(xpnet.open_backend("numpy", None, "float64"), row)
    y, dx, grads = run(backend, row)
    for actual, expected in [(y, expected_y), (dx, expected_dx)]:
        np.testing.assert_allclose(backend.to_numpy(actual), expected, rtol=1e-12, atol=1e-14)
    assert list(grads) == list(expected_grads)
    for name, expected in expected_grads.items():
        np.testing.assert_allclose(backend.to_numpy(grads[name]), expected, rtol=1e-12, atol=1e-14)


@each_row
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_device(backend, row, dtype):
    backend = type(backend)(type(backend).device_of(backend.asarray(1.0)), dtype)
    with backend.scope():
        _, x, _ = load(backend, row)
        y, dx, grads = run(backend, row)
    shape = row.layer.output_shape(row.shape[1:])
    assert tuple(y.shape) == (row.shape[0], *shape)
    assert tuple(dx.shape) == row.shape
    assert set(grads) == set(row.layer.parameter_shapes())
    for name, grad in grads.items():
        assert tuple(grad.shape) == row.layer.parameter_shapes()[name]
    for array in (y, dx, *grads.values()):
        assert array.dtype == backend.dtype
        assert type(array) is type(x)
        assert type(backend).device_of(array) == type(backend).device_of(x)


@each_row
@pytest.mark.parametrize("ctx", [None, EVALUATION], ids=["training", "evaluation"])
def test_slopes_and_contract(row, ctx):
    """The gradients against differences in float64, and what else `check_layer` looks at."""
    params, x, _ = host_arrays(row)
    ctx = row.context() if ctx is None else ctx
    check_layer(row.layer, x, params=params, ctx=ctx, tolerance=1e-7).raise_if_wrong()


@each_row
def test_equals_automatic_differentiation(row):
    """jax.vjp of our forward against our backward."""
    jax = pytest.importorskip("jax")
    backend = xpnet.open_backend("jax", None, "float64")
    with backend.scope():
        params, x, dy = load(backend, row)
        forward = lambda params, x: row.layer.forward(backend.xp, params, x, row.context())[0]  # noqa: E731
        _, vjp = jax.vjp(forward, params, x)
        expected_grads, expected_dx = vjp(dy)
        _, dx, grads = run(backend, row)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-14)
    assert set(grads) == set(row.layer.parameter_shapes())
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected_grads[name], rtol=1e-12, atol=1e-14)


@each_row
def test_compiled_equals_eager(row):
    jax = pytest.importorskip("jax")
    backend = xpnet.open_backend("jax", None, "float64")
    with backend.scope():
        params, x, dy = load(backend, row)
        forward = jax.jit(lambda params, x: row.layer.forward(backend.xp, params, x, row.context()))
        backward = jax.jit(lambda params, c, dy: row.layer.backward(backend.xp, params, c, dy))
        y, cache = forward(params, x)
        dx, grads = backward(params, cache, dy)
        expected_y, expected_dx, expected_grads = run(backend, row)
    np.testing.assert_allclose(y, expected_y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-12, atol=1e-14)
    for name, expected in expected_grads.items():
        np.testing.assert_allclose(grads[name], expected, rtol=1e-12, atol=1e-14)


@each_row
def test_without_the_input_gradient(backend, row):
    _, _, expected = run(backend, row)
    _, dx, grads = run(backend, row, need_dx=False)
    assert dx is None
    assert set(grads) == set(expected)
    for name, grad in grads.items():
        xpt.assert_equal(grad, expected[name])


@each_row
def test_arguments_are_not_written_to(training_backend, row):
    backend = training_backend
    with backend.scope():
        params, x, dy = load(backend, row)
        before = [np.array(backend.to_numpy(a)) for a in (*params.values(), x, dy)]
        _, cache = row.layer.forward(backend.xp, params, x, row.context())
        row.layer.backward(backend.xp, params, cache, dy)
        after = [backend.to_numpy(a) for a in (*params.values(), x, dy)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@each_row
def test_backward_twice_gives_the_same(row):
    """The cache is not used up: gradient checkpointing and double backward rely on it."""
    params, x, dy = host_arrays(row)
    _, cache = row.layer.forward(np, params, x, row.context())
    first_dx, first = row.layer.backward(np, params, cache, dy)
    second_dx, second = row.layer.backward(np, params, cache, dy)
    np.testing.assert_array_equal(first_dx, second_dx)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_backward_of_ones_own_is_not_passed_over():
    """A subclass that changes the gradient changes the training, though SGD needs none of Dense."""

    @dataclass(frozen=True)
    class Frozen(xpnet.Dense):
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(xp, params, cache, dy, need_dx=need_dx)
            return dx, {name: grad * 0 for name, grad in grads.items()}

    class FrozenToo(Sequential):
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(xp, params, cache, dy, need_dx=need_dx)
            return dx, {name: grad * 0 for name, grad in grads.items()}

    x, y = np.eye(4), np.arange(4) % 3
    for model in (
        Sequential(fc1=Frozen(4, 5), fc2=xpnet.Dense(5, 3)),
        Sequential(part=FrozenToo(fc1=xpnet.Dense(4, 5)), fc2=xpnet.Dense(5, 3)),
    ):
        network = xpnet.fit(model, (x, y), epochs=1, backend="numpy", dtype="float64")
        before = model.init(derive(0, "initialization"))
        moved = {name for name in before if not np.array_equal(before[name], network.params[name])}
        assert moved == {"fc2.weight", "fc2.bias"}


def test_a_backward_that_is_not_linear_gets_the_rate_once():
    """Weight decay in a backward of one's own, and in a mixin: as an optimizer would do it."""

    class Decay:
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            dx, grads = super().backward(xp, params, cache, dy, need_dx=need_dx)
            grads["weight"] = grads["weight"] + 0.5 * params["weight"]
            return dx, grads

    class Mixed(Decay, xpnet.Dense):
        pass

    class ByHand(xpnet.SGD):
        def update(self, xp, params, grads, slots, learning_rate):
            return super().update(xp, params, grads, slots, learning_rate)

    x, y = np.eye(4), np.arange(4) % 3
    plain, by_hand = (
        xpnet.fit(
            Sequential(fc1=Mixed(4, 3)), (x, y), epochs=2, optimizer=optimizer, dtype="float64",
            backend="numpy",
        ).params["fc1.weight"]
        for optimizer in (xpnet.SGD(0.1), ByHand(0.1))
    )  # fmt: skip
    np.testing.assert_allclose(plain, by_hand, rtol=1e-12)


def test_a_layer_may_take_options_for_its_class():
    class Tagged(xpnet.ReLU):
        def __init_subclass__(cls, tag=None, **options):
            super().__init_subclass__(**options)
            cls.tag = tag

    class Leaf(Tagged, tag=3):
        pass

    assert Leaf.tag == 3


def test_an_update_of_ones_own_is_not_passed_over():
    class Backwards(xpnet.SGD):
        def update(self, xp, params, grads, slots, learning_rate):
            return super().update(xp, params, grads, slots, -learning_rate)

    x, y = np.eye(4), np.arange(4) % 3
    losses = [
        xpnet.fit(xpnet.mlp(4, 3), (x, y), epochs=3, optimizer=optimizer, backend="numpy")
        for optimizer in (xpnet.SGD(0.5), Backwards(0.5))
    ]
    assert losses[0].history[-1].train_loss < losses[0].history[0].train_loss
    assert losses[1].history[-1].train_loss > losses[1].history[0].train_loss


@each_row
def test_evaluation_repeats(backend, row):
    params, x, _ = load(backend, row)
    first, _ = row.layer.forward(backend.xp, params, x, EVALUATION)
    second, _ = row.layer.forward(backend.xp, params, x, EVALUATION)
    xpt.assert_equal(first, second)


@each_row
def test_initial_parameters(row):
    shapes = row.layer.parameter_shapes()
    params = row.layer.init(0)
    again, other = row.layer.init(0), row.layer.init(1)
    assert {name: value.shape for name, value in params.items()} == shapes
    for name, value in params.items():
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, again[name])
        if name.endswith("weight"):
            assert not np.array_equal(value, other[name]), f"{name} is to be drawn by the seed"
        elif name.endswith(("scale", "bias")):
            start = 1 if name.endswith("scale") else 0
            assert (value == start).all(), f"{name} is to begin as {start}"


@each_row
def test_description_round_trip(row):
    layer = row.layer
    assert type(layer).from_config(layer.config()) == layer
    assert hash(type(layer).from_config(layer.config())) == hash(layer)
    assert type(layer).__name__ in repr(layer)


@each_row
def test_saved_and_loaded(row, tmp_path):
    backend = xpnet.open_backend("numpy", None, "float64")
    model = Sequential(layer=row.layer)
    params, x, _ = host_arrays(row)
    named = {f"layer.{name}": value for name, value in params.items()}
    buffers = {name: named.pop(name) for name in model.buffers()}
    network = xpnet.Network(model, named, backend, buffers=buffers)
    network.save(tmp_path / "model.safetensors")
    loaded = xpnet.load(tmp_path / "model.safetensors")
    assert loaded.model == model
    expected, _ = row.layer.forward(np, params, x, EVALUATION)
    actual, _ = loaded.model.forward(np, loaded.arrays, x, EVALUATION)
    np.testing.assert_array_equal(actual, expected)


def test_every_activation_has_a_name():
    found = {layer for layer in LAYERS.values() if issubclass(layer, Activation)}
    assert set(ACTIVATIONS.values()) == found
    assert {"leaky_relu", "elu", "gelu", "silu", "softplus"} < set(ACTIVATIONS)
    for kind in ACTIVATIONS.values():
        assert kind().flops((3, 4)) % 12 == 0
        assert kind().flops((3, 4)) > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyReLU(-0.1), "LeakyReLU: slope must not be negative, got -0.1"),
        (lambda: LeakyReLU("0.1"), "LeakyReLU: slope must be finite, got '0.1'"),
        (lambda: LeakyReLU(float("nan")), "LeakyReLU: slope must be finite, got nan"),
        (lambda: ELU(0), "ELU: alpha must be positive and finite, got 0"),
        (lambda: ELU(float("inf")), "ELU: alpha must be positive and finite, got inf"),
        (lambda: GELU("erf"), "GELU: approximate must be 'none' or 'tanh', got 'erf'"),
        (lambda: GELU(True), "GELU: approximate must be"),
        (lambda: Dense(2, 3, bias=1), "Dense: bias must be True or False, got 1"),
        (lambda: Dense(2, 3, constraint=3.0), r"constraint must be one such as MaxNorm\(3.0\)"),
        (lambda: Dense(2, 3, constraint=MaxNorm), r"constraint must be one such as MaxNorm\(3.0\)"),
        (lambda: MaxNorm(0), "MaxNorm: limit must be positive and finite, got 0"),
        (lambda: MaxNorm(float("inf")), "MaxNorm: limit must be positive and finite, got inf"),
    ],
)
def test_options_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_activations_pass_a_nan_on(backend):
    """A network whose weights are no numbers must not look healthy."""
    x = backend.asarray(np.array([[np.nan, 1.0, -1.0]]))
    for layer in [kind() for kind in ACTIVATIONS.values()] + [GELU("tanh")]:
        y, cache = layer.forward(backend.xp, {}, x, TRAINING)
        assert np.isnan(backend.to_numpy(y)).tolist() == [[True, False, False]], layer
        dx, _ = layer.backward(backend.xp, {}, cache, backend.asarray(np.ones((1, 3))))
        assert not np.isnan(backend.to_numpy(dx)[0, 1:]).any(), layer


def test_dense_without_a_bias():
    layer = Dense(5, 3, bias=False)
    assert layer.parameter_shapes() == {"weight": (5, 3)}
    np.testing.assert_array_equal(layer.init(0)["weight"], Dense(5, 3).init(0)["weight"])
    weight, x = stream(0, "w").normal(size=(5, 3)), stream(0, "x").normal(size=(4, 5))
    y, _ = layer.forward(np, {"weight": weight}, x, TRAINING)
    with_bias, _ = Dense(5, 3).forward(np, {"weight": weight, "bias": np.zeros(3)}, x, TRAINING)
    np.testing.assert_array_equal(y, with_bias)


def test_softmax_of_huge_logits_is_finite():
    z = np.array([[1e4, 0.0, -1e4], [-1e30, -1e30, -1e30], [88.0, 89.0, 710.0]])
    scipy_special = pytest.importorskip("scipy.special")
    np.testing.assert_allclose(xpnet.layers.softmax(np, z), scipy_special.softmax(z, axis=1))
    np.testing.assert_allclose(
        xpnet.layers.log_softmax(np, z), scipy_special.log_softmax(z, axis=1)
    )


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True, None])
def test_dense_refuses_sizes(size):
    with pytest.raises(ValueError, match="n_in must be a positive integer, got"):
        Dense(size, 3)
    with pytest.raises(ValueError, match="n_out must be a positive integer, got"):
        Dense(3, size)


def test_dense_refuses_an_initializer_that_is_none():
    with pytest.raises(ValueError, match="init_weight must be an initializer"):
        Dense(2, 3, "he_normal")


def test_a_layer_without_methods_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="Layer must define forward"):
        Layer().forward(np, {}, np.ones((1, 1)), TRAINING)
    with pytest.raises(NotImplementedError, match="Layer must define backward"):
        Layer().backward(np, {}, (), np.ones((1, 1)))


def test_dropout_keeps_the_expectation():
    """Kept elements are scaled by 1 / (1 - rate): the mean of many masks is the input."""
    x = np.ones((200, 500))
    for rate in (0.1, 0.5, 0.9):
        y, _ = Dropout(rate).forward(np, {}, x, LAYER_EXAMPLES[0].context())
        assert set(np.unique(y)) == {0.0, y.max()}
        # The scale is that of the rate as it is drawn, a multiple of 2**-16.
        assert y.max() == pytest.approx(1 / (1 - round(rate * 65536) / 65536), rel=1e-12)
        # The standard error of the mean of 100,000 elements, five times.
        assert y.mean() == pytest.approx(1, abs=5 * np.sqrt(rate / (1 - rate) / x.size))


def test_dropout_is_the_identity_in_evaluation(backend):
    x = backend.asarray(stream(0, "x").normal(size=(3, 4)))
    y, cache = Dropout(0.9).forward(backend.xp, {}, x, EVALUATION)
    np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(x))
    dx, _ = Dropout(0.9).backward(backend.xp, {}, cache, x)
    np.testing.assert_array_equal(backend.to_numpy(dx), backend.to_numpy(x))


def test_dropout_of_a_shard_is_the_shard_of_dropout(backend):
    """Data-parallel ranks, each with its rows, draw together what one device draws alone."""
    x = backend.asarray(stream(0, "x").normal(size=(10, 7)))
    ctx = Context(training=True, seed=derive(0, "dropout"), step=5)
    whole, _ = Dropout(0.4).forward(backend.xp, {}, x, ctx)
    for rows in (slice(0, 4), slice(4, 7), slice(7, 10)):
        shard = ctx._replace(row_offset=rows.start)
        y, _ = Dropout(0.4).forward(backend.xp, {}, x[rows, ...], shard)
        np.testing.assert_array_equal(backend.to_numpy(y), backend.to_numpy(whole[rows, ...]))


def test_dropout_differs_by_layer_step_and_seed():
    x = np.ones((20, 20))

    def y(model, **changes):
        ctx = Context(training=True, seed=derive(0, "dropout"), step=5)._replace(**changes)
        return model.forward(np, {}, x, ctx)[0]

    first = y(Sequential(a=Dropout(0.5)))
    np.testing.assert_array_equal(y(Sequential(a=Dropout(0.5))), first)
    np.testing.assert_array_equal(y(Sequential(zero=ReLU(), a=Dropout(0.5))), first)
    others = [
        y(Sequential(b=Dropout(0.5))),
        y(Sequential(a=Sequential(a=Dropout(0.5)))),
        y(Sequential(a=Dropout(0.5)), step=6),
        y(Sequential(a=Dropout(0.5)), seed=derive(1, "dropout")),
    ]
    for other in others:
        assert 0.4 < (other == first).mean() < 0.6


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, 2, float("nan"), "0.5", None, True])
def test_dropout_refuses_rates(rate):
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1, got"):
        Dropout(rate)


@pytest.mark.parametrize("rate", [1 - 1e-9, 0.9999999, 1 - 2**-17, 1e-300, 1e-9, 2**-17])
def test_dropout_refuses_rates_that_are_drawn_as_another_kind(rate):
    """Below 1 and not 0, but of all masks none would keep anything, or none would drop anything."""
    what = "everything" if rate > 0.5 else "nothing"
    with pytest.raises(
        ValueError, match=f"Dropout: rate is drawn .* drops {what}: it must be 0, or"
    ):
        Dropout(rate)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.99999, 1 - 2**-16, 2**-16, 1e-5])
def test_dropout_at_the_ends_keeps_the_expectation(rate, dtype):
    """Where one element in 2**16 is kept, or dropped: input and gradient are scaled exactly."""
    x = np.ones((256, 4096), dtype=dtype)
    layer = Dropout(rate)
    y, cache = layer.forward(np, {}, x, LAYER_EXAMPLES[0].context())
    dropped = 1 - 2**-16 if rate > 0.5 else 2**-16
    assert y.dtype == dtype
    assert set(np.unique(y)) == {0, np.asarray(1 / (1 - dropped), dtype=dtype)[()]}
    # 16 elements in the mean, five times the root of it.
    rare = np.count_nonzero(y) if rate > 0.5 else np.count_nonzero(y == 0)
    assert rare == pytest.approx(16, abs=20)
    assert rare > 0
    np.testing.assert_array_equal(layer.backward(np, {}, cache, x)[0], y)


def test_a_rate_of_numpy_is_a_number_in_the_file():
    rate = np.float32(0.25)
    assert json.dumps(Dropout(rate).config()) == '{"rate": 0.25}'


def test_dropout_without_a_seed_says_so():
    with pytest.raises(ValueError, match="a random layer needs a seed in training"):
        Dropout(0.5).forward(np, {}, np.ones((2, 2)), TRAINING)


def test_containers_keep_the_masks_of_their_parts_apart():
    """A container of the user's own, which hands its context on: two of them, two masks."""

    @dataclass(frozen=True)
    class Block(Layer):
        inner: Layer

        def forward(self, xp, params, x, ctx):
            return self.inner.forward(xp, params, x, ctx)

    block = Block(Sequential(drop=Dropout(0.5)))
    ctx = Context(training=True, seed=derive(0, "dropout"), step=1)
    y, _ = Sequential(a=block, b=block).forward(np, {}, np.ones((100, 100)), ctx)
    assert (y > 0).mean() == pytest.approx(0.25, abs=0.03)


def test_dropout_takes_any_real_rate():
    assert Dropout(np.float32(0.5)).rate == 0.5
