"""What the page shows of a network's inside: values of layers, and what units look at."""

import numpy as np
import pytest
from conftest import CPU_BACKENDS, require

from xpnet import BatchNorm, Dense, Dropout, Flatten, Network, ReLU, Residual, Sequential, Tanh
from xpnet.backends import open_backend
from xpnet.layers import Softmax
from xpnet.page import look_inside
from xpnet.random import stream

pytestmark = pytest.mark.numerics

SHAPE = (3, 4)
PLAIN = Sequential(fc1=Dense(12, 6), act1=ReLU(), drop1=Dropout(0.5), fc2=Dense(6, 3))
NORMED = Sequential(
    flat=Flatten(SHAPE), fc1=Dense(12, 5), bn1=BatchNorm(5), act1=Tanh(), fc2=Dense(5, 2)
)
NESTED = Sequential(
    body=Sequential(fc=Dense(12, 5), act=Tanh()),
    res=Residual(Sequential(bn=BatchNorm(5), act=ReLU(), fc=Dense(5, 5))),
    act=Tanh(),
    head=Sequential(fc=Dense(5, 3)),
)
PROJECTED = Sequential(
    res=Residual(Sequential(fc1=Dense(12, 4), act=Tanh(), fc2=Dense(4, 5)), Dense(12, 5)),
    head=Dense(5, 3),
)
FLAT = Sequential(fc=Dense(12, 4))
SOFT = Sequential(fc=Dense(12, 4), soft=Softmax())


def network(model, backend="numpy", **options):
    """A network with drawn parameters and buffers in float64, which gives values."""
    opened = open_backend(backend, dtype="float64")
    shapes = model.parameter_shapes()
    params = {name: stream(0, name).normal(size=shape) for name, shape in shapes.items()}
    buffers = {
        name: stream(0, name).uniform(0.5, 2, size=value.shape)
        for name, value in model.buffers().items()
    }
    with opened.scope():
        return Network(
            model,
            {name: opened.asarray(value) for name, value in params.items()},
            opened,
            buffers={name: opened.asarray(value) for name, value in buffers.items()},
            sample_shape=SHAPE,
            target_kind="values",
            **options,
        )


def below(whole, part):
    """The network that ends in a layer of another, with the same parameters."""
    arrays = whole.arrays
    return Network(
        part,
        {name: arrays[name] for name in part.parameter_shapes()},
        whole.backend,
        buffers={name: arrays[name] for name in part.buffers()},
        target_kind="values",
    )


def slope(asked, picture, unit):
    """The derivative of an output by each pixel, as a central difference."""
    found = np.zeros(SHAPE)
    for at in np.ndindex(SHAPE):
        step = np.zeros(SHAPE)
        step[at] = 1e-5
        up, down = (asked.predict((picture + s)[None])[0, unit] for s in (step, -step))
        found[at] = (up - down) / 2e-5
    return found


PICTURE = stream(1, "picture").uniform(size=SHAPE)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (PLAIN, [("fc1", "fc1 act1 drop1"), ("fc2", "fc2")]),
        (NORMED, [("flat fc1", "flat fc1 bn1 act1"), ("fc2", "fc2")]),
        (FLAT, [("fc", "fc")]),
    ],
    ids=["plain", "normed", "one-layer"],
)
def test_values_and_weights_are_those_of_the_network_below(model, parts):
    """Of each layer: what a network with nothing above it gives, and its slopes."""
    whole = network(model)
    found = look_inside(whole, PICTURE, units=3)
    assert len(found) == len(parts)
    names = list(model.layers)
    for layer, (looked_at, last) in zip(found, parts, strict=True):
        upto = {name: model[name] for name in names[: names.index(last.split()[-1]) + 1]}
        ends = below(whole, Sequential(**upto))
        np.testing.assert_allclose(layer.values, ends.predict(PICTURE[None])[0], rtol=1e-12)
        # What a unit looks at is before its activation.
        upto = {name: model[name] for name in names[: names.index(looked_at.split()[-1]) + 1]}
        before = below(whole, Sequential(**upto))
        for unit in layer.strongest:
            assert unit.value == layer.values[unit.number]
            expected = slope(before, PICTURE, unit.number)
            np.testing.assert_allclose(unit.weights, expected, rtol=1e-6, atol=1e-8)


def test_of_the_first_layer_they_are_its_weights():
    whole = network(PLAIN)
    weight = whole.params["fc1.weight"]
    for unit in look_inside(whole, PICTURE)[0].strongest:
        np.testing.assert_array_equal(unit.weights, weight[:, unit.number].reshape(SHAPE))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (
            NESTED,
            [
                ("body.fc", "body.act"),
                ("res.block.fc",),
                ("res", "act"),
                ("head.fc",),
            ],
        ),
        (PROJECTED, [("res.block.fc1", "res.block.act"), ("res.block.fc2",), ("res",), ("head",)]),
        (SOFT, [("fc", "soft")]),
    ],
    ids=["nested", "projected", "softmax"],
)
def test_the_layers_of_residual_blocks_and_containers(model, names):
    whole = network(model)
    found = look_inside(whole, PICTURE)
    assert [layer.names for layer in found] == names
    np.testing.assert_allclose(found[-1].values, whole.predict(PICTURE[None])[0], rtol=1e-12)
    if model is not SOFT:  # of a softmax the weights are before it, its values after it
        for unit in found[-1].strongest:
            expected = slope(whole, PICTURE, unit.number)
            np.testing.assert_allclose(unit.weights, expected, rtol=1e-6, atol=1e-8)


