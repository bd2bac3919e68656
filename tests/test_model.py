"""Sequential: construction, names, nesting, backward's reach."""

from dataclasses import dataclass

import numpy as np
import pytest
from conftest import require

import xpnet
from xpnet import (
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    ReLU,
    Residual,
    Sequential,
    Softmax,
    Tanh,
    mlp,
)
from xpnet.initializers import xavier_uniform
from xpnet.layers import Context

pytestmark = pytest.mark.numerics


def test_the_network_of_the_first_page():
    model = Sequential(fc1=Dense(784, 128), act1=ReLU(), fc2=Dense(128, 10))
    assert model == mlp(784, 128, 10)
    assert model.parameter_shapes() == {
        "fc1.weight": (784, 128),
        "fc1.bias": (128,),
        "fc2.weight": (128, 10),
        "fc2.bias": (10,),
    }
    assert model.parameter_count == 784 * 128 + 128 + 128 * 10 + 10
    assert model.input_shape() == (784,)
    assert model.output_shape((784,)) == (10,)
    assert list(model) == ["fc1", "act1", "fc2"]
    assert len(model) == 3
    assert model["act1"] == ReLU()


def test_it_equals_the_formulas_of_the_mathematics():
    """Forward and backward written out for one hidden layer, as in the documentation."""
    model = mlp(6, 5, 3)
    rng = np.random.default_rng(0)
    p = {name: rng.normal(size=shape) for name, shape in model.parameter_shapes().items()}
    X, Y, m = rng.normal(size=(7, 6)), np.eye(3)[rng.integers(3, size=7)], 7
    Z1 = X @ p["fc1.weight"] + p["fc1.bias"]
    A1 = np.maximum(Z1, 0)
    Z2 = A1 @ p["fc2.weight"] + p["fc2.bias"]
    A2 = np.exp(Z2) / np.exp(Z2).sum(axis=1, keepdims=True)
    dZ2 = (A2 - Y) / m
    dZ1 = (dZ2 @ p["fc2.weight"].T) * (Z1 > 0)
    expected = {
        "fc2.weight": A1.T @ dZ2,
        "fc2.bias": dZ2.sum(axis=0),
        "fc1.weight": X.T @ dZ1,
        "fc1.bias": dZ1.sum(axis=0),
    }
    output, cache = model.forward(np, p, X, Context(training=True))
    np.testing.assert_allclose(output, Z2, rtol=1e-13)
    dx, grads = model.backward(np, p, cache, dZ2, need_dx=False)
    assert dx is None
    for name, gradient in expected.items():
        np.testing.assert_allclose(grads[name], gradient, rtol=1e-12, atol=1e-15)


@dataclass(frozen=True)
class Untouchable(Layer):
    """A layer whose backward pass must not be asked for."""

    def forward(self, xp, params, x, ctx):
        return 2 * x, ()

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        raise AssertionError("backward was called below the lowest layer with parameters")


@pytest.mark.parametrize(
    "model",
    [
        Sequential(below=Untouchable(), fc=Dense(4, 3), act=Tanh()),
        Sequential(below=Untouchable(), block=Sequential(inner=Untouchable(), fc=Dense(4, 3))),
        Sequential(below=Untouchable()),
    ],
    ids=["flat", "nested", "no parameters"],
)
def test_backward_stops_at_the_lowest_layer_with_parameters(model):
    params = model.init(0)
    y, cache = model.forward(np, params, np.ones((2, 4)), Context(training=True))
    dx, grads = model.backward(np, params, cache, np.ones_like(y), need_dx=False)
    assert dx is None
    assert set(grads) == set(params)


def test_an_inserted_layer_changes_no_other_layers_weights():
    short = Sequential(fc1=Dense(4, 4), fc2=Dense(4, 2))
    long = Sequential(fc1=Dense(4, 4), act=ReLU(), extra=Dense(4, 4), fc2=Dense(4, 2))
    one, other = short.init(3), long.init(3)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_layers_of_equal_shape_get_different_weights():
    params = Sequential(fc1=Dense(4, 4), fc2=Dense(4, 4)).init(0)
    assert not np.array_equal(params["fc1.weight"], params["fc2.weight"])


def test_equality_and_hash_are_of_names_and_order():
    model = Sequential(a=ReLU(), b=Tanh())
    assert model == Sequential(a=ReLU(), b=Tanh())
    assert hash(model) == hash(Sequential(a=ReLU(), b=Tanh()))
    assert model != Sequential(b=Tanh(), a=ReLU())
    assert model != Sequential(c=ReLU(), b=Tanh())
    assert model != "Sequential"


def rows_of(model):
    return [line.split() for line in model.summary().splitlines()]


def test_summary_counts_parameters():
    assert rows_of(Sequential(flat=Flatten((28, 28)), fc1=Dense(784, 10))) == [
        ["name", "layer", "output", "parameters", "bytes", "FLOPs", "activations"],
        ["flat", "Flatten", "784", "0", "0", "0", "0"],  # the numbers of the picture
        ["fc1", "Dense", "10", "7,850", "31,400", "15,690", "40"],
        ["total", "7,850", "31,400", "15,690", "40"],
    ]


