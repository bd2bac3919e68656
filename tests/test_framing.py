"""How figures lie in a data set: measured, kept with a network, read again."""

import dataclasses
import json

import numpy as np
import pytest

import xpnet
from xpnet import Network, fit, load_dataset, mlp
from xpnet.data import Dataset, Framing, Split, measure_framing
from xpnet.data import stored as stored_module
from xpnet.data.framing import looked_at, stroke_widths
from xpnet.errors import CheckpointError
from xpnet.saving import tensors

RNG = np.random.default_rng(3)
SIDE, LONG = 20, 12


def pictures(centring, *, n=200, side=SIDE, long=LONG):
    """Crosses with arms of random lengths, of which the longer side of the box is `long`."""
    made = np.zeros((n, side, side))
    for picture in made:
        height, width = long, int(RNG.integers(4, long + 1))
        if RNG.random() < 0.5:
            height, width = width, height
        figure = np.zeros((height, width))
        figure[:, int(RNG.integers(0, width - 1)) :][:, :2] = 1
        figure[int(RNG.integers(0, height - 1)) :, :][:2] = 1
        middle = [height / 2, width / 2]
        if centring == "mass":
            rows, columns = np.nonzero(figure)
            middle = [rows.mean() + 0.5, columns.mean() + 0.5]
        top, left = (int(np.clip(round(side / 2 - m), 0, side)) for m in middle)
        figure = figure[: side - top, : side - left]
        picture[top : top + figure.shape[0], left : left + figure.shape[1]] = figure
    return made


@pytest.mark.parametrize("centring", ["mass", "box"])
@pytest.mark.parametrize("paper", [0, 1])
@pytest.mark.parametrize(
    ("low", "high", "dtype", "maximum"),
    [(0, 255, "uint8", 255.0), (0, 16, "uint8", 16.0), (0, 1, "bool", 1.0), (0, 1, "float32", 1.0),
     (0, 255, "float64", 1.0), (-0.4, 2.8, "float32", 1.0), (0, 65535, "uint16", 65535.0)],
)  # fmt: skip
def test_the_rule_is_found(centring, paper, low, high, dtype, maximum):
    x = pictures(centring)
    x = (low + (high - low) * (1 - x if paper else x)).astype(dtype)
    found = measure_framing(x, maximum)
    assert (found.box, found.centring, found.paper) == ((LONG, LONG), centring, paper)
    np.testing.assert_allclose(found.centre, SIDE / 2, atol=0.3)
    assert found.white == pytest.approx(high / maximum)
    assert found.black == pytest.approx(low)
    assert found.stroke[0] == pytest.approx(2, abs=0.5)


def anywhere():
    made = np.zeros((300, SIDE, SIDE))
    for picture in made:
        top, left = RNG.integers(0, 12, 2)
        picture[top : top + int(RNG.integers(3, 9)), left : left + int(RNG.integers(3, 9))] = 1
    return made


@pytest.mark.parametrize(
    "x",
    [
        RNG.random((100, 8, 8)),
        RNG.integers(0, 256, (100, 8, 8), dtype=np.uint8),
        anywhere(),
        np.zeros((10, 8, 8)),
        np.full((10, 8, 8), np.nan),
        np.zeros((10, 64)),
        RNG.random((10, 8, 8, 3)),
        np.stack([pictures("box")] * 3, axis=3),
        RNG.random((10, 2, 2)),
        np.concatenate([np.zeros((50, SIDE, SIDE)), pictures("box", n=50)]),
    ],
    ids=[
        "noise",
        "bytes",
        "anywhere",
        "empty",
        "none",
        "rows",
        "colour",
        "figures in colour",
        "tiny",
        "half empty",
    ],
)
def test_where_there_is_no_rule_there_is_none(x):
    assert measure_framing(x, 255.0) is None


def test_the_embedded_digits_are_as_high_as_the_picture():
    found = load_dataset("digits").framing
    assert found.box[0] == 8
    assert (found.centring, found.paper, found.white) == ("box", 0, 1.0)
    np.testing.assert_allclose(found.centre, 4, atol=0.2)


@pytest.mark.mnist
def test_mnist_is_framed_as_its_authors_say(mnist_dir):
    """Fit to 20 x 20, and the centre of mass in the centre of 28 x 28."""
    found = load_dataset("mnist", data_dir=mnist_dir).framing
    assert (found.box, found.centring, found.paper) == ((20, 20), "mass", 0)
    np.testing.assert_allclose(found.centre, 14.5, atol=0.1)
    assert 1.5 < found.stroke[0] < 2.5 < found.stroke[1] < 4


def test_figures_with_shades_of_their_own_have_no_stroke():
    x = pictures("box") * RNG.uniform(0.2, 0.9, (200, SIDE, SIDE))
    x[:, 8:12, 8:12] = RNG.uniform(0.3, 0.7, (200, 4, 4))
    x = np.kron(x, np.ones((1, 2, 2)))
    assert measure_framing(x, 1.0).stroke is None


