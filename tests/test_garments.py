"""Things with shades of their own, such as clothes: in files of a data set, and photographed."""

import io

import numpy as np
import pytest

from xpnet import fit, mlp
from xpnet.data import measure_framing, prepare_picture, read_picture
from xpnet.data.named import load_known
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy")

SHAPE = (28, 28)


def garment(rng):
    """Something shaded and patterned, as high or as wide as the picture, and in its middle."""
    height, width = 28, int(rng.integers(12, 27))
    if rng.random() < 0.4:
        height, width = width, height
    shade = np.kron(rng.uniform(0.3, 1.0, (4, 4)), np.ones((8, 8)))[:height, :width]
    shade = shade * np.linspace(*rng.uniform(0.7, 1.0, 2), width)
    if rng.random() < 0.5:  # with sleeves, or legs
        shade[height // 2 :, width // 3 : -(width // 3)] = 0
    picture = np.zeros(SHAPE)
    top, left = (28 - height) // 2, (28 - width) // 2
    picture[top : top + height, left : left + width] = shade
    return np.rint(255 * picture).astype(np.uint8)


def photograph(pixels, rng, *, ground, depth, extent=0.6, size=(300, 420)):
    """On a ground of one brightness, in light that fades: a thing that is darker, or brighter."""
    height, width = size
    side = round(extent * height)
    thing = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    top, left = (int(rng.integers(0, n - side + 1)) for n in size)
    page = np.full(size, float(ground))
    page[top : top + side, left : left + side] += depth / 255 * np.asarray(thing, dtype=float)
    page -= np.linspace(0, 40, width)
    page += rng.normal(0, 5, size)
    file = io.BytesIO()
    Image.fromarray(page.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return read_picture(file)


@pytest.fixture(scope="module")
def garments():
    rng = np.random.default_rng(0)
    return np.stack([garment(rng) for _ in range(200)])


@pytest.fixture(scope="module")
def fashion():
    try:
        return load_known("fashion-mnist", download=False)
    except DataError:
        pytest.skip("Fashion-MNIST is not here")


def saved(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return read_picture(file)


def test_the_rule_of_what_fills_the_picture(garments):
    found = measure_framing(garments, 255.0)
    assert (found.box, found.centring, found.paper, found.stroke) == (SHAPE, "box", 0, None)
    np.testing.assert_allclose(found.centre, 14, atol=0.5)


@pytest.mark.parametrize("inverted", [False, True])
def test_pictures_of_the_data_set_are_left_alone(garments, inverted):
    framing = measure_framing(garments, 255.0)
    odd = np.zeros(SHAPE, dtype=np.uint8)
    odd[3:12, 4:15] = 180  # which keeps to no rule, but is as large
    for pixels in [odd, *garments[:60]]:
        found = prepare_picture(saved(255 - pixels if inverted else pixels), SHAPE, framing)
        assert (found.inverted, found.problem) == (inverted, None)
        np.testing.assert_array_equal(np.rint(255 * found.sample), pixels)


@pytest.mark.parametrize(
    "scene",
    [{"ground": 235, "depth": -190}, {"ground": 150, "depth": -110},
     {"ground": 60, "depth": 190}, {"ground": 235, "depth": -190, "extent": 0.3}],
    ids=["bright", "grey", "dark", "small"],
)  # fmt: skip
def test_photographs_are_made_as_the_pictures_of_the_data_set(garments, scene):
    framing, rng = measure_framing(garments, 255.0), np.random.default_rng(1)
    for pixels in garments[:12]:
        taken = prepare_picture(photograph(pixels, rng, **scene), SHAPE, framing)
        assert (taken.problem, taken.inverted) == (None, scene["depth"] < 0)
        own = pixels / pixels.max()
        assert np.abs(taken.sample - own).mean() < 0.09
        assert np.corrcoef(taken.sample.ravel(), own.ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_clothes_are_known_as_well_as_their_arrays(fashion):
    """In files of the size of the data set, black on white as well, and photographed."""
    network = fit(mlp(784, 64, 10), fashion.limited(20_000), epochs=4, backend="numpy",
                  train_metrics="none")  # fmt: skip
    framing, rng = network.framing, np.random.default_rng(2)
    x, y = fashion.test.images[:500], fashion.test.labels[:500]
    for made in (x, 255 - x):
        found = [prepare_picture(saved(pixels), SHAPE, framing).sample for pixels in made]
        np.testing.assert_array_equal(np.rint(255 * np.stack(found)), x)
    known = (network.predict(x) == y).mean()
    taken = [photograph(pixels, rng, ground=230, depth=-180) for pixels in x[:200]]
    samples = np.stack([prepare_picture(grey, SHAPE, framing).sample for grey in taken])
    assert (network.predict(samples) == y[:200]).mean() > known - 0.06
