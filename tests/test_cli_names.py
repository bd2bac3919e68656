"""What is typed to the command line: paths with ~, folders that are not there, near names."""

import re
import sys
from dataclasses import replace
from importlib import invalidate_caches
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch
import pytest
from click.testing import CliRunner

import xpnet
from xpnet.backends import BACKENDS
from xpnet.cli import COMMANDS, main
from xpnet.data import DATASETS, load_digits, load_mnist, write_idx
from xpnet.data.known import KNOWN
from xpnet.errors import DataError
from xpnet.runs.continuation import trained_on
from xpnet.suggestions import did_you_mean

QUICK = ["--epochs", "1", "--limit", "100", "--hidden", "", "--backend", "numpy", "--quiet"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The user's home, and an empty current folder beside it."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)

    def no_download(*arguments, **options):
        raise AssertionError("something would be downloaded")

    monkeypatch.setattr(pooch, "retrieve", no_download)
    return tmp_path / "home"


def xp(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert isinstance(result.exception, SystemExit | None)
    return " ".join(result.output.split())


def write_digits(folder):
    """The digits as a folder of IDX files with the names of MNIST's."""
    folder.mkdir(parents=True)
    data = load_digits()
    for part, split in (("train", data.train), ("t10k", data.test)):
        write_idx(folder / f"{part}-images-idx3-ubyte", split.images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", split.labels.astype(np.uint8))


@pytest.fixture
def mnist_at_home(home, monkeypatch):
    """A folder `data` in the home with files that are taken for MNIST's."""
    write_digits(home / "data" / "mnist")
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], sha256=()))
    return home / "data"


# -- ~ --------------------------------------------------------------------------------------------


def test_every_path_may_begin_with_the_home(home, mnist_at_home):
    xp("train", "mnist", "--data-dir=~/data", "--out=~/run", *QUICK)
    xp("train", "mnist", "--data-dir=~/data", "--start=~/run", "--out=~/next", *QUICK)
    config = Path(home, "next", "config.toml").read_text(encoding="utf-8")
    assert f'start = "{home / "run"}"'.replace("\\", "\\\\") in config
    xp("train", "--config=~/run/config.toml", "--out", "again", "--quiet")
    xp("train", "--resume=~/run", "--epochs", 2, "--quiet")
    assert "mnist test set" in xp("evaluate", "~/run", "--data-dir=~/data")
    xp("export", "~/run", "~/weights.npz")
    assert sorted(p.name for p in home.iterdir()) == ["data", "next", "run", "weights.npz"]
    assert [p.name for p in Path.cwd().iterdir()] == ["again"]


def test_data_sets_and_the_variable_may_begin_with_the_home(home, mnist_at_home, monkeypatch):
    assert xpnet.load_dataset("~/data/mnist").name == "mnist"
    assert len(load_mnist("~/data").train) == 1438
    xp("train", "~/data/mnist", "--out", "run", *QUICK)
    assert trained_on("run").dataset == str(home / "data" / "mnist")
    monkeypatch.setenv("XPNET_DATA_DIR", "~/data")
    assert len(load_mnist().train) == 1438
    Path("a.toml").write_text("dataset = '~/data/mnist'\nstart = '~/none'\ndata-dir = '~/data'")
    assert f"{home / 'none'}" in xp("train", "--config", "a.toml", "--out", "b", *QUICK, code=1)


# -- folders that are not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["train", "mnist"], ["train"], ["parity", "mnist"], ["evaluate", "r"], ["plot", "r"]],
    ids=" ".join,
)
def test_a_data_folder_that_is_not_there_is_named(command):
    message = xp(*command, "--data-dir", "no/where", code=2)
    assert "Invalid value for '--data-dir': Directory 'no/where' does not exist" in message


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_data_folder_that_is_not_there_is_named_in_python_and_in_files(name, tmp_path):
    Path("file").touch()
    found = "no such folder" if name == "nowhere" else "a file"
    message = f"data_dir: {tmp_path / 'here' / name}: expected a folder, found {found}"
    with pytest.raises(DataError, match=re.escape(message)):
        xpnet.load_dataset("mnist", data_dir=tmp_path / "here" / name)
    Path("a.toml").write_text(f"dataset = 'mnist'\ndata-dir = '{name}'")
    assert message in xp("train", "--config", "a.toml", code=1)


