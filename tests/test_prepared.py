"""Pictures prepared for a network: left alone where they are right, else as the data set's are."""

import sys

import numpy as np
import pytest

from xpnet import fit, load_dataset, mlp
from xpnet.data import Framing, find_figures, prepare_picture, read_picture
from xpnet.data.framing import stroke_widths
from xpnet.errors import DataError

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
ImageFilter = pytest.importorskip("PIL.ImageFilter")
pytest.importorskip("scipy.ndimage")

import photographs  # noqa: E402
from photographs import CONDITIONS, Scene, as_jpeg, photograph, varied  # noqa: E402

FRAMING = Framing((20, 20), "mass", (14.5, 14.5), stroke=(2.0, 3.0))
SHAPE = (28, 28)


def pen(points, *, size=(300, 400), width=14, ink=40, paper=210):
    """A line drawn on paper."""
    picture = Image.new("L", size[::-1], paper)
    ImageDraw.Draw(picture).line(points, fill=ink, width=width, joint="curve")
    return np.asarray(picture)


SEVEN = [(150, 90), (250, 90), (190, 230)]


def centre_of_mass(sample):
    at = np.arange(28) + 0.5
    return np.array([sample.sum(axis=1) @ at, sample.sum(axis=0) @ at]) / sample.sum()


def box_of(ink):
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


# -- the rule of the framing ----------------------------------------------------------------------


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_figure_is_scaled_to_the_box_and_put_in_its_centre(inverted, dtype):
    grey = pen(SEVEN)
    if inverted:
        grey = 255 - grey
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    found = prepare_picture((grey * np.float64(scale)).astype(dtype), SHAPE, FRAMING)
    assert found.problem is None
    assert found.inverted is (not inverted)
    assert found.sample.shape == SHAPE
    top, _, bottom, _ = box_of(found.sample > 0)
    assert bottom - top == 20
    np.testing.assert_allclose(centre_of_mass(found.sample), 14.5, atol=0.6)
    assert found.sample[:3].max() == 0
    assert found.sample.max() == 1
    expected = box_of(grey < 125) if not inverted else box_of(grey > 125)
    np.testing.assert_allclose(found.box, expected, atol=1)


def test_by_the_box_and_on_white_paper_where_the_data_set_is_so():
    framing = Framing((16, 12), "box", (10.0, 8.0), paper=1)
    found = prepare_picture(pen(SEVEN), (20, 16), framing)
    assert not found.inverted
    top, left, bottom, right = box_of(found.sample < 1)
    assert (bottom - top, right - left) == (15, 12) or bottom - top == 16
    np.testing.assert_allclose([(top + bottom) / 2, (left + right) / 2], [10, 8], atol=0.5)


@pytest.mark.parametrize("invert", [True, False])
def test_what_is_said_of_black_and_white_is_not_found_out(invert):
    found = prepare_picture(pen(SEVEN), SHAPE, FRAMING, invert=invert)
    assert found.inverted is invert
    right = prepare_picture(pen(SEVEN), SHAPE, FRAMING).sample
    assert np.allclose(found.sample, right) is invert


@pytest.mark.parametrize("width", [4, 14, 30])
def test_strokes_are_as_wide_as_those_of_the_data_set(width):
    reference = prepare_picture(pen(SEVEN), SHAPE, FRAMING).sample
    found = prepare_picture(pen(SEVEN, width=width), SHAPE, FRAMING).sample
    assert 1.8 < stroke_widths(found[None])[0] < 3.5
    assert np.abs(found - reference).mean() < 0.07


def test_shades_of_a_figure_are_kept():
    grey = np.full((300, 300), 250, dtype=np.uint8)
    grey[60:240, 100:150], grey[60:240, 150:200] = 160, 60
    found = prepare_picture(grey, SHAPE, Framing((28, 28), "box", (14.0, 14.0))).sample
    left, right = found[14, 11], found[14, 17]
    assert left / right == pytest.approx((250 - 160) / (250 - 60), abs=0.08)


