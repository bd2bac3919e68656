"""The tool that proves the promise: one seed, one run, on every backend."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from commands import xp
from conftest import TRAINING_TARGETS, require

from xpnet import (
    AveragePool2D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    Nesterov,
    ReLU,
    Sequential,
    fit,
    load_dataset,
    mlp,
    open_backend,
    softmax_cross_entropy,
)
from xpnet.backends.numpy import NumpyBackend
from xpnet.cli import main
from xpnet.history import EpochRecord
from xpnet.parity.backends import (
    TOLERANCES,
    ParityReport,
    ParityRow,
    _failures,
    _relative,
    _rows,
    _Watch,
    compare_backends,
)
from xpnet.parity.gradients import largest_difference

pytestmark = pytest.mark.numerics

DIGITS = load_dataset("digits").limited(400)
MODEL = mlp(64, 32, 10, dropout=0.3)


@pytest.mark.parametrize(
    "target",
    [t for t in TRAINING_TARGETS if t.name != "numpy"],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_backend_gives_numpys_run(target, dtype):
    report = compare_backends(
        MODEL, DIGITS, ["numpy", target.open(dtype)], dtype=dtype, epochs=3, batch_size=48
    )
    assert report.holds, report
    assert report.max_relative_loss_difference <= (1e-12 if dtype == "float64" else 1e-4)


class Imprecise(NumpyBackend):
    """NumPy that is wrong in the way a library could be: by a factor on one kind of result."""

    name = "imprecise"

    def __init__(self, factor, dtype):
        self.factor = factor
        super().__init__(None, dtype)

    def asarray(self, x, dtype=None, *, copy=None):
        array = super().asarray(x, dtype, copy=copy)
        return array * self.factor if array.shape == (32, 10) else array


@pytest.mark.parametrize(
    ("dtype", "factor", "message"),
    [
        ("float64", 1 + 1e-6, "the batch loss of one of the first 100 steps differs by"),
        ("float64", 1 + 1e-6, "imprecise, epoch 1: the loss differs by"),
        ("float64", -1.0, "predictions differ"),
        ("float32", 1.01, "the batch loss of one of the first 100 steps differs by"),
        ("float32", -1.0, "imprecise, epoch 2: the loss differs by"),
        ("float32", -1.0, "errors more or fewer in 359, allowed are 1"),
    ],
)
def test_a_backend_that_is_wrong_is_found(dtype, factor, message):
    wrong = Imprecise(np.asarray(factor, dtype=dtype), dtype)
    report = compare_backends(MODEL, DIGITS, ["numpy", wrong], dtype=dtype, epochs=2)
    assert not report.holds
    assert message in str(report)
    assert "FAILS" in str(report)


def test_a_loss_that_is_no_number_is_found():
    report = compare_backends(MODEL, DIGITS, ["numpy", "array_api_strict"], epochs=1)
    assert report.holds
    assert _relative([1.0, float("nan")], [1.0, 1.0]) == float("inf")
    assert _relative([1.0, 1.5], [1.0, 1.0]) == 0.5


def test_the_report_agrees_with_fit():
    require("torch")
    report = compare_backends(MODEL, DIGITS, ["numpy", "torch"], epochs=2, seed=4)
    history = fit(MODEL, DIGITS, backend="numpy", dtype="float64", epochs=2, seed=4).history
    assert [row.train_loss for row in report.of("numpy")] == history["train_loss"]
    rows = report.of("torch")
    assert [row.count - row.errors for row in rows] == [
        round(359 * accuracy) for accuracy in history["test_accuracy"]
    ]
    assert report.max_error_count_difference == max(row.error_count_difference for row in rows)


POOLED = Sequential(
    conv=Conv2D(1, 4, 3),
    act=ReLU(),
    pool=MaxPool2D(2),
    flatten=Flatten((4, 4, 4)),
    fc=Dense(64, 10),
)


@pytest.mark.parametrize("target", [t for t in TRAINING_TARGETS if t.name != "numpy"], ids=str)
def test_of_max_pooling_in_float32_single_steps_are_compared(target):
    report = compare_backends(
        POOLED, DIGITS, ["numpy", target.open("float32")], dtype="float32", epochs=2,
        optimizer=Nesterov(0.05),
    )  # fmt: skip
    assert report.holds, report
    (difference,) = report.gradient_differences.values()
    assert difference < 1e-4
    assert "holds in float32: the same steps on numpy, " in str(report)
    assert report.to_dict()["tolerances"]["gradients"] == 1e-3


def test_whole_runs_are_compared_of_all_others():
    smooth = Sequential(**{**POOLED.layers, "pool": AveragePool2D(2)})
    for model, dtype in ((smooth, "float32"), (POOLED, "float64")):
        report = compare_backends(
            model, DIGITS, ["numpy", "array_api_strict"], dtype=dtype, epochs=1
        )
        assert report.holds, report
        assert (report.tolerances, report.gradient_differences) == (TOLERANCES[dtype], {})
        assert "the same run on numpy, array_api_strict" in str(report)


def test_a_gradient_that_is_wrong_is_found(monkeypatch):
    backward = MaxPool2D.backward

    def wrong(self, xp, params, cache, dy, *, need_dx=True):
        dx, grads = backward(self, xp, params, cache, dy, need_dx=need_dx)
        return (dx if xp.__name__.endswith("numpy") else dx * 1.01), grads

    monkeypatch.setattr(MaxPool2D, "backward", wrong)
    report = compare_backends(
        POOLED, DIGITS, ["numpy", "array_api_strict"], dtype="float32", epochs=1
    )
    assert not report.holds
    assert "FAILS: array_api_strict: the gradients of a single step differ by " in str(report)
    wrong_or_not = [{"a": np.array([3.0]), "b": np.array([4.0])}]
    assert largest_difference([{"a": np.array([3.0]), "b": np.array([4.5])}], wrong_or_not) == 0.1
    assert largest_difference([{"a": np.array([3.0]), "b": np.array([np.nan])}], wrong_or_not) == (
        float("inf")
    )


def row(name, epoch, loss=0.0, errors=0, predictions=0, count=10_000):
    return ParityRow(name, epoch, 1.0, 1.0, 0.9, 500, count, loss, errors, predictions, 0.1)


@pytest.mark.parametrize(
    ("dtype", "rows", "first_steps", "n_failures"),
    [
        ("float64", [row("b", 1), row("b", 2)], 0.9e-9, 0),
        ("float64", [row("b", 1), row("b", 2)], 1.1e-9, 1),
        ("float64", [row("b", 1, loss=1.1e-9), row("b", 2)], 0, 1),
        ("float64", [row("b", 1, predictions=1), row("b", 2, errors=1, predictions=1)], 0, 3),
        # In float32 only the first steps and the end count.
        ("float32", [row("b", 1, loss=1, errors=999, predictions=9), row("b", 2)], 0.9e-4, 0),
        ("float32", [row("b", 1), row("b", 2)], 1.1e-4, 1),
        ("float32", [row("b", 1), row("b", 2, loss=0.9e-2, errors=25, predictions=99)], 0, 0),
        ("float32", [row("b", 1), row("b", 2, loss=1.1e-2, errors=26)], 0, 2),
        ("float32", [row("b", 1, count=400), row("b", 2, errors=1, count=400)], 0, 0),
        ("float32", [row("b", 1, count=400), row("b", 2, errors=2, count=400)], 0, 1),
        ("float32", [row("b", 1), row("b", 2, loss=float("inf"))], 0, 1),
    ],
)
def test_the_tolerances_are_applied(dtype, rows, first_steps, n_failures):
    failures = _failures(["b"], rows, {"b": first_steps}, TOLERANCES[dtype])
    assert len(failures) == n_failures, failures


def test_the_report_has_the_largest_differences():
    rows = (row("a", 1), row("b", 1, 1e-3, 2), row("b", 2, 1e-5, 7), row("c", 1, 3e-4, 1))
    report = ParityReport(("a", "b", "c"), "float32", TOLERANCES["float32"], rows, {}, ())
    assert report.max_relative_loss_difference == 1e-3
    assert report.max_error_count_difference == 7


def test_the_test_loss_counts_too():
    record = EpochRecord(1, 1.0, 0.5, 2.0, 0.5, 0.1, 0.1, 0.1)
    other = replace(record, test_loss=2.2)
    runs = []
    for one in (record, other):
        watch = _Watch(open_backend("numpy"), DIGITS)
        watch.records, watch.predictions = [one], [DIGITS.test.labels]
        runs.append(watch)
    (found,) = _rows("b", runs[1], runs[0])
    assert found.relative_loss_difference == pytest.approx(0.1)


def test_a_backend_that_fails_in_the_middle_loses_no_other():
    class Failing(NumpyBackend):
        name = "failing"

        def synchronize(self, *arrays):
            raise RuntimeError("the driver has gone")

    report = compare_backends(
        MODEL, DIGITS, ["numpy", Failing(None, "float64"), "array_api_strict"], epochs=1
    )
    assert report.failures == ("failing: RuntimeError: the driver has gone",)
    assert report.backends == ("numpy", "array_api_strict")
    assert not report.holds


@pytest.mark.parametrize("names", [[], ["numpy"], ["numpy", "numpy"]])
def test_fewer_than_two_backends_are_refused(names):
    with pytest.raises(ValueError, match="at least two different backends"):
        compare_backends(MODEL, DIGITS, names)


def test_tolerances_are_those_promised():
    assert TOLERANCES["float64"].loss == 1e-9
    assert TOLERANCES["float64"].errors_in_10000 == 0
    assert TOLERANCES["float64"].predictions
    assert TOLERANCES["float32"].first_steps_loss == 1e-4
    assert TOLERANCES["float32"].loss == 1e-2
    assert TOLERANCES["float32"].errors_in_10000 == 25


def run(*arguments, code):
    result = CliRunner().invoke(main, ["parity", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_the_command_writes_a_report_and_a_picture(tmp_path):
    result = run(
        "--backends", "numpy,array_api_strict", "--epochs", 2, "--limit", 300, "--dropout", 0.2,
        "--hidden", "16", "--seed", 1, "--dtype", "float64",
        "--json", tmp_path / "parity.json", "--plot", tmp_path / "parity.png", code=0,
    )  # fmt: skip
    assert "holds in float64: the same run on numpy, array_api_strict" in result.output
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report["holds"] is True
    assert report["max_relative_loss_difference"] <= 1e-9
    assert report["max_error_count_difference"] == 0
    assert report["tolerances"]["loss"] == 1e-9
    assert [row["epoch"] for row in report["backends"]["array_api_strict"]["epochs"]] == [1, 2]
    assert (tmp_path / "parity.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_exits_with_1_where_the_runs_differ(monkeypatch):
    real = softmax_cross_entropy

    def wrong(xp, output, target, *, need_grad=True):
        loss, d_output = real(xp, output, target, need_grad=need_grad)
        factor = 1.0 if xp.__name__.endswith("numpy") else 1.001
        return loss * factor, d_output

    from xpnet.parity import backends

    real_fit = backends.fit
    monkeypatch.setattr(
        backends, "fit", lambda *args, **options: real_fit(*args, **{**options, "loss": wrong})
    )
    result = run("--backends", "numpy,array_api_strict", "--epochs", 1, "--limit", 100, code=1)
    assert "FAILS: array_api_strict: the batch loss of one of the first 100 steps" in result.output


def test_the_command_exits_with_2_where_a_backend_is_missing(monkeypatch):
    from xpnet.backends import Status
    from xpnet.backends.cupy import CupyBackend

    status = Status(usable=False, reason="no GPU in here")
    monkeypatch.setattr(CupyBackend, "probe", classmethod(lambda cls: status))
    assert "error: no GPU in here" in run("--backends", "numpy,cupy", code=2).stderr
    assert "--backends" in run("--backends", "numpy", code=2).stderr
    assert "--backends" in run("--backends", "numpy,nympy", code=2).stderr
    assert "--backends" in run("--backends", "numpy,numpy", code=2).stderr


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_folder_that_is_not_there_is_found_before_the_training(option, tmp_path):
    result = run(option, tmp_path / "none" / "file", code=2)
    assert "the folder is not there" in result.stderr
    assert result.stdout == ""
    for folder in (tmp_path, "."):
        result = run(option, folder, code=2)
        assert f"{folder}: is a folder" in result.stderr
        assert result.stdout == ""


def test_a_wrong_option_is_not_blamed_on_the_backends():
    """1e-60 would be 0 in float32."""
    result = run("--learning-rate", "1e-60", "--dtype", "float32", code=2)
    assert "--learning-rate" in result.stderr
    assert "--backends" not in result.stderr


def test_a_network_with_convolutions_is_compared_on_a_hundred_steps():
    pytest.importorskip("array_api_strict")
    options = ["--model", "small_cnn", "--backends", "numpy,array_api_strict", "--limit", 60]
    result = run("digits", *options, code=0)
    assert "60 training" in result.output
    assert "steps: Adam(0.001, schedule=Cosine(" in result.output
    assert "\n    1  numpy" in result.output
    assert "\n    2  numpy" not in result.output
    assert "holds in float32: the same steps on numpy, array_api_strict" in result.output


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_mnist_is_the_same_run_on_every_backend(mnist_dir, dtype):
    for name in ("array_api_strict", "torch", "jax"):
        require(name)
    data = load_dataset("mnist", data_dir=mnist_dir).limited(6400)  # the 100 steps compared, whole
    report = compare_backends(
        mlp(784, 128, 10, dropout=0.2), data, ["numpy", "array_api_strict", "torch", "jax"],
        dtype=dtype, epochs=1,
    )  # fmt: skip
    assert report.holds, report


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cupy_gives_numpys_run_on_larger_batches(dtype):
    require("cupy")
    backends = ["numpy", open_backend("cupy", None, dtype)]
    report = compare_backends(
        mlp(64, 256, 256, 10, dropout=0.5), load_dataset("digits"), backends, dtype=dtype, epochs=5
    )
    assert report.holds, report


# -- ranks ----------------------------------------------------------------------------------------


def test_ranks_are_compared_with_one_process(tmp_path):
    options = ["--limit", "300", "--epochs", "1", "--dtype", "float64", "--dropout", "0.2"]
    result = xp("parity", "--ranks", "1,3", "--shards", "4", *options, "--json", tmp_path / "x")
    assert "holds on numpy in float64: the losses of one process within 1e-12" in result.output
    report = json.loads((tmp_path / "x").read_text())
    fast, exact = report["rows"][:2], report["rows"][2:]
    assert [row["ranks"] for row in report["rows"]] == [1, 3, 1, 3]
    assert fast[0]["loss_difference"] == fast[0]["parameter_difference"] == 0
    assert fast[0]["digest"] != fast[1]["digest"]
    assert exact[0]["digest"] == exact[1]["digest"]


def test_ranks_that_give_another_run_do_not_hold(monkeypatch):
    from xpnet.parity import ranks

    def wrong(*arguments, group=None, **options):
        seed = 0 if group is None or group.size == 1 else 1
        return fit(*arguments, group=group, **options | {"seed": seed})

    monkeypatch.setattr(ranks, "fit", wrong)
    report = ranks.compare_ranks(mlp(64, 10), DIGITS, [1, 2], epochs=1, shards=2)
    assert not report.holds
    assert "2 ranks, fast: a loss differs by" in str(report)
    assert "2 ranks, exact: other bytes than on 1" in str(report)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--ranks", "0"], "comma list of integers"),
        (["--ranks", "3", "--shards", "2"], "at least the number of ranks, 3"),
        (["--ranks", "1,1000000000"], "at least the number of ranks, 1000000000"),
        (["--ranks", "1", "--shards", "3"], "a power of two"),
        (["--shards", "2"], "is for --ranks"),
        (["--ranks", "2", "--plot", "x.png"], "leave it out with --ranks"),
    ],
)
def test_ranks_that_cannot_be_compared_are_refused(arguments, words):
    assert words in xp("parity", "--limit", "100", "--epochs", "1", *arguments, code=2).stderr
