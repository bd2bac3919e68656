"""The benchmark's predictions and small fits, its neighbours, its guards and its history."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import require

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking import quick  # noqa: E402
from benchmarking.cases import Case, Task  # noqa: E402
from benchmarking.history import KEY, read_history, record  # noqa: E402
from benchmarking.neighbour import beside, hold_on_core, why_no_neighbour  # noqa: E402
from benchmarking.peers import Peer, answering  # noqa: E402
from benchmarking.predict import (  # noqa: E402
    ANSWERERS,
    measure_predictions,
    predict_lines,
    select_answerers,
)
from benchmarking.report import time_text  # noqa: E402
from benchmarking.runner import Settings  # noqa: E402
from benchmarking.small_fits import measure_small_fits, small_fit_lines  # noqa: E402
from benchmarking.turns import apart, take_turns, turns, warmed  # noqa: E402

SLOW = {"xpnet-jax", "xpnet-jax-proba"}
"""What compiles a convolution for longer than a test may take; its own tests compare it."""

QUESTIONS = [(40, "float32"), (40, "uint8")]


def small_task():
    return Task(Case((16,), 64), "digits")


# -- turns ------------------------------------------------------------------------------------


def test_what_takes_turns_is_sorted_apart():
    task, settings = turns(small_task(), Settings(repeats=3), 2)
    told = []
    job = type("Job", (), {"epochs": task.epochs})
    numbers = iter(range(100))
    take_turns(job, told.append, [lambda: 10.0 + next(numbers), lambda: 20.0 + next(numbers)])
    assert settings.repeats == 6
    assert told == [0.0, 10, 21, 12, 23, 14, 25]  # the first says that all are warm
    assert apart(told[1:], 2) == [[10, 12, 14], [21, 23, 25]]


def test_a_call_is_measured_by_itself(monkeypatch):
    from benchmarking import turns as module

    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def call(seconds):
        now[0] += seconds

    short, long = warmed([lambda: call(1e-3), lambda: call(1.0)])
    before = now[0]
    assert short() == pytest.approx(1e-3)
    assert now[0] - before == pytest.approx(module.ROUND)
    before = now[0]
    assert long() == pytest.approx(1.0)
    assert now[0] - before == pytest.approx(module.FEWEST)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (8.04e-6, "8.04 µs (8.04 to 8.04)"),
        (8.4e-5, "84.0 µs (84.0 to 84.0)"),
        (0.0921, "92.1 ms (92.1 to 92.1)"),
        (0.5, "500 ms (500 to 500)"),
        (2.5, "2.50 s (2.50 to 2.50)"),
    ],
)
def test_times_have_the_unit_that_suits(seconds, text):
    assert time_text([seconds] * 3) == text


# -- predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "network"),
    [
        (name, network)
        for name, one in ANSWERERS.items()
        for network in (None, "small_cnn")
        if "cpu" in one.devices and not (network and (one.dense or name in SLOW))
    ],
)
def test_all_answer_the_same(name, network):
    """By each library with the same weights what the products in float64 say."""
    one = ANSWERERS[name]
    needed = {"of_torch": "torch", "of_jax": "jax", "of_sklearn": "sklearn"}.get(one.make)
    if one.make == "of_onnx":
        pytest.importorskip("onnx")
        needed = "onnxruntime"
    if needed:
        pytest.importorskip(needed)
    options = dict(one.options)
    if one.make == "of_xpnet":
        require(options["backend"])
    job = Task(Case(() if network else (16,), 64, network), "digits").load()
    answerer = getattr(answering, one.make)(job, **options)
    expected = answering.logits(job, answering.asked(job, QUESTIONS, "uint8"), np.float64)
    assert len(set(expected.argmax(axis=1))) > 2
    for _, dtype in QUESTIONS:
        x = answerer.place(answering.asked(job, QUESTIONS, dtype))
        answer = answerer.predict(x)
        if answerer.classes is None:
            assert one.make == "of_products"
            continue
        np.testing.assert_array_equal(answerer.classes(answer), expected.argmax(axis=1))
        if answerer.bits is not None:
            assert answerer.bits(x) == {"same_rows": 40, "rows": 40, "difference": 0.0}


def test_bits_are_compared_row_by_row():
    found = np.float32([[0.5, 0.5], [0.25, 0.75]])
    other = found.copy()
    other[1, 0] = np.nextafter(other[1, 0], np.float32(1))
    result = answering.compare_bits(other, found)
    assert (result["same_rows"], result["rows"]) == (1, 2)
    assert result["difference"] == pytest.approx(2.0**-25, rel=0.1)


def test_samples_are_asked_again_where_there_are_not_enough():
    job = small_task().load()
    total = len(job.x) + len(job.test_x)
    x = answering.asked(job, [(total + 2, "uint8")], "uint8")
    assert x.shape == (total + 2, 64)
    np.testing.assert_array_equal(x[-2:], x[:2])
    scaled = answering.asked(job, [(2, "float32")], "float32")
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled * job.pixel_maximum, x[:2], rtol=1e-6)


OWN = """
from benchmarking.peers.answering import Answerer, of_numpy
from benchmarking.turns import take_turns