# -- what is on paper -----------------------------------------------------------------------------

SCENES = {
    "shaded": Scene(),
    "shaded from below": Scene(direction=1.6, shade=80.0),
    "a quarter of the picture": Scene(extent=0.25, offset=(0.2, -0.2)),
    "the whole of it": Scene(extent=1.0),
    "a shadow": Scene(shading="shadow", direction=0.7),
    "dark corners": Scene(shading="corners"),
    "a lamp": Scene(shading="lamp", direction=2.0),
    "white on black": Scene(paper=50.0, ink=215.0, shade=40.0),
    "white on black, the whole of it": Scene(paper=50.0, ink=215.0, shade=40.0, extent=1.0),
    "black on white": Scene(paper=255.0, ink=0.0, shade=0.0, noise=0.0),
    "coarse grain": Scene(grain="coarse", noise=8.0),
    "specks": Scene(grain="specks", noise=8.0),
    "a poor JPEG": Scene(quality=30),
    "pencil": Scene(ink=170.0, shade=80.0, noise=5.0, extent=0.3, offset=(0.2, -0.2)),
    "tall": Scene(size=(480, 240), extent=0.6),
    "wide": Scene(size=(200, 600), extent=0.7),
    "squared paper": Scene(lines="squared"),
}


def seven():
    """A digit of 28 x 28 as one of MNIST's, drawn large and made small."""
    large = Image.new("L", (280, 280), 0)
    ImageDraw.Draw(large).line([(90, 60), (190, 60), (120, 225)], fill=255, width=26)
    small = np.asarray(large.resize((28, 28), Image.Resampling.BOX))
    return prepare_picture(small, SHAPE, FRAMING).sample


@pytest.mark.parametrize("name", SCENES)
def test_paper_light_and_noise_are_taken_off(name, tmp_path):
    rng = np.random.default_rng(0)
    digit = seven()
    scene = SCENES[name]
    if scene.size == (600, 800):
        scene = photographs.replace(scene, size=(300, 400))
    path = tmp_path / "a.jpg"
    path.write_bytes(
        as_jpeg(photograph((digit * 255).round().astype(np.uint8), scene, rng), scene.quality)
    )
    found = prepare_picture(read_picture(path), SHAPE, FRAMING)
    assert found.problem is None
    assert found.inverted is (scene.paper > scene.ink)
    # That it is drawn anew, and has its edge elsewhere in a pixel, is some 0.02.
    assert np.abs(found.sample - digit).mean() < 0.045


# -- MNIST's own ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist(mnist_dir):
    return load_dataset("mnist", data_dir=mnist_dir)


@pytest.fixture(scope="module")
def network(mnist):
    return fit(mlp(784, 64, 10), mnist.limited(20_000), epochs=4, backend="numpy",
               train_metrics="none")  # fmt: skip


@pytest.mark.mnist
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_pictures_of_the_data_set_are_left_alone(mnist, tmp_path, invert, count):
    path = tmp_path / "a.png"
    for i, pixels in enumerate(mnist.test.images[:count]):
        grey = 255 - pixels if invert else pixels
        if i < 200:  # as they come; the others without the time that files take
            Image.fromarray(grey).save(path, compress_level=0)
            grey = read_picture(path)
        found = prepare_picture(grey, SHAPE, mnist.framing)
        assert found.inverted is invert
        np.testing.assert_array_equal((found.sample * 255).round(), pixels)
        assert invert or np.array_equal(found.sample, pixels / 255)


@pytest.mark.parametrize("invert", [False, True])
def test_the_embedded_digits_are_left_alone(invert):
    data = load_dataset("digits")
    for pixels in data.test.images:
        grey = (pixels / 16 * 255).round().astype(np.uint8)
        found = prepare_picture(255 - grey if invert else grey, (8, 8), data.framing)
        np.testing.assert_allclose(found.sample, grey / 255, atol=1e-12)


