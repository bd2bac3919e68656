"""matplotlib as it is found: with settings that name what is not there, or not at all."""

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import fit, load_dataset, mlp, plots
from xpnet.cli import main
from xpnet.drawing import figure_class
from xpnet.history import EpochRecord, History
from xpnet.parity import TOLERANCES, ParityReport, ParityRow

HISTORY = History([EpochRecord(1, 1.0, 0.5, None, None, 0.1, 0.1, 0.1)])
ROWS = tuple(ParityRow(name, 1, 1.0, None, 0.5, 5, 10, 0.0, 0, 0, 0.1) for name in ("a", "b"))
REPORT = ParityReport(("a", "b"), "float64", TOLERANCES["float64"], ROWS, {}, ())
IMAGES, LABELS, P = np.zeros((2, 4, 4)), np.array([0, 1]), np.full((2, 2), 0.5)

DRAW = {
    "curves": lambda folder: plots.plot_curves(HISTORY),
    "confusion": lambda folder: plots.plot_confusion(np.eye(2, dtype=int)),
    "mistakes": lambda folder: plots.plot_mistakes(IMAGES, LABELS, P),
    "no-mistakes": lambda folder: plots.plot_mistakes(IMAGES, LABELS, np.eye(2)),
    "parity": lambda folder: plots.plot_parity(REPORT),
    "run": lambda folder: plots.draw_run(
        folder, *_trained(), np.eye(10, dtype=int), "digits, test set"
    ),
}
"""Every function of `xpnet.plots`."""


def _trained():
    data = load_dataset("digits").limited(20)
    return fit(mlp(64, 10), data, epochs=1, backend="numpy"), data.test


def test_all_that_draws_is_tried():
    public = {name for name in vars(plots) if name.startswith(("plot_", "draw_"))}
    assert public == {f"plot_{name}" for name in ("curves", "confusion", "mistakes", "parity")} | {
        "draw_run",
        *(
            "plot_filters",
            "plot_feature_maps",
            "plot_saliency",
        ),  # which tests/test_filters.py tries
    }


@pytest.fixture
def _no_matplotlib(monkeypatch):
    """As where it is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
@pytest.mark.usefixtures("_no_matplotlib")
def test_without_matplotlib_the_extra_is_named(draw, tmp_path):
    with pytest.raises(ImportError, match=r"matplotlib: pip install 'xpnet\[plot\]'$") as info:
        draw(tmp_path)
    assert info.value.name == "matplotlib"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_no_matplotlib")
def test_parity_says_so_before_it_trains(tmp_path):
    arguments = ["parity", "--backends", "numpy,no-such", "--plot", str(tmp_path / "a.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "'--plot': pictures need matplotlib: pip install 'xpnet[plot]'" in message


def test_a_library_that_matplotlib_lacks_is_named(monkeypatch):
    """The extra is installed then, and what is wrong is another thing."""

    def broken():
        raise ModuleNotFoundError("No module named 'kiwisolver'", name="kiwisolver")

    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    monkeypatch.setattr("xpnet.drawing._import_matplotlib", broken)
    with pytest.raises(ImportError, match="kiwisolver"):
        figure_class()


PROGRAM = """
import os
import numpy as np
from xpnet import plots
plots.plot_confusion(np.eye(3, dtype=int)).savefig("a.png")
import matplotlib
print(os.environ.get("MPLBACKEND"), matplotlib.rcParams._get_backend_or_none())
"""


@pytest.mark.parametrize(
    ("named", "taken"),
    [
        ("no-such-backend", None),
        ("svg", "svg"),
    ],
)
def test_pictures_are_drawn_whatever_the_variable_names(named, taken, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("MPLBACKEND", named)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG"), result.stderr
    assert result.stderr == ""
    variable, chosen = result.stdout.split(" ")[-2:]
    assert variable == named  # other programs that are started shall see it
    assert taken is None or chosen.strip() == taken
