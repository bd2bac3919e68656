"""Can a namespace train a network? On namespaces that can, and on some that are broken."""

import ast
import json
import re
import sys
import types
from pathlib import Path

import array_api_compat.numpy
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import page, require

import xpnet
from xpnet import BackendUnavailable
from xpnet.backends import BACKENDS, backend_class
from xpnet.cli import main
from xpnet.conformance import check_namespace, needed_dtypes, needed_functions, needed_operators
from xpnet.conformance.recording import record

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize("name", BACKENDS)
def test_our_backends_conform(name):
    require(name)
    report = check_namespace(backend_class(name).namespace or name)
    assert report.conforms, report
    assert report.trains
    groups = ["transfer", "operations", "layers", "losses", "metrics", "optimizers", "training"]
    assert list(dict.fromkeys(f.group for f in report.findings)) == groups


@pytest.mark.parametrize("module", ["numpy", "torch"])
def test_in_float32(module):
    require(module)
    report = check_namespace(module, dtype="float32")
    assert report.conforms, report


def test_a_library_that_we_know_nothing_of():
    pytest.importorskip("dask.array")
    report = check_namespace("dask.array")
    assert report.trains, report


@pytest.fixture
def broken(monkeypatch):
    """A namespace like NumPy's with some functions replaced, importable as `broken`."""

    def make(**changes):
        module = types.ModuleType("broken")
        vars(module).update(
            {k: v for k, v in vars(array_api_compat.numpy).items() if not k.startswith("__")}
        )
        for name, function in changes.items():
            if function is None:
                delattr(module, name)
            else:
                setattr(module, name, function)
        monkeypatch.setitem(sys.modules, "broken", module)
        return check_namespace("broken")

    return make


def test_numpy_in_disguise_conforms(broken):
    report = broken()
    assert report.conforms, report
    assert report.verdict() == "yes: broken trains networks, with NumPy's results"


def test_a_missing_function_is_named(broken):
    report = broken(tanh=None)
    failed = [f for f in report.findings if f.status != "ok"]
    assert {f.status for f in failed} == {"missing"}
    assert failed[0].what == "tanh(float64[4, 5])"
    assert "no attribute 'tanh'" in failed[0].detail
    assert report.trains
    assert report.verdict().startswith("in part: broken trains the small network, but")


def test_a_function_that_raises_is_quoted(broken):
    def take(x, indices, *, axis):
        raise NotImplementedError("take is for another day")

    report = broken(take=take)
    found = next(f for f in report.group("operations") if f.what.startswith("take"))
    assert found.status == "error"
    assert found.detail.startswith("NotImplementedError: take is for another day [")
    assert not report.trains
    assert report.verdict().startswith("no: broken does not train")


@pytest.mark.parametrize(
    ("name", "function", "detail"),
    [
        ("exp", lambda x: np.exp(x) * (1 + 1e-9), "NumPy ["),
        ("sum", lambda x, axis=None, keepdims=False: np.sum(x, axis=axis), "shape ("),
        ("argmax", lambda x, axis: np.argmax(x, axis=axis).astype(float), "dtype float64"),
        ("zeros_like", lambda x: np.ones_like(x), "NumPy ["),
        ("matmul", lambda a, b: np.full((len(a), b.shape[-1]), np.nan), "NumPy ["),
    ],
)
def test_a_wrong_answer_is_found(broken, name, function, detail):
    report = broken(**{name: function})
    wrong = [f for f in report.group("operations") if f.status == "wrong"]
    assert {f.what.partition("(")[0] for f in wrong} == {name}
    assert any(detail in f.detail for f in wrong)


@pytest.mark.parametrize(
    ("name", "function", "group"),
    [
        ("isfinite", lambda x: np.ones(x.shape, dtype=bool), "operations"),
        ("isfinite", lambda x: ~np.isnan(x), "operations"),
        ("all", lambda x: np.asarray(True), "operations"),
        ("argmax", lambda x, axis: x.shape[axis] - 1 - np.argmax(x[:, ::-1], axis=axis), "metrics"),
        ("maximum", lambda x, y: np.fmax(x, y), "metrics"),
    ],
)
def test_edges_are_tried(broken, name, function, group):
    """NaN, infinities, equal values, mixed truth."""
    report = broken(**{name: function})
    wrong = [f.what for f in report.group(group) if f.status == "wrong"]
    assert any(what.startswith(name) or "NaN" in what for what in wrong), report


@pytest.mark.parametrize("name", ["tanh", "log", "exp", "isfinite"])
def test_a_function_that_writes_to_its_argument_is_found(broken, name):
    real = getattr(np, name)

    def writes(x):
        result = real(x)
        x[...] = 0
        return result

    report = broken(**{name: writes})
    found = next(f for f in report.group("operations") if f.what.startswith(f"{name}("))
    assert "has written to its argument" in found.detail


