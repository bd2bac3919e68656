"""Networks for colours, asked about pictures in files."""

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet import Dense, Flatten, Network, ReLU, Sequential, fit, mlp
from xpnet.backends import open_backend
from xpnet.cli import main
from xpnet.data import Framing, find_figures, fit_picture, prepare_picture, read_picture
from xpnet.data import pictures as pictures_module
from xpnet.data.picture_shape import PictureShape
from xpnet.data.prepared import brightness
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageOps = pytest.importorskip("PIL.ImageOps")

COLOURS = {"red": (200, 30, 40), "green": (40, 180, 60), "blue": (30, 60, 210)}
SHAPES = [(12, 10, 3), (3, 12, 10)]


def ball(colour, size=(120, 100), *, at=(30, 20), mode="RGB"):
    """A ball of a colour on grey ground, which is as bright as the ball."""
    ground = (round(np.dot(COLOURS[colour], (0.299, 0.587, 0.114))),) * 3
    picture = Image.new("RGB", size[::-1], ground)
    ImageDraw.Draw(picture).ellipse([*at, at[0] + 50, at[1] + 60], fill=COLOURS[colour])
    return picture.convert(mode)


def samples(shape, n=40):
    """Balls somewhere, as samples of a training."""
    rng = np.random.default_rng(0)
    names = sorted(COLOURS) * n
    pictures = [
        ball(name, at=tuple(rng.integers(0, 40, 2).tolist())).resize((10, 12)) for name in names
    ]
    x = np.stack([np.asarray(picture) for picture in pictures])
    return np.moveaxis(x, -1, 1) if shape[0] == 3 else x, np.array(names)


@pytest.fixture(scope="module", params=SHAPES, ids=["last", "first"])
def network(request):
    return fit(mlp(360, 16, 3), samples(request.param), epochs=30, backend="numpy")


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    network.save(path)
    return path


@pytest.fixture
def photos(tmp_path):
    for name in COLOURS:
        ball(name).save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in COLOURS]


def drawn_parameters(shape, **options):
    """A network of drawn parameters, of which each pixel counts for something."""
    model = Sequential(
        flat=Flatten(shape), fc1=Dense(int(np.prod(shape)), 8), act=ReLU(), fc2=Dense(8, 4)
    )
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=s) / 4 for name, s in model.parameter_shapes().items()}
    opened = open_backend("numpy", dtype="float64")
    return Network(model, params, opened, sample_shape=shape, **options)


