"""A network asked about pictures in files, from Python and from the command line."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet import SGD, Dataset, Split, fit, load_dataset, mlp
from xpnet.cli import main
from xpnet.cli import terminal as terminal_module
from xpnet.cli.terminal import side_by_side
from xpnet.data import fit_picture, read_picture
from xpnet.data.prepared import brightness
from xpnet.errors import DataError

Image = pytest.importorskip("PIL.Image")
ImageDraw = pytest.importorskip("PIL.ImageDraw")
pytest.importorskip("scipy")

NAMES = {"bar": [(50, 20), (50, 80)], "seven": [(30, 20), (70, 20), (40, 80)],
         "hook": [(40, 20), (40, 80), (70, 80)]}  # fmt: skip


def drawn(name, *, size=100, ink=255, paper=0, width=10, rng=None):
    """One of three figures, which a small network learns at once."""
    scale = size / 100
    shift = rng.uniform(-6, 6, (3, 2)) if rng is not None else np.zeros((3, 2))
    points = [
        (scale * (x + dx), scale * (y + dy))
        for (x, y), (dx, dy) in zip(NAMES[name], shift, strict=False)
    ]
    picture = Image.new("L", (size, size), paper)
    ImageDraw.Draw(picture).line(points, fill=ink, width=round(scale * width), joint="curve")
    return picture


def framed(picture):
    """As MNIST was made: the box to 14 of 20 pixels, and in the middle."""
    cut = picture.crop(picture.getbbox())
    scale = 14 / max(cut.size)
    cut = cut.resize([max(1, round(scale * n)) for n in cut.size], Image.Resampling.BOX)
    made = Image.new("L", (20, 20))
    made.paste(cut, ((20 - cut.width) // 2, (20 - cut.height) // 2))
    return np.asarray(made)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    names = [name for name in NAMES for _ in range(60)]
    x = np.stack([framed(drawn(name, rng=rng)) for name in names])
    return x, np.array(names)


@pytest.fixture(scope="module")
def network(data):
    return fit(mlp(400, 32, 3), data, epochs=15, backend="numpy")


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    network.save(path)
    return path


@pytest.fixture
def photo(tmp_path):
    """Write a figure in dark ink somewhere on shaded paper."""

    def write(name, file="a.jpg", *, at=(170, 60), ink=40):
        page = Image.new("L", (400, 300), 210)
        page.paste(drawn(name, ink=ink, paper=210), at)
        shaded = np.asarray(page) - np.linspace(0, 70, 400)[None] * (np.asarray(page) > 100)
        Image.fromarray(shaded.clip(0, 255).astype(np.uint8)).save(tmp_path / file)
        return tmp_path / file

    return write


def predict(*arguments, code=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def three(path):
    """A page with the three figures."""
    page = Image.new("L", (460, 160), 230)
    for i, name in enumerate(NAMES):
        page.paste(drawn(name, ink=20, paper=230), (20 + 150 * i, 30))
    page.save(path)
    return path


# -- from Python ----------------------------------------------------------------------------------


def test_photographs_are_known(network, photo):
    paths = [photo(name, f"{name}.jpg", at=(20 + 90 * i, 60)) for i, name in enumerate(NAMES)]
    answers = network.predict_pictures(paths)
    assert [answer.prediction for answer in answers] == list(NAMES)
    for path, answer in zip(paths, answers, strict=True):
        assert (answer.path, answer.problem) == (str(path), None)
        assert answer.probabilities.shape == (3,)
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
        top, _, bottom, _ = answer.box
        assert bottom - top == pytest.approx(65, abs=10)
        assert answer.prepared.inverted
        np.testing.assert_array_equal(
            network.predict(answer.prepared.sample[None]), [answer.prediction]
        )


def test_one_path_is_enough(network, photo):
    (answer,) = network.predict_pictures(photo("seven"))
    assert answer.prediction == "seven"
    assert network.predict_pictures(str(photo("seven")))[0].prediction == "seven"
    assert network.predict_pictures([]) == []


def test_boxes_are_those_of_the_file(network, photo, monkeypatch):
    from xpnet.data import pictures

    path = photo("hook")
    (expected,) = network.predict_pictures(path)
    monkeypatch.setattr(pictures, "_MOST", 30_000)
    (found,) = network.predict_pictures(path)
    assert found.prediction == "hook"
    np.testing.assert_allclose(found.box, expected.box, atol=3)


def test_several_figures_in_the_order_of_reading(network, tmp_path):
    path = three(tmp_path / "a.png")
    answers = network.predict_pictures(path, several=True)
    assert [answer.prediction for answer in answers] == list(NAMES)
    lefts = [answer.box[1] for answer in answers]
    assert lefts == sorted(lefts)
    (answer,) = network.predict_pictures(path)
    assert answer.prediction is answer.probabilities is answer.box is None
    assert "several figures, 3 of one size" in answer.problem


def test_as_it_is(network, photo):
    path = photo("seven")
    (answer,) = network.predict_pictures(path, as_is=True)
    expected = fit_picture(brightness(read_picture(path)), (20, 20))
    np.testing.assert_array_equal(answer.prepared.sample, expected)
    assert answer.box is None
    (inverted,) = network.predict_pictures(path, as_is=True, invert=True)
    np.testing.assert_allclose(inverted.prepared.sample, 1 - expected)
    with pytest.raises(DataError, match="as_is takes the whole picture"):
        network.predict_pictures(path, as_is=True, several=True)


@pytest.mark.filterwarnings("ignore::xpnet.DataWarning")
@pytest.mark.parametrize(
    ("black", "white", "paper"), [(0, 1, 0), (-1, 1, -1), (0, 255, 0), (0, 255, 255), (0, 1, 1)]
)
def test_the_numbers_are_those_of_the_training(data, photo, monkeypatch, black, white, paper):
    """Whatever is black and white there, and where the paper is white."""
    x = black + (white - black) / 255 * data[0].astype(np.float64)
    x = white + black - x if paper == white else x
    network = fit(mlp(400, 3), (x, data[1]), epochs=1, optimizer=SGD(1e-9), backend="numpy")
    seen = []
    monkeypatch.setattr(
        type(network), "predict", lambda self, asked: seen.append(asked) or np.array(["seven"])
    )
    network.predict_pictures(photo("seven"))
    assert (seen[0].min(), seen[0].max()) == pytest.approx((black, white), abs=1e-9)
    assert seen[0][0, 0, 0] == pytest.approx(paper)


def test_pixels_of_a_data_set_are_divided_by_its_maximum(photo):
    data = load_dataset("digits")
    network = fit(mlp(64, 32, 10), data, epochs=1, backend="numpy")
    (answer,) = network.predict_pictures(photo("seven"))
    np.testing.assert_allclose(
        network.predict_proba((answer.prepared.sample[None] * 16)
                              .round().astype(np.uint8))[0], answer.probabilities, atol=0.2,
    )  # fmt: skip
    assert answer.prepared.sample.max() == 1


def test_on_each_backend(network, saved, photo, training_backend):
    path = photo("seven")
    loaded = xpnet.load(saved, backend=training_backend.name, dtype="float64")
    (found,), (expected,) = (each.predict_pictures(path) for each in (loaded, network))
    assert found.prediction == expected.prediction
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)


def test_integers_and_values_and_labels(data, photo):
    x, names = data
    numbers = np.unique(names, return_inverse=True)[1]
    rows = np.eye(3)[numbers]
    path = photo("seven")
    (answer,) = fit(mlp(400, 3), (x, numbers), epochs=9, backend="numpy").predict_pictures(path)
    assert answer.prediction == 2
    values = fit(mlp(400, 3), (x, rows), loss=xpnet.mean_squared_error, epochs=1, backend="numpy")
    (answer,) = values.predict_pictures(path)
    assert (answer.prediction.shape, answer.probabilities) == ((3,), None)
    labels = fit(mlp(400, 3), (x, rows), loss=xpnet.binary_cross_entropy, epochs=1,
                 backend="numpy")  # fmt: skip
    (answer,) = labels.predict_pictures(path)
    assert answer.prediction.shape == answer.probabilities.shape == (3,)
    one = fit(mlp(400, 1), (x, rows[:, 0]), loss=xpnet.mean_squared_error, epochs=1,
              backend="numpy")  # fmt: skip
    assert np.shape(one.predict_pictures(path)[0].prediction) == ()


@pytest.mark.parametrize("axis", [1, 3])
def test_samples_with_an_axis_of_one_colour(data, network, photo, axis):
    x, y = data
    made = fit(mlp(400, 32, 3), (np.expand_dims(x, axis), y), epochs=15, backend="numpy")
    for name in NAMES:
        path = photo(name)
        (found,), (expected,) = (each.predict_pictures(path) for each in (made, network))
        assert (found.prediction, found.box) == (name, expected.box)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)


def test_a_network_that_takes_no_pictures(data, photo):
    x, y = data
    rows = fit(mlp(400, 3), (x.reshape(len(x), -1), y), epochs=1, backend="numpy")
    with pytest.raises(DataError, match="not pictures in grey or in three colours"):
        rows.predict_pictures(photo("seven"))


def test_files_that_cannot_be_read_are_an_error(network, tmp_path):
    for path in (tmp_path, tmp_path / "none.png"):
        with pytest.raises(DataError, match="cannot be read as a picture"):
            network.predict_pictures(path)


# -- from the command line ------------------------------------------------------------------------


def test_the_command_says_what_the_network_does(network, saved, photo):
    path = photo("hook")
    (answer,) = network.predict_pictures(path)
    percent = 100 * answer.probabilities.max()
    assert predict(saved, path).stdout == f"{path}: hook  ({percent:.1f} %)\n"


def test_pictures_without_an_answer_have_an_exit_code(saved, photo, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("L", (200, 100), 200).save(blank)
    page = three(tmp_path / "page.png")
    found = predict(saved, blank, photo("seven"), page, code=5)
    assert "seven" in found.stdout
    assert len(found.stdout.splitlines()) == 1
    assert f"no answer: {blank}: blank: nothing in it stands out" in found.stderr
    assert f"no answer: {page}: several figures, 3 of one size" in found.stderr
    # What cannot be read is the worse mistake.
    predict(saved, blank, tmp_path / "none.png", code=1)
    assert predict(saved, blank, "--as-is").stdout.count("%") == 1


def test_several_are_said_with_their_boxes(network, saved, tmp_path):
    path = three(tmp_path / "a.png")
    lines = predict(saved, path, "--several").stdout.splitlines()
    answers = network.predict_pictures(path, several=True)
    for line, answer in zip(lines, answers, strict=True):
        top, left, bottom, right = answer.box
        assert line.startswith(f"{path}: {answer.prediction}  (")
        assert line.endswith(f"at {left},{top} to {right},{bottom}")
    assert "--several" in predict(saved, path, "--several", "--as-is", code=2).stderr
    shown = predict(saved, path, "--several", "--show").stdout
    assert (shown.count("the picture"), shown.count("as the network sees it")) == (1, len(answers))


@pytest.mark.parametrize("option", ["--invert", "--no-invert"])
def test_black_and_white_as_they_are_given(network, saved, photo, option):
    path = photo("seven")
    (answer,) = network.predict_pictures(path, invert=option == "--invert")
    found = predict(saved, path, option, code=0 if answer.problem is None else 5)
    if answer.problem is None:
        assert f"{answer.prediction}  ({100 * answer.probabilities.max():.1f} %)" in found.stdout


def test_a_network_without_a_framing_says_so(data, tmp_path, photo):
    x = np.random.default_rng(0).random((60, 20, 20))
    fit(mlp(400, 3), (x, np.arange(60) % 3), epochs=1, backend="numpy").save(tmp_path / "a")
    found = predict(tmp_path / "a", photo("seven"))
    assert "the whole picture is fitted" in found.stderr
    assert not predict(tmp_path / "a", photo("seven"), "--as-is").stderr
    assert (
        "no rule of the framing"
        in predict(tmp_path / "a", photo("bar"), "--several", code=1).stderr
    )


def test_what_the_network_saw_is_shown_in_characters(network, saved, photo):
    path = photo("seven")
    lines = predict(saved, path, "--show").stdout.splitlines()
    assert lines[1].split("   ") == [
        "the picture         ".rstrip(),
        "  as the network sees it",
    ] or ("as the network sees it" in lines[1])
    assert len(lines) == 2 + 10
    assert any("█" in line[20:] for line in lines[2:])


def test_characters_that_the_terminal_has(monkeypatch):
    class Ascii:
        encoding = "ascii"

    picture = np.linspace(0, 1, 5)[None].repeat(2, axis=0)
    assert side_by_side([picture], ["x"]).splitlines()[1] == " ░▒▓█"
    monkeypatch.setattr(terminal_module.sys, "stdout", Ascii())
    assert side_by_side([picture, picture], ["x", "y"]) == "x       y\n .:*#    .:*#"
    wide = side_by_side([np.ones((90, 100))], ["w"]).splitlines()
    assert max(map(len, wide)) == 34
    assert len(wide) == 1 + 15


def test_a_sheet_is_drawn(saved, photo, tmp_path):
    pytest.importorskip("matplotlib")
    blank = tmp_path / "$blank.png"
    Image.new("L", (200, 100), 200).save(blank)
    found = predict(saved, blank, photo("seven"), "--out", tmp_path / "sheet.png", code=5)
    assert f"drawn: {tmp_path / 'sheet.png'}" in found.stdout
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert (np.abs(sheet - (213, 94, 0)).sum(axis=2) < 60).sum() > 100  # the box, and the problem
    assert (sheet.sum(axis=2) == 0).sum() > 2000  # what the network saw is on black
    predict(saved, three(tmp_path / "page.png"), "--several", "--out", tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 10_000


def test_a_sheet_that_cannot_be_drawn_is_refused_before_the_work(
    saved, photo, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = predict(saved, photo("seven"), "--out", tmp_path / "a.png", code=2)
    assert "pip install 'xpnet[plot]'" in found.stderr
    assert not found.stdout
    monkeypatch.undo()
    found = predict(saved, photo("seven"), "--out", tmp_path / "none" / "a.png", code=2)
    assert "the folder is not there" in found.stderr
    assert not found.stdout


@pytest.mark.parametrize("out", ["sheet.jpg", "sheet.csv", "sheet.pdf"])
def test_a_sheet_of_another_form_is_refused(saved, photo, tmp_path, out):
    found = predict(saved, photo("seven"), "--out", tmp_path / out, code=2)
    assert "give a name that ends in .png" in " ".join(found.stderr.split())
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("name", ["seven.png", "./seven.png", "link.png"])
def test_a_sheet_is_not_written_over_a_picture(saved, photo, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    before = photo("seven", "seven.png").read_bytes()
    if name == "link.png":
        Path("link.png").hardlink_to("seven.png")
    found = predict(saved, "seven.png", "--out", name, code=2)
    assert "is read by this command; give another name" in " ".join(found.stderr.split())
    assert Path("seven.png").read_bytes() == before


def test_without_scipy_pictures_are_fitted_as_they_are(saved, photo, monkeypatch):
    path = photo("seven")
    for name in [name for name in sys.modules if name.startswith("xpnet.data.figures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    assert "pip install 'xpnet[image]'" in predict(saved, path, code=1).stderr
    assert "%" in predict(saved, path, "--as-is").stdout


def test_the_framing_of_a_data_set_is_that_of_its_network(data, photo):
    x, y = data
    numbers = np.unique(y, return_inverse=True)[1]
    made = Dataset("figures", Split(x, numbers), None, n_classes=3)
    assert fit(mlp(400, 3), made, epochs=1, backend="numpy").framing == made.framing
    assert made.framing.box[0] == 14


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX: pipes")
def test_a_pipe_is_not_waited_for(saved, tmp_path):
    os.mkfifo(tmp_path / "x.png")
    found = predict(saved, tmp_path / "x.png", code=1).stderr
    assert "x.png: cannot be read as a picture (it is a pipe or a device, and no file)" in found
