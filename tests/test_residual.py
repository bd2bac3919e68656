"""Residual blocks: two ways for the signal and for its gradient."""

import numpy as np
import pytest

import xpnet
from xpnet import BatchNorm, Dense, Dropout, ReLU, Residual, Sequential, Tanh
from xpnet.layers import Context
from xpnet.random import derive, stream

pytestmark = pytest.mark.numerics

TRAINING = Context(training=True, seed=derive(0, "dropout"), step=2)
BLOCK = Sequential(fc1=Dense(5, 8), act=Tanh(), fc2=Dense(8, 3))
PROJECTED = Residual(BLOCK, Dense(5, 3, bias=False))
PLAIN = Residual(Sequential(fc1=Dense(5, 8), act=Tanh(), fc2=Dense(8, 5)))


def torch_residual(torch, layer, params):
    """The same block of torch's own modules."""

    def linear(name, bias=True):
        weight = torch.tensor(params[f"{name}.weight"]).T
        module = torch.nn.Linear(*weight.T.shape, bias=bias).double()
        with torch.no_grad():
            module.weight.copy_(weight)
            if bias:
                module.bias.copy_(torch.tensor(params[f"{name}.bias"]))
        return module

    block = torch.nn.Sequential(linear("block.fc1"), torch.nn.Tanh(), linear("block.fc2"))
    skip = linear("skip", bias=False) if "skip" in layer.layers else torch.nn.Identity()
    return block, skip


@pytest.mark.parametrize("layer", [PLAIN, PROJECTED], ids=["identity", "projection"])
def test_equals_torch(layer):
    torch = pytest.importorskip("torch")
    shapes = layer.parameter_shapes()
    params = {name: stream(0, name).normal(size=shape) for name, shape in shapes.items()}
    block, skip = torch_residual(torch, layer, params)
    x = stream(0, "x").normal(size=(6, 5))
    leaf = torch.tensor(x, requires_grad=True)
    expected = block(leaf) + skip(leaf)
    dy = stream(0, "dy").normal(size=expected.shape)
    expected.backward(torch.tensor(dy))
    y, cache = layer.forward(np, params, x, TRAINING)
    dx, grads = layer.backward(np, params, cache, dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-12, atol=1e-14)
    wanted = {
        "block.fc1.weight": block[0].weight.grad.T, "block.fc1.bias": block[0].bias.grad,
        "block.fc2.weight": block[2].weight.grad.T, "block.fc2.bias": block[2].bias.grad,
    }  # fmt: skip
    if "skip" in layer.layers:
        wanted["skip.weight"] = skip.weight.grad.T
    assert set(grads) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(grads[name], value.numpy(), rtol=1e-12, atol=1e-14)


def test_names_and_shapes():
    assert list(PROJECTED.parameter_shapes()) == [
        "block.fc1.weight", "block.fc1.bias", "block.fc2.weight", "block.fc2.bias", "skip.weight",
    ]  # fmt: skip
    assert (PROJECTED.input_shape(), PROJECTED.output_shape(None)) == ((5,), (3,))
    free = Residual(Tanh())
    assert (free.input_shape(), free.output_shape((2, 3))) == (None, (2, 3))
    # The skip knows the shape where the block does not.
    assert Residual(Tanh(), Dense(4, 4)).input_shape() == (4,)
    assert repr(free) == "Residual(block=Tanh())"
    assert Residual(Tanh()) == free != Residual(Tanh(), Tanh())
    assert free != Sequential(block=Tanh())
    assert hash(free) == hash(Residual(Tanh()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Residual(BLOCK),
            r"the block gives samples of shape \(3,\), the skip \(5,\): give",
        ),
        (lambda: Residual(BLOCK, Dense(5, 4)), r"the block gives .* \(3,\), the skip \(4,\)"),
        (lambda: Residual(BLOCK, Dense(4, 3)), r"Dense\(4, 3\) takes samples of shape \(4,\)"),
        (lambda: Residual(Dense), r"block=Dense is the class, not a layer: write Dense\(\.\.\.\)"),
        (
            lambda: Sequential(fc=Dense(4, 6), res=Residual(BLOCK, Dense(5, 3))),
            r"res: Dense\(5, 8\) takes samples of shape \(5,\), but is given shape \(6,\)",
        ),
        (
            lambda: Residual(Tanh(), Dense(6, 4)),
            r"Residual: the block gives samples of shape \(6,\), the skip \(4,\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused_at_once(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_the_input_gradient_is_not_computed_where_it_is_not_wanted():
    class Untouchable(Tanh):
        def backward(self, xp, params, cache, dy, *, need_dx=True):
            raise AssertionError("backward was called for nothing")

    model = Residual(Dense(4, 4), Untouchable())
    params = model.init(0)
    y, cache = model.forward(np, params, np.ones((2, 4)), TRAINING)
    dx, grads = model.backward(np, params, cache, y, need_dx=False)
    assert (dx, set(grads)) == (None, {"block.weight", "block.bias"})


def test_masks_of_the_two_ways_and_of_nested_blocks_differ():
    drop = Dropout(0.5)
    x = np.ones((50, 50))
    y, _ = Residual(drop, drop).forward(np, {}, x, TRAINING)
    # Both kept, one, none: 4, 2, 0 with probabilities 1/4, 1/2, 1/4.
    assert [(y == value).mean() for value in (4, 2, 0)] == pytest.approx(
        [0.25, 0.5, 0.25], abs=0.05
    )
    y, _ = Residual(Residual(drop), Residual(drop)).forward(np, {}, x, TRAINING)
    assert (y == 4).mean() == pytest.approx(0.5, abs=0.05)


def test_buffers_and_constraints_of_both_ways(training_backend):
    constraint = xpnet.MaxNorm(0.2)
    layer = Residual(
        Sequential(fc=Dense(64, 6, constraint=constraint), bn=BatchNorm(6), act=ReLU()),
        Sequential(fc=Dense(64, 6, bias=False, constraint=constraint), bn=BatchNorm(6)),
    )
    model = Sequential(res=layer, fc=Dense(6, 10))
    assert set(model.buffers()) == {
        f"res.{way}.bn.{name}" for way in ("block", "skip") for name in ("mean", "variance")
    }
    assert model.smallest_batch() == 2
    data = xpnet.load_dataset("digits").limited(100)
    options = {"epochs": 2, "optimizer": xpnet.SGD(0.3), "dtype": "float64"}
    network = xpnet.fit(model, data, backend=training_backend, **options)
    expected = xpnet.fit(model, data, backend="numpy", **options)
    for name, value in expected.arrays.items():
        found = training_backend.to_numpy(network.arrays[name])
        np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-12)
    for way in ("block", "skip"):
        norms = np.linalg.norm(expected.params[f"res.{way}.fc.weight"], axis=0)
        assert norms.max() == pytest.approx(0.2)
        assert not np.allclose(expected.buffers[f"res.{way}.bn.mean"], 0)
    assert np.linalg.norm(expected.params["fc.weight"], axis=0).max() > 0.5
