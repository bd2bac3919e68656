"""The benchmark: who is measured, that all compute the same, and what is written."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
from conftest import page

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking import quick  # noqa: E402
from benchmarking.cases import Case, Task  # noqa: E402
from benchmarking.peers import PEERS, Peer, select_peers  # noqa: E402
from benchmarking.quick import FACTOR, TRIES, check_speed  # noqa: E402
from benchmarking.report import case_lines  # noqa: E402
from benchmarking.runner import Measured, Settings, measure  # noqa: E402
from benchmarking.scaling import Point, Series, exponent  # noqa: E402
from benchmarking.summary import quartiles, ratios, summarise  # noqa: E402

from xpnet import probe_backends  # noqa: E402

OWN_PEERS = """
import os, sys, time

def _train(job, tick, predicted):
    for _ in range(job.epochs):
        print("what libraries print is not an answer")
        tick(0.01)
    return predicted

def perfect(job, tick):
    return _train(job, tick, job.test_y)

def useless(job, tick):
    return _train(job, tick, job.test_y * 0 - 1)

def broken(job, tick):
    raise ArithmeticError("nothing adds up")

def breaks_later(job, tick):
    tick(0.01)
    raise ArithmeticError("nothing adds up any more")

def dies(job, tick):
    print("a last word", file=sys.stderr, flush=True)
    os._exit(7)

def hangs(job, tick):
    time.sleep(60)

def lacks(job, tick):
    import a_library_that_nobody_has.part
"""


@pytest.fixture
def own_peers(tmp_path, monkeypatch):
    """A module `own` with peers of one's own."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "own.py").write_text(OWN_PEERS, encoding="utf-8")
    paths = filter(None, [str(folder), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPTS / "benchmark.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def small_task(epochs=2, hidden=(16,), batch_size=64):
    return Task(Case(hidden, batch_size), "digits", epochs=epochs)


def measure_few(names, *, repeats=1, **settings):
    peers = select_peers(names, "cpu")
    task = small_task(1 + repeats)
    found = measure(peers, task, Settings(repeats, 1, pause=0.0, **settings))
    return {one.peer.name: one for one in found}


# -- what is measured -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("", "128", "@64", "128@", "128,@64", "0@64", "128@0", "a@b"),
        *("lenet5", "lenet5@", "lenet5@0", "lenet@64", "lenet5,10@64"),
    ],
)
def test_a_wrong_case_is_explained(text):
    with pytest.raises(ValueError, match="such as 128@64 or 800,800@128"):
        Case.parse(text)


def test_cases_and_tasks_survive_json():
    task = Task(Case.parse("800,800@128"), limit=10, device="cuda", tf32=True)
    assert str(task.case) == "800,800@128"
    for case in (task.case, Case.parse("lenet5@64")):
        assert Case.parse(str(case)) == case
        assert Task.from_dict(json.loads(json.dumps(task.on(case).to_dict()))) == task.on(case)


def test_unknown_peers_are_refused():
    with pytest.raises(ValueError, match=r"'nosuch' is not a peer on cpu: .*xpnet-numpy"):
        select_peers("nosuch", "cpu")
    with pytest.raises(ValueError, match="is not a peer on cuda"):
        select_peers("sklearn", "cuda")
    assert [p.name for p in select_peers("torch,floor,torch", "cpu")] == ["floor", "torch"]
    assert "xpnet-cupy" in [peer.name for peer in select_peers(None, "cuda")]


# -- workers ----------------------------------------------------------------------------------


def test_failures_are_skipped_with_their_reason(own_peers):
    names = ["perfect", "broken", "breaks_later", "dies", "lacks"]
    found = measure_few(",".join(f"own:{name}" for name in names) + ",own:nosuch", repeats=2)
    reasons = {name.partition(":")[2]: one.failure for name, one in found.items()}
    assert reasons[""] == reasons["perfect"] == ""
    assert reasons["broken"] == "ArithmeticError: nothing adds up"
    assert reasons["breaks_later"] == "ArithmeticError: nothing adds up any more"
    assert reasons["dies"] == "ended with code 7: a last word"
    assert reasons["lacks"] == "a_library_that_nobody_has is not installed"
    assert reasons["nosuch"].startswith("AttributeError: ")
    assert [len(one.seconds) for one in found.values()] == [2, 2, 0, 0, 0, 0, 0]
    assert found["own:perfect"].result["accuracy"] == 1.0
    assert found["floor"].result["accuracy"] is None
    summary = summarise(Case((16,), 64), list(found.values()))
    assert [peer["name"] for peer in summary["peers"]] == ["floor", "own:perfect"]
    assert len(summary["skipped"]) == 5
    assert summary["agree"]


