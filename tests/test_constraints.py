"""Max-norm: no unit's weights are longer than allowed, after every update."""

import numpy as np
import pytest

import xpnet
from xpnet import SGD, Dense, MaxNorm, ReLU, Sequential, load
from xpnet.layers import Layer
from xpnet.layers.frozen import Frozen
from xpnet.random import stream

pytestmark = pytest.mark.numerics

DIGITS = xpnet.load_dataset("digits").limited(200)
MODEL = Sequential(fc1=Dense(64, 16, constraint=MaxNorm(0.5)), act1=ReLU(), fc2=Dense(16, 10))


class OtherSGD(SGD):
    """Takes the way of optimizers that want to see the gradients."""

    def update(self, *arguments):
        return super().update(*arguments)


def test_long_columns_are_scaled_and_short_ones_left_alone(training_backend):
    """Against torch.renorm, which does the same to the other axis."""
    torch = pytest.importorskip("torch")
    weight = stream(0, "w").normal(size=(30, 8)) * np.linspace(0, 2, 8)
    expected = torch.renorm(torch.tensor(weight), p=2, dim=1, maxnorm=3.0).numpy()
    with training_backend.scope():
        found = MaxNorm(3.0)(training_backend.xp, training_backend.asarray(weight, copy=True))
    found = training_backend.to_numpy(found)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # torch adds 1e-7 to the norm
    short = np.linalg.norm(weight, axis=0) <= 3
    assert 0 < short.sum() < 8
    np.testing.assert_array_equal(found[:, short], weight[:, short])
    assert np.linalg.norm(found, axis=0).max() <= 3 * (1 + 1e-15)


@pytest.mark.parametrize("limit", [1e-10, 3.0, 1e25])
def test_columns_whose_squares_overflow(training_backend, limit):
    """Of a column beyond the range of squares, directions stay, as in float64."""
    scales = np.asarray([1.0, 1e10, 1e15, 1e20, 1e30, 1e38, 0.0])
    weight = (stream(0, "w").uniform(-3, 3, (30, 7)) * scales).astype("float32")
    wide = weight.astype("float64")
    norms = np.sqrt(np.sum(wide * wide, axis=0))
    expected = wide * (limit / np.maximum(norms, limit))
    xp = training_backend.xp
    with training_backend.scope():
        own = training_backend.asarray(weight, dtype=xp.float32, copy=True)
        found = training_backend.to_numpy(MaxNorm(limit)(xp, own))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    short = (norms <= limit) & (scales <= 1e10)
    np.testing.assert_array_equal(found[:, short], weight[:, short])


def test_a_weight_that_is_no_number_stays_one():
    weight = np.ones((3, 2))
    weight[1, 0] = np.nan
    found = MaxNorm(1.0)(np, weight)
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


@pytest.mark.parametrize("optimizer", [SGD(0.5), OtherSGD(0.5)], ids=["plain", "gradients"])
def test_it_holds_after_every_step(training_backend, optimizer):
    class Look(xpnet.Callback):
        largest = 0.0
        states = 0

        def on_step(self, state, count):
            weight = training_backend.to_numpy(state["param/fc1.weight"])
            self.largest = max(self.largest, np.linalg.norm(weight, axis=0).max())
            self.states += count

    look = Look()
    network = xpnet.fit(
        MODEL, DIGITS, epochs=2, optimizer=optimizer, backend=training_backend, callbacks=[look],
        dtype="float64",
    )  # fmt: skip
    assert look.states == 8
    assert look.largest == pytest.approx(0.5, rel=1e-12)
    other = training_backend.to_numpy(network.params["fc2.weight"])
    assert np.linalg.norm(other, axis=0).max() > 1
    expected = xpnet.fit(
        MODEL, DIGITS, epochs=2, optimizer=optimizer, backend="numpy", dtype="float64"
    )
    found = training_backend.to_numpy(network.params["fc1.weight"])
    np.testing.assert_allclose(found, expected.params["fc1.weight"], rtol=1e-9, atol=1e-13)


def test_one_step_is_a_step_and_a_projection():
    """Written out: the gradient of a softmax regression, then columns scaled."""
    x, y = stream(0, "x").normal(size=(7, 4)), np.arange(7) % 3
    layer = Dense(4, 3, constraint=MaxNorm(1.0))
    network = xpnet.fit(
        layer, (x, y), epochs=1, batch_size=7, optimizer=SGD(0.5), backend="numpy", dtype="float64"
    )
    start = layer.init(xpnet.random.derive(0, "initialization"))
    p = np.exp(x @ start["weight"])
    p /= p.sum(axis=1, keepdims=True)
    moved = start["weight"] - 0.5 * x.T @ (p - np.eye(3)[y]) / 7
    norms = np.linalg.norm(moved, axis=0)
    assert (norms > 1).any()
    expected = moved * np.minimum(1, 1 / norms)
    np.testing.assert_allclose(network.params["weight"], expected, rtol=1e-12)


