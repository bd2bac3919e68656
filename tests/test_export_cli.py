"""`xpnet export`, as a user would meet it."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xpnet
from xpnet.cli import main

pytestmark = pytest.mark.installed


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a trained network."""
    folder = tmp_path_factory.mktemp("run")
    data = xpnet.load_dataset("digits").limited(200)
    xpnet.fit(xpnet.mlp(64, 16, 10), data, epochs=1, backend="numpy").save(
        folder / "model.safetensors"
    )
    return folder


def xp(*arguments, code=0):
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "Traceback" not in result.output
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return " ".join(result.output.split())


def test_onnx(run):
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    output = xp(run, "model.onnx", "--probabilities")
    assert output == f"model.onnx: onnx, {Path('model.onnx').stat().st_size:,} bytes"
    x = xpnet.load_dataset("digits").test.images
    (found,) = ort.InferenceSession("model.onnx").run(None, {"input": x})
    np.testing.assert_allclose(found, xpnet.load(run).predict_proba(x), rtol=1e-5, atol=1e-6)

    xp(run, "b.onnx", "--opset", 20, "--input-dtype", "float32", "--dtype", "float64")
    session = ort.InferenceSession("b.onnx")
    assert session.get_inputs()[0].type == "tensor(float)"
    (logits,) = session.run(["logits"], {"input": (x / 16).astype("float32")})
    assert logits.dtype == np.float64
    np.testing.assert_array_equal(logits.argmax(axis=1), xpnet.load(run).predict(x))


def test_the_other_formats(run):
    from safetensors.numpy import load_file

    xp(run / "model.safetensors", "model.npz")
    with np.load("model.npz", allow_pickle=False) as file:
        assert file["fc1.weight"].shape == (64, 16)
    xp(run, "Model.Torch.safetensors")
    assert load_file("Model.Torch.safetensors")["fc1.weight"].shape == (16, 64)
    xp(run, "model.py", "--dtype", "float64")
    text = Path("model.py").read_text(encoding="utf-8")
    assert "nn.Linear(64, 16)" in text
    assert "torch.float64" in text
    xp(run, "weights", "--format", "npz")
    assert Path("weights").read_bytes() == Path("model.npz").read_bytes()


@pytest.mark.parametrize("ending", [".npz", ".torch.safetensors", ".safetensors"])
def test_back_to_a_network(run, ending):
    """All but the history, and the loss, is as it was, to the bit; and once more through it."""
    from safetensors.numpy import load_file

    network = xpnet.load(run)
    xp(run, f"weights{ending}")
    output = xp(f"weights{ending}", "model.safetensors")
    assert output == f"model.safetensors: xpnet, {Path('model.safetensors').stat().st_size:,} bytes"
    found = xpnet.load("model.safetensors")
    x = xpnet.load_dataset("digits").test.images
    np.testing.assert_array_equal(found.predict_proba(x), network.predict_proba(x))
    for name in ("model", "sample_shape", "pixel_maximum", "input_dtype", "target_kind"):
        assert getattr(found, name) == getattr(network, name)
    assert len(found.history) == (1 if ending == ".safetensors" else 0)
    xp("model.safetensors", f"again{ending}")
    if ending == ".torch.safetensors":  # which has its metadata in any order
        content, before = load_file(f"again{ending}"), load_file(f"weights{ending}")
        for name, value in before.items():
            np.testing.assert_array_equal(content.pop(name), value)
        assert not content
    else:
        assert Path(f"again{ending}").read_bytes() == Path(f"weights{ending}").read_bytes()


def test_a_network_of_another_precision(run):
    xp(run, "wide.safetensors", "--dtype", "float64")
    wide = xpnet.load("wide.safetensors")
    for name, value in xpnet.load(run).arrays.items():
        assert wide.arrays[name].dtype == np.float64
        np.testing.assert_array_equal(wide.arrays[name], value)
    assert len(wide.history) == 1
    xp("wide.safetensors", "narrow.safetensors", "--dtype", "float32")
    assert Path("narrow.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()

    wide.params["fc2.bias"][3] = 1e300
    wide.save("wide.safetensors")
    output = xp("wide.safetensors", "b.safetensors", "--dtype", "float32", code=1)
    assert output == "error: fc2.bias has values that are not finite in float32"
    assert not Path("b.safetensors").exists()


def test_weights_of_others_do_not_say_of_which_layers_they_are(run):
    xp(run, "a.npz")
    with np.load("a.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "xpnet"}
    np.savez("b.npz", **arrays)
    output = xp("b.npz", "model.safetensors", code=1)
    assert "b.npz: xpnet did not write it, and it does not say of which layers it is" in output
    from safetensors.numpy import save_file

    save_file(arrays, "b.torch.safetensors")
    output = xp("b.torch.safetensors", "model.safetensors", code=1)
    assert "b.torch.safetensors: does not say of which layers it is" in output
    assert not Path("model.safetensors").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "cut", "foreign", "pipe", "forged"])
