"""Grey pictures get their channel where the network takes one, wherever samples come in."""

from dataclasses import dataclass

import numpy as np
import pytest

import xpnet
from xpnet import (
    SGD,
    DataError,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    Permute,
    Reshape,
    Sequential,
    Tanh,
)
from xpnet.backends import open_backend
from xpnet.data import Preparation, taken_shape
from xpnet.inputs.samples import Streamed, place
from xpnet.layers.pooling import picture_shape
from xpnet.page.insight import look_inside
from xpnet.random import stream
from xpnet.testing import check_layer


@dataclass(frozen=True)
class Tint(Layer):
    """Each channel of pictures of any size, times a weight for each channel that goes out."""

    n_in: int = 1
    n_out: int = 2

    def parameter_shapes(self):
        return {"weight": (self.n_in, self.n_out)}

    def init(self, seed):
        return {"weight": stream(seed, "weight").normal(size=(self.n_in, self.n_out))}

    def input_shape(self):
        return (None, None, self.n_in)

    def output_shape(self, shape):
        if shape is None:
            return None
        if picture_shape("Tint", shape)[-1] != self.n_in:
            raise ValueError(f"Tint takes {self.n_in} channels, but is given shape {shape}")
        return (*shape[:-1], self.n_out)

    def forward(self, xp, params, x, ctx):
        return xp.matmul(x, params["weight"]), (x,)

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        (x,) = cache
        rows = xp.reshape(x, (-1, self.n_in))
        weight = xp.matmul(rows.T, xp.reshape(dy, (-1, self.n_out)))
        return xp.matmul(dy, params["weight"].T), {"weight": weight}

    def onnx(self, place, x):
        return place.node("MatMul", x, place.parameter("weight"))

    def torch(self, place):
        place.keep("weight", place.array("weight").T)
        return f"nn.Linear({self.n_in}, {self.n_out}, bias=False)"


MODEL = Sequential(tint=Tint(), act=Tanh(), pool=MaxPool2D(2), flat=Flatten(), fc=Dense(32, 10))
DIGITS = xpnet.load_dataset("digits").limited(200)
GREY, LABELS = DIGITS.train.images, DIGITS.train.labels
OPTIONS = {"epochs": 2, "batch_size": 32, "seed": 1, "backend": "numpy", "optimizer": SGD(0.1)}


@pytest.fixture(scope="module")
def network():
    return xpnet.fit(MODEL, DIGITS, **OPTIONS)


@pytest.mark.parametrize(
    ("wanted", "sample", "expected"),
    [
        (None, (8, 8), (8, 8)),
        ((64,), (8, 8), (64,)),
        ((64,), (64,), (64,)),
        ((8, 8, 1), (8, 8), (8, 8, 1)),
        ((None, None, 1), (8, 8), (8, 8, 1)),
        ((None, None, 1), (8, 8, 1), (8, 8, 1)),
        ((None, None, 3), (8, 8), (8, 8)),
        ((None, 1), (8,), (8, 1)),  # a single line of numbers
        ((None, None, 1), (64,), (64,)),
        ((8, 8), (8, 8), (8, 8)),
    ],
)
def test_what_a_network_takes_of_a_sample(wanted, sample, expected):
    assert taken_shape(wanted, sample) == expected
    x = np.arange(3 * np.prod(sample), dtype=np.float64).reshape(3, *sample)
    found = Preparation(255.0, "float64", wanted)(np, x)
    assert found.shape == (3, *expected)
    assert found.reshape(-1).tolist() == x.reshape(-1).tolist()


