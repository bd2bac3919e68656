"""The configuration of a run: what is allowed, what it stands for, and its file."""

import math
import re
import tomllib
from dataclasses import fields, replace

import numpy as np
import pytest
from conftest import page
from hypothesis import given
from hypothesis import strategies as st

import xpnet
from xpnet import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop, SoftmaxCrossEntropy
from xpnet.cli.training import train
from xpnet.models import MODELS, training_options
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import read_config, read_options, write_config
from xpnet.runs.continuation import open_run
from xpnet.runs.folder import RunFolder
from xpnet.runs.options import OptionError, options_of
from xpnet.saving.tensors import read_tensors, write_tensors
from xpnet.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    ReduceOnPlateau,
    Step,
)

pytestmark = pytest.mark.installed

NAMES = [field.name for field in fields(RunConfig)]


# -- what it stands for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({}, SGD(0.1)),
        ({"optimizer": "adam"}, Adam(0.001)),
        ({"optimizer": "adamw"}, AdamW(0.001, weight_decay=0.01)),
        ({"optimizer": "adamw", "weight_decay": 0.0}, AdamW(weight_decay=0)),
        ({"optimizer": "momentum", "momentum": 0.5}, Momentum(0.1, 0.5)),
        ({"optimizer": "nesterov", "learning_rate": 1}, Nesterov(1.0, 0.9)),
        ({"optimizer": "rmsprop", "clip_norm": 2.0, "l2": 1e-4}, RMSprop(clip_norm=2, l2=1e-4)),
        ({"clip_value": 0.5, "ema": 0.99}, SGD(clip_value=0.5, ema=0.99)),
        ({"warmup": 2.5}, SGD(schedule=Constant(warmup=2.5))),
        ({"schedule": "cosine", "warmup": 1}, SGD(schedule=Cosine(warmup=1.0))),
        ({"schedule": "cosine", "schedule_final": 0.1}, SGD(schedule=Cosine(0.1))),
        ({"schedule": "step", "schedule_every": 3}, SGD(schedule=Step(3, 0.1))),
        ({"schedule": "exponential", "schedule_factor": 0.9}, SGD(schedule=Exponential(0.9))),
        ({"schedule": "one-cycle"}, SGD(schedule=OneCycle())),
        ({"schedule": "plateau"}, SGD(schedule=ReduceOnPlateau("train_loss"))),
        (
            {"schedule": "plateau", "schedule_patience": 0, "validation": 0.1},
            SGD(schedule=ReduceOnPlateau("validation_loss", patience=0)),
        ),
    ],
    ids=str,
)
def test_the_optimizer(options, optimizer):
    assert RunConfig(**options).build_optimizer() == optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_its_own_defaults(name):
    config = RunConfig(optimizer=name)
    assert config.build_optimizer() == OPTIMIZERS[name]()
    assert config.learning_rate == OPTIMIZERS[name]().learning_rate
    # What was completed is a value as any other: it makes the same again.
    assert replace(config) == config == RunConfig.from_dict(config.to_dict())


def test_every_schedule_can_be_chosen():
    needed = {"step": {"schedule_every": 1}, "exponential": {"schedule_factor": 0.9}}
    for name, kind in SCHEDULES.items():
        config = RunConfig(schedule=name, **needed.get(name, {}))
        assert isinstance(config.build_schedule(), kind) or name == "constant"


