"""Files that lie: their metadata say anything, with the right checksum, and nothing is believed."""

import copy
import json
import os
import shutil
import time
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from forging import changed, forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy_format

import xpnet
from xpnet.cli import main
from xpnet.data import load_digits, load_folder, read_idx, write_idx
from xpnet.errors import CheckpointError, DataError, one_line, readable, shortened, shown
from xpnet.initializers import Normal
from xpnet.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    LeakyReLU,
    MaxNorm,
    ReLU,
    Residual,
    Sequential,
)
from xpnet.losses import SoftmaxCrossEntropy
from xpnet.runs.config_file import read_config
from xpnet.runs.options import OptionError
from xpnet.saving.snapshot import read_snapshot
from xpnet.saving.tensors import read_tensors, write_tensors

MODEL = Sequential(
    a=Dense(64, 6, Normal(0.1), constraint=MaxNorm(3.0)),
    bn=BatchNorm(6),
    norm=LayerNorm(6),
    res=Residual(Sequential(f=Dense(6, 6), act=LeakyReLU()), skip=Dense(6, 6, bias=False)),
    elu=ELU(),
    gelu=GELU(),
    drop=Dropout(0.1),
    o=Dense(6, 10),
)
LOSS = SoftmaxCrossEntropy(0.1, {0: 2.0, 3: 1.0})
SMALL = {"n_in": 1, "n_out": 1, "init_weight": "he_normal", "bias": False}
TRAIN = (
    "train --backend numpy --hidden 5 --batch-norm --epochs 3 --stop-after 1 --limit 300 --quiet"
)
WATCHED = "--validation 0.1 --schedule plateau --patience 2 --optimizer momentum --out run"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a network of many layers, a run that can go on, and a picture."""
    folder = tmp_path_factory.mktemp("hostile")
    before = os.getcwd()  # noqa: PTH109
    os.chdir(folder)
    data = load_digits()
    network = xpnet.fit(MODEL, (data.train.images, data.train.labels), epochs=1, loss=LOSS,
                        backend="numpy")  # fmt: skip
    network.save("rich.safetensors")
    command([*TRAIN.split(), *WATCHED.split()])
    picture(folder / "good.png", 255 - data.test.images[0] * 15)
    yield folder
    os.chdir(before)


def picture(path, pixels):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def command(arguments, codes=(0,), **options):
    """Run a command in this process: an exit code of those, and no traceback."""
    result = CliRunner().invoke(main, list(map(str, arguments)), **options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in codes, result.output
    assert all(readable(line) == line for line in result.output.splitlines())
    assert max(map(len, result.output.splitlines()), default=0) < 4000
    return result


def brief(value):
    """What a parameter is called: some have no text of their own."""
    return shown(value, 30)


def metadata_of(path):
    metadata = read_tensors(path)[1]
    del metadata["schema"]
    return metadata


def same(network, other):
    assert network.model == other.model
    assert network.loss == other.loss
    assert network.sample_shape == other.sample_shape
    figures = [
        [replace(record, train_seconds=None, eval_seconds=None) for record in each.history]
        for each in (network, other)
    ]
    assert repr(figures[0]) == repr(figures[1])  # a network is saved without the seconds


FUZZED = {
    "deadline": None,
    "max_examples": 60,
    "suppress_health_check": [HealthCheck.function_scoped_fixture],
}


# -- any change of the metadata -------------------------------------------------------------------


@given(data=st.data())
@settings(**FUZZED)
def test_a_forged_network_is_refused_or_loads_and_saves_the_same(home, data):
    metadata = data.draw(changed(metadata_of(home / "rich.safetensors")))
    forge(home / "rich.safetensors", home / "forged.safetensors", lambda *_: metadata)
    try:
        network = xpnet.load(home / "forged.safetensors")
    except CheckpointError as error:
        message = str(error)
        assert message.startswith(str(home / "forged.safetensors"))
        assert len(message) < 1500
        assert message.isprintable()
        return
    probabilities = network.predict_proba if network.target_kind != "values" else network.predict
    probabilities(np.zeros((2, *(network.sample_shape or (64,)))))
    network.save(home / "again.safetensors")
    same(xpnet.load(home / "again.safetensors"), network)


@given(data=st.data())
@settings(**FUZZED)
def test_a_forged_network_on_the_command_line(home, data):
    metadata = data.draw(changed(metadata_of(home / "rich.safetensors")))
    forge(home / "rich.safetensors", home / "forged.safetensors", lambda *_: metadata)
    verb = data.draw(st.sampled_from(["evaluate", "predict", "npz", "torch-code"]))
    if verb == "evaluate":
        arguments = ["evaluate", "forged.safetensors", "digits", "--backend", "numpy"]
    elif verb == "predict":
        arguments = ["predict", "forged.safetensors", "good.png"]
    else:
        arguments = ["export", "forged.safetensors", "out", "--format", verb, "--force"]
    command(arguments, (0, 1, 2))


@given(data=st.data())
@settings(**FUZZED)
def test_a_forged_checkpoint_on_the_command_line(home, data):
    metadata = data.draw(changed(metadata_of(home / "run" / "checkpoint.safetensors")))
    configuration = metadata.get("configuration")
    if isinstance(configuration, dict):
        # More epochs are allowed, and would be trained.
        configuration["epochs"] = 3
    (home / "forged").mkdir(exist_ok=True)
    source, target = (home / name / "checkpoint.safetensors" for name in ("run", "forged"))
    forge(source, target, lambda *_: metadata)
    command(["train", "--resume", "forged", "--quiet", "--stop-after", 1], (0, 1, 2))


# -- what was tried by hand -----------------------------------------------------------------------


def forged(home, path, value):
    """The network with one value of its metadata replaced; a path is keys joined by dots."""

    def change(metadata, arrays):
        *keys, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        inner = metadata
        for key in keys:
            inner = inner[key]
        inner[last] = value

    forge(home / "rich.safetensors", home / "forged.safetensors", change)
    return home / "forged.safetensors"


LAYERS = "model.options.layers"


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("dtype", "float16", "expected one of float32, float64, found 'float16'"),
        ("dtype", None, "found None"),
        ("pixel_maximum", 10**400, "pixel_maximum must be positive and finite"),
        ("pixel_maximum", True, "got True"),
        ("pixel_maximum", "255", "got '255'"),
        ("sample_shape", "88", "sample_shape is '88'"),
        ("sample_shape", [True, 64], "got True"),
        ("sample_shape", [8.0, 8], "got 8.0"),
        ("sample_shape", [10**5, 10**5], "takes samples of shape (64,)"),
        ("sample_shape", [-8, -8], "got -8"),
        ("input_dtype", "os.system('x')", "samples of an unknown dtype"),
        ("target_kind", ["classes"], "found ['classes']"),
        ("target_kind", "values", "a loss for classes, and targets of the kind values"),
        ("loss.loss", "other", "loss must be one of"),
        ("loss.options.label_smoothing", 10**400, "an integer of some 398 digits"),
        ("loss.options.class_weight", [[11, 1.0]], "11"),
        ("history.0.epoch", 1.5, "the number of an epoch must be a positive integer, got 1.5"),
        ("history.0.train_loss", "1", "train_loss must be"),
        ("history.0.train_loss", 10**400, "train_loss must be"),
        ("history.0.more", 1, "more"),
        (f"{LAYERS}.0.options.n_in", True, "got True"),
        (f"{LAYERS}.0.options.n_in", 2**63, "must be a positive integer below 2**63"),
        (f"{LAYERS}.1.options.epsilon", 1e-300, "in float32"),
        (f"{LAYERS}.6.options.rate", 10**400, "rate must be at least 0 and below 1"),
        (f"{LAYERS}.7.name", "a", "two layers are called 'a'"),
        (f"{LAYERS}.7.name", "x" * 10**6, "up to 100 of them"),
        (f"{LAYERS}.7.name", "\x1b[31m\ud800", r"\x1b[31m\ud800"),
        (f"{LAYERS}.7.layer", "System", "'System' is not one of xpnet's layers"),
    ],
    ids=brief,
)  # fmt: skip
def test_what_is_said_of_a_forged_network(home, path, value, part):
    with pytest.raises(CheckpointError) as info:
        xpnet.load(forged(home, path, value))
    message = str(info.value)
    assert part in message
    assert len(message) < 1000
    assert message.isprintable()


@pytest.mark.parametrize("layer", ["BatchNorm", "LayerNorm", "Dense"])
def test_shapes_are_compared_before_memory_is_taken(tmp_path, layer):
    size = {"n_in": 10**6, "n_out": 10**6} if layer == "Dense" else {"n_features": 10**12}
    options = {**size, "init_weight": "he_normal"} if layer == "Dense" else size
    metadata = {
        "model": {"layer": layer, "options": options}, "dtype": "float32", "history": [],
        "sample_shape": None, "pixel_maximum": 1.0,
    }  # fmt: skip
    write_tensors(tmp_path / "a.safetensors", {}, metadata)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="missing: "):
            xpnet.load(tmp_path / "a.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_a_checkpoint_of_another_size_takes_no_memory(home):
    def change(metadata, arrays):
        metadata["configuration"]["hidden"] = [10**7]
        metadata["training"]["model"]["options"]["layers"][0]["options"]["n_out"] = 10**7
        metadata["training"]["model"]["options"]["layers"][1]["options"]["n_features"] = 10**7
        metadata["training"]["model"]["options"]["layers"][-1]["options"]["n_in"] = 10**7

    (home / "large").mkdir(exist_ok=True)
    source, target = (home / name / "checkpoint.safetensors" for name in ("run", "large"))
    forge(source, target, change)
    tracemalloc.start()
    try:
        result = command(["train", "--resume", "large", "--quiet"], (1,))
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()
    assert "fc1.weight has shape (64, 5), the model (64, 10000000)" in result.stderr


def test_containers_inside_of_each_other_have_an_end():
    model = Sequential(act=ReLU())
    for _ in range(63):
        model = Sequential(inner=model)
    with pytest.raises(ValueError, match="more than 64 containers inside of each other"):
        Residual(model)


def test_a_model_nested_too_deeply_is_refused(tmp_path):
    model = {"layer": "ReLU", "options": {}}
    for _ in range(300):
        model = {"layer": "Residual", "options": {"layers": [{"name": "block", **model}]}}
    metadata = {"model": model, "dtype": "float32", "history": [], "sample_shape": None}
    try:
        write_tensors(tmp_path / "a.safetensors", {}, {**metadata, "pixel_maximum": 1.0})
    except RecursionError:
        pytest.skip("this Python cannot write it")
    with pytest.raises(CheckpointError):
        xpnet.load(tmp_path / "a.safetensors")


def test_numbers_that_the_dtype_cannot_hold(tmp_path):
    network = xpnet.fit(xpnet.mlp(64, 10), load_digits(), epochs=1, backend="numpy")
    network.save(tmp_path / "a.safetensors")

    def change(metadata, arrays):
        arrays["param/fc1.bias"] = arrays["param/fc1.bias"].astype(np.float64)
        arrays["param/fc1.bias"][3] = 1e300

    forge(tmp_path / "a.safetensors", tmp_path / "b.safetensors", change)
    with pytest.raises(CheckpointError, match=r"fc1.bias \(float64\) .* numbers in float32"):
        xpnet.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", 2), ("epoch", True), ("epochs", 0), ("step", 5), ("step", -1),
        ("steps_per_call", 0), ("steps_per_call", 2**40), ("stopped", 1), ("seconds", -1.0),
        ("seconds", 10**400), ("backend", None), ("threads", 0), ("threads", 10**6),
        ("configuration", []), ("callbacks", []), ("callbacks", {"EarlyStopping": []}),
        ("history", {}), ("training", []),
    ],
    ids=brief,
)  # fmt: skip
def test_a_forged_place_is_refused(home, key, value):
    (home / "forged").mkdir(exist_ok=True)
    source, target = (home / name / "checkpoint.safetensors" for name in ("run", "forged"))
    forge(source, target, lambda metadata, arrays: {**metadata, key: value})
    command(["train", "--resume", "forged", "--quiet"], (1,))
    if key != "step" or value < 0:
        with pytest.raises(CheckpointError, match="the metadata describes no training"):
            read_snapshot(target)


@pytest.mark.parametrize("where", ["configuration", "training", "callbacks"])
@pytest.mark.parametrize("names", [["a b\x1b " * 10_000], list("abcdefghijklmnopqrstuvwxyz")])
def test_names_in_a_checkpoint_are_cut(home, where, names):
    def change(metadata, arrays):
        metadata[where].update({name * 20: {} for name in names})

    (home / "forged").mkdir(exist_ok=True)
    source, target = (home / name / "checkpoint.safetensors" for name in ("run", "forged"))
    forge(source, target, change)
    assert len(command(["train", "--resume", "forged", "--quiet"], (1,)).stderr) < 1200


@pytest.mark.parametrize("keeper", ["EarlyStopping", "Plateau"])
@pytest.mark.parametrize("value", [None, "1", [], True, -1, 10**400], ids=brief)
def test_what_callbacks_kept_is_not_believed(home, keeper, value):
    def change(metadata, arrays):
        state = metadata["callbacks"][keeper]
        state["waited" if keeper == "EarlyStopping" else "bad_epochs"] = value

    (home / "forged").mkdir(exist_ok=True)
    source, target = (home / name / "checkpoint.safetensors" for name in ("run", "forged"))
    forge(source, target, change)
    result = command(["train", "--resume", "forged", "--quiet"], (1,))
    assert f"what {keeper} kept cannot be taken back" in result.stderr


# -- data sets and configurations -----------------------------------------------------------------


def header_only(path, shape, descr="|u1"):
    with path.open("wb") as file:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(file, header)


@pytest.mark.parametrize(
    "shape", [(10**3000, 10**3000), (2**63, 0), (-1, 4), (True, 2, 2)], ids=brief
)
def test_a_header_of_npy_with_any_shape(tmp_path, shape):
    header_only(tmp_path / "a.npy", shape)
    with pytest.raises(DataError) as info:
        xpnet.data.read_npy(tmp_path / "a.npy")
    assert len(str(info.value)) < 700


def test_labels_that_are_no_numbers_of_classes(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((3, 4, 4), dtype=np.uint8))
    labels = np.array([0, 1, 2**31 - 1], dtype=np.int32)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    with pytest.raises(
        DataError, match="a label is 2147483647, among 3 labels, of which 3 differ: n"
    ):
        load_folder(tmp_path)


def test_many_labels_of_few_classes_make_no_large_network(tmp_path):
    labels = np.zeros(200_000, dtype=np.int32)
    labels[-1] = labels.size - 1
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((labels.size, 1, 1), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(
        DataError, match="a label is 199999, among 200,000 labels, of which 2 differ"
    ):
        load_folder(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(labels.size, dtype=np.int32))
    assert load_folder(tmp_path).n_classes == labels.size


@pytest.mark.parametrize(
    "text",
    [
        "epochs = 0x" + "f" * 10_000, "hidden = [0x" + "f" * 10_000 + "]", "seed = -1",
        "seed = 0x" + "f" * 10_000, "threads = 1000000000", "learning-rate = 0x" + "f" * 10_000,
        '"\\u001b[31m" = 1', "dataset = " + '"' + "x" * 100_000 + '"', "epochs = nan",
        "epochs = 1979-05-27", "[epochs]", "epochs = [[[[1]]]]", "batch-size = true",
        "x = " + "[" * 50_000, "x" * 100_000 + " = 1", 'activation = "\\u0007"',
    ],
    ids=brief,
)  # fmt: skip
def test_a_hostile_configuration(home, text):
    (home / "config.toml").write_text(text)
    command(["train", "--config", "config.toml", "--out", "never"], (1, 2))
    (home / "odd").mkdir(exist_ok=True)
    (home / "odd" / "config.toml").write_text(text)
    (home / "odd" / "model.safetensors").write_bytes((home / "rich.safetensors").read_bytes())
    command(["evaluate", "odd"], (1, 2))
    assert not (home / "never").exists()


@pytest.mark.parametrize(
    "text",
    [" " * 100_000 + "\nfoo = 1", "a." * 20_000 + "b = 1", "x = {" + "a." * 20_000 + "b = 1}"],
    ids=["blanks", "dots", "dots in a table"],
)
def test_a_configuration_that_takes_the_square_of_its_length(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    began = time.process_time()
    with pytest.raises(OptionError):
        read_config(tmp_path / "a.toml")
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "freeze = 0x" + "f" * 10_000, "fresh = [0x" + "f" * 10_000 + "]",
        "freeze = [" + "1, " * 10_000 + "]", 'freeze = ["' + "a b " * 10_000 + '"]',
        'device = "' + "a b " * 10_000 + '"', 'backend = "' + "a b " * 10_000 + '"',
        'device = "' + "a b " * 10_000 + '"\nbackend = "array_api_strict"',
    ],
    ids=brief,
)  # fmt: skip
def test_what_is_repeated_of_a_configuration_is_cut(home, text):
    (home / "config.toml").write_text(text)
    result = command(["train", "--config", "config.toml", "--out", "never"], (1, 2))
    assert len(result.stderr) < 700
    assert "set_int_max_str_digits" not in result.stderr


def test_a_network_to_begin_with_that_has_many_layers(home):
    layers = [{"name": f"dense{n}", "layer": "Dense", "options": SMALL} for n in range(300)]
    arrays = {f"param/dense{n}.weight": np.ones((1, 1), np.float32) for n in range(300)}
    metadata = {
        "model": {"layer": "Sequential", "options": {"layers": layers}}, "dtype": "float32",
        "history": [], "sample_shape": [1], "pixel_maximum": 1.0,
    }  # fmt: skip
    write_tensors(home / "long.safetensors", arrays, metadata)
    result = command(["train", "--start", "long.safetensors", "--out", "never"], (2,))
    assert "the network does not fit the model" in result.stderr
    assert len(result.stderr) < 1200


# -- messages -------------------------------------------------------------------------------------


class Silent:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        ("a\x1b[31m\ud800\u202e", r"'a\x1b[31m\ud800\u202e'"),
        (10**5000, "an integer of some 4,983 digits"),
        ({"b": [1, None], "a": True}, "{'a': True, 'b': [1, None]}"),
        (Silent(), "<Silent instance at "),
    ],
    ids=["float", "text", "integer", "dict", "no repr"],
)
def test_any_value_can_be_shown(value, text):
    assert shown(value).startswith(text)


def test_what_is_shown_is_short():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, list(range(10**6)), {"x" * 500: "y" * 500}, b"z" * 10**6):
        assert len(shown(value)) <= 200
    while deep:  # without the recursion of its end
        deep = deep.pop()


def test_one_line_and_no_orders_to_a_terminal():
    assert one_line("a\n\tb\x1b[31mc\x00") == r"a b\x1b[31mc\x00"
    assert one_line("x" * 150 + "y" * 150, 100) == "x" * 72 + "..." + "y" * 25
    assert readable("é\n数\r\u2028") == "é\\n数\\r\\u2028"
    path = "/" + "a" * 500 + "/model.safetensors"
    short = shortened(f"error: {path}: there is no such file")
    assert short.startswith("error: /aaa")
    assert short.endswith("model.safetensors: there is no such file")
    assert len(short) < 250


def test_names_on_the_command_line_are_no_orders_to_a_terminal(home):
    for arguments in (["evaluate", "\x1b[31m"], ["\x1b[31m"], ["train", "--seed", "\x1b[31m"]):
        result = command(arguments, (1, 2))
        assert r"\x1b[31m" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="names of files have no line breaks there")
def test_a_name_with_a_line_break_is_in_one_line(home, tmp_path):
    """What follows it must not look like a line of xpnet's own."""
    name = "runs\nerror: all is lost\r\x1b[2K"
    safe = r"runs\nerror: all is lost\r\x1b[2K"
    (tmp_path / name).write_bytes(b"no network")
    for read in (xpnet.load, read_snapshot, read_config, load_folder, read_idx):
        with pytest.raises((DataError, CheckpointError, OptionError)) as caught:
            read(str(tmp_path / name))
        assert safe in str(caught.value)
        assert str(caught.value).isprintable()
    path = tmp_path / name
    for arguments in (
        ["evaluate", path], ["predict", path, "x.png"], ["predict", "rich.safetensors", path],
        ["plot", path], ["export", path], ["train", "--resume", path], ["train", path],
        ["train", "--config", path], ["train", "--start", path], ["train", "--out", path],
        ["train", "--data-dir", path], ["train", "--data-dir", tmp_path / "no\nfolder", "mnist"],
    ):  # fmt: skip
        errors = command(arguments, (1, 2)).stderr
        assert "\nerror: all is lost" not in errors, arguments
        assert len([line for line in errors.splitlines() if "rror: " in line]) == 1, arguments
    result = command(["train", "--epochs", 1, "--hidden", 4, "--out", tmp_path / "a\nb", "--quiet"])
    assert len(result.stdout.splitlines()) == 1