@pytest.mark.mnist
@pytest.mark.parametrize("how", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_pictures_that_were_only_enlarged_are_made_small_again(mnist, how):
    for pixels in mnist.test.images[:40]:
        large = Image.fromarray(255 - pixels).resize((280, 280), getattr(Image.Resampling, how))
        found = prepare_picture(np.asarray(large), SHAPE, mnist.framing)
        assert np.abs(found.sample - pixels / 255).mean() < 0.05


QUICK = [
    "half of the picture", "a quarter, off the middle", "the whole picture", "on dark paper",
    "a shadow with an edge", "a thin pen", "a thick pen", "turned to the left",
]  # fmt: skip


@pytest.mark.mnist
@pytest.mark.parametrize("name", QUICK)
def test_photographs_of_digits_are_known(mnist, network, name):
    """Nearly as many as of the pictures that they were made of."""
    rng = np.random.default_rng(7)
    scene, off_centre = CONDITIONS[name]
    scene = photographs.replace(scene, size=(210, 280))
    count = 24
    samples = []
    for pixels in mnist.test.images[:count]:
        taken = photograph(pixels, varied(scene, rng, off_centre=off_centre), rng)
        samples.append(prepare_picture(taken, SHAPE, mnist.framing).sample)
    labels = mnist.test.labels[:count]
    known = (network.predict(np.stack(samples)) == labels).sum()
    assert known >= (network.predict(mnist.test.images[:count]) == labels).sum() - 2


# -- what is no figure ----------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0, 3, 10])
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (28, 28), (300, 400)])
@pytest.mark.parametrize("paper", [0, 128, 255])
def test_a_blank_picture_is_said_to_be_that(noise, size, paper):
    rng = np.random.default_rng(1)
    grey = (paper + rng.normal(0, noise, size)).clip(0, 255).astype(np.uint8)
    found = prepare_picture(grey, SHAPE, FRAMING)
    assert found.problem
    assert found.sample.shape == SHAPE
    assert (found.box, len(find_figures(grey, SHAPE, FRAMING))) == (None, 1)


@pytest.mark.parametrize("kind", ["slope", "corners", "lamp", "soft shadow"])
def test_light_alone_is_no_figure(kind):
    scene = Scene(size=(300, 400), shading=kind, shade=80.0)
    blank = photograph(np.pad(np.full((2, 2), 255), 13), photographs.replace(scene, ink=210.0),
                       np.random.default_rng(0))  # fmt: skip
    assert prepare_picture(blank, SHAPE, FRAMING).problem.startswith("blank")


def across():
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    return y, x


