"""Augmentation on the command line: trainings with it, its configuration, and its sheet."""

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import load
from xpnet.augment import AUGMENTATIONS, Affine, Compose, Elastic, Flip
from xpnet.augmented import augmented, plot_augmented
from xpnet.cli import main
from xpnet.random import stream
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import read_config
from xpnet.runs.options import OptionError

SMALL = ["--hidden", "4", "--limit", "60", "--backend", "numpy", "--train-metrics", "none"]


def xpnet(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def test_a_training_is_written_down_repeated_and_gone_on_with(tmp_path):
    texts = ["elastic", "affine:rotation=20:edge=nearest", "mixup"]
    options = ["--augment", ",".join(texts), *SMALL]
    whole, half = tmp_path / "whole", tmp_path / "half"
    xpnet("train", "digits", *options, "--epochs", 3, "--out", whole)
    assert f"augment = {texts}".replace("'", '"') in (whole / "config.toml").read_text()
    assert read_config(whole / "config.toml")["augment"] == tuple(texts)
    xpnet("train", "digits", *options, "--epochs", 2, "--out", half)
    xpnet("train", "--resume", half, "--epochs", 3)
    again = tmp_path / "again"
    xpnet("train", "--config", whole / "config.toml", "--out", again)
    first = load(whole).params
    for folder in (half, again):
        for name, value in load(folder).params.items():
            assert value.tobytes() == first[name].tobytes()
    said = xpnet("train", "--resume", half, "--augment", "flip", code=2)
    assert "augment" in said


def test_what_a_configuration_stands_for():
    config = RunConfig("digits", augment=("flip:horizontal=1", "elastic"))
    assert config.fit_options()["augment"] == Compose((Flip(1.0), Elastic()))
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig().fit_options()["augment"] is None
    for texts, message in {
        (): "augment must have a name, such as elastic",
        ("elastik",): "augment must be of .*did you mean 'elastic'",
        ("flip:often=1",): "augment has 'often=1' for flip",
        "elastic": "augment must be a list of names of augmentations, such as elastic",
    }.items():
        with pytest.raises(OptionError, match=message):
            RunConfig(augment=texts)


def test_a_table_has_no_pictures_to_be_bent(tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(60)]
    table.write_text("\n".join(["x,y,label", *rows]))
    label = ["--label", "label"]
    bent = ["--augment", "elastic", *SMALL, *label]
    said = xpnet("train", table, *bent, "--out", tmp_path / "run", code=2)
    assert "--augment" in said
    assert "needs pictures" in said
    assert not (tmp_path / "run").exists()
    mixed = ["--augment", "mixup,noise", *SMALL, "--epochs", 1]
    xpnet("train", table, *mixed, *label, "--out", tmp_path / "mixed")
    said = xpnet("augment", table, *label, "--out", tmp_path / "a.png", code=1)
    assert "has no pictures" in said


def test_samples_as_a_step_sees_them():
    pictures = stream(0).integers(256, size=(6, 8, 8)).astype(np.uint8)
    original = augmented(pictures, [])
    assert np.array_equal(original, np.float32(pictures) * np.float32(1 / 255))
    changed = augmented(pictures, [Elastic(), Affine()], step=3)
    assert (changed.shape, changed.dtype) == ((6, 8, 8), np.float32)
    assert np.array_equal(changed, augmented(pictures, [Elastic(), Affine()], step=3))
    for other in ({"step": 4}, {"step": 3, "seed": 1}):
        assert not np.array_equal(changed, augmented(pictures, [Elastic(), Affine()], **other))
    for kind in AUGMENTATIONS.values():
        assert np.isfinite(augmented(np.zeros((3, 6, 5, 3)), kind())).all()


def test_the_sheet_has_the_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    Image = pytest.importorskip("PIL.Image")
    for options, rows in (([], 1 + len(AUGMENTATIONS)), (["--augment", "elastic,flip"], 6)):
        out = tmp_path / "sheet.png"
        xpnet("augment", "digits", *options, "--count", 4, "--out", out)
        with Image.open(out) as sheet:
            width, height = sheet.size
        assert height / width == pytest.approx((0.72 * rows + 0.4) / (0.72 * 4 + 0.95), rel=0.02)
    pictures = stream(0).uniform(size=(3, 5, 5))
    figure = plot_augmented([("before", pictures), ("after", 2 * pictures)])
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert np.array_equal(shown[1], pictures[1])
    assert np.array_equal(shown[4], np.clip(2 * pictures[1], 0, 1))
    for wrong in ([], [("a", pictures), ("b", pictures[:2])], [("a", np.zeros((2, 9)))]):
        with pytest.raises(ValueError, match="needs rows of as many pictures"):
            plot_augmented(wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--augment", "elastik"], "did you mean 'elastic'"),
        (["--out", "sheet.jpg"], "ends in .png"),
        (["--out", "missing/sheet.png"], "the folder is not there"),
        (["--count", "0"], "--count"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_said_first(arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert message in xpnet("augment", "digits", *arguments, code=2)