def test_the_strongest_are_the_largest_and_of_the_output_the_highest():
    hidden, output = look_inside(network(NORMED), PICTURE, units=4)
    sizes = np.abs(hidden.values)
    assert [unit.number for unit in hidden.strongest] == list(np.argsort(-sizes)[:4])
    assert [unit.number for unit in output.strongest] == list(np.argsort(-output.values))


@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "numpy"])
@pytest.mark.parametrize("model", [NORMED, NESTED], ids=["normed", "nested"])
def test_every_backend_looks_at_the_same(backend, model):
    require(backend)
    found, expected = (look_inside(network(model, name), PICTURE) for name in (backend, "numpy"))
    for one, other in zip(found, expected, strict=True):
        assert one.names == other.names
        np.testing.assert_allclose(one.values, other.values, rtol=1e-12, atol=1e-14)
        for unit, same in zip(one.strongest, other.strongest, strict=True):
            assert unit.number == same.number
            np.testing.assert_allclose(unit.weights, same.weights, rtol=1e-12, atol=1e-14)


def test_a_container_that_does_otherwise_is_one_layer():
    class Twice(Sequential):
        def forward(self, xp, params, x, ctx):
            y, cache = super().forward(xp, params, x, ctx)
            return 2 * y, cache

        def input_gradient(self, xp, params, cache, dy):
            return super().input_gradient(xp, params, cache, 2 * dy)

    model = Sequential(twice=Twice(fc=Dense(12, 5), act=Tanh()), head=Dense(5, 3))
    whole = network(model)
    hidden, output = look_inside(whole, PICTURE)
    assert (hidden.names, output.names) == (("twice",), ("head",))
    np.testing.assert_allclose(output.values, whole.predict(PICTURE[None])[0], rtol=1e-12)
    for unit in output.strongest:
        expected = slope(whole, PICTURE, unit.number)
        np.testing.assert_allclose(unit.weights, expected, rtol=1e-6, atol=1e-8)


def test_of_many_layers_the_upper_ones_are_not_looked_through():
    layers = {f"fc{i}": Dense(12, 12) for i in range(5)}
    *hidden, output = look_inside(network(Sequential(**layers)), PICTURE, units=2, layers=3)
    assert [len(layer.strongest) for layer in hidden] == [2, 2, 2, 0]
    assert all(len(layer.values) == 12 for layer in hidden)
    assert len(output.strongest) == 2


def test_integers_are_divided_as_in_prediction():
    whole = network(PLAIN, pixel_maximum=16.0)
    integers = np.arange(12, dtype=np.uint8).reshape(SHAPE)
    output = look_inside(whole, integers)[-1]
    np.testing.assert_allclose(output.values, whole.predict(integers[None])[0], rtol=1e-12)


def test_what_is_not_finite_is_looked_at_all_the_same():
    whole = network(PLAIN)
    whole.params["fc1.weight"] = whole.params["fc1.weight"] * np.inf
    with np.errstate(all="ignore"):
        found = look_inside(whole, PICTURE)
    assert len(found) == 2


def test_units_inside_of_a_block_look_through_what_is_below_it():
    whole = network(NESTED)
    inside = Sequential(
        one=Dense(12, 5), two=Tanh(), three=BatchNorm(5), four=ReLU(), five=Dense(5, 5)
    )
    homes = {"one": "body.fc", "three": "res.block.bn", "five": "res.block.fc"}
    arrays = {
        name: whole.arrays[f"{homes[name.split('.')[0]]}.{name.split('.')[1]}"]
        for name in (*inside.parameter_shapes(), *inside.buffers())
    }
    ends = Network(
        inside,
        {name: arrays[name] for name in inside.parameter_shapes()},
        whole.backend,
        buffers={name: arrays[name] for name in inside.buffers()},
        target_kind="values",
    )
    _, block, after, _ = look_inside(whole, PICTURE)
    assert block.names == ("res.block.fc",)
    np.testing.assert_allclose(block.values, ends.predict(PICTURE[None])[0], rtol=1e-12)
    for unit in block.strongest:
        expected = slope(ends, PICTURE, unit.number)
        np.testing.assert_allclose(unit.weights, expected, rtol=1e-6, atol=1e-8)
    # Of the sum both ways count, that of the block and that around it.
    body = below(whole, Sequential(body=NESTED["body"]))
    for unit in after.strongest:
        around = slope(body, PICTURE, unit.number)
        through = slope(ends, PICTURE, unit.number)
        np.testing.assert_allclose(unit.weights, around + through, rtol=1e-5, atol=1e-8)