LIGHTS = {
    "a spot": lambda y, x: 135 + 75 * np.exp(-((y + 0.2) ** 2 + x**2) / 0.4),
    "a dark corner": lambda y, x: 210 - 75 * np.exp(-np.hypot(y - 1, x + 1)),
    "a step": lambda y, x: np.where(x < 0, 200, 70),
    "from black to white": lambda y, x: 255 * (x + 1) / 2,
    "around the middle": lambda y, x: 255 * np.hypot(y, x) / 2,
    "out of focus": lambda y, x: 170 - 70 / (1 + np.exp(12 * (np.hypot(y, x) - 0.5))),
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("kind", LIGHTS)
def test_what_rises_slowly_is_no_ink(kind, inverted):
    """Nor are the edges that are as long as the picture."""
    light = LIGHTS[kind](*across()) + np.random.default_rng(0).normal(0, 5, (300, 400))
    grey = light.clip(0, 255).astype(np.uint8)
    assert prepare_picture(255 - grey if inverted else grey, SHAPE, FRAMING).problem


SOLID = {
    "a coin": lambda y, x: np.hypot(3 * y, 4 * x) < 2,
    "a sheet": lambda y, x: (abs(y + 0.1 * x) < 0.7) & (abs(x - 0.1 * y) < 0.6),
}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("kind", SOLID)
def test_solid_things_are_no_figure(kind, inverted):
    grey = np.where(SOLID[kind](*across()) ^ inverted, 60, 200).astype(np.uint8)
    (found,) = find_figures(grey, SHAPE, FRAMING)
    assert "solid" in found.problem
    assert prepare_picture(grey, SHAPE, FRAMING).problem == found.problem
    filled = Framing((20, 20), "mass", (14.5, 14.5), stroke=(8.0, 10.0))
    assert prepare_picture(grey, SHAPE, filled).problem is None  # if such are what it has learned


@pytest.mark.parametrize("kind", ["lines", "lines and a margin", "grid"])
def test_the_ruling_of_paper_is_no_figure(kind):
    def ruled(grey, depth):
        lines = np.zeros(grey.shape)
        lines[10::24] = lines[11::24] = depth
        if kind != "lines":
            lines[:, 40:42] = depth
        if kind == "grid":
            lines[:, 10::24] = depth
        return (grey - lines).clip(0, 255).astype(np.uint8)

    assert (
        "no clear figure"
        in prepare_picture(ruled(np.full((300, 400), 210), 60), SHAPE, FRAMING).problem
    )
    grey = pen(SEVEN)
    found = prepare_picture(ruled(grey, 35), SHAPE, FRAMING)
    np.testing.assert_allclose(found.box, prepare_picture(grey, SHAPE, FRAMING).box, atol=2)


def test_the_largest_of_many_specks_is_no_figure():
    grey = np.full((300, 400), 210, dtype=np.uint8)
    rng = np.random.default_rng(0)
    for y, x in rng.integers(10, 280, (30, 2)):
        grey[y : y + rng.integers(2, 7), x : x + rng.integers(2, 7)] = 60
    grey[100:110, 350:360] = 60
    assert "no clear figure" in prepare_picture(grey, SHAPE, FRAMING).problem


def test_what_lies_in_a_corner_is_no_figure():
    y, x = across()
    grey = pen(SEVEN)
    with_corner = np.where(y + x > 1.4, 60, grey).astype(np.uint8)
    found = prepare_picture(with_corner, SHAPE, FRAMING)
    assert found.problem is None
    np.testing.assert_allclose(found.box, prepare_picture(grey, SHAPE, FRAMING).box, atol=2)


def test_scattered_marks_are_no_figure():
    rng = np.random.default_rng(1)
    grey = np.where(rng.random((300, 400)) < 0.02, 0, 255).astype(np.uint8)
    assert "no clear figure" in prepare_picture(grey, SHAPE, FRAMING).problem


def test_a_table_around_the_paper_is_no_figure():
    grey = pen(SEVEN)
    around = np.full((400, 500), 60, dtype=np.uint8)
    around[30:330, 60:460] = grey
    found = prepare_picture(around, SHAPE, FRAMING)
    reference = prepare_picture(grey, SHAPE, FRAMING)
    np.testing.assert_allclose(found.sample, reference.sample, atol=0.3)
    np.testing.assert_allclose(np.subtract(found.box, (30, 60, 30, 60)), reference.box, atol=2)
    around[30:330, 60:460] = 210
    assert prepare_picture(around, SHAPE, FRAMING).problem


# -- several figures ------------------------------------------------------------------------------


def page():
    """Strokes in two lines that rise, one with a dot, and dirt."""
    picture = Image.new("L", (500, 300), 220)
    draw = ImageDraw.Draw(picture)
    boxes = []
    for line in range(2):
        for i in range(4):
            x, y = 40 + 110 * i, 40 + 140 * line - 8 * i
            draw.line([(x, y), (x + 40, y), (x + 12, y + 80)], fill=30, width=9)
            boxes.append((y, x, y + 80, x + 40))
    draw.ellipse([40 + 12, 40 + 140 + 95, 40 + 22, 40 + 140 + 105], fill=30)
    draw.point([(250, 150), (400, 20)], fill=30)
    return np.asarray(picture), boxes


def test_figures_are_found_line_by_line():
    grey, boxes = page()
    found = find_figures(grey, SHAPE, FRAMING)
    assert len(found) == 8
    for prepared, (top, left, bottom, right) in zip(found, boxes, strict=True):
        assert prepared.problem is None
        with_dot = top == 180 and left == 40
        np.testing.assert_allclose(prepared.box, (top, left, bottom + 25 * with_dot, right), atol=9)
    alone = prepare_picture(grey[:130, 20:110], SHAPE, FRAMING)
    assert np.abs(found[0].sample - alone.sample).mean() < 0.05  # a shift by one is 0.03


def test_several_figures_are_not_answered_as_one():
    grey, _ = page()
    assert "several figures, 8 of one size" in prepare_picture(grey, SHAPE, FRAMING).problem
    assert prepare_picture(grey[:, :110][:140], SHAPE, FRAMING).problem is None


def test_parts_that_the_pen_has_not_joined_are_one_figure():
    """The bar of a five, apart from its bow."""
    picture = Image.new("L", (300, 300), 220)
    draw = ImageDraw.Draw(picture)
    draw.line([(120, 80), (190, 75)], fill=30, width=12)
    draw.line([(110, 105), (110, 150), (170, 160), (170, 220), (100, 225)], fill=30, width=12)
    found = prepare_picture(np.asarray(picture), SHAPE, FRAMING)
    assert found.problem is None
    assert found.box[0] < 80
    assert len(find_figures(np.asarray(picture), SHAPE, FRAMING)) == 1


def test_a_bar_that_reaches_into_the_box_of_a_figure_is_its_own():
    picture = Image.new("L", (300, 200), 220)
    draw = ImageDraw.Draw(picture)
    draw.line([(90, 60), (80, 105), (120, 115), (120, 160), (70, 165)], fill=30, width=10)
    draw.line([(118, 67), (170, 58)], fill=30, width=9)
    draw.line([(240, 60), (240, 160)], fill=30, width=10)
    assert len(find_figures(np.asarray(picture), SHAPE, FRAMING)) == 2


def test_ink_out_of_focus_is_ink():
    sharp = Image.fromarray(pen(SEVEN))
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(5)))
    assert prepare_picture(blurred, SHAPE, FRAMING).problem is None