def test_a_peer_that_hangs_is_skipped(own_peers):
    (found,) = measure([Peer("h", "h", "own:hangs")], small_task(), Settings(1, timeout=2.0))
    assert found.failure == "no answer within 2 s"


def test_workers_report_memory_and_evaluation():
    found = measure_few("xpnet-numpy")["xpnet-numpy"]
    assert len(found.eval_seconds) == len(found.seconds) == 1
    assert 1e7 < found.result["memory_before"] <= found.result["memory_peak"] < 1e9
    assert found.result["sizes"] == [64, 16, 10]


def test_threads_and_precision_are_set_in_the_environment(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "5")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert Settings().environment()["OPENBLAS_NUM_THREADS"] == "5"
    found = Settings(threads=3).environment(tf32=True)
    assert found["OPENBLAS_NUM_THREADS"] == found["OMP_NUM_THREADS"] == found["NPROC"] == "3"
    assert (found["CUPY_TF32"], found["JAX_DEFAULT_MATMUL_PRECISION"]) == ("1", "tensorfloat32")
    assert Settings().environment()["CUPY_TF32"] == "0"
    assert Settings().environment()["JAX_PLATFORMS"] == "cpu"
    assert "JAX_PLATFORMS" not in Settings().environment(cuda=True)


# -- figures ----------------------------------------------------------------------------------