@pytest.mark.parametrize("ending", [".npz", ".torch.safetensors", ".safetensors"])
def test_what_is_no_network_ends_in_one_sentence(run, kind, ending):
    source = Path(f"weights{ending}")
    if kind == "folder":
        source.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("POSIX: pipes")
        os.mkfifo(source)
    elif kind == "forged" and ending == ".npz":
        xp(run, "a.npz")
        with np.load("a.npz") as file:
            arrays = dict(file)
        text = str(arrays.pop("xpnet"))
        forged = text.replace('"n_in": 64', f'"n_in": {10**300}')
        assert forged != text
        np.savez(source, **arrays, xpnet=np.asarray(forged))
    elif kind != "missing":
        xp(run, source)
        content = source.read_bytes()
        changed = {"empty": b"", "cut": content[:-100], "foreign": b"\x89PNG" * 100}
        source.write_bytes(changed.get(kind, content.replace(b"64", b"65", 1)))
    output = xp(source, "out.safetensors", code=1)
    assert output.startswith(f"error: weights{ending}")
    assert len(output) < 700
    assert not Path("out.safetensors").exists()


def test_files_that_may_not_be_read_and_those_that_may_only_be_written(run):
    for ending in (".npz", ".torch.safetensors", ".safetensors"):
        source = Path(f"weights{ending}")
        xp(run, source)
        source.chmod(0o200)
        if os.access(source, os.R_OK):
            pytest.skip("this user (root?) may read every file")
        output = xp(source, "out.safetensors", code=1)
        assert output.startswith(f"error: {source}: not a readable ")
        assert output.endswith("(Permission denied)")
        xp(run, source, "--force")
        assert source.stat().st_size > 1000


@pytest.mark.skipif(os.name != "posix", reason="POSIX: links")
def test_a_link_to_nowhere_is_there_and_can_be_replaced(run):
    Path("model.npz").symlink_to("nowhere.npz")
    assert "model.npz: is there already" in xp(run, "model.npz", code=1)
    xp(run, "model.npz", "--force")
    assert not Path("model.npz").is_symlink()
    assert not Path("nowhere.npz").exists()


def test_graphs_and_code_are_not_read_back(run):
    for source in ("model.onnx", "model.py"):
        output = xp(source, "model.npz", code=2)
        assert f"{source}: networks are not read from .{source[6:]} files: give a run" in output


def test_other_commands_say_how_weights_become_a_network(run):
    xp(run, "my weights.npz")
    for verb in ("evaluate", "predict"):
        result = CliRunner().invoke(main, [verb, "my weights.npz", "digits"])
        assert result.exit_code == 1
        assert "xpnet export 'my weights.npz' model.safetensors" in result.output
    result = CliRunner().invoke(main, ["evaluate", "missing.npz", "digits"])
    assert result.output == "error: missing.npz: there is no such file\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX: devices and pipes")
def test_a_device_is_written_to_and_what_is_said_is_not(run):
    xp(run, "a.npz")
    command = [sys.executable, "-m", "xpnet", "export", str(run), "/dev/stdout", "--format", "npz"]
    written = subprocess.run(command, capture_output=True, check=True)
    assert written.stdout == Path("a.npz").read_bytes()
    assert written.stderr == b""


def test_files_are_not_replaced_unless_that_is_asked_for(run):
    Path("model.npz").write_text("mine")
    output = xp(run, "model.npz", code=1)
    assert "model.npz: is there already; give another name, or --force to replace it" in output
    assert Path("model.npz").read_text() == "mine"
    xp(run, "model.npz", "--force")
    assert Path("model.npz").read_bytes().startswith(b"PK")


def test_the_network_itself_is_never_replaced(run):
    before = (run / "model.safetensors").read_bytes()
    for source in (run, run / "model.safetensors"):
        output = xp(source, run / "model.safetensors", "--format", "torch", "--force", code=2)
        assert "is the network itself; give another name" in output
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("model", [], "the ending says nothing of the format: take one of .onnx, .npz, .torch.saf"),
        ("model.onxx", [], ".torch.safetensors, .py, .safetensors, or give --format; did you mean"),
        ("model.pt", [], "such files can run code when they are read, and xpnet writes none"),
        ("nowhere/model.onnx", [], "the folder is not there"),
        (".", ["--format", "npz"], "is a folder"),
        ("model.npz", ["--opset", "20"], "--opset: for ONNX files only"),
        ("model.npz", ["--probabilities", "--input-dtype", "bool"], "--probabilities, --input-dt"),
        ("model.onnx", ["--format", "pickle"], "'pickle' is not one of 'onnx', 'npz'"),
        ("model.onnx", ["--dtype", "float16"], "'float16' is not one of 'float32', 'float64'"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_refused_before_anything_is_written(run, file, options, message):
    assert message in xp(run, file, *options, code=2)
    assert list(Path().iterdir()) == []


def test_an_opset_that_is_not_there(run):
    pytest.importorskip("onnx")
    assert "opset must be from 9 to" in xp(run, "model.onnx", "--opset", "3", code=2)


def test_a_run_that_is_not_there():
    assert "there is no such file" in xp("runs/digits-9", "model.npz", code=1)


def test_values_have_no_probabilities(tmp_path):
    pytest.importorskip("onnx")
    x = np.ones((8, 3))
    model = xpnet.Sequential(fc=xpnet.Dense(3, 1))
    network = xpnet.fit(
        model, (x, x[:, :1]), loss=xpnet.mean_squared_error, epochs=1, backend="numpy"
    )
    network.save("model.safetensors")
    output = xp("model.safetensors", "model.onnx", "--probabilities", code=2)
    assert "gives values, not probabilities" in output


def test_a_full_disk(run, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    output = xp(run, "model.npz", code=1)
    assert output == "error: model.npz: cannot be written: No space left on device"
    assert list(Path().iterdir()) == []


def test_without_onnx(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    output = xp(run, "model.onnx", code=1)
    assert output == "error: ONNX files need onnx: pip install 'xpnet[onnx]'"