def test_names_of_files_and_folders_are_no_orders_to_a_terminal(home):
    """Of a run that goes well, and of its pictures, as of one that does not."""
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    data = load_digits()
    folder = home / "\x1b[31mdata"
    folder.mkdir()
    np.save(folder / "train-images.npy", data.train.images[:50])
    np.save(folder / "train-labels.npy", data.train.labels[:50])
    shutil.copy(home / "good.png", home / "a.png: 7\nb.png")
    run = "\x1b[32mrun"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = command(
            ["train", folder.name, "--hidden", 2, "--epochs", 1, "--out", run], color=True
        )
    assert r"\x1b[31mdata" in done.stderr + done.stdout
    for arguments in (["train", "--resume", run], ["plot", run], ["evaluate", run, "digits"],
                      ["export", run, "\x1b[33m.npz"]):  # fmt: skip
        command(arguments, color=True)
    assert len(command(["predict", run, "a.png: 7\nb.png"]).stdout.splitlines()) == 1
    assert len(command(["predict", run, "no\nb.png"], (1,)).stderr.splitlines()) == 1


def test_forging_without_a_change_is_the_same_file(home):
    source, target = home / "rich.safetensors", home / "copy.safetensors"
    forge(source, target, lambda metadata, arrays: copy.deepcopy(metadata))
    assert target.read_bytes() == source.read_bytes()
    assert json.dumps(metadata_of(source)) == json.dumps(metadata_of(target))
    assert Flatten((8, 8)).output_shape(None) == (64,)


