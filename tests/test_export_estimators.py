"""ONNX files of estimators, which answer as those of scikit-learn's converter do."""

import json

import numpy as np
import pytest

import xpnet
from xpnet.errors import ExportError
from xpnet.export import OLDEST_OPSET, build_onnx, to_npz, to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from xpnet.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.libraries

N, FEATURES = 60, 4
X = np.random.default_rng(0).normal(size=(N, FEATURES))
CODES = np.argsort(np.argsort(X[:, 0])) * 3 // N
"""Three classes of equal size."""

LABELS = {
    "binary": CODES > 0,
    "integers": (CODES > 0) * 7 - 3,
    "multiclass": CODES,
    "other integers": np.asarray([-5, 2**40, 3])[CODES],
    "floats": np.asarray([2.0, 10.0, -1.0])[CODES],
    "strings": np.asarray(["Äpfel", "pears", ""])[CODES],
    "objects": np.asarray(["b", "a", "b"], dtype=object)[CODES],
    "one class": np.full(N, 4),
    "one string": np.full(N, "only"),
    "several": np.stack([CODES > 0, CODES == 1, CODES < 2], axis=1).astype(int),
}


def fitted(kind, labels, **options):
    model = kind(hidden_layer_sizes=(6,), max_iter=3, random_state=0, **options)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        return model.fit(X.astype(options.get("dtype") or "float64"), labels)


def answers(model, x):
    """The outputs by name, by ONNX Runtime."""
    content = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.shape) == ("X", ["batch", FEATURES])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"X": x}), strict=True))
    for output in session.get_outputs():
        assert output.shape == ["batch", *found[output.name].shape[1:]]
    return found


@pytest.mark.parametrize("opset", [OLDEST_OPSET, 17])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LABELS)
def test_classifiers_answer_with_label_and_probabilities(name, dtype, opset):
    model = fitted(MLPClassifier, LABELS[name], dtype=dtype)
    built = build_onnx(model, opset=opset)
    assert {node.domain for node in built.graph.node} == {""}
    for x in (X.astype(dtype), X[:1].astype(dtype), 100 * X.astype(dtype)):
        found = answers(built, x)
        assert list(found) == ["label", "probabilities"]
        predicted = model.predict(x)
        assert found["label"].dtype == (object if predicted.dtype.kind in "UO" else np.int64)
        assert found["label"].shape == predicted.shape
        np.testing.assert_array_equal(found["label"], predicted)
        assert found["probabilities"].dtype == np.dtype(dtype)
        tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
        expected = model.predict_proba(x)
        assert found["probabilities"].shape == expected.shape
        np.testing.assert_allclose(found["probabilities"], expected, tolerance, tolerance)


@pytest.mark.parametrize("name", ["binary", "one class", "one string", "multiclass"])
def test_a_loss_that_has_an_output_for_each_class(name):
    model = fitted(MLPClassifier, LABELS[name], loss=xpnet.SoftmaxCrossEntropy())
    found = answers(build_onnx(model), X)
    np.testing.assert_array_equal(found["label"], model.predict(X))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), 1e-12)


def test_of_equal_outputs_the_answer_is_that_of_predict():
    for name in ("binary", "multiclass", "several"):
        model = fitted(MLPClassifier, LABELS[name])
        model.coefs_[-1] *= 0
        model.intercepts_[-1] *= 0
        found = answers(build_onnx(model), X)
        np.testing.assert_array_equal(found["label"], model.predict(X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors_answer_with_rows_of_values(loss, outputs, dtype):
    y = np.abs(X[:, :outputs])
    model = fitted(MLPRegressor, y[:, 0] if outputs == 1 else y, loss=loss, dtype=dtype)
    found = answers(build_onnx(model), X.astype(dtype))
    assert list(found) == ["variable"]
    assert found["variable"].shape == (N, outputs)
    expected = model.predict(X.astype(dtype)).reshape(N, outputs)
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(found["variable"], expected, tolerance, tolerance)


def test_inputs_of_another_dtype_and_graphs_of_another(tmp_path):
    model = fitted(MLPClassifier, LABELS["strings"])
    whole = np.rint(3 * X).astype("int64")
    for x, options in [
        (X.astype("float32"), {"input_dtype": "float32"}),
        (X.astype("float32"), {"dtype": "float32"}),
        (whole, {"input_dtype": "int64"}),
        (X > 0, {"input_dtype": "bool"}),
    ]:
        to_onnx(model, tmp_path / "model.onnx", **options)
        found = answers(str(tmp_path / "model.onnx"), x)
        np.testing.assert_array_equal(found["label"], model.predict(x))
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(x), 1e-4, 1e-6)


def test_batch_norm_and_arrays_of_another_library():
    torch = pytest.importorskip("torch")
    model = MLPClassifier((6,), max_iter=3, random_state=0, batch_norm=True, dropout=0.2)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(torch.asarray(X), torch.asarray(LABELS["other integers"]))
    found = answers(build_onnx(model), X)
    np.testing.assert_array_equal(found["label"], model.predict(torch.asarray(X)).numpy())
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(torch.asarray(X)), 1e-9)


def test_the_network_of_an_estimator_is_exported_as_before():
    network = fitted(MLPClassifier, LABELS["strings"]).to_network()
    built = build_onnx(network)
    assert [value.name for value in (*built.graph.input, *built.graph.output)] == [
        "input", "logits",
    ]  # fmt: skip


def test_what_the_graph_says_of_itself():
    built = build_onnx(fitted(MLPClassifier, LABELS["strings"]))
    assert {p.key: p.value for p in built.metadata_props} == {
        "target_kind": "classes", "output": "label, probabilities",
        "classes": json.dumps(np.unique(LABELS["strings"]).tolist()),
    }  # fmt: skip
    assert "Output: label, probabilities." in built.doc_string


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(ValueError, match="gives values, not probabilities"):
        build_onnx(fitted(MLPRegressor, X[:, 0]), probabilities=True)
    large = np.asarray([1, 2**63 + 5, 3], dtype="uint64")[CODES]
    with pytest.raises(ExportError, match=r"the class '9223372036854775813' is neither a string n"):
        build_onnx(fitted(MLPClassifier, large))
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline

    with pytest.raises(NotFittedError):
        build_onnx(MLPClassifier())
    with pytest.raises(TypeError, match="must be a Network, got Pipeline: give its last step"):
        build_onnx(make_pipeline(MLPClassifier()))
    with pytest.raises(TypeError, match="got int"):
        build_onnx(3)
    with pytest.raises(TypeError, match=r"got MLPClassifier: give what its to_network\(\) returns"):
        to_npz(fitted(MLPClassifier, CODES), "nowhere.npz")