def test_summary_goes_into_containers():
    block = Sequential(fc1=Dense(4, 8, bias=False), bn1=BatchNorm(8), act1=Tanh(), fc2=Dense(8, 3))
    model = Sequential(res=Residual(block, Dense(4, 3, bias=False)), soft=Softmax())
    assert rows_of(model)[1:] == [
        ["res", "Residual", "3", "0", "0", "3", "12"],  # the sum of the two ways
        ["res.block", "Sequential", "3", "0", "0", "0", "0"],
        ["res.block.fc1", "Dense", "8", "32", "128", "64", "32"],
        ["res.block.bn1", "BatchNorm", "8", "16", "128", "32", "32"],  # and 16 numbers of buffers
        ["res.block.act1", "Tanh", "8", "0", "0", "8", "32"],
        ["res.block.fc2", "Dense", "3", "27", "108", "51", "12"],
        ["res.skip", "Dense", "3", "12", "48", "24", "12"],
        ["soft", "Softmax", "3", "0", "0", "15", "12"],
        ["total", "87", "412", "197", "144"],
    ]
    assert model.flops((4,)) == 197
    assert model.parameter_count == 87
    names = {f"{row[0]}." for row in rows_of(model)[1:]}
    assert all(any(name.startswith(row) for row in names) for name in model.parameter_shapes())
    # A container on its own counts its own operations in the total.
    assert rows_of(model["res"])[-1] == ["total", "87", "412", "182", "132"]


def test_summary_of_a_network_for_any_shape():
    assert rows_of(Sequential(act=Tanh(), drop=Dropout(0.1)))[1:] == [
        ["act", "Tanh", "?", "0", "0", "?", "?"],
        ["drop", "Dropout", "?", "0", "0", "?", "?"],
        ["total", "0", "0", "?", "?"],
    ]


def test_mlp_options():
    model = mlp(4, 3, 3, 2, activation=Tanh(), init_weight=xavier_uniform)
    assert list(model) == ["fc1", "act1", "fc2", "act2", "fc3"]
    assert model["act2"] == Tanh()
    assert model["fc3"] == Dense(3, 2, xavier_uniform)
    assert repr(model["fc3"]) == "Dense(3, 2, xavier_uniform)"


def test_mlp_with_batch_norm():
    model = mlp(4, 3, 3, 2, batch_norm=True, dropout=0.5)
    assert list(model) == [
        "fc1", "bn1", "act1", "drop1", "fc2", "bn2", "act2", "drop2", "fc3",
    ]  # fmt: skip
    assert model["bn2"] == BatchNorm(3)
    # The mean that is subtracted would take a bias away; the output has one.
    assert [model[name].bias for name in ("fc1", "fc2", "fc3")] == [False, False, True]


def test_a_parameter_and_a_buffer_of_one_name_are_refused():
    class Twice(BatchNorm):
        def buffers(self):
            return {"bias": np.zeros(self.n_features)}

    with pytest.raises(ValueError, match="bn: bias is the name of a parameter and of a buffer"):
        Sequential(bn=Twice(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential(), "needs at least one layer"),
        (
            lambda: Sequential(fc=Dense),
            r"Sequential: fc=Dense is the class, not a layer: write Dense\(\.\.\.\)",
        ),
        (lambda: Sequential(act=ReLU), r"act=ReLU is the class, not a layer: write ReLU\(\)$"),
        (lambda: Sequential(fc=lambda x: x), "is not a layer"),
        (lambda: mlp(4, 3, 2, activation=ReLU), r"mlp: activation=ReLU is .*: write ReLU\(\)$"),
        (lambda: mlp(4, 3, activation=Dense), r"activation=Dense .* write Dense\(\.\.\.\)$"),
        (lambda: mlp(4, 3, activation="relu"), r"mlp: activation='relu' is not a layer such as R"),
        (lambda: mlp(4, 3, activation=dict), "activation=<class 'dict'> is not a layer"),
        (
            lambda: Sequential(fc1=Dense(4, 3), fc2=Dense(4, 2)),
            r"fc2: Dense\(4, 2\) takes samples of shape \(4,\), but is given shape \(3,\)",
        ),
        (
            lambda: Sequential(fc1=Dense(4, 3), flat=Flatten((2, 2))),
            r"flat: Flatten\(\(2, 2\)\) is given samples of shape \(3,\)",
        ),
        (lambda: Sequential(**{"fc.1": Dense(4, 3)}), "may have only letters"),
        (lambda: Sequential(**{"": Dense(4, 3)}), "may have only letters"),
        (lambda: Flatten((2, 0)), "must be positive integers"),
        (lambda: mlp(4), "needs an input and an output size"),
        (lambda: mlp(4, 0), "n_out must be a positive integer, got 0"),
    ],
)
def test_construction_refuses(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_description_with_a_foreign_layer_is_refused():
    config = Sequential(mine=Untouchable()).config()
    with pytest.raises(
        ValueError, match=r"layer 'mine': 'Untouchable' is not one of xpnet's layers"
    ):
        Sequential.from_config(config)


@pytest.mark.parametrize("home", ["numpy", "torch", "jax"])
def test_a_network_opens_a_backend_by_its_name(home):
    """As all that takes a backend; arrays of NumPy become its own."""
    require(home)
    model = Sequential(fc=Dense(4, 3), bn=BatchNorm(3))
    params, x = model.init(0), np.eye(4)
    network = xpnet.Network(model, params, home, buffers=model.buffers())
    assert (network.backend.name, network.backend.dtype_name) == (home, "float32")
    arrays = network.arrays.values()
    assert all(network.backend.holds(value) for value in arrays)
    opened = xpnet.open_backend("numpy", dtype="float64")
    expected = xpnet.Network(model, params, opened).predict_proba(x)
    np.testing.assert_allclose(network.predict_proba(x), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"one of numpy, .*; got 'nump'; did you mean 'numpy'"):
        xpnet.Network(model, params, "nump")