# -- what is no picture ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grey", "part"),
    [(np.zeros((3, 3, 3)), "shape"), (np.zeros((0, 3)), "shape"), (np.zeros(3), "shape"),
     (np.full((3, 3), np.nan), "from 0 to 1"), (np.full((3, 3), 2.0), "from 0.* from 2 to 2"),
     (np.full((3, 3), -1.0), "from -1"), (np.full((3, 3), "a"), "got <U1"),
     (np.zeros((3, 3), complex), "complex")],
)  # fmt: skip
def test_what_is_no_picture_is_refused(grey, part):
    for prepare in (prepare_picture, find_figures):
        with pytest.raises(DataError, match=part):
            prepare(grey, SHAPE, FRAMING)


def test_without_a_framing_the_whole_picture_is_fitted():
    grey = pen(SEVEN)
    found = prepare_picture(grey, SHAPE, None)
    assert (found.problem, found.box, found.inverted) == (None, None, False)
    np.testing.assert_allclose(found.sample[:2], 210 / 255, atol=0.01)
    assert prepare_picture(grey, SHAPE, None, invert=True).inverted


def test_a_framing_of_larger_pictures_is_refused():
    with pytest.raises(ValueError, match="does not fit pictures"):
        prepare_picture(pen(SEVEN), (16, 16), FRAMING)


def test_a_picture_of_the_data_set_is_one_figure():
    sample = seven()
    (found,) = find_figures(sample, SHAPE, FRAMING)
    np.testing.assert_array_equal(found.sample, sample)


def test_without_pillow_it_is_said_what_to_install(monkeypatch):
    grey = pen(SEVEN)
    monkeypatch.setitem(sys.modules, "PIL", None)
    for picture in (grey, grey[:200, :200]):
        with pytest.raises(DataError, match=r"pip install 'xpnet\[image\]'"):
            prepare_picture(picture, SHAPE, FRAMING)
