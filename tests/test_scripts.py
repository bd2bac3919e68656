"""The scripts, run as a user runs them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import require

import xpnet
from xpnet import BackendUnavailable, probe_backends
from xpnet.distributed.mpi import probe_mpi

pytestmark = pytest.mark.installed

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


def test_train_gpu_on_two_ranks(tmp_path):
    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    if mpiexec is None or not probe_mpi().usable:
        pytest.skip("there is no MPI: pip install 'xpnet[mpi]'")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI"))}
    result = subprocess.run(
        [
            mpiexec, "-n", "2", sys.executable, SCRIPTS / "train_gpu.py", "--backend", "numpy",
            "--dataset", "digits", "--hidden", "16", "--epochs", "1",
            "--out", tmp_path / "model.safetensors",
        ],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    # One rank speaks for all.
    for line in ("device:  cpu, numpy", "ranks:   2 ranks, MPI", "samples/s", "epochs:  first"):
        assert result.stdout.count(line) == 1
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


def test_check_gpu_says_that_there_is_no_gpu(tmp_path):
    if probe_backends()["cupy"].usable:
        pytest.skip("there is a GPU")
    result = run("check_gpu.py", "--out", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("there is no GPU to check: ")
    assert list(tmp_path.iterdir()) == []


def test_check_gpu_writes_what_it_found(monkeypatch):
    """All but the GPU: the same checks, on PyTorch's CPU."""
    require("torch")
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setenv("XPNET_DATA_DIR", "nowhere")
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    import check_gpu

    targets = [("torch", "cpu"), ("jax", "cuda:99")]
    report = check_gpu.check(targets, epochs=1, with_tests=False)
    assert report["holds"]
    assert json.loads(json.dumps(report)) == report
    assert [p["dtype"] for p in report["parity"]] == ["float64", "float32"]
    assert all(p["max_error_count_difference"] == 0 for p in report["parity"])
    assert any("jax on cuda:99" in reason for reason in report["not_checked"])
    page = check_gpu.to_markdown(report)
    assert page.startswith(f"# GPU check of {report['date']}: everything holds")
    for part in ("| torch | cpu; ", "## Parity in float32, digits", "yes: torch trains networks"):
        assert part in page
    report["holds"] = report["tests"]["holds"] = False
    report["tests"]["output"] = "the output of pytest"
    page = check_gpu.to_markdown(report)
    assert "FAILS" in page.splitlines()[0]
    assert "the output of pytest" in page


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("holds", [True, False])
def test_check_gpu_says_what_became_of_graphs(recorded, holds, monkeypatch):
    """The same training with and without, here on a backend that only pretends to have graphs."""
    monkeypatch.syspath_prepend(SCRIPTS)
    import check_gpu

    from xpnet import load_dataset
    from xpnet.backends.cupy.graph import GraphUse
    from xpnet.backends.numpy import NumpyBackend

    class Pretended(NumpyBackend):
        graphs = GraphUse(launches=int(recorded), reason="" if recorded else "why not")
        capture = True

        def repeat(self, step, *, pure=True):
            run = super().repeat(step, pure=pure)

            def with_graphs(state, x, y, groups):
                state = run(state, x, y, groups)
                state["param/fc1.bias"] += 0.01 * (self.capture and not holds)
                return state

            return with_graphs

    monkeypatch.setattr(check_gpu, "CupyBackend", Pretended)
    found = check_gpu.run_graphs(None, load_dataset("digits").limited(200), "float32", 1)
    assert json.loads(json.dumps(found)) == found
    assert (found["recorded"], found["holds"]) == (recorded, holds)
    assert 0 < found["seconds_with_graphs"] < 10
    page = "\n".join(check_gpu.describe_graphs(found))
    if recorded:
        assert ("The same bits as without" if holds else "OTHER BITS as without") in page
    else:
        assert "NOT RECORDED: why not" in page
    with pytest.raises(BackendUnavailable):
        check_gpu.check([("torch", "cuda:99")])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_check_gpu_says_what_came_of_ranks(dtype, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import check_gpu

    if check_gpu.probe_device_sums()["nccl"].usable:
        pytest.skip("there is a GPU")
    monkeypatch.setattr(
        check_gpu, "CupyBackend", lambda device, dtype: xpnet.open_backend("numpy", None, dtype)
    )
    found = check_gpu.run_ranks(None, xpnet.load_dataset("digits").limited(300), dtype, 1)
    assert found["holds"]
    assert found["same_bytes"]
    assert "the same bytes" in check_gpu.describe_ranks(found)[-1]
    assert "see cupy" in found["nccl"]


@pytest.mark.parametrize(
    ("output", "code", "holds", "passed"),
    [
        ("12 passed, 3 skipped in 1.2s", 0, True, 12),
        ("1 failed, 11 passed in 1.2s", 1, False, 11),
        ("9 skipped in 0.1s", 0, False, 0),
        ("no tests ran", 5, False, 0),
    ],
)
def test_check_gpu_counts_the_tests(monkeypatch, tmp_path, output, code, holds, passed):
    monkeypatch.syspath_prepend(SCRIPTS)
    import check_gpu

    def pretend(command, *, env, **options):
        assert command[1:6] == ["-m", "pytest", "-q", "-m", "gpu"]
        assert env["XPNET_REQUIRE"] == "cupy"
        assert env["XPNET_DATA_DIR"] == str(tmp_path)
        return subprocess.CompletedProcess(command, code, output, "")

    monkeypatch.setattr(check_gpu.subprocess, "run", pretend)
    found = check_gpu.run_tests(tmp_path)
    assert (found["holds"], found["passed"]) == (holds, passed)


def test_benchmark_measures_the_cost_of_dropout(tmp_path):
    result = run("benchmark.py", "dropout", "--out", tmp_path)
    assert result.returncode in (0, 1), result.stderr  # 1: a loaded machine
    report = json.loads((tmp_path / "benchmark.json").read_text())
    figures = report["dropout"]
    assert report["cases"] == []
    assert figures["backend"] == "numpy"
    assert figures["holds"] == (result.returncode == 0)
    assert 0 < figures["plain_seconds"][1] < figures["dropout_seconds"][2]
    assert "## Dropout" in (tmp_path / "benchmark.md").read_text()
    assert run("benchmark.py", "dropout", "--backend", "nympy").returncode == 2


def test_the_embedded_digits_are_what_the_script_makes(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    import numpy as np

    monkeypatch.syspath_prepend(SCRIPTS)
    import make_digits

    shipped = Path(xpnet.__file__).parent / "data" / "digits.npz"
    monkeypatch.setattr(make_digits, "TARGET", tmp_path / "digits.npz")
    make_digits.main()
    with np.load(shipped) as old, np.load(tmp_path / "digits.npz") as new:
        assert set(old) == set(new)
        for name in old:
            np.testing.assert_array_equal(old[name], new[name])


def test_golden_runs_are_the_same_again(tmp_path):
    pytest.importorskip("sklearn")
    file, one = tmp_path / "before.json", ("--match", "MLPRegressor, sgd")
    assert run("golden.py", "record", file, *one).returncode == 0
    result = run("golden.py", "compare", file, *one)
    assert (result.returncode, result.stdout) == (0, "2 runs, 0 different\n"), result.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    found["runs"]["MLPRegressor, sgd, float64"]["figures"]["loss_"] += 1e-9
    file.write_text(json.dumps(found), encoding="utf-8")
    result = run("golden.py", "compare", file, *one)
    assert result.returncode == 1
    assert result.stdout == "MLPRegressor, sgd, float64: figures\n2 runs, 1 different\n"


@pytest.mark.mnist
def test_photographs_are_measured_and_drawn(mnist_dir, tmp_path):
    pytest.importorskip("PIL")
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    data = xpnet.load_dataset("mnist", data_dir=mnist_dir).limited(1000)
    xpnet.fit(xpnet.mlp(784, 10), data, epochs=1, backend="numpy").save(tmp_path / "a.safetensors")
    result = run(
        "measure_pictures.py", tmp_path / "a.safetensors", "--data-dir", mnist_dir, "--count", "2",
        "--only", "wide", "--sheet", tmp_path / "sheet.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert re.search(r"\| wide \| \d+\.0 % \| \d+\.0 % \|", result.stdout)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