def test_the_network_and_the_rest():
    data = xpnet.load_dataset("digits")
    config = RunConfig(
        hidden=[32, 16], activation="gelu", batch_norm=True, dropout=0.25, init="orthogonal",
        epochs=3, batch_size=9, drop_last=True, seed=4, label_smoothing=0.1, validation=0.2,
        patience=3,
    )  # fmt: skip
    assert config.build_model(data) == xpnet.mlp(
        64, 32, 16, 10, activation=xpnet.GELU(), batch_norm=True, dropout=0.25,
        init_weight=xpnet.initializers.orthogonal,
    )  # fmt: skip
    assert config.describe(data) == "64-32-16-10, batch norm, gelu, dropout 0.25, 2,826 parameters"
    assert config.fit_options() == {
        "epochs": 3, "batch_size": 9, "optimizer": SGD(0.1), "loss": SoftmaxCrossEntropy(0.1),
        "validation": 0.2, "seed": 4, "train_metrics": "evaluated", "drop_last": True,
        "augment": None, "average_from": None,
    }  # fmt: skip
    assert config.early_stopping().patience == 3
    assert RunConfig().early_stopping() is None


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("momentum", {"momentum": 0.9}, "means nothing for the optimizer sgd: it is for momentum,"),
        ("momentum", {"optimizer": "adam", "momentum": 0.9}, "for the optimizer adam"),
        ("momentum", {"optimizer": "momentum", "momentum": 1.0}, "at least 0 and below 1, got 1.0"),
        ("learning_rate", {"learning_rate": 0}, "must be positive and finite, got 0"),
        (
            "learning_rate",
            {"learning_rate": 10**400},
            "must be positive and finite, got an integer of some",
        ),
        (
            "learning_rate",
            {"learning_rate": 1e-60},
            "1.18e-38 or more in float32, .* take 1e-60 for 0",
        ),
        ("learning_rate", {"learning_rate": 1e-40}, "1.18e-38 or more in float32, where some"),
        ("clip_norm", {"clip_norm": 1e-60}, "1.18e-38 or more in float32, .* take 1e-60 for 0"),
        (
            "learning_rate",
            {"learning_rate": 1e60},
            r"3.4e\+38 or less in float32, where 1e\+60 is inf",
        ),
        ("clip_value", {"clip_value": 1e39}, r"3.4e\+38 or less in float32, where 1e\+39 is inf"),
        ("learning_rate", {"learning_rate": "0.1"}, "positive and finite, got '0.1'"),
        ("ema", {"ema": 1.0}, "must be at least 0 and below 1, got 1.0"),
        ("clip_value", {"clip_value": 1.0, "clip_norm": 1.0}, "together with clip_norm: give one"),
        ("clip_norm", {"clip_norm": math.inf}, "positive and finite"),
        ("optimizer", {"optimizer": "SGD"}, "must be one of sgd, momentum, .*; got 'SGD'"),
        ("optimizer", {"optimizer": ["sgd"]}, r"must be one of sgd, .*; got \['sgd'\]"),
        ("schedule", {"schedule": "linear"}, "must be one of constant, step, .*; got 'linear'"),
        ("schedule_every", {"schedule": "step"}, "must be given for the schedule step"),
        ("schedule_factor", {"schedule": "exponential"}, "must be given for the schedule expon"),
        ("schedule_every", {"schedule_every": 2}, "for the schedule constant: it is for step"),
        ("schedule_factor", {"schedule": "plateau", "schedule_factor": 1.0}, "below 1 for"),
        ("schedule_patience", {"schedule": "cosine", "schedule_patience": 2}, "it is for plateau"),
        ("warmup", {"schedule": "one-cycle", "warmup": 1}, "it is for constant, step, exponential"),
        ("warmup", {"warmup": 20}, "must be below the number of epochs, 20; got 20"),
        ("train_metrics", {"train_metrics": "some"}, "one of evaluated, running, none; got 'some'"),
        ("train_metrics", {"train_metrics": "none", "schedule": "plateau"}, "nothing to follow"),
        ("patience", {"patience": 3}, "needs a validation set: give validation as well"),
        ("validation", {"validation": 1}, "must be above 0 and below 1, got 1"),
        ("patience", {"validation": 0.1, "patience": 0}, "an integer from 1 upwards, got 0"),
        ("dropout", {"dropout": 1.0}, "must be at least 0 and below 1, got 1.0"),
        ("dropout", {"dropout": 1 - 1e-9}, "is nearest to 1, which drops everything"),
        ("dropout", {"dropout": 1e-9}, "is nearest to 0, which drops nothing"),
        ("freeze", {"freeze": "fc1"}, "a list of names of layers, such as fc1; got 'fc1'"),
        ("freeze", {"freeze": ("fc1", 2)}, "a list of names of layers"),
        ("fresh", {"fresh": ("fc1",)}, "needs a network to begin with: give start as well"),
        ("start", {"start": ""}, "a text that is not empty"),
        ("hidden", {"hidden": (8, 0)}, "a list of integers from 1"),
        ("hidden", {"hidden": 8}, "a list of integers from 1 .*; got 8"),
        ("epochs", {"epochs": 2.0}, "must be an integer from 1 upwards, got 2.0"),
        ("seed", {"seed": None}, "must be an integer from 0 upwards, got None"),
        ("seed", {"seed": True}, "must be an integer from 0 upwards, got True"),
        ("tf32", {"tf32": 1}, "must be true or false, got 1"),
        ("dataset", {"dataset": ""}, "a text that is not empty"),
    ],
    ids=str,
)
def test_options_that_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message) as info:
        RunConfig(**options)
    assert info.value.name == name


