"""Pictures: what they show, read back from matplotlib's own objects."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from xpnet import fit, load_dataset, mlp
from xpnet.data import Split
from xpnet.errors import RunError
from xpnet.figures import save_figure
from xpnet.history import EpochRecord, History
from xpnet.parity import TOLERANCES, ParityReport, ParityRow
from xpnet.plots import draw_run, plot_confusion, plot_curves, plot_mistakes, plot_parity

pytestmark = pytest.mark.libraries


def history(epochs=3, test=True):
    return History(
        [
            EpochRecord(
                i, 1 / i, 1 - 0.5 / i, 2 / i if test else None, 1 - 0.6 / i if test else None,
                0.1, 0.1, 0.1,
            )
            for i in range(1, epochs + 1)
        ]
    )  # fmt: skip


def test_curves_show_the_history():
    figure = plot_curves(history(), title="a run")
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training set", "test set"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2, 1, 2 / 3])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50, 75, 100 * (1 - 0.5 / 3)])
    assert loss.get_ylim()[0] == 0
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "mean cross-entropy loss")
    assert accuracy.get_ylabel() == "accuracy (%)"


def test_curves_without_a_test_set():
    loss, _ = plot_curves(history(test=False)).axes
    assert [line.get_label() for line in loss.lines] == ["training set"]


def test_curves_with_a_validation_set():
    records = [
        EpochRecord(i, 1 / i, 0.5, None, None, 0.1, 0.1, 0.1, 3 / i, 0.25) for i in range(1, 4)
    ]
    loss, accuracy = plot_curves(History(records)).axes
    assert [line.get_label() for line in loss.lines] == ["training set", "validation set"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [3, 3 / 2, 1])
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [25, 25, 25])


def test_curves_need_an_epoch():
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_curves(History())


@pytest.mark.parametrize("n", [1, 2, 10, 40, 41])
def test_confusion_writes_every_count(n):
    counts = np.random.default_rng(0).integers(0, 3, size=(n, n)) + 90 * np.eye(n, dtype=int)
    axes = plot_confusion(counts).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for (i, j), count in np.ndenumerate(counts):
        assert written.get((j, i)) == (str(count) if count and n <= 40 else None)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_confusion_of_nothing_and_of_a_rectangle():
    plot_confusion(np.zeros((3, 3), dtype=int)).canvas.draw()
    with pytest.raises(ValueError, match="square, got shape"):
        plot_confusion(np.zeros((3, 2)))


def test_mistakes_are_the_most_confident_first():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    labels = np.array([1, 1, 1, 0])
    images = np.arange(4)[:, None, None] * np.ones((1, 2, 2))
    figure = plot_mistakes(images, labels, p)
    (axes,) = figure.axes
    texts = ["1 → 0  90 %", "0 → 1  70 %", "1 → 0  60 %"]
    assert [text.get_text() for text in axes.texts] == texts
    assert [image.get_array().max() for image in axes.images] == [0, 3, 1]
    assert figure.get_suptitle().startswith("3 of 4 images wrong; all:")


@pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (1, 1), (12, 12), (60, 40)])
def test_a_sheet_of_mistakes_has_room_for_them(wrong, shown, tmp_path):
    n = 100
    labels = np.zeros(n, dtype=int)
    p = np.zeros((n, 2))
    p[:, 0], p[:wrong, 1] = 0.5, 0.9
    figure = plot_mistakes(np.ones((n, 8, 8)), labels, p)
    figure.savefig(tmp_path / "mistakes.png")
    images = [image for axes in figure.axes for image in axes.images]
    texts = [text for axes in figure.axes for text in axes.texts]
    assert len(images) == len(texts) == shown
    # Nothing lies on anything else, nor outside.
    boxes = [x.get_window_extent() for x in (*images, *texts)]
    for i, box in enumerate(boxes):
        assert figure.bbox.padded(1).contains(box.x0, box.y0)
        assert figure.bbox.padded(1).contains(box.x1, box.y1)
        assert not any(Bbox.intersection(box.padded(-1), b.padded(-1)) for b in boxes[:i])


def test_parity_shows_every_difference_and_zero_at_zero():
    differences = {"numpy": [0.0, 0.0], "torch": [0.0, 1e-7], "jax": [3e-4, 2e-3]}
    rows = tuple(
        ParityRow(name, epoch, 1.0, 1.0, 0.9, 10, 100, difference, 0, 2 * epoch, 0.1)
        for name, values in differences.items()
        for epoch, difference in enumerate(values, start=1)
    )
    report = ParityReport(tuple(differences), "float32", TOLERANCES["float32"], rows, {}, ())
    loss, predictions = plot_parity(report).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert drawn["torch"] == [0.0, 1e-7]
    assert drawn["jax"] == [3e-4, 2e-3]
    assert drawn["allowed after the last epoch"] == [0.01, 0.01]
    low, high = loss.get_ylim()
    assert low < 0 < 0.01 < high
    assert [list(line.get_ydata()) for line in predictions.lines] == [[2, 4], [2, 4]]
    assert predictions.get_ylabel() == "predictions that differ, of 100"


def test_a_confusion_of_many_classes_stays_small():
    figure = plot_confusion(np.eye(1000, dtype=int))
    assert max(figure.get_size_inches()) < 30
    assert len(figure.axes[0].get_xticklabels()) <= 40


def test_mistakes_refuse_shapes():
    with pytest.raises(ValueError, match=r"needs images \(N, height, width\)"):
        plot_mistakes(np.ones((3, 4)), np.zeros(3), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"got \(3, 2, 2\), \(2,\)"):
        plot_mistakes(np.ones((3, 2, 2)), np.zeros(2), np.ones((3, 2)))


@pytest.mark.parametrize("mapped", [False, True])
def test_the_worst_of_a_whole_set_are_found_in_parts(tmp_path, monkeypatch, mapped):
    """The sheet of a run is that of all samples, of which few are in memory at a time."""
    data = load_dataset("digits")
    split = data.train
    network = fit(mlp(64, 10), data.limited(100), epochs=1, backend="numpy")
    expected = plot_mistakes(split.images, split.labels, network.predict_proba(split.images))
    if mapped:
        np.save(tmp_path / "x.npy", split.images)
        split = Split(np.load(tmp_path / "x.npy", mmap_mode="r"), split.labels)
        monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    monkeypatch.setattr("xpnet.plots._PART_VALUES", 64 * 100)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: drawn.append(figure))
    counts = network.confusion_matrix(split.images, split.labels)
    draw_run(tmp_path, network, split, counts, "digits")
    (sheet,) = (figure for figure in drawn if "wrong" in figure.get_suptitle())
    assert sheet.get_suptitle() == f"digits\n{expected.get_suptitle()}"
    (axes,), (other,) = sheet.axes, expected.axes
    assert [t.get_text() for t in axes.texts] == [t.get_text() for t in other.texts]
    assert len(axes.images) == 40
    for image, wanted in zip(axes.images, other.images, strict=True):
        np.testing.assert_array_equal(image.get_array(), wanted.get_array())


PICTURES = ("confusion.png", "curves.png", "mistakes.png", "saliency.png")


@pytest.mark.parametrize("failing", PICTURES)
def test_pictures_are_replaced_whole_or_not_at_all(tmp_path, monkeypatch, failing):
    """Where the disk is full, in the picture that is being written; links are not followed."""
    data = load_dataset("digits").limited(60)
    network = fit(mlp(64, 10), data, epochs=1, backend="numpy")
    counts = network.confusion_matrix(data.train.images, data.train.labels)
    for name in PICTURES:
        (tmp_path / name).write_bytes(b"the old picture")
    real = Path.replace

    def full(self, target):
        if target.name == failing:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    # A script that no font of matplotlib's has: drawn as boxes, without a warning.
    with pytest.raises(RunError, match=f"{failing}: cannot be written: No space left on device"):
        draw_run(tmp_path, network, data.train, counts, "数字")
    for name in PICTURES:
        content = (tmp_path / name).read_bytes()
        assert content == b"the old picture" or content.endswith(b"IEND\xaeB`\x82")
    assert (tmp_path / failing).read_bytes() == b"the old picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PICTURES)


def test_characters_that_the_font_has_stay_as_they_are(tmp_path):
    figure = plot_curves(history(), title="Größe 数 → −1")
    save_figure(figure, tmp_path / "a.png")
    assert figure.get_suptitle() == "Größe □ → −1"
