"""Pictures of filters and feature maps, read back from matplotlib's own objects."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import xpnet
from xpnet.filters import first_convolution, plot_feature_maps, plot_filters
from xpnet.layers import EVALUATION
from xpnet.models import lenet5, mlp, resnet8, small_cnn
from xpnet.network import Network
from xpnet.page.insight import look_inside
from xpnet.plots import draw_run

pytestmark = pytest.mark.installed
DATA = xpnet.load_dataset("digits").limited(20)


def network_of(model, shape):
    backend = xpnet.open_backend("numpy")
    params = {name: backend.asarray(x, backend.dtype) for name, x in model.init(0).items()}
    return Network(model, params, backend, sample_shape=shape)


def drawn(figure):
    return [image.get_array() for axes in figure.axes for image in axes.images]


def test_filters_are_the_kernels_side_by_side():
    network = network_of(lenet5((28, 28), 10), (28, 28))
    figure = plot_filters(network, title="LeNet-5")
    assert figure.get_suptitle() == "LeNet-5\nconv1: 6 filters of 5 × 5"
    sheet = drawn(figure)[0]
    assert sheet.shape == (5, 6 * 6 - 1)  # with a line between two
    kernel = network.params["conv1.weight"]
    for i in range(6):
        np.testing.assert_allclose(sheet[:, 6 * i : 6 * i + 5], kernel[:, :, 0, i])
    (axes, _) = figure.axes
    low, high = axes.images[0].get_clim()
    assert -low == high == np.abs(kernel).max()  # zero is white


def test_filters_of_colours_are_pictures():
    figure = plot_filters(network_of(small_cnn((8, 8, 3), 4), (8, 8, 3)))
    (sheet,) = drawn(figure)
    assert sheet.shape == (4 * 4 - 1, 8 * 4 - 1, 3)
    assert 0 <= sheet.min() <= sheet.max() <= 1


def test_the_lowest_convolution_is_found_inside_of_blocks():
    name, layer = first_convolution(xpnet.Sequential(inside=resnet8((8, 8), 3)))
    assert (name, layer.n_out) == ("inside.conv", 16)
    assert first_convolution(mlp(64, 10)) is None


def test_feature_maps_are_what_the_layers_give():
    network = network_of(lenet5((12, 12), 10), (12, 12))
    x = np.random.default_rng(0).integers(0, 255, (2, 12, 12)).astype(np.uint8)
    figure = plot_feature_maps(network, x)
    titles = [axes.get_title() for axes in figure.axes[:3]]
    assert titles == [
        "picture",
        "conv1, act1, pool1\n6 of 6 × 6",
        "conv2, act2, pool2\n16 of 1 × 1",
    ]
    pictures = drawn(figure)
    assert len(pictures) == 6  # two samples, and three columns
    np.testing.assert_array_equal(pictures[0], x[0])
    y = (x / np.float32(255))[..., None]
    for name in ("conv1", "act1", "pool1"):
        own = {
            key: network.params[f"{name}.{key}"] for key in network.model[name].parameter_shapes()
        }
        y, _ = network.model[name].forward(np, own, y, EVALUATION)
    np.testing.assert_allclose(pictures[4][:6, :6], y[1, :, :, 0], rtol=1e-4, atol=1e-6)


def test_runs_of_convolutions_have_both_and_others_neither(tmp_path):
    model = small_cnn((8, 8), 10)
    draw_run(tmp_path, network_of(model, (8, 8)), DATA.train, None, "digits")
    assert {"filters.png", "features.png"} <= {path.name for path in tmp_path.iterdir()}
    other = tmp_path / "mlp"
    other.mkdir()
    draw_run(other, network_of(mlp(64, 10), (8, 8)), DATA.train, None, "digits")
    assert [path.name for path in other.iterdir()] == ["mistakes.png"]


def test_what_has_no_convolution_has_no_such_pictures():
    network = network_of(mlp(64, 10), (8, 8))
    with pytest.raises(ValueError, match="the network has no Conv2D"):
        plot_filters(network)
    with pytest.raises(ValueError, match="no layer of the network gives feature maps"):
        plot_feature_maps(network, DATA.train.images[:2])


def test_what_filters_look_at_is_a_window_of_the_picture():
    """Of feature maps the strongest unit of each filter, whose derivative is the kernel."""
    network = network_of(lenet5((28, 28), 10, activation=xpnet.Tanh(), pooling="average"), (28, 28))
    x = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    conv1, conv2, *_, output = look_inside(network, x)
    assert (conv1.names, conv1.shape) == (("conv1", "act1", "pool1"), (14, 14, 6))
    assert (conv2.names, conv2.shape) == (("conv2", "act2", "pool2"), (5, 5, 16))
    assert sorted(unit.number % 6 for unit in conv1.strongest) == list(range(6))
    for unit in conv1.strongest:
        assert np.abs(unit.value) == np.abs(conv1.values.reshape(-1, 6)[:, unit.number % 6]).max()
        rows, columns = np.nonzero(unit.weights)
        assert np.ptp(rows) < 6 > np.ptp(columns)  # four neighbours of 5 x 5
    assert output.shape == (10,)
