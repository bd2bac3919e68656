"""The scripts, run as a user runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from xpnet import probe_backends

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *arguments], capture_output=True, text=True, check=False
    )


def test_train_gpu_reports_speed_and_memory(tmp_path):
    result = run(
        "train_gpu.py", "--backend", "numpy", "--dataset", "digits", "--hidden", "32,16",
        "--epochs", "2", "--out", tmp_path / "model.safetensors",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for line in ("device:  cpu, numpy", "samples/s", "TFLOP/s", "epochs:  first", "memory:  not"):
        assert line in result.stdout
    assert (tmp_path / "model.safetensors").is_file()


def test_train_gpu_says_that_there_is_no_gpu():
    if probe_backends()["cupy"].usable:
        pytest.skip("there is a GPU")
    result = run("train_gpu.py")
    assert result.returncode == 2
    assert result.stderr.startswith("no GPU to train on with the cupy backend: ")
    assert probe_backends()["cupy"].reason in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.gpu
@pytest.mark.mnist
def test_train_gpu_on_a_gpu(mnist_dir):
    if not probe_backends()["cupy"].usable:
        pytest.skip(probe_backends()["cupy"].reason)
    result = run("train_gpu.py", "--epochs", "2", "--data-dir", mnist_dir)
    assert result.returncode == 0, result.stderr
    assert "MiB at most" in result.stdout


def test_the_embedded_digits_are_what_the_script_makes(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    import numpy as np

    monkeypatch.syspath_prepend(SCRIPTS)
    import make_digits

    shipped = make_digits.TARGET
    monkeypatch.setattr(make_digits, "TARGET", tmp_path / "digits.npz")
    make_digits.main()
    with np.load(shipped) as old, np.load(tmp_path / "digits.npz") as new:
        assert set(old) == set(new)
        for name in old:
            np.testing.assert_array_equal(old[name], new[name])