def predict(*arguments, code=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


# -- reading in colour ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_what_pillow_makes_of_it(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "YCbCr" else "a.tif" if mode == "CMYK" else "a.png")
    ball("red", mode=mode).save(path)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    found = read_picture(path, colour=True)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_are_turned_upright(tmp_path, orientation):
    picture = ball("blue")
    picture.getexif()[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=picture.getexif())
    expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", colour=True), expected)


def test_what_is_transparent_is_filled_and_what_is_deep_is_in_bytes(tmp_path):
    layers = np.zeros((12, 10, 4), dtype=np.uint8)
    layers[4:8, 3:6] = (*COLOURS["blue"], 255)
    Image.fromarray(layers).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png", colour=True)
    assert (found[0, 0] == 255).all()  # behind what is dark
    assert tuple(found[5, 4]) == COLOURS["blue"]
    assert (read_picture(tmp_path / "a.png", colour=True, invert=False)[0, 0] == 0).all()
    deep = np.random.default_rng(0).integers(0, 65536, (12, 10), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_picture(tmp_path / "deep.png", colour=True)
    np.testing.assert_array_equal(found, np.rint(deep / 257)[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_large_pictures_are_made_smaller(tmp_path, monkeypatch, kind):
    ball("green", (600, 500)).save(tmp_path / "a", kind)
    whole = read_picture(tmp_path / "a", colour=True)
    monkeypatch.setattr(pictures_module, "_MOST", 5000)
    monkeypatch.setattr(pictures_module, "_PIECE", 3000)
    small = read_picture(tmp_path / "a", colour=True)
    assert small.shape[2] == 3
    assert 1000 < small.size / 3 <= 5200
    looks = [fit_picture(brightness(each), (12, 10)) for each in (whole, small)]
    np.testing.assert_allclose(*looks, atol=0.04)


def test_the_whole_picture_is_fitted_colour_by_colour():
    picture = np.asarray(ball("red"))
    found = fit_picture(brightness(picture), (20, 30))
    assert found.shape == (20, 30, 3)
    for i in range(3):
        np.testing.assert_array_equal(
            found[..., i], fit_picture(brightness(picture[..., i]), (20, 30))
        )
    np.testing.assert_allclose(fit_picture(brightness(picture), (20, 30), invert=True), 1 - found)
    prepared = prepare_picture(picture, (20, 30), None)
    np.testing.assert_array_equal(prepared.sample, found)


def test_figures_are_found_in_grey_alone():
    framing = Framing((20, 20), "mass", (14.0, 14.0))
    for prepare in (prepare_picture, find_figures):
        with pytest.raises(DataError, match=r"in pictures in grey, got one of shape \(120, 100, 3"):
            prepare(np.asarray(ball("red")), (28, 28), framing)
    with pytest.raises(DataError, match=r"or \(height, width, 3\) in colour; got \(4, 4, 2\)"):
        prepare_picture(np.zeros((4, 4, 2)), (28, 28), None)


@pytest.mark.parametrize(
    ("shape", "size", "in_colour"),
    [((12, 10), (12, 10), False), ((12, 10, 3), (12, 10), True), ((3, 12, 10), (12, 10), True),
     ((12, 10, 1), (12, 10), False), ((1, 12, 10), (12, 10), False), ((3, 3, 3), (3, 3), True)],
)  # fmt: skip
def test_the_shapes_that_pictures_have(shape, size, in_colour):
    found = PictureShape.of(shape)
    assert (found.size, found.in_colour) == (size, in_colour)
    grey = np.random.default_rng(0).random((2, *size))
    made = found.samples(grey)
    assert made.shape == (2, *shape)
    if in_colour:
        colours = np.random.default_rng(0).random((2, *size, 3))
        made = found.samples(colours)
        assert made.shape == (2, *shape)
        pixel = made[1, 2, 1] if shape[2] == 3 else made[1, :, 2, 1]
        np.testing.assert_array_equal(pixel, colours[1, 2, 1])


# -- what a network says --------------------------------------------------------------------------


def test_colours_are_known(network, photos):
    answers = network.predict_pictures(photos)
    assert [answer.prediction for answer in answers] == list(COLOURS)
    for answer, path in zip(answers, photos, strict=True):
        assert (answer.box, answer.problem) == (None, None)
        sample = answer.prepared.sample
        np.testing.assert_array_equal(
            sample, fit_picture(brightness(read_picture(path, colour=True)), (12, 10))
        )
        asked = np.moveaxis(sample, -1, 0) if network.sample_shape[0] == 3 else sample
        np.testing.assert_allclose(
            network.predict_proba(asked[None])[0], answer.probabilities, atol=1e-6
        )


def test_a_sample_that_is_saved_as_a_picture_is_left_alone(network, tmp_path):
    x, _ = samples(network.sample_shape, n=3)
    for i, sample in enumerate(x):
        pixels = np.moveaxis(sample, 0, -1) if len(sample) == 3 else sample
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    answers = network.predict_pictures([tmp_path / f"{i}.png" for i in range(len(x))])
    found = [answer.probabilities for answer in answers]
    np.testing.assert_allclose(found, network.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("shape", [(12, 10, 3), (3, 12, 10), (12, 10, 1), (1, 12, 10)])
def test_a_grey_picture_is_the_same_in_each_colour(tmp_path, shape):
    ball("red", mode="L").save(tmp_path / "a.png")
    net = drawn_parameters(shape)
    (answer,) = net.predict_pictures(tmp_path / "a.png")
    grey = fit_picture(brightness(read_picture(tmp_path / "a.png")), (12, 10))
    axis = 0 if shape[0] in (1, 3) else 2
    sample = np.broadcast_to(np.expand_dims(grey, axis), shape)
    np.testing.assert_allclose(answer.probabilities, net.predict_proba(sample[None])[0], atol=1e-12)


def test_black_and_white_are_swapped_in_each_colour(network, photos):
    (plain,), (swapped,) = (network.predict_pictures(photos[0], invert=i) for i in (False, True))
    np.testing.assert_allclose(swapped.prepared.sample, 1 - plain.prepared.sample)
    assert swapped.prepared.inverted


def test_several_figures_need_a_rule(network, photos):
    with pytest.raises(DataError, match="there is no rule of the framing"):
        network.predict_pictures(photos, several=True)


def test_on_each_backend(network, saved, photos, training_backend):
    loaded = xpnet.load(saved, backend=training_backend.name, dtype="float64")
    for found, expected in zip(
        loaded.predict_pictures(photos), network.predict_pictures(photos), strict=True
    ):
        assert found.prediction == expected.prediction
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


# -- on the command line --------------------------------------------------------------------------


def test_the_command_says_what_the_network_does(network, saved, photos):
    found = predict(saved, *photos)
    answers = network.predict_pictures(photos)
    assert found.stdout.splitlines() == [
        f"{path}: {name}  ({100 * answer.probabilities.max():.1f} %)"
        for path, name, answer in zip(photos, COLOURS, answers, strict=True)
    ]
    assert "the whole picture is fitted" in found.stderr
    assert not predict(saved, photos[0], "--as-is").stderr
    assert "no rule of the framing" in predict(saved, photos[0], "--several", code=1).stderr


def test_what_the_network_saw_is_shown_in_grey(saved, photos, monkeypatch):
    """A ball that is as bright as its ground is not to be seen in characters."""
    lines = predict(saved, photos[0], "--show").stdout.splitlines()
    assert "as the network sees it" in lines[1]
    assert len(lines) == 2 + 6
    assert len({*"".join(line[:10] for line in lines[2:])}) == 1
    bright = photos[0].with_name("bright.png")
    Image.merge("RGB", [Image.new("L", (10, 12), value) for value in (0, 255, 0)]).save(bright)
    assert "▒" in predict(saved, bright, "--show").stdout


def test_the_sheet_is_in_colour(saved, photos, tmp_path):
    pytest.importorskip("matplotlib")
    predict(saved, *photos, "--out", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    for colour in COLOURS.values():
        near = np.abs(sheet - colour).sum(axis=2) < 12
        # In the picture on the left, and in what the network saw on the right.
        assert near.sum() > 500
        columns = np.flatnonzero(near.any(axis=0))
        assert np.ptp(columns) > near.shape[1] / 8