def test_every_option_is_checked():
    for name in NAMES:
        with pytest.raises(OptionError, match=name):
            RunConfig(**{name: b"?"})


def test_an_option_that_is_none():
    with pytest.raises(OptionError, match="nesterow is no option of a run; there are dataset, "):
        RunConfig.from_dict({"nesterow": True})


# -- the file -------------------------------------------------------------------------------------

_NUMBER = st.floats(min_value=1e-30, max_value=0.999)
_CONFIGS = st.builds(
    RunConfig,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    hidden=st.lists(st.integers(1, 2**31 - 1), max_size=4),
    limit=st.none() | st.integers(1, 2**63 - 1),
    seed=st.integers(0, 2**128 - 1),
    learning_rate=st.floats(1e-30, 1e30),
    l2=_NUMBER,
    batch_norm=st.booleans(),
    drop_last=st.booleans(),
    freeze=st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)),
    validation=_NUMBER,
    patience=st.none() | st.integers(1, 99),
    optimizer=st.sampled_from(list(OPTIMIZERS)),
)


@given(_CONFIGS)
def test_what_is_written_is_read_again(tmp_path_factory, config):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(write_config(config).encode())
    assert RunConfig(**read_config(path)) == config
    # The standard library's reader sees the values themselves, each with its type.
    for key, value in tomllib.loads(write_config(config)).items():
        expected = config.to_dict()[key.replace("-", "_")]
        assert (value, type(value)) == (expected, type(expected))


def test_all_control_characters_and_quotes(tmp_path):
    config = RunConfig("".join(map(chr, range(128))) + "\u0085 \u2028 \U0001f600 \\u0041")
    (tmp_path / "config.toml").write_bytes(write_config(config).encode())
    assert read_config(tmp_path / "config.toml")["dataset"] == config.dataset


def test_a_name_that_is_no_unicode():
    with pytest.raises(OptionError, match="dataset must be valid Unicode"):
        write_config(RunConfig("a\udcffb"))


def test_what_is_none_is_left_out():
    text = write_config(RunConfig(epochs=3))
    assert "epochs = 3\n" in text
    assert "batch-size = 64\n" in text
    assert "hidden = [128]\n" in text
    assert "momentum" not in text