def wrong(job, tick, *, questions, **options):
    take_turns(job, tick, [lambda: 0.5] * len(questions))
    answers = [{"first": 1.0, "classes": [0] * rows} for rows, _ in questions]
    return {"answers": answers}
"""


def test_other_answers_are_found_out(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    paths = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    class Wrong:
        name = "wrong"

        def peer(self, questions):
            return Peer("wrong", "wrong", "own:wrong", options=(("questions", tuple(questions)),))

    settings = Settings(2, 1, pause=0.0)
    chosen = [Wrong(), *select_answerers("numpy,xpnet-numpy-proba", "cpu")]
    report = measure_predictions(chosen, (40,), small_task(), settings, lambda text: None)
    assert not report["holds"]
    assert json.loads(json.dumps(report)) == report
    assert report["network"] == "64-16-10"
    for one in report["answers"]:
        wrong, plain, ours = one["peers"]
        assert wrong["seconds"] == [0.5, 0.5, 0.5]
        assert (wrong["holds"], plain["holds"], ours["holds"]) == (False, True, True)
        assert plain["over"]["numpy"] == [1.0, 1.0, 1.0]
        assert len(ours["rounds"]) == 2
        assert 0 < ours["seconds"][1] < 1
        assert ours["bits"]["rows"] == 40
    page = "\n".join(predict_lines(report))
    assert "### 40 rows, uint8" in page
    assert "| wrong | 500 ms (500 to 500) |" in page
    assert " OTHER CLASSES |" in page
    assert "| same classes, bits of the layers |" in page


def test_answers_about_pictures():
    """With those left out that know dense networks alone, and no table of features."""
    task = Task(Case((), 64, "small_cnn"), "digits")
    chosen = select_answerers("products,numpy,xpnet-numpy-proba,xpnet-sklearn,sklearn", "cpu")
    report = measure_predictions(chosen, (5,), task, Settings(1, 1, pause=0.0), lambda text: None)
    assert report["holds"]
    assert (report["network"], report["table"]) == ("small_cnn", None)
    assert {one["reason"] for one in report["skipped"]} == {"it has no convolution here"}
    assert len(report["skipped"]) == 3
    assert [len(one["peers"]) for one in report["answers"]] == [2, 2]
    lines = predict_lines(report)
    assert lines[0].startswith("small_cnn on digits. ")
    assert "the matrix products: not measured: it has no convolution here." in lines


# -- small fits -------------------------------------------------------------------------------


def test_small_fits_are_compared():
    pytest.importorskip("sklearn")
    kinds = [{"max_iter": 2}, {"max_iter": 3, "early_stopping": True, "solver": "sgd"}]
    rows = measure_small_fits(Settings(2, 1, pause=0.0), lambda text: None, ["iris"], kinds)
    for row, epochs in zip(rows, (2, 3), strict=True):
        assert (row["table"], row["failure"], row["samples"]) == ("iris", "", 112)
        for name in ("xpnet", "sklearn"):
            one = row[name]
            assert one["epochs"] == epochs
            assert 0 < one["score"] <= 1
            assert one["epoch_seconds"][1] == pytest.approx(one["seconds"][1] / epochs)
        expected = np.divide(row["sklearn"]["rounds"], row["xpnet"]["rounds"])
        assert row["ratio"][1] == pytest.approx(np.median(expected))
    page = "\n".join(small_fit_lines(rows))
    assert "| iris | adam | " in page
    assert "| iris | sgd, early stopping | " in page
    failed = {"table": "iris", "options": {}, "failure": "a | b"}
    assert "| iris | adam | not measured: a / b | " in "\n".join(small_fit_lines([failed]))


def test_tables_are_standardised():
    pytest.importorskip("sklearn")
    job = Task(Case((8,), 200), "breast_cancer").load()
    assert job.sizes == (30, 8, 2)
    assert len(job.x) + len(job.test_x) == 569
    everything = np.concatenate([job.x, job.test_x])
    np.testing.assert_allclose(everything.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(everything.std(axis=0), 1)
    # A feature that is always the same stays finite.
    assert np.isfinite(Task(Case((8,), 200), "table_of_digits").load().x).all()


# -- neighbours -------------------------------------------------------------------------------


@pytest.mark.skipif(bool(why_no_neighbour("core")), reason="threads cannot be held on a core here")
def test_all_threads_are_held_on_one_core():
    code = (
        "import os, sys, threading; go = threading.Event(); "
        "t = threading.Thread(target=go.wait); t.start(); "
        "print('ready', flush=True); sys.stdin.readline(); "
        "print([sorted(os.sched_getaffinity(int(i))) for i in os.listdir('/proc/self/task')]); "
        "go.set()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    core = max(os.sched_getaffinity(0))
    hold_on_core(process.pid, core)
    found, _ = process.communicate("go\n", timeout=30)
    assert json.loads(found) == [[core], [core]]


def test_a_neighbour_streams_and_goes(monkeypatch):
    started = []
    popen = subprocess.Popen

    def remembered(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)
    with beside("memory", Settings().environment()):
        (process,) = started
        assert process.poll() is None
    assert process.returncode == 0
    with beside("core", {}), beside(None, {}):
        assert len(started) == 1


def test_a_neighbour_that_does_not_start_is_said():
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with (
        pytest.raises(RuntimeError, match="the neighbour ended with code 1"),
        beside("memory", environment),
    ):
        pass


# -- guards -----------------------------------------------------------------------------------


def guard_that_measures(monkeypatch, *ratios):
    found = iter(ratios)
    guard = quick.Guard({"it": 2.0}, lambda settings: {"it": [0.0, next(found), 9.0]})
    monkeypatch.setattr(quick, "GUARDS", {"one": guard})
    return quick.check_speed(1.0, Settings(), guards=["one"])


def test_a_guard_measures_again_before_it_fails(monkeypatch):
    assert len(guard_that_measures(monkeypatch, 4.0)["guards"]["one"]["tries"]) == 1
    again = guard_that_measures(monkeypatch, 5.0, 3.9)
    assert again["holds"]
    assert len(again["guards"]["one"]["tries"]) == 2
    slow = guard_that_measures(monkeypatch, *[4.1] * quick.TRIES)
    assert not slow["holds"]


def test_a_guard_without_its_peer_holds(monkeypatch):
    monkeypatch.setattr(quick, "GUARDS", {"one": quick.Guard({"it": 2.0}, lambda settings: {})})
    said = []
    assert quick.check_speed(1.0, Settings(), said.append, ["one"])["holds"]
    assert said == ["a small fit is not compared: scikit-learn is not installed"]


# -- history ----------------------------------------------------------------------------------

MACHINE = {
    "date": "2026-11-29T01:00:00+00:00", "cpu": "a processor", "cores": 2, "threads": None,
    "versions": {"xpnet": "0.1.0", "numpy": "2.4.6"}, "python": "3.11.7",
    "blas": [{"internal_api": "openblas", "architecture": "Haswell"}],
    "commit": {"name": "abc", "date": "2026-11-28"},
}  # fmt: skip


def write_report(folder, name, machine=MACHINE, neighbour=None, **found):
    folder.mkdir(exist_ok=True)
    report = {"machine": machine, "settings": {"neighbour": neighbour}} | found
    (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")


def peer(name, *rounds):
    return {"name": name, "rounds": rounds}


def training(seconds):
    ours = peer("xpnet-numpy", seconds, 2 * seconds) | {"eval_share": [0.4, 0.5, 0.6]}
    peers = [peer("floor", 1.0, 2.0), ours]
    return {
        "cases": [{"case": "128@64", "sizes": [784, 128, 10], "batch_size": 64, "peers": peers}]
    }


def test_the_history_has_a_row_for_each_version_and_machine(tmp_path):
    folder, history = tmp_path / "runs", tmp_path / "docs" / "benchmarks.json"
    write_report(folder, "benchmark", **training(1.5))
    answer = {"rows": 1, "dtype": "float32"}
    answer["peers"] = [peer("numpy", 1e-5), peer("xpnet-numpy", 2e-5), peer("xpnet-jax", 1e-3)]
    write_report(folder, "predict", answers=[answer], table=None)
    fit = {"table": "breast_cancer", "options": {}, "failure": "", "xpnet": {}}
    fit["xpnet"] |= {"seconds": [1.0] * 3, "epoch_seconds": [0.1] * 3}
    fit |= {"ratio": [2.0, 4.0, 5.0], "epoch_ratio": [1.0, 1.0, 1.0]}
    failed = {"table": "iris", "options": {}, "failure": "it is not there"}
    write_report(folder, "small-fits", fits=[fit, failed])
    fit = {"case": "100@200", "solver": "sgd", "failure": "", "seconds": [0.1] * 3}
    fit["ratio"] = [1.0, 2.0, 4.0]
    write_report(folder, "estimators", rows=[fit, failed])
    (row,) = record(folder, history)
    assert row["figures"] == {
        "training 784-128-10, batch 64": {
            "seconds": [1.875, 2.25, 2.625], "over": {"floor": [1.5, 1.5, 1.5]},
            "evaluation": [0.4, 0.5, 0.6],
        },
        "estimator 100@200, sgd": {"seconds": [0.1] * 3, "over": {"sklearn": [0.25, 0.5, 1.0]}},
        "predict 1 row, float32": {"seconds": [2e-5] * 3, "over": {"numpy": [2.0] * 3}},
        "fit breast cancer, adam": {"seconds": [1.0] * 3, "over": {"sklearn": [0.2, 0.25, 0.5]}},
        "fit breast cancer, adam, an epoch": {
            "seconds": [0.1] * 3, "over": {"sklearn": [1.0] * 3},
        },
    }  # fmt: skip
    assert (row["version"], row["commit_date"]) == ("0.1.0", "2026-11-28")
    assert (row["measured"], row["kernels"]) == ("2026-11-29", "Haswell")
    # What is measured again takes the place of what was, in the same row; the rest of it stays.
    for path in folder.iterdir():
        path.unlink()
    write_report(folder, "benchmark", **training(3.0))
    (row,) = record(folder, history)
    assert len(row["figures"]) == 5
    assert row["figures"]["training 784-128-10, batch 64"]["over"]["floor"] == [3.0] * 3
    # Another processor, commit or neighbour is another row; the older come first.
    older = MACHINE | {"commit": None, "date": "2026-01-02T03:04:05+00:00"}
    write_report(folder, "benchmark", older, **training(1.0))
    write_report(folder, "predict", MACHINE, "memory", answers=[answer])
    rows = record(folder, history)
    assert [row["commit_date"] for row in rows] == ["2026-01-02", "2026-11-28", "2026-11-28"]
    assert rows == read_history(history)
    assert '"seconds": [1.5, 1.75, 2.0]' not in history.read_text(encoding="utf-8")
    assert '"floor": [1.0, 1.0, 1.0]\n' in history.read_text(encoding="utf-8")


def test_networks_by_name_have_figures_of_their_own(tmp_path):
    case = {"case": "lenet5@64", "network": "lenet5", "sizes": [], "batch_size": 64}
    case["peers"] = [peer("torch", 1.0), peer("xpnet-numpy", 1.5), peer("xpnet-torch", 2.0)]
    settings = {"neighbour": None, "limit": 6_000}
    answer = {"rows": 64, "dtype": "uint8", "peers": [peer("xpnet-numpy", 2e-5)]}
    write_report(tmp_path, "benchmark", cases=[case], settings=settings)
    write_report(tmp_path, "predict", answers=[answer], network="lenet5")
    (row,) = record(tmp_path, tmp_path / "history.json")
    assert row["figures"] == {
        "training lenet5, batch 64, 6,000 samples": {
            "seconds": [1.5] * 3, "over": {"torch": [1.5] * 3},
        },
        "predict lenet5 64 rows, uint8": {"seconds": [2e-5] * 3, "over": {}},
    }  # fmt: skip


def test_what_is_no_history_is_not_written_over(tmp_path):
    folder, history = tmp_path / "runs", tmp_path / "benchmarks.json"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="has no report with figures"):
        record(folder, history)
    write_report(folder, "benchmark", cases=[])
    with pytest.raises(RuntimeError, match="has no report with figures"):
        record(folder, history)
    write_report(folder, "benchmark", **training(1.0))
    for text in ("not JSON", "[]", '{"rows": [1]}', '{"rows": [{"version": "0.1.0"}]}'):
        history.write_text(text, encoding="utf-8")
        with pytest.raises(RuntimeError, match="is not a history of benchmarks"):
            record(folder, history)
        assert history.read_text(encoding="utf-8") == text


def test_the_history_is_drawn():
    pytest.importorskip("matplotlib")
    from benchmarking.history_chart import plot_history

    figure = {"training 784-128-10, batch 64": {"over": {"floor": [1.1, 1.2, 1.4]}}}
    figure["fit iris, adam"] = {"over": {"sklearn": [0.4, 0.5, 0.6]}}
    common = dict.fromkeys(KEY) | {
        "version": "0.1.0",
        "cores": 2,
        "kernels": "Zen",
        "figures": figure,
    }
    rows = [
        common | {"processor": processor, "commit_date": date}
        for processor in ("one", "another")
        for date in ("2026-01-02", "2026-02-03")
    ]
    drawn = plot_history(rows)
    assert len(drawn.axes) == 2
    first = drawn.axes[0]
    lines = [line for line in first.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in lines] == [[1.2, 1.2]] * 2
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "one (Zen), 2 cores", "another (Zen), 2 cores",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="one of the main figures"):
        plot_history([common | {"processor": "one", "commit_date": "", "figures": {}}])


def test_the_command_records(tmp_path):
    pytest.importorskip("matplotlib")
    write_report(tmp_path / "runs", "benchmark", **training(1.0))
    command = [sys.executable, SCRIPTS / "benchmark.py", "record", tmp_path / "runs"]
    command += ["--history", tmp_path / "a.json", "--picture", tmp_path / "a.png"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(read_history(tmp_path / "a.json")) == 1
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "runs" / "benchmark.json").unlink()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "run compare, predict, small-fits or estimators with --out" in result.stderr