@pytest.mark.parametrize("width", [2, 3, 6])
@pytest.mark.parametrize("turned", [False, True])
def test_the_width_of_a_stroke(width, turned):
    ink = np.zeros((40, 40))
    ink[5:35, 10 : 10 + width] = 1
    ink = ink.T if turned else ink
    area, edge = 30 * width, 2 * (30 + width)
    assert stroke_widths(ink[None])[0] == pytest.approx(2 * area / edge, rel=0.05)


# -- with a network -------------------------------------------------------------------------------

X, Y = (pictures("mass") * 255).astype(np.uint8), np.arange(200) % 3


def trained(data=(X, Y), **options):
    return fit(mlp(SIDE * SIDE, 3), data, epochs=1, **{"backend": "numpy", **options})


def test_fit_measures_arrays_and_takes_that_of_a_data_set():
    expected = measure_framing(X, 255.0)
    assert trained().framing == expected
    assert trained((X / 255, Y)).framing == expected
    assert trained(Dataset("crosses", Split(X, Y), None, n_classes=3)).framing == expected
    assert trained((X.reshape(200, -1), Y)).framing is None


@pytest.mark.parametrize("axis", [1, 3])
def test_an_axis_of_one_colour_changes_nothing(axis, tmp_path, training_backend):
    expected, x = measure_framing(X, 255.0), np.expand_dims(X, axis)
    assert measure_framing(x, 255.0) == expected
    network = trained((training_backend.asarray(x), Y), backend=training_backend)
    assert network.framing == expected
    network.save(tmp_path / "a")
    assert xpnet.load(tmp_path / "a", backend="numpy").framing == expected


def test_it_is_measured_where_the_samples_live(training_backend):
    x = training_backend.asarray(X)
    assert trained((x, Y), backend=training_backend).framing == measure_framing(X, 255.0)


def test_it_is_measured_in_a_file(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    monkeypatch.setattr(stored_module, "LARGEST_LOADED", 1000)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert trained((x, Y)).framing == measure_framing(X, 255.0)


def test_it_is_saved_with_the_network(tmp_path):
    network = trained()
    network.save(tmp_path / "a.safetensors")
    xpnet.export.to_npz(network, tmp_path / "a.npz")
    for again in (
        xpnet.load(tmp_path / "a.safetensors"),
        Network.from_npz(tmp_path / "a.npz"),
        network.copy(),
    ):
        assert again.framing == network.framing


def test_files_from_before_have_none(tmp_path):
    network = trained()
    network.save(tmp_path / "a.safetensors")
    arrays, metadata = tensors.read_tensors(tmp_path / "a.safetensors")
    del metadata["framing"]
    tensors.write_tensors(tmp_path / "old.safetensors", arrays, metadata)
    assert xpnet.load(tmp_path / "old.safetensors").framing is None


GOOD = Framing((12, 12), "mass", (10.0, 10.0), stroke=(1.5, 3.0))


@pytest.mark.parametrize(
    "change",
    [
        {"box": [12]}, {"box": [0, 12]}, {"box": [12, 30]}, {"box": "12"}, {"box": [12, 10**400]},
        {"centring": "left"}, {"centre": [10, "x"]}, {"centre": [10, 30]},
        {"centre": [-1, 5]}, {"paper": 0.5}, {"paper": True}, {"black": 2}, {"white": "x"},
        {"stroke": [3, 1]}, {"stroke": [0, 1]}, {"stroke": 2}, {"other": 1}, {"box": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_framing_that_cannot_be_is_refused(tmp_path, change):
    network = trained()
    network.save(tmp_path / "a.safetensors")
    arrays, metadata = tensors.read_tensors(tmp_path / "a.safetensors")
    metadata["framing"] = json.loads(json.dumps({**GOOD.to_dict(), **change}))
    tensors.write_tensors(tmp_path / "bad.safetensors", arrays, metadata)
    with pytest.raises(CheckpointError, match="does not describe a network"):
        xpnet.load(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("value", [[], 3, "mass", {}, {"box": [3, 3]}])
def test_no_framing_at_all_is_refused(value):
    with pytest.raises(ValueError, match="framing"):
        Framing.from_dict(value)


def test_it_goes_through_json():
    for framing in (GOOD, dataclasses.replace(GOOD, stroke=None, paper=1, black=-1.0)):
        assert Framing.from_dict(json.loads(json.dumps(framing.to_dict()))) == framing


def test_a_network_of_other_pictures_refuses_it():
    network = trained()
    with pytest.raises(ValueError, match="does not fit pictures"):
        Network(network.model, network.params, network.backend, sample_shape=(8, 8), framing=GOOD)


@pytest.mark.parametrize(
    ("shape", "count"), [((60_000, 28, 28), 2000), ((100, 28, 28), 100), ((5000, 2048, 2048), 16)]
)
def test_a_bounded_part_of_the_samples_is_looked_at(shape, count):
    rows = looked_at(shape)
    assert len(rows) == count
    assert (rows[0], rows[-1]) == (0, shape[0] - 1)