def test_where_there_is_none_nothing_is_done():
    assert xpnet.mlp(4, 3, 2).constraints() == {}
    assert Dense(2, 3).constraints() == {}
    assert Layer().constraints() == {}
    assert MODEL.constraints() == {"fc1.weight": MaxNorm(0.5)}
    assert Sequential(inner=MODEL).constraints() == {"inner.fc1.weight": MaxNorm(0.5)}
    assert Sequential(inner=Frozen(MODEL), fc=Dense(10, 2)).constraints() == {}


def test_a_constraint_of_ones_own_layer(training_backend):
    class Positive(Dense):
        def constraints(self):
            both = {"bias": lambda xp, bias: xp.minimum(bias, 0.0)}
            return both | {"weight": lambda xp, weight: xp.maximum(weight, 0.0)}

    model = Sequential(fc=Positive(64, 10))
    network = xpnet.fit(model, DIGITS, epochs=1, backend=training_backend, dtype="float64")
    weight, bias = (
        training_backend.to_numpy(network.params[f"fc.{n}"]) for n in ("weight", "bias")
    )
    assert weight.min() == 0
    assert (weight > 0).any()
    assert bias.max() == 0
    assert (bias < 0).any()


def test_a_constraint_of_what_is_no_parameter_is_refused():
    class Capped(Dense):
        def constraints(self):
            return {"weights": MaxNorm(1.0)}

    message = r"^Sequential: fc: constraints\(\) has weights, but the parameters are weight, bias$"
    with pytest.raises(ValueError, match=message):
        Sequential(fc=Capped(4, 3))
    for train in (train_alone, step_alone):
        with pytest.raises(ValueError, match=r"^Capped: constraints\(\) has weights, but the par"):
            train(Capped(64, 10))


def train_alone(model):
    xpnet.fit(model, DIGITS, epochs=1, backend="numpy", dtype="float64")


def step_alone(model):
    """A step of a model that stands in no container."""
    xpnet.make_step(xpnet.open_backend("numpy"), model, xpnet.softmax_cross_entropy, SGD(0.1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"must give functions by the names of parameters, got None"),
        ([MaxNorm(1.0)], r"must give functions by the names of parameters, got \[MaxNorm"),
        ({"weight": 3.0}, r"must give a function .* for weight, such as MaxNorm\(3.0\), got 3.0"),
        ({"weight": MaxNorm}, r"must give a function .* for weight, .* got <class"),
    ],
)
def test_constraints_are_functions_by_name(given, message):
    class Odd(Dense):
        def constraints(self):
            return given

    for train in (train_alone, step_alone):
        with pytest.raises(TypeError, match=rf"^Odd: constraints\(\) {message}"):
            train(Odd(64, 10))
    with pytest.raises(TypeError, match=rf"^Sequential: fc: constraints\(\) {message}"):
        Sequential(fc=Odd(64, 10))


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda xp, weight: None, "None"),
        (lambda xp, weight: weight[:2, :], r"one of shape \(2, 10\) and dtype"),
        (lambda xp, weight: xp.astype(weight, xp.float32), r"one of shape \(64, 10\) and dtype"),
    ],
    ids=["nothing", "a part", "another dtype"],
)
def test_a_constraint_gives_a_parameter_like_the_one_it_is_given(training_backend, function, got):
    model = Sequential(fc=Dense(64, 10, constraint=function))
    message = rf"^the constraint of fc.weight must give an array of its shape \(64, 10\).*{got}"
    with pytest.raises(TypeError, match=message):
        xpnet.fit(model, DIGITS, epochs=1, backend=training_backend, dtype="float64")


def test_a_layer_whose_constrain_nothing_calls_is_refused():
    """A word that the method had before; beside the other it is as good as any."""
    with pytest.raises(TypeError, match=r"^Old: nothing calls constrain.*define constraints\(\)"):

        class Old(Dense):
            def constrain(self, xp, params):
                return params

    class New(Dense):
        def constraints(self):
            return {"weight": self.constrain}

        def constrain(self, xp, weight):
            return xp.maximum(weight, 0.0)

    class Newer(New):
        pass

    assert Newer(3, 2).constraints()["weight"](np, -1.0) == 0


def test_it_is_saved_with_the_layer(tmp_path):
    network = xpnet.fit(MODEL, DIGITS, epochs=1, backend="numpy")
    network.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").model == MODEL
    assert repr(MODEL["fc1"]) == "Dense(64, 16, constraint=MaxNorm(limit=0.5))"


def test_a_constraint_of_ones_own_needs_the_model_to_be_given(tmp_path):
    model = Dense(64, 10, constraint=lambda xp, weight: weight)
    network = xpnet.fit(model, DIGITS, epochs=1, backend="numpy")
    network.save(tmp_path / "model.safetensors")
    with pytest.raises(
        xpnet.CheckpointError, match=r"'custom' is not one of .*load\(\.\.\., model"
    ):
        load(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors", model=model).model == model