def test_layers_are_tried_besides_their_operations(broken):
    report = broken(tanh=None)
    found = {f.what: f.status for f in report.group("layers")}
    assert found["Tanh()-4x5"] == "missing"
    assert found["ReLU()-4x5"] == "ok"


def test_a_training_that_drifts_is_found(broken):
    """An error too small for one operation in float32, and too large for a training in float64."""
    report = broken(exp=lambda x: np.exp(x) * (1 + 1e-6))
    (training,) = report.group("training")
    assert training.status == "wrong"
    assert training.difference > 1e-9
    assert "losses [" in training.detail


def test_small_differences_are_reported(broken):
    report = broken(exp=lambda x: np.exp(x) * (1 + 4e-16))
    assert report.conforms
    assert 0 < max(f.difference for f in report.group("operations")) < 1e-14


def test_the_training_says_how_long_it_took(broken):
    (training,) = broken().group("training")
    assert training.detail.count(", ") == 4
    assert "seconds an epoch" in str(broken())


def test_int64_is_on_the_list():
    assert {"int32", "int64", "float64", "bool"} <= set(needed_dtypes())


def test_float32_is_what_is_reported():
    report = check_namespace("numpy", dtype="float32")
    assert not any("float64" in f.what for f in report.group("operations"))


def test_a_namespace_whose_asarray_fails(monkeypatch):
    def asarray(*args, **kwargs):
        raise NotImplementedError("no arrays yet")

    module = types.ModuleType("broken")
    module.asarray, module.float64 = asarray, np.float64
    monkeypatch.setitem(sys.modules, "broken", module)
    with pytest.raises(BackendUnavailable, match=r"makes no array.*no arrays yet"):
        check_namespace("broken")


def test_arrays_that_cannot_be_read(broken):
    class Sealed:
        def __init__(self, *args, **kwargs):
            pass

        def __array__(self, *args, **kwargs):
            raise RuntimeError("sealed")

    report = broken(asarray=Sealed, log=None)
    assert report.group("transfer")[0].status == "error"
    assert [f.what for f in report.group("functions") if f.status == "missing"] == ["log"]
    assert not report.trains


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module", "cannot be imported"),
        ("math", "is no array-API namespace: it has no asarray and no float64"),
        ("", "cannot be imported"),
        ("..", "cannot be imported"),
    ],
)
def test_what_is_no_namespace(module, message):
    with pytest.raises(BackendUnavailable, match=message):
        check_namespace(module)


def functions_in_the_source():
    """Every `xp.name(...)` in the package's array code, found in its text."""
    package = Path(xpnet.__file__).parent
    folders = (
        *("layers", "losses", "metrics", "operations", "optimizers"),
        *("inputs", "network", "callbacks", "training"),
    )
    paths = [*(path for folder in folders for path in package.glob(f"{folder}/*.py")),
             package / "random.py", *package.glob("models/*.py"),
             package / "data" / "preparation.py"]  # fmt: skip
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if getattr(owner, "id", getattr(owner, "attr", "")) == "xp":
                    yield node.func.attr


def test_the_list_is_what_the_code_calls():
    """What was watched against what is written: neither may have more than the other."""
    assert set(needed_functions()) == {*functions_in_the_source(), "asarray"}


def test_the_list_is_in_the_documentation():
    text = page("docs/parity.md")
    for names in (needed_functions(), needed_operators(), needed_dtypes()):
        assert ", ".join(f"`{name}`" for name in names) in " ".join(text.split())


def test_every_call_is_described():
    asked = [request.asked for request in record()]
    assert all(text and "object at 0x" not in text for text in asked)
    product = r"matmul\(float64\[\d+, (\d+)\], float64\[\1, \d+\]\)"
    assert any(re.fullmatch(product, text) for text in asked)
    assert any(re.fullmatch(r"float64\[\d, (\d)\] \+= float64\[\1\]", text) for text in asked)


def test_the_command(tmp_path):
    require("array_api_strict")
    runner = CliRunner()
    result = runner.invoke(main, ["conformance", "array_api_strict", "--json", tmp_path / "c.json"])
    assert result.exit_code == 0, result.output
    assert result.output.endswith("yes: array_api_strict trains networks, with NumPy's results\n")
    report = json.loads((tmp_path / "c.json").read_text())
    assert report["conforms"] is True
    assert report["needed_functions"] == needed_functions()
    assert runner.invoke(main, ["conformance", "no_such_module"]).exit_code == 2
    assert runner.invoke(main, ["conformance"]).exit_code == 2
    assert "functions: abs, all, arange" in runner.invoke(main, ["conformance", "--list"]).output


def test_the_command_fails_where_the_namespace_does(broken):
    broken(tanh=None)
    result = CliRunner().invoke(main, ["conformance", "broken"])
    assert result.exit_code == 1
    assert "missing  tanh(float64[4, 5])" in result.output