def test_ratios_are_of_the_same_round():
    assert quartiles([1.0]) == [1.0, 1.0, 1.0]
    # The machine is ten times slower in the second round; the ratio is not.
    assert ratios([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("accuracies", "samples", "trained", "agree"),
    [
        ([0.9700, 0.9749, None], 10_000, 60_000, True),
        ([0.9700, 0.9751], 10_000, 60_000, False),
        ([0.95, 0.97], 400, 60_000, True),
        ([0.95, 0.97], 10_000, 2_000, True),
        ([0.95, 0.98], 10_000, 2_000, False),
        ([None], 10_000, 60_000, True),
    ],
)
def test_accuracies_must_agree(accuracies, samples, trained, agree):
    common = {
        "test_samples": samples,
        "train_samples": trained,
        "memory_before": 1,
        "memory_peak": 2,
    }
    common |= {"versions": {}, "pools": []}
    found = [
        Measured(Peer(str(i), str(i), ""), [1.0], [], {"accuracy": accuracy, **common})
        for i, accuracy in enumerate(accuracies)
    ]
    assert summarise(Case((16,), 64), found)["agree"] is agree


def test_exponents():
    assert exponent([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0)
    assert np.isnan(exponent([1, 2], [0, 1]))


# -- the command ------------------------------------------------------------------------------


def test_the_command_writes_all_files(tmp_path):
    pytest.importorskip("matplotlib")
    names = "xpnet-numpy,numpy"
    result = run(
        "compare", "--dataset", "digits", "--case", "32@32", "--case", "16,16@64",
        "--peers", names, "--repeats", 4, "--pause", 0, "--threads", 1, "--tolerance", 20,
        "--out", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((tmp_path / "benchmark.json").read_text())
    assert [case["sizes"] for case in report["cases"]] == [[64, 32, 10], [64, 16, 16, 10]]
    for case in report["cases"]:
        assert [peer["name"] for peer in case["peers"]] == ["floor", *names.split(",")]
        floor, ours = case["peers"][:2]
        assert floor["over_floor"] == [1.0, 1.0, 1.0]
        assert len(ours["rounds"]) == 4
        assert ours["over_floor"][1] > 1
        assert ours["over_xpnet"]["xpnet-numpy"] == [1.0, 1.0, 1.0]
        assert ours["eval_share"][1] > 0
    machine = report["machine"]
    assert machine["environment"]["OPENBLAS_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"]
    assert (machine["threads"], machine["versions"]["numpy"]) == (1, np.__version__)
    page = (tmp_path / "benchmark.md").read_text()
    assert page.strip() in result.stdout
    for part in ("### 64-32-10, batch 32", "| **xpnet, NumPy** |", "## Evaluation after each"):
        assert part in page
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_trains_a_network_for_pictures(tmp_path):
    result = run(
        "compare", "--dataset", "synthetic", "--limit", 96, "--case", "lenet5@64",
        "--peers", "xpnet-numpy-uncompiled,numpy", "--repeats", 2, "--pause", 0, "--threads", 1,
        "--tolerance", 100, "--warm-up", 2, "--out", tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (case,) = json.loads((tmp_path / "benchmark.json").read_text())["cases"]
    assert (case["network"], case["sizes"], case["batch_size"]) == ("lenet5", [], 64)
    assert (case["train_samples"], case["test_samples"]) == (96, 96)
    assert [len(peer["rounds"]) for peer in case["peers"]] == [2, 2]
    assert "2 epochs of each in turn after 2 to warm up" in result.stdout
    assert [peer["name"] for peer in case["peers"]] == ["floor", "xpnet-numpy-uncompiled"]
    assert case["peers"][1]["over_floor"][1] > 1
    assert case["points_allowed"] == 100
    lines = result.stdout.splitlines()
    assert "### lenet5, batch 64" in lines
    row = "| NumPy, straightforward | not measured: it has no convolution here |"
    assert any(line.startswith(row) for line in lines)


def test_the_table_has_ratios_to_the_libraries_used_directly():
    def peer(name, *rounds):
        one = {"name": name, "label": name, "rounds": rounds, "seconds": quartiles(rounds)}
        return one | {"over_floor": None, "over_xpnet": {}, "accuracy": None}

    case = {"network": "lenet5", "sizes": [], "batch_size": 64, "skipped": [], "agree": True}
    case |= {"points_apart": 0.0, "points_allowed": 0.5}
    case["peers"] = [peer("torch", 1.0, 4.0), peer("xpnet-numpy", 2.0, 4.0), peer("keras", 9.0)]
    lines = case_lines(case)
    at = lines.index("| time of an epoch | over torch |")
    assert lines[at + 1 : at + 3] == ["|---|---:|", "| **xpnet-numpy** | 1.50 (1.25 to 1.75) |"]
    case["peers"].pop(0)
    assert not any("time of an epoch" in line for line in case_lines(case))


def test_the_command_fails_where_accuracies_differ(own_peers, tmp_path):
    result = run(
        "compare", "--dataset", "digits", "--case", "16@64",
        "--peers", "own:perfect,own:useless,own:broken", "--repeats", 1, "--pause", 0,
    )  # fmt: skip
    assert result.returncode == 1
    assert "100.00 points apart, TOO FAR" in result.stdout
    assert "| own:broken | not measured: ArithmeticError: nothing adds up |" in result.stdout
    assert "Traceback" not in result.stderr


def test_the_command_without_cuda():
    if probe_backends()["cupy"].usable:
        pytest.skip("there is a GPU")
    result = run("compare", "--gpu", "--tf32")
    if result.returncode != 2:
        pytest.skip("there is a GPU for PyTorch")
    assert result.stderr.startswith("there is no CUDA device to measure on: ")
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "--case", "12"], "'12' is not a case"),
        (["estimators", "--case", "12"], "'12' is not a case"),
        (["estimators", "--case", "lenet5@64"], "lenet5@64 is no dense network"),
        (["compare", "--peers", "nosuch"], "'nosuch' is not a peer on cpu"),
        (["compare", "--tf32"], "--tf32 is for --gpu"),
        (["scaling", "--backend", "array_api_strict"], "is not one of 'numpy', 'cupy', 'torch',"),
        (["--quick"], "No such option"),
        (["quick", "--gpu"], "No such option"),
        (
            ["quick", "--guard", "nosuch"],
            "'nosuch' is not one of 'training', 'convolving', 'predicting', 'fitting'",
        ),
        (["predict", "--peers", "keras"], "'keras' does not predict on cpu"),
        (["predict", "--model", "resnet8"], "is not one of 'lenet5', 'small_cnn', 'plain_cnn'"),
        (["predict", "--rows", "1,0"], "'1,0' are not numbers of rows"),
        (["predict", "--rows", "one"], "'one' are not numbers of rows"),
        (["compare", "--neighbour", "noise"], "'noise' is not one of 'memory', 'core'"),
    ],
)
def test_wrong_arguments(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())


def test_the_documentation_has_all_commands_and_options():
    import benchmark

    text = page("docs/benchmarks.md")
    commands = benchmark.main.commands
    having = {}
    for name, command in commands.items():
        assert f"\n| `{name}` | " in text
        for option in (one for one in command.params if isinstance(one, click.Option)):
            having.setdefault(option.opts[0], set()).add(name)
    said = {}
    for names, of in re.findall(r"^\| (`--[^|]*) \| ([^|]*) \| ", text, re.MULTILINE):
        of_commands = set(re.findall(r"`([\w-]+)`", of))
        if of.startswith("all"):
            of_commands = commands.keys() - of_commands
        said |= dict.fromkeys(re.findall(r"--[\w-]+", names), of_commands)
    assert said == having
    for path in SCRIPTS.parent.glob("docs/*.md"):
        for name, rest in re.findall(
            r"python scripts/benchmark\.py ([\w-]+)([^`\n]*)", path.read_text(encoding="utf-8")
        ):
            known = {flag for option in commands[name].params for flag in option.opts}
            assert set(re.findall(r"--[\w-]+", rest)) <= known, path