def test_training_evaluation_and_prediction_take_grey_pictures(training_backend, network):
    with_channel = (GREY[..., None], LABELS)
    options = {**OPTIONS, "backend": training_backend}
    found = xpnet.fit(MODEL, (GREY, LABELS), **options)
    same = xpnet.fit(MODEL, with_channel, **options)
    assert (found.sample_shape, same.sample_shape) == ((8, 8), (8, 8, 1))
    for name, value in found.params.items():
        host = training_backend.to_numpy(value)
        np.testing.assert_array_equal(host, training_backend.to_numpy(same.params[name]))
    for one, other in ((GREY, GREY[..., None]), (GREY[:1], GREY[:1, :, :, None])):
        np.testing.assert_array_equal(network.predict_proba(one), network.predict_proba(other))
        np.testing.assert_array_equal(network.predict(one), network.predict(other))
    assert network.evaluate(GREY, LABELS) == network.evaluate(*with_channel)
    matrix = network.confusion_matrix(GREY, LABELS)
    np.testing.assert_array_equal(matrix, network.confusion_matrix(*with_channel))
    assert network.report(GREY, LABELS).accuracy == network.evaluate(GREY, LABELS).accuracy


def test_streamed_samples_get_their_channel(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    expected = xpnet.fit(MODEL, (GREY, LABELS), **OPTIONS)
    np.save(tmp_path / "x.npy", GREY)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(place(open_backend("numpy"), stored), Streamed)
    found = xpnet.fit(MODEL, (stored, LABELS), **OPTIONS)
    for name, value in expected.params.items():
        np.testing.assert_array_equal(value, found.params[name])


def test_the_page_looks_inside_with_the_shape_of_the_drawing(network):
    layers = look_inside(network, GREY[0])
    assert layers[-1].values.shape == (10,)


def test_rows_of_pixels_are_refused_with_what_to_do(network):
    message = (
        r"the network takes samples of shape \(height, width, 1\), got "
        r"\(64,\) .*let the model begin with Reshape\(\(8, 8, 1\)\), or give "
        r"x.reshape\(\(-1, 8, 8, 1\)\)"
    )
    with pytest.raises(DataError, match=message):
        xpnet.fit(MODEL, (GREY.reshape(-1, 64), LABELS), **OPTIONS)
    with pytest.raises(DataError, match=message):
        network.predict(GREY.reshape(-1, 64))
    model = Sequential(picture=Reshape((8, 8, 1)), **MODEL.layers)
    for x in (GREY.reshape(-1, 64), GREY, GREY[..., None]):
        assert xpnet.fit(model, (x, LABELS), **OPTIONS).predict(x).shape == LABELS.shape
    with pytest.raises(DataError) as raised:
        network.predict(GREY.reshape(-1, 64)[:, :63])
    assert "Reshape" not in str(raised.value)  # 63 is no square


def test_a_single_sample_and_channels_in_front_are_refused_with_what_to_do(network):
    with pytest.raises(DataError, match=r"; for a single sample give x\[None, ...\]$"):
        network.predict(GREY[0])
    with pytest.raises(DataError, match=r"; where the channels come first, .* Permute\(\(2, 3, 1"):
        network.predict(GREY[:, None])
    with pytest.raises(DataError, match=r"got \(8, 8, 2\) .* given shape \(8, 8, 2\)$"):
        network.predict(np.zeros((2, 8, 8, 2)))
    first = xpnet.Network(Sequential(first=Permute((2, 1))), {}, "numpy", target_kind="values")
    with pytest.raises(DataError, match=r"takes samples of another shape, got \(8, 8, 1\)"):
        first.predict(GREY[..., None])
    dense = xpnet.fit(Sequential(fc=Dense(64, 10)), (GREY, LABELS), **OPTIONS)
    with pytest.raises(DataError, match=r"; for a single sample give x\[None, ...\]$"):
        dense.predict(GREY[0])


def test_pictures_in_colour_are_not_taken_for_grey_ones(network):
    with pytest.raises(DataError, match=r"takes samples of shape \(height, width, 1\)"):
        network.predict(np.zeros((2, 8, 8, 3), dtype=np.uint8))
    colour = Sequential(tint=Tint(3), flat=Flatten(), fc=Dense(128, 10))
    with pytest.raises(
        DataError, match=r"takes samples of shape \(height, width, 3\), got \(8, 8\)"
    ):
        xpnet.fit(colour, (GREY, LABELS), **OPTIONS)


def test_exports_take_the_samples_that_the_network_was_trained_on(network):
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    from xpnet.export import build_onnx, to_torch_state_dict, torch_code

    expected = network.predict_proba(GREY)
    content = build_onnx(network, probabilities=True).SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 8, 8]
    (found,) = session.run(None, {"input": GREY})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)

    namespace = {}
    exec(compile(torch_code(network), "exported.py", "exec"), namespace)
    module = namespace["make_model"]()
    state = to_torch_state_dict(network)
    module.load_state_dict({name: torch.asarray(value) for name, value in state.items()})
    with torch.no_grad():
        logits = module.eval()(namespace["prepare"](torch.tensor(GREY)))
    found = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# -- shapes of layers that leave them as they are -------------------------------------------------


