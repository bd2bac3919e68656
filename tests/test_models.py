"""The networks by name: their sizes, what they take and refuse, and that they learn."""

import numpy as np
import pytest

import xpnet
from xpnet import Dense, Tanh
from xpnet.data import taken_shape
from xpnet.layers import AveragePool2D, Conv2D, Flatten, MaxPool2D, Permute, Residual
from xpnet.models import MODELS, build_model, lenet5, mlp, model_options, resnet8, small_cnn

pytestmark = pytest.mark.installed
DIGITS = xpnet.load_dataset("digits")


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("mlp", (28, 28), 784 * 128 + 128 + 1290),
        # LeCun et al. have 156 and 48,120, 10,164 and 840 + 10 as well; of their second
        # convolution, which does not look at all maps, 1,516 where all are 2,416.
        ("lenet5", (28, 28), 156 + 2416 + 48_120 + 10_164 + 850),
        ("lenet5", (32, 32, 3), 6 * 75 + 6 + 2416 + (576 * 120 + 120) + 10_164 + 850),
        ("small_cnn", (28, 28), 288 + 9216 + 18_432 + 36_864 + 2 * (64 + 128) + 31_370),
        # He et al. have 0.27 million for 20 layers; these are 8, with option B.
        ("resnet8", (32, 32, 3), 432 + 4608 + 13_824 + 55_296 + 512 + 2048 + 2 * 336 + 650),
    ],
)
def test_the_number_of_parameters_is_that_of_the_sources(name, shape, count):
    assert build_model(name, shape, 10).parameter_count == count


def test_lenet5_has_the_maps_of_the_paper():
    shapes = {name: shape for name, _, shape in lenet5((28, 28), 10).inner_shapes((28, 28, 1))}
    assert shapes["act1"] == (28, 28, 6)
    assert (shapes["conv2"], shapes["act2"]) == ((14, 14, 6), (10, 10, 16))
    assert (shapes["flatten"], shapes["fc1"], shapes["fc2"], shapes["fc3"]) == (
        (5, 5, 16), (400,), (120,), (84,),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(12, 12), (13, 19), (28, 28, 1), (28, 28, 3), (3, 40, 28)])
@pytest.mark.parametrize("name", MODELS)
def test_each_takes_pictures_of_any_size(name, shape):
    model = build_model(name, shape, 7)
    assert model.output_shape(taken_shape(model.input_shape(), shape)) == (7,)


def test_channels_that_come_first_are_brought_to_the_end():
    model = small_cnn((3, 32, 32), 10)
    assert model["channels"] == Permute((2, 3, 1))
    assert model["conv1"].n_in == 3
    assert "channels" not in small_cnn((32, 32, 3), 10)
    assert "channels" not in resnet8((3, 32, 3), 10)  # the last axis, where it may be either


def test_options_go_into_the_layers():
    model = lenet5((28, 28), 10, activation=Tanh(), pooling="average", dropout=0.25)
    assert [model[f"act{i}"] for i in (1, 2, 3, 4)] == [Tanh()] * 4
    assert model["pool1"] == AveragePool2D(2)
    assert [name for name in model if name.startswith("drop")] == ["drop1", "drop2"]
    assert lenet5((28, 28), 10)["pool2"] == MaxPool2D(2)
    kinds = {type(layer) for layer in resnet8((8, 8), 3).layers.values()}
    assert {Conv2D, Residual, Dense} <= kinds
    assert Flatten not in kinds  # any size of pictures has as many parameters
    assert build_model("mlp", (8, 8), 10, hidden=(5, 4)) == mlp(64, 5, 4, 10)
    assert model_options("mlp")["hidden"] == (128,)
    assert sorted(model_options("lenet5")) == ["activation", "dropout", "init_weight", "pooling"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lenet5((8, 8), 10), r"12 x 12 pixels or more, .* 8 x 8: .*12 -> 6 -> 2 -> 1"),
        (lambda: small_cnn((3, 8), 10), "4 x 4 pixels or more, .* 3 x 8: .*4 -> 2 -> 1"),
        (lambda: lenet5((784,), 10), r"takes pictures, .* shape \(784,\): take an mlp"),
        (lambda: resnet8((2, 2, 2, 2), 10), "resnet8 takes pictures"),
        (lambda: lenet5((28, 28), 10, pooling="min"), "must be one of max, average; got 'min'"),
        (lambda: lenet5((28, 28), 10, activation=Tanh), r"Tanh is the class, .* write Tanh\(\)"),
        (lambda: build_model("lenet", (28, 28), 10), "got 'lenet'; did you mean 'lenet5'"),
        (lambda: build_model("resnet8", (8, 8), 10, dropout=0.1), "has no option 'dropout'"),
        (lambda: build_model("mlp", (8, 0), 10), "must be a positive integer, got 0"),
        (lambda: build_model("mlp", (8, 8), 0), "n_outputs must be a positive integer, got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_arithmetic(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("name", ["small_cnn", "resnet8"])
def test_each_learns_and_is_loaded_again(name, tmp_path):
    model = build_model(name, DIGITS.image_shape, 10)
    network = xpnet.fit(
        model, DIGITS.limited(640), epochs=2, batch_size=32, optimizer=xpnet.Adam(0.002),
        backend="numpy", seed=0, callbacks=(), train_metrics="running",
    )  # fmt: skip
    x = DIGITS.test.images[:100]
    assert (network.predict(x) == DIGITS.test.labels[:100]).mean() > 0.7
    network.save(tmp_path / "network.safetensors")
    again = xpnet.load(tmp_path / "network.safetensors", backend="numpy")
    assert again.model == model
    np.testing.assert_array_equal(again.predict_proba(x), network.predict_proba(x))


def test_the_summary_says_how_much_a_step_keeps_at_the_most():
    lines = lenet5((28, 28), 10).summary((28, 28)).splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["conv1"][-1] == f"{4 * 28 * 28 * 6:,}"
    assert rows["flatten"][-1] == "0"
    # The caches of a step, each array once, but for the sample itself.
    model = lenet5((28, 28), 10)
    params = {name: value.astype(np.float32) for name, value in model.init(0).items()}
    x = np.zeros((2, 28, 28, 1), dtype=np.float32)
    y, cache = model.forward(np, params, x, xpnet.Context(training=True))
    kept = {id(a): a.nbytes for a in arrays_in(cache) if a.base is None and a is not x}
    kept[id(y)] = y.nbytes
    total = int(rows["total"][-1].replace(",", ""))
    assert 0.5 * total <= sum(kept.values()) / 2 <= total
    unknown = lenet5((28, 28), 10).summary().splitlines()[1].split()
    assert unknown[-1] == "?"


def arrays_in(cache):
    for part in cache:
        if isinstance(part, tuple):
            yield from arrays_in(part)
        elif isinstance(part, np.ndarray):
            yield part