def test_many_classes_need_no_matrix_of_them(home, monkeypatch):
    (home / "many").mkdir()
    write_idx(home / "many" / "train-images-idx3-ubyte", np.zeros((9, 4, 4), dtype=np.uint8))
    labels = np.array([*range(8), 2000], dtype=np.int32)
    write_idx(home / "many" / "train-labels-idx1-ubyte", labels)
    result = command(["train", "many", "--hidden", "2", "--epochs", "1", "--out", "many-run"])
    assert "errors in 9)" in result.stdout
    summary = json.loads((home / "many-run" / "summary.json").read_text())
    assert summary["confusion_matrix"]["counts"] is None
    command(["plot", "many-run"])
    assert not (home / "many-run" / "confusion.png").exists()


@pytest.mark.parametrize("verb", ["evaluate", "plot", "predict"])
def test_what_a_network_cannot_be_asked(home, verb):
    model = xpnet.Sequential(fc=Dense(64, 2))
    x, y = load_digits().train.images, np.zeros((1438, 2))
    network = xpnet.fit(model, (x, y), epochs=1, loss=xpnet.mean_squared_error, backend="numpy")
    (home / "values").mkdir(exist_ok=True)
    network.save(home / "values" / "model.safetensors")
    (home / "values" / "config.toml").write_text('dataset = "digits"\n')
    if verb == "predict":
        assert len(command(["predict", "values", "good.png"]).stdout.split()) == 3
    else:
        assert command([verb, "values"], (1,)).stderr.startswith("error: ")


def test_a_network_whose_output_is_no_row(home):
    metadata = {
        "model": {"layer": "ReLU", "options": {}}, "dtype": "float32", "history": [],
        "sample_shape": [8, 8], "pixel_maximum": 16.0,
    }  # fmt: skip
    write_tensors(home / "none.safetensors", {}, metadata)
    command(["evaluate", "none.safetensors", "digits"], (1,))
    command(["predict", "none.safetensors", "good.png"], (0, 1))
    command(["export", "none.safetensors", "none.npz"], (0, 1))


def test_a_class_of_a_network_is_said_in_one_line(home):
    """However long its name is, and with no second answer in it."""
    name = "3  (99.0 %)\nother.png: 7" + "x" * 100_000

    def rename(metadata, arrays):
        metadata["classes"] = [f"{number}{name}" for number in range(10)]

    forge("rich.safetensors", "classes.safetensors", rename)
    lines = command(["predict", "classes.safetensors", "good.png"]).output.splitlines()
    assert len(lines) == 1
    assert len(lines[0]) < 300
