"""The gradient of a score by the input, against torch, differences, and formulas."""

import numpy as np
import pytest
from exporting import torch_module

import xpnet
from xpnet import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Network, ReLU, Sequential, Tanh
from xpnet.losses import binary_cross_entropy, mean_squared_error
from xpnet.models import build_model, lenet5, mlp, resnet8, small_cnn
from xpnet.random import stream

pytestmark = pytest.mark.numerics

SMOOTH = {
    "mlp": mlp(48, 10, 4, activation=Tanh(), batch_norm=True),
    "lenet5": lenet5((12, 13), 4, activation=Tanh(), pooling="average"),
    "small_cnn": small_cnn((6, 8), 4, activation=Tanh(), pooling="average"),
    "resnet8": resnet8((3, 6, 8), 4, activation=Tanh()),
}
SHAPES = {"mlp": (6, 8), "lenet5": (12, 13), "small_cnn": (6, 8), "resnet8": (3, 6, 8)}


def network_of(model, backend="numpy", *, dtype="float64", **options):
    """With arrays that are not those of a beginning: norms too have their own."""
    opened = xpnet.open_backend(backend, dtype=dtype) if isinstance(backend, str) else backend
    rng = stream(0, "arrays")
    params = {k: v + 0.1 * rng.normal(size=v.shape) for k, v in model.init(0).items()}
    buffers = {k: v + 0.3 * rng.random(v.shape) for k, v in model.buffers().items()}
    with opened.scope():
        params, buffers = (
            {k: opened.asarray(v.astype(opened.dtype_name)) for k, v in arrays.items()}
            for arrays in (params, buffers)
        )
    return Network(model, params, opened, buffers=buffers, **options)


def scores(network, x):
    """The outputs, as those of values are predicted."""
    values = Network(
        network.model, network.params, network.backend, buffers=network.buffers,
        target_kind="values",
    )  # fmt: skip
    return np.asarray(values.predict(x))


@pytest.mark.parametrize("name", SMOOTH)
def test_it_is_the_difference_of_scores(name):
    network, shape = network_of(SMOOTH[name]), SHAPES[name]
    x = stream(0, "x").random((3, *shape))
    classes = [2, 0, 3]
    found = network.saliency(x, classes)
    assert (found.shape, found.dtype) == (x.shape, np.float64)
    for k in range(4):
        way = stream(0, "way", k).normal(size=x.shape)
        up, down = scores(network, x + 1e-5 * way), scores(network, x - 1e-5 * way)
        expected = ((up - down) / 2e-5)[np.arange(3), classes]
        np.testing.assert_allclose((found * way).sum(axis=tuple(range(1, x.ndim))), expected,
                                   rtol=1e-6, atol=1e-9)  # fmt: skip
    best = scores(network, x).argmax(axis=1)
    np.testing.assert_array_equal(network.saliency(x), network.saliency(x, best))
    np.testing.assert_array_equal(network.saliency(x, 1), network.saliency(x, [1, 1, 1]))


@pytest.mark.parametrize("name", ["mlp", "lenet5", "small_cnn", "resnet8"])
def test_torch_has_the_same(name):
    """By its automatic differentiation, of the module that is exported: with ReLU and maxima."""
    torch = pytest.importorskip("torch")
    shape = (13, 12)
    network = network_of(build_model(name, shape, 5), sample_shape=shape, input_dtype="float64")
    module, prepare = torch_module(network)
    x = stream(0, "x").random((4, *shape))
    found = network.saliency(x)
    theirs = torch.tensor(x, requires_grad=True)
    module(prepare(theirs)).max(dim=1).values.sum().backward()
    np.testing.assert_allclose(found, theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_every_backend_has_the_same(training_backend, name):
    x = stream(0, "x").random((3, *SHAPES[name]))
    expected = network_of(SMOOTH[name]).saliency(x, [0, 3, 1])
    network = network_of(SMOOTH[name], training_backend)
    there = training_backend.asarray(x)
    found = network.saliency(there, [0, 3, 1])
    assert training_backend.holds(found)
    np.testing.assert_allclose(training_backend.to_numpy(found), expected, rtol=1e-9, atol=1e-12)


def test_it_is_given_where_the_samples_are():
    torch = pytest.importorskip("torch")
    x = stream(0, "x").random((3, 6, 8)).astype("float32")
    network = network_of(SMOOTH["mlp"], dtype="float32")
    found = network.saliency(torch.asarray(x), torch.asarray([1, 2, 0]))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), network.saliency(x.tolist(), [1, 2, 0]), rtol=1e-5,
                               atol=1e-7)  # fmt: skip