def test_a_run_remembers_a_folder_that_has_been_moved(mnist_at_home, monkeypatch):
    xp("train", "mnist", "--data-dir", mnist_at_home, "--out", "run", *QUICK)
    moved = mnist_at_home.rename(mnist_at_home.with_name("moved"))
    monkeypatch.setenv("XPNET_DATA_DIR", str(moved))
    assert "mnist test set" in xp("evaluate", "run")
    xp("train", "--resume", "run", "--epochs", 2, "--quiet")


# -- near names -----------------------------------------------------------------------------------


def test_near_commands_and_data_sets():
    assert xp("trian", code=2).endswith("Error: No such command 'trian'; did you mean 'train'?")
    assert xp("digits", code=2).endswith(f"'digits'; there are {', '.join(COMMANDS)}")
    assert xp("train", "mnits", code=1).endswith("or an archive; did you mean 'mnist'?")
    with pytest.raises(DataError, match="did you mean 'digits'"):
        xpnet.load_dataset("Digit")


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["train", "--optimizer", "adma"], "adam"),
        (["train", "--schedule", "cosin"], "cosine"),
        (["train", "--schedule", "one_cycle"], "one-cycle"),
        (["train", "--activation", "leaky-relu"], "leaky_relu"),
        (["train", "--init", "he-normal"], "he_normal"),
        (["train", "--backend", "pytorch"], "torch"),
        (["train", "--dtype", "Float32"], "float32"),
        (["train", "--train-metrics", "runing"], "running"),
        (["export", "a", "b", "--format", "onx"], "onnx"),
        (["evaluate", "a", "--split", "tset"], "test"),
        (["conformance", "numpy", "--dtype", "double64"], None),
        (["parity", "--backends", "numpy,jacks,nunpy"], None),
        (["parity", "--backends", "numpy,jax_"], "jax"),
        (["conformance", "array-api-strict"], "array_api_strict"),
        (["conformance", "array_api_strickt"], "array_api_strict"),
    ],
    ids=lambda value: str(value)[-24:],
)
def test_near_words(arguments, near):
    message = xp(*arguments, code=2)
    assert ("did you mean" in message) == (near is not None)
    assert near is None or message.endswith(f"; did you mean '{near}'?")


def test_a_backend_that_is_near_in_python():
    with pytest.raises(ValueError, match="got 'Numpy'; did you mean 'numpy'"):
        xpnet.open_backend("Numpy")


@pytest.mark.parametrize("given", [None, 3, "", "x" * 10**6, ["adam"], "qqq"])
def test_nothing_is_near(given):
    assert did_you_mean(given, [*BACKENDS, *DATASETS]) == ""


# -- modules of the current folder ----------------------------------------------------------------

MINE = "from array_api_compat.numpy import *\n"


@pytest.fixture
def _nothing_is_tried(monkeypatch):
    """Only the import matters here, and all of conformance takes seconds."""

    def opened(namespace, *, dtype):
        from xpnet.backends.namespace import NamespaceBackend

        NamespaceBackend(namespace, dtype)
        raise SystemExit(77)

    monkeypatch.setattr("xpnet.conformance.check_namespace", opened)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p and Path(p) != Path.cwd()])
    yield
    sys.modules.pop("mine_own", None)


@pytest.mark.usefixtures("_nothing_is_tried")
def test_conformance_of_a_module_in_the_current_folder():
    before = list(sys.path)
    assert "give the name of a module, such as mine_own," in xp(
        "conformance", "mine_own.py", code=2
    )
    assert "No module named 'mine_own'" in xp("conformance", "mine_own", code=2)
    Path("mine_own.py").write_text(MINE)
    invalidate_caches()
    xp("conformance", "mine_own", code=77)
    assert sys.path == before
    assert "such as mine_own, and not its file" in xp("conformance", "./mine_own", code=2)


@pytest.mark.usefixtures("_nothing_is_tried")
def test_modules_of_the_current_folder_come_after_all_others():
    """A file that is called as a library of Python's is not taken for it."""
    Path("colorsys.py").write_text("raise SystemExit(3)")
    sys.modules.pop("colorsys", None)
    assert "is no array-API namespace" in xp("conformance", "colorsys", code=2)


@pytest.mark.usefixtures("_nothing_is_tried")
def test_who_wants_no_modules_of_the_current_folder_gets_none(monkeypatch):
    Path("mine_own.py").write_text(MINE)
    safe = SimpleNamespace(flags=SimpleNamespace(safe_path=True), path=sys.path)
    monkeypatch.setattr("xpnet.cli.libraries.sys", safe)
    assert "No module named 'mine_own'" in xp("conformance", "mine_own", code=2)