def test_keys_with_either_hyphens_or_underscores(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("batch-size = 3\nlearning_rate = 1\nhidden = []")
    options = read_config(file)
    assert options == {"batch_size": 3, "learning_rate": 1.0, "hidden": ()}
    assert type(options["learning_rate"]) is float


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch = 3", r"a.toml: there is no option 'epoch'; there are dataset, .*, batch-size,"),
        ("quiet = true", "there is no option 'quiet'"),
        ("[train]\nepochs = 3", "there is no option 'train'"),
        ("epochs = '3'", "a.toml: epochs must be an integer from 1 upwards, got '3'"),
        ("batch-size = 6.5", "a.toml: batch-size must be an integer"),
        ("learning-rate = nan", "learning-rate must be positive and finite, got nan"),
        ("learning-rate = true", "learning-rate must be positive and finite, got True"),
        ("hidden = '128'", "hidden must be a list of integers"),
        ("hidden = [true]", "hidden must be a list of integers"),
        ("hidden = [[1]]", "hidden must be a list of integers"),
        ("optimizer = {name = 'adam'}", "optimizer must be one of sgd"),
        ("optimizer = 1979-05-27", "optimizer must be one of sgd"),
        ("batch-norm = 'yes'", "batch-norm must be true or false, got 'yes'"),
        ("batch-size = 3\nbatch_size = 3", "batch_size is given twice, with - and with _"),
        ("epochs = 3\nepochs = 4\n", "a.toml: not valid TOML: .*line 2"),
        ("epochs = 3\nlearning-rate = \n", "a.toml: not valid TOML: .*line 2"),
        ("hidden = " + "[" * 10_000, "a.toml: not valid TOML"),
        ("seed = " + "1" * 5000, "a.toml: not valid TOML"),
        ("epochs = 3".encode("utf-16"), "a.toml: not valid TOML: it is in UTF-16, .* as UTF-8"),
        ("epochs = 3".encode("utf-16-be"), r"line 1, column 1\), as in UTF-16: save it as UTF-8"),
        ("epochs = 3".encode("utf-32"), "not valid TOML: it is in UTF-32"),
        (b"# a\n# \xe4\n", r"byte 0xe4 is not UTF-8 \(at line 2, column 3\): save it as UTF-8"),
        ("optimizer = adam", r"at line 1, column 13\): a value is .* a text in quotes such as"),
        ("\nbatch-norm = True", r"at line 2, column 14\): a value is a number, true, false"),
        ("hidden = [8", r"\(at line 1, column 12\): a list ends with \]"),
        ("data-dir = 'a", r"\(at line 1, column 14\): a text ends with the quote"),
        ('data-dir = "a\nb"', r"\(at line 1, column 14\): a text ends with the quote"),
        (
            'data-dir = "C:\\data"',
            r"column 17\): in double quotes \\ begins an escape: write paths",
        ),
        ("epochs: 3", r"\(at line 1, column 7\): each line is KEY = VALUE"),
        ("epochs = 3 seed = 1", r"\(at line 1, column 12\): a line holds one KEY = VALUE"),
        ("epochs = 3\nepochs = 4", r"\(at line 2, column 11\): each key stands once"),
        ("seed = 1\n  epochs = 0", r"upwards, got 0 \(at line 2, column 3\)$"),
        ("seed = 1\n[train]\n", r"no option 'train'; .*\(at line 2, column 2\)$"),
        ('start = """\nepochs = 3\n"""\nepochs = 0', r"got 0 \(at line 4, column 1\)$"),
        ("\ufeff'epochs' = 0", r"got 0 \(at line 1, column 1\)$"),
        ("epoch = 3", "; did you mean 'epochs'"),
        ("Batch_Size = 3", "; did you mean 'batch-size'"),
        ("optimizer = 'adma'", "got 'adma'; did you mean 'adam'"),
        (b"\x00", "a.toml: not valid TOML"),
        ("#" * 2_000_000, "a.toml: larger than 1,048,576 bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_files_that_are_refused(tmp_path, content, message):
    file = tmp_path / "a.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OptionError, match=message) as info:
        read_config(file)
    assert info.value.name == "config"
    assert str(file) in str(info.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("epochs = 3\nstart = 'Größe'", encoding="utf-8-sig")
    assert read_config(file) == {"epochs": 3, "start": "Größe"}


def test_files_that_cannot_be_read(tmp_path):
    for path, message in (
        (tmp_path / "none.toml", "there is no such file"),
        (tmp_path, "cannot be read: "),
        ("a\0b", "cannot be read: "),
        ("x" * 5000, "cannot be read: "),
    ):
        with pytest.raises(OptionError, match=message):
            read_config(path)


def test_given_options_win_over_the_file(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("epochs = 3\noptimizer = 'momentum'\nmomentum = 0.5")
    config = read_options({"epochs": 5, "seed": 1}, file)
    assert (config.epochs, config.seed, config.optimizer, config.momentum) == (
        5,
        1,
        "momentum",
        0.5,
    )
    assert read_options({"epochs": 5}, None) == RunConfig(epochs=5)


def test_the_file_is_named_where_it_is_wrong(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("momentum = 0.5")
    with pytest.raises(OptionError, match=r"a\.toml: momentum means nothing for .* sgd") as info:
        read_options({}, file)
    assert info.value.name == "config"
    file.write_text("seed = 1\n\nclip_norm = 1\nclip-value = 1")
    with pytest.raises(OptionError, match=r"clip-value cannot .* \(at line 4, column 1\)$"):
        read_options({}, file)
    with pytest.raises(OptionError) as info:
        read_options({"warmup": 30.0}, file if file.write_text("seed = 1") else None)
    assert info.value.name == "warmup"


def test_the_model_is_chosen_by_name():
    data = grey_pictures()
    config = RunConfig(model="lenet5", activation="tanh", pooling="average", dropout=0.1)
    assert config.build_model(data) == xpnet.models.lenet5(
        (28, 28), 10, activation=xpnet.Tanh(), pooling="average", dropout=0.1
    )
    assert config.hidden is None
    assert RunConfig(model="small_cnn").pooling == "max"
    assert RunConfig().hidden == (128,)
    assert RunConfig().model == "mlp"
    assert RunConfig.from_dict(config.to_dict()) == config
    words = "lenet5, tanh, average pooling, dropout 0.1, 61,706 parameters"
    assert config.describe(data) == words
    assert RunConfig(model="resnet8").describe(data) == "resnet8, relu, 77,754 parameters"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_how_it_is_trained(name):
    own, usual = training_options(name), RunConfig()
    config = RunConfig(model=name)
    assert {option: getattr(config, option) for option in own} == own
    others = [one for one in NAMES if one not in own and options_of(RunConfig)[one].by_model]
    assert all(getattr(config, one) == getattr(usual, one) for one in others)
    # As config.toml has them: what is left out there, since it is None, could not be chosen.
    assert None not in own.values()
    assert RunConfig.from_dict(config.to_dict()) == config
    assert RunConfig(model=name, epochs=1).epochs == 1
    # What is given counts, also where it is what is usual for other models.
    for option in own:
        given = {option: getattr(usual, option)}
        if given[option] is not None:
            config = RunConfig(model=name, **given)
            assert {option: getattr(config, option)} == given
            assert RunConfig.from_dict(config.to_dict()) == config


def test_options_of_another_optimizer_are_not_those_of_the_model(tmp_path):
    own = training_options("lenet5")
    assert (own["optimizer"], own["schedule"]) == ("nesterov", "cosine")
    config = RunConfig(model="lenet5", optimizer="adam")
    assert (config.learning_rate, config.schedule) == (0.001, "cosine")
    assert config.build_optimizer() == Adam(schedule=Cosine())
    assert (
        RunConfig(model="lenet5", optimizer="sgd", schedule="constant").build_optimizer() == SGD()
    )
    config = RunConfig(model="lenet5", optimizer="nesterov")
    assert config == RunConfig(model="lenet5")
    assert config.learning_rate == own["learning_rate"]
    assert RunConfig(model="lenet5", learning_rate=0.1).optimizer == "nesterov"
    file = tmp_path / "a.toml"
    file.write_text('model = "lenet5"\nlearning-rate = 0.1\n')
    assert read_options({}, file) == RunConfig(model="lenet5", learning_rate=0.1)
    assert read_options({"optimizer": "sgd"}, file).build_optimizer() == SGD(schedule=Cosine())
    assert read_options({"model": "mlp"}, file) == RunConfig(learning_rate=0.1)


def grey_pictures():
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    split = xpnet.Split(images, labels)
    return xpnet.Dataset("pictures", split, split, n_classes=10)


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        (
            {"model": "lenet5", "hidden": (8,)},
            "hidden",
            "model lenet5: it is for mlp; leave it out",
        ),
        ({"pooling": "max"}, "pooling", "the model mlp: it is for lenet5, small_cnn; leave it out"),
        ({"model": "small_cnn", "batch_norm": True}, "batch_norm", "it is for mlp; leave"),
        ({"model": "resnet8", "dropout": 0.1}, "dropout", "for mlp, lenet5, small_cnn; leave"),
        ({"model": "lenet"}, "model", "mlp, lenet5, small_cnn, resnet8; got 'lenet'; did you"),
    ],
)
def test_what_a_model_has_not_is_refused_early(options, name, message):
    with pytest.raises(OptionError, match=message) as caught:
        RunConfig(**options)
    assert caught.value.name == name


def test_a_model_that_cannot_take_the_data_is_refused_with_the_arithmetic():
    config = RunConfig(model="lenet5")
    with pytest.raises(OptionError, match=r"lenet5 takes pictures of 12 x 12 pixels or more"):
        config.build_model(xpnet.load_dataset("digits"))


def test_a_file_of_before_there_were_models_is_read(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('dataset = "digits"\nhidden = [64]\nactivation = "tanh"\nbatch-norm = true\n')
    config = RunConfig(**read_config(file))
    assert (config.model, config.hidden, config.pooling) == ("mlp", (64,), None)


def test_the_documentation_has_all_options_and_a_whole_file(tmp_path):
    text = page("docs/command-line.md")
    options = [name for parameter in train.params for name in parameter.opts if "--" in name]
    options.remove("--member")  # hidden: one process says it to another
    assert len(options) > len(NAMES)
    missing = [name for name in options if f"`{name}`" not in text]
    assert missing == [], "docs/command-line.md does not name these"
    (tmp_path / "a.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    config = RunConfig(**read_config(tmp_path / "a.toml"))
    wrong = "docs/command-line.md: the file there is not what write_config writes now"
    assert write_config(config) == (tmp_path / "a.toml").read_text(), wrong


# -- a run that goes on ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of 4 epochs that was stopped after 2."""
    path = tmp_path_factory.mktemp("half") / "run"
    config = RunConfig(
        limit=100, hidden=(4,), epochs=4, backend="numpy", threads=1, steps="recorded"
    )
    folder = RunFolder(path, config=config)
    backend = xpnet.open_backend("numpy", threads=1, steps="recorded")
    config.fit(xpnet.load_dataset("digits"), backend, (folder,), stop_after=2)
    assert not folder.finished
    return path, config


def test_a_run_goes_on_with_what_it_was_begun_with(half):
    path, config = half
    assert RunConfig(**read_config(path / "config.toml")) == config
    found, snapshot = open_run(path, {})
    assert found == config
    assert (snapshot.epoch, snapshot.step) == (2, 0)
    same = {"seed": 0, "hidden": (4,), "learning_rate": 0.1, "dataset": "digits"}
    assert open_run(path, same)[0] == config
    changed = {"epochs": 9, "data_dir": "x", "checkpoint_every": 3, "steps": "called"}
    assert open_run(path, changed)[0] == replace(config, **changed)
    # What was for the old backend means nothing for another one.
    elsewhere = replace(config, backend="jax", threads=None, steps=None)
    assert open_run(path, {"backend": "jax"})[0] == elsewhere


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 1}, "seed cannot change in a run that goes on: seed was 0 and is 1"),
        ({"seed": 0, "ema": 0.9, "dtype": "float64"}, "ema was None and is 0.9; dtype was 'float"),
        ({"epochs": 1}, "epochs must be at least 2, which are done; got 1"),
    ],
)
def test_another_run_is_refused(half, given, message):
    with pytest.raises(OptionError, match=message):
        open_run(half[0], given)


def test_epochs_that_a_schedule_follows_from(tmp_path):
    config = RunConfig(limit=50, hidden=(), epochs=2, schedule="cosine")
    folder = RunFolder(tmp_path / "run", config=config)
    config.fit(xpnet.load_dataset("digits"), xpnet.open_backend("numpy"), (folder,), stop_after=1)
    with pytest.raises(OptionError, match="epochs must stay 2, which the schedule follows from"):
        open_run(folder.path, {"epochs": 3})


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (None, "was begun in Python"),
        ({"learning": 1}, "is not that of a run: learning is no option"),
    ],
)
def test_a_run_that_the_command_line_did_not_begin(half, tmp_path, configuration, message):
    arrays, metadata = read_tensors(half[0] / "checkpoint.safetensors")
    write_tensors(
        tmp_path / "checkpoint.safetensors", arrays, {**metadata, "configuration": configuration}
    )
    with pytest.raises(xpnet.CheckpointError, match=message):
        open_run(tmp_path, {})