def test_a_norm_in_front_does_not_make_rows_of_pictures():
    norm = xpnet.BatchNorm(1)
    model = Sequential(bn=norm, act=Tanh(), tint=Tint(), flat=Flatten(), fc=Dense(128, 10))
    assert model.input_shape() == (None, None, 1)
    inner = Sequential(block=Sequential(bn=norm, act=Tanh()), tint=Tint())
    assert inner.input_shape() == (None, None, 1)
    assert Sequential(bn=xpnet.BatchNorm(5), fc=Dense(5, 2)).input_shape() == (5,)
    assert xpnet.Residual(Sequential(bn=norm, tint=Tint(1, 1))).input_shape() == (None, None, 1)
    network = xpnet.fit(model, (GREY, LABELS), **OPTIONS)
    assert network.predict(GREY).shape == LABELS.shape
    with pytest.raises(ValueError, match=r"fc: Dense\(4, 2\) takes samples of shape \(4,\)"):
        Sequential(bn=xpnet.BatchNorm(5), fc=Dense(4, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Sequential(fc=Dense(4, 6), picture=Reshape((2, 4, 1))),
            r"picture: Reshape\(\(2, 4, 1\)\) takes samples of 8 numbers \(2 x 4 x 1\), but is "
            r"given shape \(6,\), which has 6",
        ),
        (lambda: Reshape(()), r"Reshape: shape must have one axis or more, .* got \(\)"),
        (lambda: Reshape((2, -1)), r"Reshape: shape must be positive integers, got \(2, -1\)"),
        (lambda: Reshape(8), "Reshape: shape must be positive integers, got 8"),
        (lambda: xpnet.Permute((0, 1)), r"Permute: axes must be the axes of a sample, .* \(0, 1\)"),
        (lambda: xpnet.Permute((1, 1)), "numbered from 1, each once"),
        (lambda: xpnet.Permute(()), "numbered from 1, each once"),
        (lambda: xpnet.Permute("21"), "numbered from 1, each once"),
        (
            lambda: xpnet.Permute((3, 1, 2)).output_shape((4, 5)),
            r"Permute\(\(3, 1, 2\)\) takes samples of 3 axes, but is given shape \(4, 5\)",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_axes_go_where_they_are_said_to(backend):
    x = stream(0, "x").normal(size=(2, 3, 4, 5))
    layer = xpnet.Permute((3, 1, 2))
    y, cache = layer.forward(backend.xp, {}, backend.asarray(x), xpnet.Context())
    np.testing.assert_array_equal(backend.to_numpy(y), x.transpose(0, 3, 1, 2))
    dx, _ = layer.backward(backend.xp, {}, cache, y)
    np.testing.assert_array_equal(backend.to_numpy(dx), x)
    assert layer.output_shape((3, 4, 5)) == (5, 3, 4)
    check_layer(layer, x).raise_if_wrong()


def test_shapes_are_not_known_where_those_of_pictures_are_not():
    assert Flatten().output_shape((None, None, 6)) is None
    assert MaxPool2D(2).output_shape((None, None, 6)) == (None, None, 6)
    assert Reshape((3, 2)).output_shape((None, None, 6)) == (3, 2)
    assert "?" in MODEL.summary()