def test_of_pixels_it_is_by_what_the_layers_are_given():
    network = network_of(lenet5((12, 12), 3), pixel_maximum=16.0)
    pixels = stream(0, "x").integers(0, 17, (5, 12, 12)).astype("uint8")
    np.testing.assert_allclose(network.saliency(pixels), network.saliency(pixels / 16), rtol=1e-9)


def test_many_samples_are_taken_in_parts(monkeypatch):
    from xpnet.network import saliency as module

    network = network_of(SMOOTH["small_cnn"])
    x = stream(0, "x").random((7, 6, 8))
    expected = network.saliency(x, [0, 1, 2, 3, 0, 1, 2])
    monkeypatch.setattr(module, "chunk_rows", lambda *args: 3 * module._CACHES)
    np.testing.assert_allclose(network.saliency(x, [0, 1, 2, 3, 0, 1, 2]), expected, rtol=1e-12)
    assert network.saliency(x[:0]).shape == (0, 6, 8)


def test_a_first_dense_layer_has_its_weights():
    """Of a network without more layers they are all that there is."""
    network = network_of(Dense(6, 3))
    found = network.saliency(np.ones((2, 2, 3)), [2, 0])
    weight = network.params["weight"]
    np.testing.assert_array_equal(found, np.stack([weight[:, 2], weight[:, 0]]).reshape(2, 2, 3))


def test_classes_are_as_they_were_in_training():
    data = xpnet.load_dataset("digits").limited(100)
    x, names = data.train.images[:100], np.array(["even", "odd"])[data.train.labels[:100] % 2]
    options = {
        "epochs": 5, "batch_size": 10, "optimizer": xpnet.Adam(0.01), "backend": "numpy",
        "callbacks": (),
    }  # fmt: skip
    two = xpnet.fit(mlp(64, 8, 2), (x, names), **options)
    np.testing.assert_array_equal(two.saliency(x[:3], "odd"), two.saliency(x[:3], ["odd"] * 3))
    assert np.abs(two.saliency(x[:3], "odd") - two.saliency(x[:3], "even")).max() > 0
    predicted = two.predict(x[:20])
    np.testing.assert_array_equal(two.saliency(x[:20]), two.saliency(x[:20], predicted))
    with pytest.raises(xpnet.DataError, match=r"classes: found labels that are not among .*'none'"):
        two.saliency(x[:3], "none")
    one = xpnet.fit(mlp(64, 8, 1), (x, names), loss=binary_cross_entropy, **options)
    np.testing.assert_array_equal(one.saliency(x[:3], "odd"), -one.saliency(x[:3], "even"))
    predicted = one.predict(x)
    assert {*predicted} == {"even", "odd"}
    np.testing.assert_array_equal(one.saliency(x), one.saliency(x, predicted))


def test_values_and_several_labels_are_numbers_of_outputs():
    x = stream(0, "x").random((3, 6))
    several = network_of(Dense(6, 3), target_kind="multilabel")
    np.testing.assert_array_equal(several.saliency(x, 1), [several.params["weight"][:, 1]] * 3)
    values = network_of(Dense(6, 3), target_kind="values")
    np.testing.assert_array_equal(values.saliency(x, 1), several.saliency(x, 1))
    with pytest.raises(ValueError, match="gives 3 values: say which is meant, as by classes=0"):
        values.saliency(x)
    single = network_of(Dense(6, 1), target_kind="values", loss=mean_squared_error)
    np.testing.assert_array_equal(single.saliency(x), [single.params["weight"][:, 0]] * 3)


@pytest.mark.parametrize("classes", [4, -1, [0, 1], [0, 1, 1.5], [0, 1, np.nan], [[0, 1, 2]], None])
def test_what_is_no_class_is_refused(classes):
    network = network_of(SMOOTH["mlp"])
    x = np.ones((3, 6, 8))
    if classes is None:
        with pytest.raises(xpnet.DataError, match="saliency: inputs must be finite"):
            network.saliency(x * np.nan)
        return
    with pytest.raises(xpnet.DataError, match="saliency: classes"):
        network.saliency(x, classes)


def test_shapes_that_do_not_fit_are_refused():
    network = network_of(Sequential(
        conv=Conv2D(2, 3), bn=BatchNorm(3), act=ReLU(), pool=MaxPool2D(2), flat=Flatten((2, 2, 3)),
        fc=Dense(12, 2),
    ))  # fmt: skip
    assert network.saliency(np.ones((1, 4, 4, 2))).shape == (1, 4, 4, 2)
    with pytest.raises(xpnet.DataError, match="saliency: the network takes samples of shape"):
        network.saliency(np.ones((1, 4, 4)))
    with pytest.raises(ValueError, match=r"outputs of shape \(4, 4, 3\), which are no scores"):
        network_of(Conv2D(2, 3)).saliency(np.ones((1, 4, 4, 2)))
