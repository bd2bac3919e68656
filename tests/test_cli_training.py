"""The training toolkit from the command line: options, files of them, and runs that go on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from commands import xp

import xpnet
from xpnet.cli import main
from xpnet.data import load_digits, write_idx
from xpnet.errors import RunError
from xpnet.random import stream
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import read_config

pytestmark = pytest.mark.installed

QUICK = ["--backend", "numpy", "--limit", "200", "--hidden", "16", "--batch-size", "16"]
PLAIN = ["--epochs", "6"]
WHOLE_KIT = [
    "--epochs", "40", "--optimizer", "adam", "--learning-rate", "0.02", "--schedule", "cosine",
    "--warmup", "1.5", "--dropout", "0.2", "--ema", "0.9", "--batch-norm", "--validation", "0.2",
    "--patience", "4", "--label-smoothing", "0.1", "--clip-norm", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPNET_DATA_DIR", raising=False)


def train(*arguments, code=0):
    """Train without the pictures' time."""
    return xp("train", *QUICK, *arguments, code=code)


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch, request):
    """Drawing takes longer than training, and is looked at where it matters."""
    if "pictures" not in request.keywords:
        monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *arguments: True)


def history(run):
    """The epochs of a run, without the seconds."""
    rows = [json.loads(line) for line in Path(run, "history.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in rows]


def assert_same(run, expected):
    """Two runs of the same training, to the last bit."""
    for name in ("model.safetensors", "best.safetensors"):
        there = Path(expected, name).exists()
        assert Path(run, name).exists() == there
        assert not there or Path(run, name).read_bytes() == Path(expected, name).read_bytes()
    assert history(run) == history(expected)
    assert not [path.name for path in Path(run).iterdir() if path.name.startswith(".")]


# -- options --------------------------------------------------------------------------------------


def test_the_command_line_is_the_python_api():
    train(*WHOLE_KIT, "--out", "run", "--quiet")
    network = xpnet.fit(
        xpnet.mlp(64, 16, 10, batch_norm=True, dropout=0.2),
        xpnet.load_dataset("digits").limited(200),
        epochs=40, batch_size=16, backend="numpy", seed=0, validation=0.2,
        optimizer=xpnet.Adam(
            0.02, ema=0.9, clip_norm=1, schedule=xpnet.schedules.Cosine(warmup=1.5)
        ),
        loss=xpnet.SoftmaxCrossEntropy(label_smoothing=0.1),
        callbacks=[xpnet.EarlyStopping(patience=4)],
    )  # fmt: skip
    assert 4 < len(network.history) < 40
    network.save("by-hand.safetensors")
    assert Path("run/model.safetensors").read_bytes() == Path("by-hand.safetensors").read_bytes()


def test_the_last_batch_is_left_out_by_an_option():
    train(*PLAIN, "--drop-last", "--out", "run", "--quiet")
    folder = Path("run")
    network = xpnet.load(folder)
    expected = RunConfig(**read_config(folder / "config.toml"))
    assert expected.drop_last
    data = xpnet.load_dataset("digits")
    again = expected.fit(data, xpnet.open_backend("numpy"))
    np.testing.assert_array_equal(network.params["fc1.weight"], again.params["fc1.weight"])
    options = {**expected.fit_options(), "drop_last": False}
    other = xpnet.fit(
        expected.build_model(data), data.limited(expected.limit), backend="numpy", **options
    )
    assert (network.params["fc1.weight"] != other.params["fc1.weight"]).any()


def test_a_run_begins_with_another_and_goes_on_without_it():
    train(*PLAIN, "--batch-norm", "--out", "first", "--quiet")
    first = xpnet.load("first")
    tuning = [*PLAIN, "--batch-norm", "--start", "first", "--freeze", "fc1,bn1", "--seed", "5"]
    output = train(*tuning, "--out", "whole").output
    assert f"begins:  as {Path('first').absolute()}, frozen: fc1, bn1" in output
    network = xpnet.fit(
        first.model, xpnet.load_dataset("digits").limited(200), epochs=6, batch_size=16, seed=5,
        start=first, freeze=("fc1", "bn1"), backend="numpy", callbacks=[],
    )  # fmt: skip
    network.save("by-hand.safetensors")
    assert Path("whole/model.safetensors").read_bytes() == Path("by-hand.safetensors").read_bytes()
    train(*tuning, "--out", "run", "--stop-after", "2", "--quiet")
    shutil.rmtree("first")
    xp("train", "--resume", "run", "--quiet")
    assert_same("run", "whole")
    assert 'freeze = ["fc1", "bn1"]' in Path("run/config.toml").read_text(encoding="utf-8")


def test_a_start_that_does_not_fit_says_so():
    train(*PLAIN, "--epochs", "1", "--out", "first", "--quiet")
    other = ["--hidden", "12", "--out", "second", "--quiet"]
    output = train(*other, "--start", "first", code=2).output
    assert "fc1.weight is 64 x 16 there and 64 x 12 in the model" in " ".join(output.split())
    assert "did you mean 'fc2'?" in train(*other, "--freeze", "fc3", code=2).output
    assert "--fresh" in train(*other, "--fresh", "fc2", code=2).output
    assert "there is no such file" in train(*other, "--start", "nothing", code=1).output
    assert not Path("second").exists()
    train(*other, "--start", "first", "--fresh", "fc1,fc2", "--epochs", "1")


def test_a_plain_run_is_plain_gradient_descent():
    """Nothing that was added since has changed what `xpnet train` does by itself."""
    train(*PLAIN, "--out", "run", "--quiet")
    data = load_digits()
    x, y = data.train.images[:200].reshape(200, 64).astype(np.float64) / 16, data.train.labels[:200]
    network = xpnet.load("run")
    params = xpnet.mlp(64, 16, 10).init(xpnet.random.derive(0, "initialization"))
    w1, b1, w2, b2 = (
        params[f"fc{i}.{name}"].astype(np.float64) for i in (1, 2) for name in ("weight", "bias")
    )
    for epoch in range(1, 7):
        order = xpnet.random.permutation(0, epoch, 200)
        for start in range(0, 200, 16):
            rows = order[start : start + 16]
            hidden = np.maximum(x[rows] @ w1 + b1, 0)
            p = np.exp(hidden @ w2 + b2)
            p /= p.sum(axis=1, keepdims=True)
            d = (p - np.eye(10)[y[rows]]) / len(rows)
            dh = d @ w2.T * (hidden > 0)
            w2 -= 0.1 * hidden.T @ d
            b2 -= 0.1 * d.sum(axis=0)
            w1 -= 0.1 * x[rows].T @ dh
            b1 -= 0.1 * dh.sum(axis=0)
    for name, value in (("fc1.weight", w1), ("fc1.bias", b1), ("fc2.weight", w2), ("fc2.bias", b2)):
        np.testing.assert_allclose(network.params[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("words", ["evaluated", "running", "none"])
def test_where_the_figures_of_the_training_set_come_from(words):
    options = [*PLAIN, "--train-metrics", words]
    lines = train(*options, "--out", "run").stdout.splitlines()
    start = {"evaluated": r"loss \d.*  accuracy +\d.*  test", "running": r"loss \d\.\d{4}  test"}
    assert re.match(rf"epoch   6  {start.get(words, 'test')} loss \d", lines[-3])
    rows = [json.loads(line) for line in Path("run/history.jsonl").read_text().splitlines()]
    missing = {"evaluated": [], "running": ["train_accuracy"], "none": ["train_loss", "train_acc"
               "uracy"]}[words]  # fmt: skip
    figures = ("train_loss", "train_accuracy", "test_loss")
    assert [name for name in figures if rows[5][name] is None] == missing
    assert read_config("run/config.toml")["train_metrics"] == words
    # It goes on to the same bytes, and only as it was begun.
    train(*options, "--out", "half", "--stop-after", 2)
    other = "running" if words != "running" else "none"
    message = xp("train", "--resume", "half", "--train-metrics", other, code=2).output
    assert "'--train-metrics': cannot change in a run that goes on" in message
    xp("train", "--resume", "half", "--quiet")
    for name in ("model.safetensors", "config.toml"):
        assert Path("half", name).read_bytes() == Path("run", name).read_bytes()


def test_what_is_trained_is_said():
    lines = train("--epochs", 2, *WHOLE_KIT[2:]).stdout.splitlines()
    assert lines[2] == "model:   64-16-10, batch norm, relu, dropout 0.2, 1,226 parameters"
    assert lines[3].startswith("steps:   Adam(0.02, clip_norm=1.0, ema=0.9, schedule=Cosine(")
    assert "validation accuracy" in lines[4]
    assert re.search(r"after 2 epochs, of which [12] was the best, in ", lines[-1])
    assert not any("steps:" in line for line in train(*PLAIN).stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--momentum", "0.9"], "'--momentum': means nothing for the optimizer sgd: it is for mom"),
        (["--optimizer", "adam", "--momentum", "0.9"], "'--momentum': means nothing for the optim"),
        (["--optimizer", "momentum", "--momentum", "1"], "'--momentum': must be at least 0 and be"),
        (["--weight-decay", "-1"], "'--weight-decay': must be at least 0 and finite, got -1.0"),
        (["--label-smoothing", "1"], "'--label-smoothing': must be at least 0 and below 1, got 1"),
        (["--clip-norm", "1", "--clip-value", "1"], "'--clip-value': cannot be given together"),
        (["--clip-norm", "nan"], "'--clip-norm': must be positive and finite, got nan"),
        (["--patience", "2"], "'--patience': needs a validation set"),
        (["--validation", "1.5"], "'--validation': must be above 0 and below 1, got 1.5"),
        (["--schedule", "step"], "'--schedule-every': must be given for the schedule step"),
        (["--schedule", "cosine", "--warmup", "20"], "'--warmup': must be below the number of ep"),
        (["--schedule-factor", "0.5"], "'--schedule-factor': means nothing for the schedule const"),
        (["--checkpoint-every", "0"], "'--checkpoint-every': must be an integer from 1 upwards"),
        (["--stop-after", "0"], "'--stop-after': 0 is not in the range x>=1"),
        (["--optimizer", "adagrad"], "'adagrad' is not one of 'sgd', 'momentum'"),
        (["--config", "none.toml"], "'--config': none.toml: there is no such file"),
        (["--learning-rate", "1e-60"], "must be 1.18e-38 or more in float32, where some"),
        (["--batch-norm", "--limit", "17"], "batch_size"),
        (["--epochs", "1", "--warmup", "0.99"], "leaves nothing of a run of 1: take a shorter one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_does_not_go_together_is_a_mistake_of_usage(arguments, message, tmp_path, monkeypatch):
    """Exit code 2, and where the data do not matter before they are read."""
    if not {"--batch-norm", "0.99"} & set(arguments):
        monkeypatch.setattr("xpnet.cli.training.load_dataset", pytest.fail)
    assert message in " ".join(train(*arguments, code=2).stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_parity_takes_the_same_options():
    result = xp(
        "parity", "--backends", "numpy,array_api_strict", "--dtype", "float64", "--limit", "100",
        "--hidden", "8", *WHOLE_KIT[:-8], "--epochs", "2", "--label-smoothing", "0.1",
    )  # fmt: skip
    assert "holds in float64" in result.output
    assert "'--momentum'" in xp("parity", "--momentum", "0.9", code=2).stderr
    assert "No such option" in xp("parity", "--patience", "3", code=2).stderr


def test_help_is_in_sections():
    output = xp("train", "--help").output
    sections = re.findall(r"^(\w[\w ]*):$", output, re.MULTILINE)
    assert sections == [
        "Data", "Network", "Training", "Optimizer", "Schedule", "Early stopping",
        "Ensembles and averages", "Computing",
        "More than one process", "Run folder", "Other options",
    ]  # fmt: skip
    for option in main.get_command(None, "train").params:
        if option.param_type_name == "option" and not option.hidden:
            assert f"  {option.opts[0]}" in output
    assert "[default: that of the optimizer]" in " ".join(output.split())


# -- the configuration as a file ------------------------------------------------------------------


@pytest.mark.parametrize("options", [PLAIN, WHOLE_KIT], ids=["plain", "whole-kit"])
def test_the_configuration_of_a_run_repeats_it(options):
    train(*options, "--out", "first", "--quiet")
    xp("train", "--config", "first/config.toml", "--out", "second", "--quiet")
    assert_same("second", "first")
    assert Path("second/config.toml").read_bytes() == Path("first/config.toml").read_bytes()
    summary = json.loads(Path("first/summary.json").read_text())
    assert summary["configuration"] == RunConfig(**read_config("first/config.toml")).to_dict()


def test_the_configuration_has_what_was_resolved(tmp_path):
    (tmp_path / "mine").mkdir()
    digits = load_digits()
    write_idx("mine/train-images-idx3-ubyte", digits.train.images)
    write_idx("mine/train-labels-idx1-ubyte", digits.train.labels)
    train(
        "mine", "--epochs", 1, "--data-dir", ".", "--out", "run", "--quiet", "--optimizer", "adamw"
    )
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert config["dataset"] == str(tmp_path / "mine")
    assert config["data-dir"] == str(tmp_path)
    assert (config["backend"], config["learning-rate"]) == ("numpy", 0.001)
    assert config["weight-decay"] == 0.01
    assert not {"out", "force", "quiet", "resume", "stop-after", "config"} & set(config)
    # From another folder, and without a test set.
    (tmp_path / "other").mkdir()
    os.chdir("other")
    output = xp("train", "--config", "../run/config.toml", "--out", "run", "--quiet").output
    assert "training accuracy" in output
    assert_same("run", "../run")


def test_the_command_line_wins_over_the_file():
    Path("a.toml").write_text(
        'dataset = "mnist"\nepochs = 30\nhidden = [8, 4]\noptimizer = "nesterov"\nmomentum = 0.8\n'
        "batch-norm = true\nseed = 5\n"
    )
    arguments = ["--epochs", 1, "--no-batch-norm", "--hidden", "", "--seed", 0, "--limit", 100]
    xp("train", "digits", "--config", "a.toml", *arguments, "--out", "run", "--quiet")
    config = RunConfig(**read_config("run/config.toml"))
    assert config == RunConfig(
        "digits", epochs=1, hidden=(), optimizer="nesterov", momentum=0.8, limit=100,
        backend="numpy",
    )  # fmt: skip
    assert xpnet.load("run").model == xpnet.mlp(64, 10)


def test_a_file_that_is_wrong_is_named():
    Path("a.toml").write_text("epochs = 3\nbatchsize = 3\n")
    stderr = xp("train", "--config", "a.toml", code=2).stderr
    assert "Invalid value for '--config': a.toml: there is no option 'batchsize'" in stderr
    Path("a.toml").write_text("epochs = 3\nmomentum = 0.9\n")
    stderr = xp("train", "--config", "a.toml", code=2).stderr
    assert "'--config': a.toml: momentum means nothing for the optimizer sgd" in stderr
    Path("a.toml").write_text("epochs 3")
    assert "line 1" in xp("train", "--config", "a.toml", code=2).stderr


# -- runs that go on ------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(1,), (3,), (2, 5)], ids=str)
@pytest.mark.parametrize("options", [PLAIN, WHOLE_KIT], ids=["plain", "whole-kit"])
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(options, stops):
    train(*options, "--out", "whole", "--quiet")
    result = train(*options, "--out", "run", "--stop-after", stops[0])
    for stop in stops[1:]:
        assert result.stdout.endswith("go on with: xpnet train --resume run\n")
        assert not Path("run/summary.json").exists()
        result = xp("train", "--resume", "run", "--stop-after", stop)
    assert f"stopped after epoch {stops[-1]} of" in result.stdout
    assert len(history("run")) == stops[-1]
    result = xp("train", "--resume", "run")
    assert f"goes on: after epoch {stops[-1]} of" in result.stdout
    assert_same("run", "whole")
    one, other = (json.loads(Path(run, "summary.json").read_text()) for run in ("run", "whole"))
    for key in ("configuration", "confusion_matrix", "best_epoch"):
        assert one[key] == other[key]
    assert Path("run/config.toml").read_bytes() == Path("whole/config.toml").read_bytes()


def test_a_finished_run_that_goes_on_stays_as_it_is():
    train(*WHOLE_KIT, "--out", "run", "--quiet")
    shutil.copytree("run", "before")
    Path("run/summary.json").unlink()  # as if it had been killed when all was trained
    first = xp("train", "--resume", "run", "--quiet").stdout
    assert first.startswith("test accuracy")
    assert Path("run/summary.json").exists()
    assert_same("run", "before")


def test_pictures_that_were_not_written_are_drawn_by_going_on(monkeypatch):
    """A full disk, or a kill, when all else is there."""

    def fail(*_):
        raise RunError("run/curves.png: cannot be written: No space left on device")

    drawn = []
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", fail)
    result = train("--epochs", 2, "--out", "run", "--quiet", code=1)
    assert "No space left on device" in result.stderr
    assert json.loads(Path("run/summary.json").read_text())["pending"] == "pictures"
    monkeypatch.setattr("xpnet.cli.training.draw_pictures", lambda *_: drawn.append(True))
    assert xp("train", "--resume", "run", "--quiet").stdout.startswith("test accuracy")
    assert xp("train", "--resume", "run", "--quiet").stdout.startswith("nothing is left to do")
    assert drawn == [True]
    assert "pending" not in json.loads(Path("run/summary.json").read_text())


def advice(run, *arguments):
    """What a finished run says: why it is, and what to type after `xpnet`."""
    shutil.copytree(run, "before")
    said = xp("train", "--resume", run, *arguments).stdout
    assert {p.name: p.read_bytes() for p in Path(run).iterdir()} == {
        p.name: p.read_bytes() for p in Path("before").iterdir()
    }
    found = re.fullmatch(r"nothing is left to do: (.*)\. To train on, .*: xpnet (.*)\n", said)
    return found[1], shlex.split(found[2])


def test_more_epochs_for_a_finished_run():
    train("--epochs", 4, "--out", "whole", "--quiet")
    train("--epochs", 2, "--out", "a run", "--quiet")
    why, command = advice("a run")
    assert why == "a run has its 2 epochs"
    assert command == ["train", "--resume", "a run", "--epochs", "4"]
    assert xp("train", "--resume", "a run", "--epochs", 2, "--quiet").stdout.startswith("nothing")
    xp(*command, "--quiet")
    assert_same("a run", "whole")
    assert Path("a run/config.toml").read_bytes() == Path("whole/config.toml").read_bytes()


@pytest.mark.parametrize(
    ("options", "epochs", "expected"),
    [
        (
            ["--schedule", "cosine", "--epochs", "3"],
            3,
            "the 3 epochs that the learning rate follow",
        ),
        (WHOLE_KIT, None, "was ended early after"),
        (
            ["--epochs", "400", "--validation", "0.2", "--patience", "1", "--learning-rate", "2"],
            None,
            "was ended early after",
        ),
    ],
    ids=["schedule", "whole-kit", "stopped-early"],
)
def test_a_finished_run_whose_epochs_are_fixed_is_begun_with(options, epochs, expected):
    train(*options, "--out", "run", "--quiet")
    epochs = epochs or len(history("run"))
    why, command = advice("run")
    assert expected in why
    assert f"{epochs} epochs" in why
    assert xp(*command, "--out", "on", "--epochs", epochs, "--quiet").stdout.startswith("test acc")
    first = [history(run)[0]["train_loss"] for run in ("run", "on")]
    assert first[1] != first[0]  # it goes on from the network, and does not repeat the run


def test_layers_that_began_anew_do_not_when_it_is_trained_on():
    train("--epochs", 1, "--out", "first", "--quiet")
    train("--start", "first", "--fresh", "fc2", "--schedule", "cosine", "--epochs", 2, "--out",
          "run", "--quiet")  # fmt: skip
    _, command = advice("run")
    xp(*command, "--out", "on", "--learning-rate", 1e-9, "--quiet")
    ours, theirs = xpnet.load("on").params, xpnet.load("run").params
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-6)


def test_what_a_resumed_run_takes_and_refuses(tmp_path):
    train("--epochs", 4, "--out", "run", "--quiet", "--stop-after", 2)
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}

    def refused(*arguments, code=2):
        return " ".join(xp("train", *arguments, code=code).stderr.split())

    assert "'--seed': cannot change" in refused("--resume", "run", "--seed", 1)
    assert "optimizer was 'sgd' and is 'adam'" in refused("--resume", "run", "--optimizer", "adam")
    assert "'DATASET': cannot change" in refused("mnist", "--resume", "run")
    assert "leave out --config" in refused("--resume", "run", "--out", "other")
    assert "leave out --config" in refused("--resume", "run", "--force")
    assert "leave out --config" in refused("--resume", "run", "--config", "run/config.toml")
    assert "2 epochs are done already" in refused("--resume", "run", "--stop-after", 2)
    assert "nowhere: there is no such file" in refused("--resume", "nowhere", code=1)
    assert before == {path.name: path.read_bytes() for path in Path("run").iterdir()}
    # What is as it was may be said again.
    xp("train", "digits", "--resume", "run", *QUICK, "--seed", 0, "--threads", 1, "--quiet")
    assert len(history("run")) == 4


@pytest.mark.pictures
def test_an_unfinished_run_can_be_evaluated_and_drawn():
    train(*WHOLE_KIT, "--out", "run", "--stop-after", 2, "--quiet")
    row = history("run")[-1]
    output = xp("evaluate", "run").output
    assert f"accuracy {100 * row['test_accuracy']:.2f} %" in output
    assert xp("plot", "run").output == "pictures of digits: run\n"
    assert Path("run/curves.png").read_bytes().startswith(b"\x89PNG")
    xp("train", "--resume", "run", "--quiet")
    assert xp("evaluate", "run/best.safetensors").output == xp("evaluate", "run").output


def test_checkpoints_now_and_then():
    saved = xpnet.read_snapshot
    train("--epochs", 5, "--checkpoint-every", 3, "--stop-after", 4, "--out", "run", "--quiet")
    assert saved("run").epoch == 4  # where it is left it is saved in any case
    config = saved("run").configuration
    assert config["checkpoint_every"] == 3


# -- when something goes wrong --------------------------------------------------------------------


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "xpnet", "train", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for_epochs(process, run, count):
    deadline = time.monotonic() + 60
    path = Path(run, "history.jsonl")
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(process.communicate())


LONG = [*QUICK, *WHOLE_KIT, "--epochs", "60", "--patience", "1000"]
"""Long enough to be caught in the middle: some seconds."""


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "run"
    out, err = start(*LONG, "--out", path, "--quiet").communicate(timeout=120)
    assert "test accuracy" in out, err
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_says_how_to_go_on(long_run):
    process = start(*LONG, "--out", "a run", "--quiet")
    wait_for_epochs(process, "a run", 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert out == ""
    pattern = (
        r"interrupted: after (step \d+ of 10 in )?epoch \d+ of 60; what was trained before is in "
        r"a run/checkpoint.safetensors, for xpnet train --resume 'a run'\n"
    )
    assert re.fullmatch(pattern, err), err
    assert xp("train", "--resume", "a run", "--quiet").stdout.startswith("test accuracy")
    assert_same("a run", long_run)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_again_and_again(long_run):
    """SIGKILL at moments by chance, through the real command; at the end the same bytes."""
    rng, done, process = stream(time.time_ns() % 2**32, "kills"), 0, start(*LONG, "--out", "run")
    for _ in range(4):
        wait_for_epochs(process, "run", done + 2)
        time.sleep(rng.uniform(0, 0.03))
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        snapshot = xpnet.read_snapshot("run")
        assert done < snapshot.epoch < 60
        done = len(history("run"))
        assert len(xpnet.load("run").history) in (done - 1, done)
        process = start("--resume", "run")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (out, err)
    assert_same("run", long_run)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_sigterm_saves_and_ends(long_run):
    process = start(*LONG, "--out", "run", "--quiet")
    wait_for_epochs(process, "run", 3)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    xp("train", "--resume", "run", "--quiet")
    assert_same("run", long_run)


def test_a_training_that_diverges():
    """A learning rate that rises beyond all bounds: the error says where, and what is left."""
    arguments = ["--schedule", "exponential", "--schedule-factor", "50", "--epochs", "20"]
    arguments += ["--hidden", "16,16", "--activation", "leaky_relu"]
    error = train(*arguments, "--out", "run", "--quiet", code=3).stderr
    found = re.search(
        r"^error: the training loss became \w+ in epoch (\d+) \(steps (\d+) to (\d+)\) with "
        r"learning rate (\S+): most often the learning rate is too high; try a tenth of it; what "
        r"was trained before is in run/checkpoint.safetensors\n$",
        error,
    )
    assert found, error
    epoch, first, last = map(int, found.groups()[:3])
    assert epoch > 1
    assert (first, last) == (13 * (epoch - 1) + 1, 13 * epoch)
    assert float(found[4]) == pytest.approx(0.1 * 50 ** (epoch - 1))
    assert xpnet.read_snapshot("run").epoch == epoch - 1
    assert len(xpnet.load("run").history) == epoch - 1


def test_a_second_ctrl_c_ends_at_once(monkeypatch):
    """Wherever it comes: here in the middle of writing, with no word of `fit` on what is saved."""
    real = xpnet.runs.folder.RunFolder.on_epoch

    def interrupted(self, network, record):
        if record.epoch == 3:
            raise KeyboardInterrupt
        return real(self, network, record)

    monkeypatch.setattr(xpnet.runs.folder.RunFolder, "on_epoch", interrupted)
    expected = (
        "interrupted: what was trained before is in run/checkpoint.safetensors, for xpnet train "
        "--resume run\n"
    )
    assert train(*PLAIN, "--out", "run", "--quiet", code=130).stderr == expected
    assert xpnet.read_snapshot("run").epoch == 2


def test_a_run_goes_on_with_another_backend(caplog):
    train(*PLAIN, "--dtype", "float64", "--out", "whole", "--quiet")
    train(
        *PLAIN, "--dtype", "float64", "--out", "run", "--stop-after", 2, "--threads", 1, "--quiet"
    )
    xp("train", "--resume", "run", "--backend", "array_api_strict", "--quiet")
    assert "saved on numpy and goes on with array_api_strict" in caplog.text
    config = read_config("run/config.toml")
    assert config["backend"] == "array_api_strict"
    assert "threads" not in config
    losses = [[row["train_loss"] for row in history(run)] for run in ("run", "whole")]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_out_of_memory(monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("Unable to allocate 8.00 EiB")

    monkeypatch.setattr("xpnet.backends.numpy.NumpyBackend.settle_threads", fail)
    error = train("--out", "run", code=4).stderr
    assert error.startswith("error: not enough memory on cpu: Unable to allocate 8.00 EiB. Take a")


@pytest.mark.parametrize(
    "name", ["checkpoint.safetensors", "model.safetensors", "best.safetensors"]
)
def test_a_disk_that_is_full_in_the_middle(name, monkeypatch):
    """The files of before stay whole, and the run goes on from them."""
    train(*WHOLE_KIT, "--out", "whole", "--quiet")
    train(*WHOLE_KIT, "--out", "run", "--stop-after", 1, "--quiet")
    before = Path("run", name).read_bytes()
    real = Path.replace

    def full(self, target):
        if target.name == name and target.parent.name == "run":
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    error = xp("train", "--resume", "run", "--quiet", code=1).stderr
    assert error == "error: run: cannot be written: No space left on device\n"
    assert Path("run", name).read_bytes() == before
    monkeypatch.setattr(Path, "replace", real)
    xp("train", "--resume", "run", "--quiet")
    assert_same("run", "whole")


# -- TensorBoard ----------------------------------------------------------------------------------


def test_tensorboard_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    error = train("--tensorboard", "--out", "run", code=2).stderr
    assert (
        "'--tensorboard': TensorBoard needs tensorboardX: pip install 'xpnet[tensorboard]'" in error
    )
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_logs_are_in_the_run_folder():
    pytest.importorskip("tensorboardX")
    arguments = ["--epochs", 3, "--tensorboard", "--quiet"]
    train(*arguments, "--stop-after", 1)
    run = Path("runs/digits-1")
    xp("train", "--resume", run, "--quiet")
    events = list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 2
    content = b"".join(path.read_bytes() for path in events)
    assert content.count(b"loss/train") == 3
    train(*arguments, "--out", run, "--force")
    events = list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert events[0].read_bytes().count(b"loss/train") == 3
