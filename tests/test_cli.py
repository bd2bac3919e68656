"""The command line in a temporary folder, as a user would meet it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from commands import xp
from conftest import require
from safetensors.numpy import load_file

import xpnet
from xpnet.backends import Status
from xpnet.backends.cupy import CupyBackend
from xpnet.cli import main
from xpnet.data import load_digits, write_idx

pytestmark = [pytest.mark.libraries, pytest.mark.installed]

PICTURES = ["curves.png", "confusion.png", "mistakes.png", "saliency.png"]
FILES = [
    "config.toml",
    "history.jsonl",
    "summary.json",
    "model.safetensors",
    "checkpoint.safetensors",
    *PICTURES,
]
QUICK = ["--epochs", "2", "--limit", "200", "--hidden", "16"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = CliRunner().invoke(main, ["train", "--backend", "numpy", "--out", str(folder), *QUICK])
    assert result.exit_code == 0, result.output
    return folder


def test_train_writes_a_run_folder(tmp_path):
    result = xp("train", "--backend", "numpy", "--epochs", 3, "--seed", 7, "--out", "run")
    assert sorted(path.name for path in Path("run").iterdir()) == sorted(FILES)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("backend: numpy on cpu, float32, steps ")
    assert lines[1].startswith("data:    digits: 1,438 training and 359 test images")
    assert lines[2] == "model:   64-128-10, relu, 9,610 parameters"
    assert [line.split()[1] for line in lines[3:6]] == ["1", "2", "3"]

    rows = read_rows("run/history.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {
        "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "train_seconds",
        "eval_seconds", "learning_rate", "validation_loss", "validation_accuracy",
    }  # fmt: skip
    assert rows[0]["learning_rate"] == 0.1

    summary = read_json("run/summary.json")
    assert summary["configuration"] == {
        "dataset": "digits", "limit": None, "label": None, "test": None, "test_fraction": None,
        "target_kind": None, "validation": None, "model": "mlp", "hidden": [128],
        "pooling": None,
        "activation": "relu", "batch_norm": False, "dropout": 0.0, "init": "he_normal",
        "epochs": 3, "batch_size": 64, "drop_last": False, "seed": 7, "label_smoothing": 0.0,
        "train_metrics": "evaluated", "optimizer": "sgd",
        "learning_rate": 0.1, "momentum": None, "weight_decay": 0.0, "l2": 0.0, "clip_norm": None,
        "clip_value": None, "ema": None, "schedule": "constant", "warmup": 0.0,
        "schedule_every": None, "schedule_factor": None, "schedule_final": None,
        "schedule_cycles": None,
        "schedule_patience": None, "patience": None, "start": None, "freeze": None, "fresh": None,
        "augment": None, "average_from": None, "snapshots": None, "members": 1, "split_seed": None,
        "backend": "numpy", "device": None,
        "dtype": "float32", "tf32": False, "threads": None, "steps": None, "data_dir": None,
        "reduction": "fast", "shards": None,
        "checkpoint_every": 1, "tensorboard": False,
    }  # fmt: skip
    assert summary["backend"] == "numpy"
    assert summary["versions"]["numpy"] == np.__version__
    assert summary["final"] == rows[-1]
    assert summary["peak_memory"]["host_bytes"] > 1e7
    counts = np.array(summary["confusion_matrix"]["counts"])
    assert counts.sum() == 359
    assert counts.trace() / 359 == pytest.approx(rows[-1]["test_accuracy"])
    assert f"test accuracy {100 * rows[-1]['test_accuracy']:.2f} %" in lines[-1]
    assert summary["total_seconds"] >= summary["train_seconds"] > 0

    arrays = load_file("run/model.safetensors")
    assert {name: a.shape for name, a in arrays.items()} == {
        "param/fc1.weight": (64, 128), "param/fc1.bias": (128,),
        "param/fc2.weight": (128, 10), "param/fc2.bias": (10,),
    }  # fmt: skip
    for name in PICTURES:
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_the_command_line_is_the_python_api(run):
    data = xpnet.load_dataset("digits").limited(200)
    network = xpnet.fit(xpnet.mlp(64, 16, 10), data, epochs=2, backend="numpy", seed=0)
    loaded = xpnet.load(run)
    for name, value in network.params.items():
        np.testing.assert_array_equal(loaded.params[name], value)


def test_run_folders_are_numbered_and_never_overwritten(run):
    for number in (1, 2):
        xp("train", "--quiet", *QUICK)
        assert Path(f"runs/digits-{number}").is_dir()
    before = {name: (run / name).read_bytes() for name in FILES}
    result = xp("train", "--out", run, *QUICK, code=1)
    assert "holds a run already" in result.stderr
    assert "--force" in result.stderr
    assert {name: (run / name).read_bytes() for name in FILES} == before


def test_force_replaces_the_run_and_nothing_else(tmp_path):
    xp("train", "--out", "run", "--quiet", *QUICK)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    xp("train", "--out", "run", "--quiet", "--force", *QUICK, "--seed", 1)
    assert read_json("run/summary.json")["configuration"]["seed"] == 1
    assert len(read_rows("run/history.jsonl")) == 2
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_quiet_prints_the_summary_only():
    result = xp("train", "--quiet", "--backend", "numpy", *QUICK)
    assert len(result.output.splitlines()) == 1
    assert "test accuracy" in result.output


def test_train_on_every_backend(other_backend, run):
    xp("train", "--backend", other_backend, "--out", "other", *QUICK)
    ours = read_rows(run / "history.jsonl")
    theirs = read_rows("other/history.jsonl")
    for one, other in zip(ours, theirs, strict=True):
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
    assert read_json("other/summary.json")["backend"] == other_backend


def test_options_reach_the_network():
    xp(
        "train", "--hidden", "12, 8", "--activation", "tanh", "--init", "xavier_uniform",
        "--dtype", "float64", "--epochs", 1, "--batch-size", 5000, "--out", "run", "--quiet",
    )  # fmt: skip
    network = xpnet.load("run")
    assert network.model == xpnet.mlp(
        64, 12, 8, 10, activation=xpnet.Tanh(), init_weight=xpnet.initializers.xavier_uniform
    )
    assert network.params["fc1.weight"].dtype == np.float64


def test_no_hidden_layer_is_softmax_regression():
    xp("train", "--hidden", "", "--epochs", 1, "--out", "run", "--quiet")
    assert xpnet.load("run").model == xpnet.mlp(64, 10)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "0"],
        ["--batch-size", "-1"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--learning-rate", "inf"],
        ["--hidden", "12,x"],
        ["--hidden", "0"],
        ["--hidden", "99999999999999999999999"],
        ["--limit", "0"],
        ["--seed", "-1"],
        ["--activation", "step"],
        ["--init", "zeros"],
        ["--dtype", "float16"],
        ["--backend", "tensorflow"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused_before_anything_is_written(arguments, tmp_path):
    result = xp("train", *arguments, code=2)
    assert arguments[0].strip("-") in result.stderr.replace("_", "-")
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_is_not_there():
    result = xp("train", "mnits", code=1)
    assert "there is no data set 'mnits': give one of digits, mnist" in result.stderr


def test_mnist_that_is_not_there(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("pooch.retrieve", offline)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.cwd()))
    Path("here").mkdir()
    result = xp("train", "mnist", "--data-dir", "here", code=1)
    assert f"Searched: {Path('here').absolute()}" in result.stderr
    assert "go on with the embedded data set: digits" in result.stderr


def test_a_backend_that_cannot_be_used(monkeypatch):
    status = Status(usable=False, reason="no NVIDIA driver is loaded: install one")
    monkeypatch.setattr(CupyBackend, "probe", classmethod(lambda cls: status))
    result = xp("train", "--backend", "cupy", code=2)
    assert result.stderr == "error: no NVIDIA driver is loaded: install one\n"
    result = xp("backends")
    assert "cupy              not usable  -             no NVIDIA driver is loaded" in result.output


def test_backends_lists_them_all():
    lines = xp("backends").output.splitlines()
    assert [line.split()[0] for line in lines] == [*xpnet.BACKENDS, "mpi", "nccl"]
    assert f"numpy             usable      {np.__version__}" in lines[0]


def test_a_training_that_diverges_exits_with_3_and_keeps_the_history():
    arguments = ["--learning-rate", "1e5", "--out", "run", "--hidden", "64,64"]
    result = xp("train", *arguments, code=3)
    assert "the learning rate is too high" in result.stderr


def test_a_folder_of_idx_files_is_a_data_set():
    digits = load_digits()
    Path("mine").mkdir()
    for prefix, split in (("train", digits.train), ("t10k", digits.test)):
        write_idx(f"mine/{prefix}-images-idx3-ubyte.gz", split.images * np.uint8(15))
        write_idx(f"mine/{prefix}-labels-idx1-ubyte", split.labels)
    xp("train", "mine", "--out", "run", *QUICK)
    assert read_json("run/summary.json")["configuration"]["dataset"] == str(Path("mine").resolve())
    assert "mine test set: loss" in xp("evaluate", "run").output
    # The same digits on another scale of pixels are the same to the network, nearly (15/16).
    assert "digits test set: loss" in xp("evaluate", "run", "digits").output


def test_a_folder_without_a_test_set():
    digits = load_digits()
    Path("mine").mkdir()
    write_idx("mine/train-images-idx3-ubyte", digits.train.images)
    write_idx("mine/train-labels-idx1-ubyte", digits.train.labels)
    result = xp("train", "mine", "--out", "run", *QUICK)
    assert "training accuracy" in result.output
    row = read_rows("run/history.jsonl")[0]
    assert row["test_loss"] is None
    assert "take --split train" in xp("evaluate", "run", code=1).stderr
    assert "mine train set: loss" in xp("evaluate", "run", "--split", "train").output


def test_evaluate_gives_the_figures_of_the_run(run):
    final = read_json(run / "summary.json")["final"]
    for where in (run, run / "model.safetensors"):
        output = xp("evaluate", where).output
        assert f"loss {final['test_loss']:.4f}" in output
        assert f"accuracy {100 * final['test_accuracy']:.2f} %" in output


def test_evaluate_on_another_backend(run):
    require("torch")
    first, expected = xp("evaluate", run, "--backend", "numpy").output.splitlines()
    assert first == "backend: numpy on cpu, float32"
    result = xp("evaluate", run, "--backend", "torch", "--device", "cpu")
    assert result.output.splitlines() == ["backend: torch on cpu, float32", expected]


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_a_run_that_is_not_there(command):
    result = xp(command, "nowhere", code=1)
    assert "nowhere: there is no such file" in result.stderr


def test_an_unfinished_run(run, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert "half: not the folder of a run" in xp("evaluate", "half", code=1).stderr
    assert "digits test set" in xp("evaluate", "half", "digits").output
    (tmp_path / "half" / "config.toml").write_text("{")
    assert "half/config.toml: not valid TOML" in xp("evaluate", "half", code=1).stderr


def test_a_damaged_network(run, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:500])
    result = xp("predict", "model.safetensors", "a.png", code=1)
    assert "not a readable safetensors file" in result.stderr


def test_the_wrong_data_set_for_a_network(run, tmp_path):
    Path("small").mkdir()
    write_idx("small/train-images-idx3-ubyte", np.zeros((3, 4, 4), dtype=np.uint8))
    write_idx("small/train-labels-idx1-ubyte", np.arange(3, dtype=np.uint8))
    result = xp("evaluate", run, "small", "--split", "train", code=1)
    assert "the network takes samples of shape (64,), got (4, 4)" in result.stderr


def save_picture(path, pixels, scale=9):
    """A digit as a large grey picture, white on black."""
    image = pytest.importorskip("PIL.Image")
    large = np.kron(pixels.astype(np.float64) / 16 * 255, np.ones((scale, scale)))
    image.fromarray(large.round().astype(np.uint8)).save(path)


def test_predict_sees_what_the_network_was_trained_on():
    image_module = pytest.importorskip("PIL.Image")
    xp("train", "--backend", "numpy", "--quiet", "--out", "run")
    run, images = "run", load_digits().test.images
    network = xpnet.load(run)
    # Scaling back blurs a little: take digits that the network is sure of.
    sure = np.flatnonzero(network.predict_proba(images).max(axis=1) > 0.9)[:10]
    names = [f"{i}.png" for i in range(10)]
    for name, i in zip(names, sure, strict=True):
        save_picture(name, images[i])
    expected = network.predict(images[sure])
    lines = xp("predict", run, *names).output.splitlines()
    assert [line.split()[1] for line in lines] == [str(c) for c in expected]
    assert all(line.endswith(" %)") for line in lines)
    # Dark ink on white, in colour, as JPEG: the same digit.
    dark = np.asarray(image_module.open("0.png").convert("RGB"))
    image_module.fromarray(255 - dark).save("dark.jpg", quality=95)
    for option in ([], ["--invert"]):
        assert xp("predict", run, *option, "dark.jpg").output.split()[1] == str(expected[0])


def test_predict_goes_on_after_a_picture_it_cannot_read(run, tmp_path):
    save_picture("good.png", load_digits().test.images[0])
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "text.png").write_text("hello")
    result = xp("predict", run, "bad.png", "none.png", "text.png", ".", "good.png", code=1)
    for name in ("bad.png", "none.png", "text.png", "."):
        assert f"error: {name}: cannot be read as a picture" in result.stderr
    assert "good.png: " in result.stdout


def test_predict_goes_on_after_a_picture_that_may_not_be_read(run, tmp_path, monkeypatch):
    """Nor is it asked before whether it may: that the reading finds out."""
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / name, load_digits().test.images[0])
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda *arguments, **options: False)
        xp("predict", run, tmp_path / "b.png")
    (tmp_path / "a.png").chmod(0)
    if os.access(tmp_path / "a.png", os.R_OK):
        pytest.skip("this user (root?) may read every file")
    result = xp("predict", run, tmp_path / "a.png", tmp_path / "b.png", code=1)
    assert "b.png" in result.stdout
    assert "a.png: cannot be read as a picture (Permission denied)" in result.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX: pipes")
@pytest.mark.parametrize("verb", ["plot", "evaluate"])
def test_a_pipe_in_a_run_folder_is_not_waited_for(run, tmp_path, verb):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((Path(run) / "model.safetensors").read_bytes())
    os.mkfifo(folder / "config.toml")
    error = xp(verb, folder, code=1).stderr
    assert "config.toml: cannot be read: it is a pipe or a device" in error


def test_plot_draws_again(run, tmp_path):
    import shutil

    shutil.copytree(run, "copy")
    for name in PICTURES:
        Path("copy", name).unlink()
    assert xp("plot", "copy").output == "pictures of digits: copy\n"
    for name in PICTURES:
        assert (tmp_path / "copy" / name).stat().st_size > 5000


def test_without_matplotlib_training_still_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = xp("train", "--out", "run", *QUICK)
    assert "pictures left out: they need pip install 'xpnet[plot]'" in result.stderr
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "checkpoint.safetensors",
        "config.toml",
        "history.jsonl",
        "model.safetensors",
        "summary.json",
    ]


def test_without_pillow_predict_says_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install 'xpnet[image]'" in xp("predict", run, "a.png", code=1).stderr


@pytest.mark.parametrize(
    "name",
    ["config.toml", "history.jsonl", "model.safetensors", "checkpoint.safetensors", "summary.json"],
)
def test_a_full_disk(name, monkeypatch):
    """Every file of a run: one sentence, no traceback."""
    import pathlib

    real_open, real_replace = pathlib.Path.open, pathlib.Path.replace

    def full_open(self, mode="r", *args, **kwargs):
        if self.name == name and "r" not in mode:
            raise OSError(28, "No space left on device")
        return real_open(self, mode, *args, **kwargs)

    def full_replace(self, target):
        if target.name == name:
            raise OSError(28, "No space left on device")
        return real_replace(self, target)

    monkeypatch.setattr(pathlib.Path, "open", full_open)
    monkeypatch.setattr(pathlib.Path, "replace", full_replace)
    result = xp("train", "--out", "run", *QUICK, code=1)
    assert re.search(r"error: run\S*: cannot be written: No space left on device", result.stderr)


LONG = "x" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--out", LONG],
        ["train", LONG],
        ["evaluate", LONG],
        ["predict", LONG, "a.png"],
        ["plot", LONG],
    ],
)
def test_names_that_cannot_be(arguments):
    assert xp(*arguments, code=1).stderr.startswith("error: ")


@pytest.mark.parametrize("text", ["epochs = 0", "[" * 100_000, "dataset = 3", "x = 1", "\x00"])
def test_a_damaged_configuration(run, tmp_path, text):
    (tmp_path / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    (tmp_path / "config.toml").write_text(text)
    assert xp("evaluate", ".", code=1).stderr.startswith("error: config.toml: ")


def test_a_failed_start_leaves_nothing_behind(run, tmp_path):
    before = {name: (run / name).read_bytes() for name in FILES}
    arguments = ["train", "--hidden", "2000000000,2000000000", "--quiet"]
    for more in ([], ["--out", "new"], ["--out", run, "--force"]):
        xp(*arguments, *more, code=4)
    assert list(tmp_path.iterdir()) == []
    assert {name: (run / name).read_bytes() for name in FILES} == before


def test_a_picture_that_cannot_be_drawn_loses_no_summary(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device", "curves.png")

    monkeypatch.setattr("xpnet.plots.draw_run", fail)
    result = xp("train", "--out", "run", *QUICK, code=1)
    assert result.stderr == "error: curves.png: No space left on device\n"
    assert read_json("run/summary.json")["configuration"]["epochs"] == 2


def test_a_name_that_looks_like_mathematics():
    digits = load_digits()
    Path("a$^$b 数字").mkdir()
    write_idx("a$^$b 数字/train-images-idx3-ubyte", digits.train.images)
    write_idx("a$^$b 数字/train-labels-idx1-ubyte", digits.train.labels)
    result = xp("train", "a$^$b 数字", "--out", "run", *QUICK)
    assert result.stderr == ""
    assert Path("run/curves.png").is_file()


def test_interrupted_outside_the_training(monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.cli.training.load_dataset", interrupt)
    assert xp("train", code=130).stderr == "interrupted\n"


def test_plot_of_a_file_and_without_matplotlib(run, monkeypatch):
    assert "give the run folder" in xp("plot", run / "model.safetensors", code=1).stderr
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = xp("plot", run, code=1)
    assert result.stdout == ""
    assert "pip install 'xpnet[plot]'" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-m", "xpnet", "backends"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert result.returncode != 0
    assert "Traceback" not in result.stderr


def test_trainings_at_once_get_folders_of_their_own():
    command = [sys.executable, "-m", "xpnet", "train", "--quiet", "--epochs", "1"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "digits-1", "digits-2", "digits-3",
    ]  # fmt: skip
    for path in Path("runs").iterdir():
        assert len(read_rows(path / "history.jsonl")) == 1


def test_out_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "there is a file of this name" in xp("train", "--out", "file", code=1).stderr
    assert "cannot be written" in xp("train", "--out", "file/below", code=1).stderr


def test_a_network_that_does_not_fit_into_memory():
    result = xp("train", "--hidden", "2000000000,2000000000", "--out", "run", code=4)
    assert "error: not enough memory" in result.stderr


def test_help_is_for_beginners():
    output = xp("--help").output
    for command in ("train", "evaluate", "predict", "plot", "backends"):
        assert command in output
        assert "Usage" in xp(command, "--help").output


def test_python_m_xpnet():
    result = subprocess.run(
        [sys.executable, "-m", "xpnet", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[-1] == xpnet.__version__


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_the_finished_epochs(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "xpnet", "train", "--epochs", "1000000", "--out", "run"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    history = tmp_path / "run" / "history.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (history.exists() and history.stat().st_size > 500):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert re.search(r"interrupted: after (epoch|step) \d+ of \d+", stderr)
    assert stderr.endswith("for xpnet train --resume run\n")
    assert "Traceback" not in stderr
    rows = read_rows(history)
    assert len(rows) >= 2
    network = xpnet.load("run")
    assert len(network.history) in (len(rows), len(rows) - 1)


def test_tf32_is_refused_without_a_gpu(tmp_path):
    result = xp("train", "--backend", "numpy", "--tf32", "--out", tmp_path / "run", code=2)
    assert "tf32 means nothing on cpu with numpy: it needs an NVIDIA GPU" in result.output
    assert not (tmp_path / "run").exists()