def test_missing_data_is_a_reason():
    (found,) = measure([PEERS["numpy"]], Task(Case((16,), 64), "nowhere", epochs=2), Settings(1, 1))
    assert found.failure.startswith("there is no data set 'nowhere'")


def test_quick_passes_and_fails(tmp_path):
    """A machine that is busy must not fail this test either: the reference is generous."""
    few = ("quick", "--guard", "training", "--pause", 0, "--out", tmp_path)
    result = run(*few, "--repeats", 2, "--reference", 50)
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads((tmp_path / "quick.json").read_text())
    assert found["holds"]
    assert len(found["guards"]["training"]["tries"]) == 1
    result = run(*few, "--repeats", 1, "--reference", 0.001)
    assert result.returncode == 1
    found = json.loads((tmp_path / "quick.json").read_text())
    assert len(found["guards"]["training"]["tries"]) == TRIES, "it is measured again"


def test_quick_guards_predictions_and_fits(monkeypatch):
    monkeypatch.setattr(quick, "FACTOR", 50.0)
    monkeypatch.setattr(quick, "CONVOLVED", 128)
    names = ["convolving", "predicting", *(["fitting"] if find_spec("sklearn") else [])]
    found = check_speed(1.0, Settings(1, pause=0.0), guards=names)
    assert found["holds"]
    for name in names:
        guard = found["guards"][name]
        (ratios_by_name,) = guard["tries"]
        assert ratios_by_name.keys() == guard["references"].keys()
        assert all(0 < low <= median <= high for low, median, high in ratios_by_name.values())


def test_quick_says_why_nothing_was_measured(monkeypatch):
    broken = Peer("xpnet-numpy", "broken", "nosuch:run")
    monkeypatch.setitem(PEERS, "xpnet-numpy", broken)
    with pytest.raises(RuntimeError, match="nosuch is not installed"):
        check_speed(FACTOR, Settings(1, pause=0.0))


def test_scaling_writes_all_files(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    from benchmarking import running

    def few(scale):
        points = tuple(Point(n, Case((16,), 64), n) for n in (500, 1000))
        return [
            Series("samples", "samples", "784-16-10", points),
            Series("batch_size", "batch size", "784-16-10", points),
        ]

    monkeypatch.setattr(running, "default_series", few)
    running.run_scaling("numpy", 1, Settings(2, 1, pause=0.0), tmp_path)
    report = json.loads((tmp_path / "scaling.json").read_text())
    (first, _) = report["series"]
    assert first["values"] == [500, 1000]
    assert [p["flops"] for p in first["points"]] == [
        n * (4 * 784 * 16 + 6 * 160) for n in (500, 1000)
    ]
    assert np.isfinite(first["time_exponent"])
    page = (tmp_path / "scaling.md").read_text()
    assert page in capsys.readouterr().out
    assert "Exponent of time" in page
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_scaling_varies_one_thing():
    from benchmarking.scaling import default_series

    names = {}
    for one in default_series():
        names[one.name] = one
        assert [point.value for point in one.points] == sorted({p.value for p in one.points})
    assert list(names) == ["samples", "width", "depth", "batch_size"]
    assert {point.case for point in names["samples"].points} == {Case((128,), 64)}
    for name in ("width", "depth", "batch_size"):
        assert len({point.samples for point in names[name].points}) == 1


def test_pictures_of_close_and_of_distant_ratios():
    pytest.importorskip("matplotlib")
    from benchmarking.chart import plot_benchmark

    def case(*ratios):
        peers = [
            {"name": f"xpnet-{i}", "label": f"xpnet, {i}", "over_floor": [0.9 * r, r, 1.1 * r]}
            for i, r in enumerate(ratios)
        ]
        return {"sizes": [6, 5, 4], "batch_size": 7, "case": "5@7", "peers": peers}

    assert plot_benchmark([case(1.2, 3.0)]).axes[0].get_xscale() == "linear"
    assert plot_benchmark([case(0.8, 90.0)]).axes[0].get_xscale() == "log"
    with pytest.raises(ValueError, match="one more peer"):
        plot_benchmark([case()])


def test_files_stay_small():
    for path in [SCRIPTS / "benchmark.py", *(SCRIPTS / "benchmarking").rglob("*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
