"""Pictures of filters and feature maps, read back from matplotlib's own objects."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import xpnet
from xpnet.filters import first_convolution, plot_feature_maps, plot_filters, plot_saliency
from xpnet.layers import EVALUATION
from xpnet.models import lenet5, mlp, resnet8, small_cnn
from xpnet.network import Network
from xpnet.page.insight import look_inside
from xpnet.plots import draw_run
from xpnet.runs.folder import FILES

pytestmark = pytest.mark.installed
DATA = xpnet.load_dataset("digits").limited(20)


def network_of(model, shape, **options):
    backend = xpnet.open_backend("numpy")
    params = {name: backend.asarray(x, backend.dtype) for name, x in model.init(0).items()}
    return Network(model, params, backend, sample_shape=shape, **options)


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


def test_filters_of_other_channels_are_tiles_one_after_the_other():
    network = network_of(resnet8((8, 8, 5), 4), (8, 8, 5))
    figure = plot_filters(network)
    heading = "conv: 16 filters of 3 × 3, a tile for each of 5 channels: the first 64 of 80"
    assert figure.get_suptitle() == heading
    sheet = drawn(figure)[0]
    assert sheet.shape == (8 * 4 - 1, 8 * 4 - 1)
    kernel = network.params["conv.weight"]
    np.testing.assert_allclose(sheet[:3, 24:27], kernel[:, :, 1, 1])  # tile 6 = 5 + 1


@pytest.mark.parametrize("shape", [(12, 12, 3), (3, 12, 12), (12, 12, 5), (12, 12, 1)])
def test_pictures_of_any_channels_are_drawn(shape, tmp_path):
    """In colour as they are; of five channels, which nobody sees, the mean."""
    network = network_of(small_cnn(shape, 4), shape)
    x = np.random.default_rng(0).integers(0, 255, (2, *shape)).astype(np.uint8)
    features, saliency = plot_feature_maps(network, x), plot_saliency(network, x)
    last = np.moveaxis(x, 1, -1) if shape[0] == 3 else x
    low, high = float(x.min()), float(x.max())
    expected = (last[1] - low) / (high - low)
    expected = expected if 3 in shape else expected.mean(axis=-1)
    np.testing.assert_allclose(drawn(features)[5], expected)
    np.testing.assert_allclose(drawn(saliency)[3], expected)
    gradient = np.abs(network.saliency(x))[1].max(axis=0 if shape[0] == 3 else -1)
    np.testing.assert_allclose(drawn(saliency)[4], gradient)


def test_saliency_is_that_of_the_two_most_probable_classes():
    network = network_of(mlp(64, 10), (8, 8))
    network.classes = np.array(list("abcdefghij"))
    x = DATA.train.images[:3]
    figure = plot_saliency(network, x, title="digits")
    assert figure.get_suptitle() == "digits"
    probabilities = network.predict_proba(x)
    order = np.argsort(-probabilities, axis=1)
    pictures = drawn(figure)
    for row in range(3):
        picture, *maps = pictures[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(picture, x[row])
        for rank, values in enumerate(maps):
            weight = network.params["fc1.weight"][:, order[row, rank]]
            np.testing.assert_allclose(values, weight.reshape(8, 8))
    name, _, share = figure.axes[2].get_title().partition(": ")
    assert name == "abcdefghij"[order[0, 1]]
    assert share == f"{100 * probabilities[0, order[0, 1]]:.0f} %"
    low, high = figure.axes[1].images[0].get_clim()
    assert -low == high == max(np.abs(values).max() for values in pictures[1:3])


@pytest.mark.parametrize(
    ("kind", "n_outputs", "titles"),
    [("values", 3, 2), ("values", 1, 1), ("multilabel", 3, 2), ("multilabel", 1, 2)],
)
def test_saliency_of_values_and_labels(kind, n_outputs, titles):
    network = network_of(mlp(64, n_outputs), (8, 8), target_kind=kind)
    figure = plot_saliency(network, DATA.train.images[:2])
    assert len(drawn(figure)) == 2 * (1 + titles)


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


def test_runs_of_convolutions_have_all_and_others_saliency(tmp_path):
    model = small_cnn((8, 8), 10)
    draw_run(tmp_path, network_of(model, (8, 8)), DATA.train, None, "digits")
    drawn = {path.name for path in tmp_path.iterdir()}
    assert {"filters.png", "features.png", "saliency.png"} <= drawn
    assert drawn <= set(FILES)  # which a run that takes the folder removes
    other = tmp_path / "mlp"
    other.mkdir()
    draw_run(other, network_of(mlp(64, 10), (8, 8)), DATA.train, None, "digits")
    assert sorted(path.name for path in other.iterdir()) == ["mistakes.png", "saliency.png"]


def test_what_has_no_convolution_has_no_such_pictures():
    network = network_of(mlp(64, 10), (8, 8))
    with pytest.raises(ValueError, match="the network has no Conv2D"):
        plot_filters(network)
    with pytest.raises(ValueError, match="no layer of the network gives feature maps"):
        plot_feature_maps(network, DATA.train.images[:2])
    with pytest.raises(ValueError, match=r"plot_saliency takes pictures, .* got shape \(2, 64\)"):
        plot_saliency(network, DATA.train.images[:2].reshape(2, 64))


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
