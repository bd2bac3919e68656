"""ONNX files, run by ONNX Runtime and held against the network itself."""

import errno
import itertools
import json
import os
import sys

import numpy as np
import pytest
from exporting import EXAMPLES, Square, example_network, inputs_of, network_of, small

import xpnet
import xpnet.export.onnx as onnx_export
from xpnet import Dense, Dropout, Flatten, ReLU, Residual, Sequential, Softmax, Tanh
from xpnet.errors import CheckpointError, ExportError
from xpnet.export import (
    DEFAULT_OPSET,
    INPUT_DTYPES,
    OLDEST_OPSET,
    build_onnx,
    to_onnx,
)
from xpnet.export.onnx import INTEGERS
from xpnet.layers import EVALUATION, LAYERS, Layer, Softplus
from xpnet.random import stream

pytestmark = pytest.mark.libraries

onnx = pytest.importorskip("onnx")
ReferenceEvaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
onnxruntime = pytest.importorskip("onnxruntime")


def readable(opset):
    """Whether the ONNX Runtime that is installed reads files of this opset."""
    helper = onnx.helper
    if opset > onnx.defs.onnx_opset_version():
        return False
    info = [helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", "x", "y")], "g", info[:1], info[1:])
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports)
    model = helper.make_model(graph, opset_imports=imports, ir_version=version)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


OPSETS = [opset for opset in range(OLDEST_OPSET, 23) if readable(opset)]
"""Up to one newer than those of Gelu and of the last change of Cast, or the newest that is read."""

OVERFLOWS = tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23)
"""Whether the evaluator's Softplus of large numbers is infinite, as it was before."""

TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def session_of(model):
    content = model if isinstance(model, str | bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    # Each operator as it is: older versions put some together in ways that are wrong.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(model, x):
    """The output of a graph, by ONNX Runtime; it has one input and one output."""
    session = session_of(model)
    (given,) = session.get_inputs()
    assert (given.name, given.shape[0]) == ("input", "batch")
    (output,) = session.run(None, {"input": x})
    return output


@pytest.fixture(scope="module")
def digits():
    data = xpnet.load_dataset("digits")
    model = xpnet.mlp(64, 32, 10, batch_norm=True, dropout=0.1)
    return data, xpnet.fit(model, data, epochs=3, backend="numpy")


def test_every_layer_says_how_it_is_exported():
    assert all(layer.onnx is not Layer.onnx for layer in LAYERS.values())


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_gives_what_the_network_gives(example, dtype):
    """In every opset, by ONNX Runtime and by the evaluator that defines what operators mean."""
    network = example_network(example, dtype)
    inputs = list(inputs_of(example, dtype))
    forward = example.layer.forward
    expected = [forward(np, network.arrays, x, EVALUATION)[0] for x in inputs]
    graphs = set()
    assert {OLDEST_OPSET, DEFAULT_OPSET} <= set(OPSETS)
    for opset in OPSETS:
        model = build_onnx(network, opset=opset)
        assert model.opset_import[0].version == opset
        assert {node.domain for node in model.graph.node} == {""}
        nodes = tuple(node.SerializeToString() for node in model.graph.node)
        evaluators = [session_of(model)]
        # It is slow, and the same operators are the same function.
        wanted = opset in (OLDEST_OPSET, DEFAULT_OPSET) or nodes not in graphs
        if wanted and not (OVERFLOWS and isinstance(example.layer, Softplus)):
            evaluators.append(ReferenceEvaluator(model))
        graphs.add(nodes)
        for evaluator, (x, y) in itertools.product(evaluators, zip(inputs, expected, strict=True)):
            (found,) = evaluator.run(None, {"input": x})
            assert found.dtype == y.dtype == np.dtype(dtype)
            assert found.shape == y.shape
            tolerance = TOLERANCES[dtype]
            # Of a sum of many large numbers, which cancel, only so many digits are known.
            atol = tolerance * max(1.0, float(np.abs(y).max()))
            np.testing.assert_allclose(found, y, rtol=tolerance, atol=atol, err_msg=str(opset))


def test_an_opset_that_a_layer_cannot_have_is_refused_with_the_lowest_that_it_can():
    def gelu(place, layer, x):
        return place.node("Gelu", x)

    network = small(fc=Dense(5, 4), block=Sequential(square=Square(4)))
    message = r"layer 'block.square': the operator Gelu needs opset 20 or later, and opset=19 was"
    with pytest.raises(ExportError, match=message):
        build_onnx(network, layers={Square: gelu}, opset=19)
    assert build_onnx(network, layers={Square: gelu}, opset=20)


def test_softmax_of_unknown_shape_needs_axes_from_the_end():
    class Unknown(Square):
        def output_shape(self, shape):
            return None

    network = small(own=Unknown(5), last=Softmax(), fc=Dense(5, 2))
    layers = {Unknown: export_square}
    message = r"layer 'last': the last axis of samples of unknown shape needs opset 11 or later"
    with pytest.raises(ExportError, match=message):
        build_onnx(network, layers=layers, opset=10)
    assert build_onnx(network, layers=layers, opset=11, probabilities=True)
    with pytest.raises(
        ExportError, match=r"the shape of the model's output, .* define output_shap"
    ):
        build_onnx(small(own=Unknown(5)), layers=layers)


@pytest.mark.parametrize("layer", [xpnet.BatchNorm(4), xpnet.LayerNorm(4)], ids=repr)
def test_epsilon_is_not_rounded_in_float64(layer):
    """It is an attribute of float32 in ONNX, which counts where a variance is small."""
    arrays = layer.init(0)
    arrays |= {"mean": np.zeros(4), "variance": np.full(4, 1e-9)} if layer.buffers() else {}
    network = network_of(layer, arrays, "float64", sample_shape=(4,), input_dtype="float64")
    x = 1e-4 * stream(0, "x").normal(size=(3, 4))
    expected, _ = layer.forward(np, network.arrays, x, EVALUATION)
    np.testing.assert_allclose(run(build_onnx(network), x), expected, rtol=1e-12, atol=1e-14)


def test_the_output_has_the_declared_shape_and_all_tensors_have_one():
    network = small(fc1=Dense(5, 4), act1=Tanh(), res=Residual(Dense(4, 4)), fc2=Dense(4, 3))
    model = onnx.shape_inference.infer_shapes(build_onnx(network), strict_mode=True)
    found = {
        info.name: [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]
        for info in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    assert found == {
        "input": ["batch", 5], "fc1": ["batch", 4], "act1": ["batch", 4],
        "res.block": ["batch", 4], "res": ["batch", 4], "logits": ["batch", 3],
    }  # fmt: skip
    assert [node.name for node in model.graph.node] == [
        "fc1", "act1", "res.block", "res", "logits",
    ]  # fmt: skip
    assert sorted(constant.name for constant in model.graph.initializer) == sorted(network.params)


def test_accuracy_on_the_digits_is_the_same(digits, tmp_path):
    data, network = digits
    to_onnx(network, tmp_path / "digits.onnx")
    x, y = data.test.images, data.test.labels
    assert x.dtype == np.uint8
    predicted = run(str(tmp_path / "digits.onnx"), x).argmax(axis=1)
    np.testing.assert_array_equal(predicted, network.predict(x))
    assert (predicted != y).sum() == network.evaluate(x, y).errors
    probabilities = run(build_onnx(network, probabilities=True), x)
    np.testing.assert_allclose(probabilities, network.predict_proba(x), rtol=1e-5, atol=1e-6)


@pytest.mark.mnist
def test_accuracy_on_mnist_is_the_same(mnist_dir):
    data = xpnet.load_dataset("mnist", data_dir=mnist_dir).limited(5000)
    network = xpnet.fit(xpnet.mlp(784, 32, 10), data, epochs=1, backend="numpy")
    predicted = run(build_onnx(network), data.test.images).argmax(axis=1)
    np.testing.assert_array_equal(predicted, network.predict(data.test.images))


def test_a_network_that_is_saved_and_loaded_gives_the_same_file(digits, tmp_path):
    _, network = digits
    assert network.input_dtype == "uint8"
    network.save(tmp_path / "model.safetensors")
    for name, given in {"a": network, "b": xpnet.load(tmp_path), "c": network.copy()}.items():
        to_onnx(given, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_metadata(digits):
    model = build_onnx(digits[1])
    assert (model.producer_name, model.producer_version) == ("xpnet", xpnet.__version__)
    assert "fc1=Dense(64, 32, bias=False)" in model.doc_string
    assert "integers are divided by 16 in the graph" in model.doc_string
    assert {p.key: p.value for p in model.metadata_props} == {
        "target_kind": "classes", "output": "logits",
        "class_names": json.dumps([str(digit) for digit in range(10)]),
    }  # fmt: skip
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


@pytest.mark.parametrize("name", INPUT_DTYPES)
def test_an_input_of_every_dtype_is_taken_as_predict_takes_it(digits, name):
    _, network = digits
    x = stream(0, name).uniform(size=(6, 8, 8))
    x = (17 * x if name in INTEGERS else x > 0.5 if name == "bool" else x).astype(name)
    found = run(build_onnx(network, probabilities=True, input_dtype=name), x)
    np.testing.assert_allclose(found, network.predict_proba(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", ["uint8", "int64", "float64", "float32", "bool"])
@pytest.mark.parametrize("name", ["numpy", "torch", "array_api_strict"])
def test_the_input_is_by_default_what_the_network_was_trained_on(name, source):
    if name != "numpy":
        pytest.importorskip(name)
    x = (stream(0, "x").uniform(size=(20, 5)) * 9).astype(source)
    network = xpnet.fit(Sequential(fc=Dense(5, 2)), (x, np.arange(20) % 2), epochs=1, backend=name)
    assert network.input_dtype == source
    model = build_onnx(network)
    given = x.astype("float32") if source.startswith("float") else x
    found = run(model, given)
    expected = network.predict_proba(x)
    e = np.exp(found - found.max(axis=1, keepdims=True))
    np.testing.assert_allclose(e / e.sum(axis=1, keepdims=True), expected, rtol=1e-5)


def test_float64_can_be_written_as_float32():
    model = Sequential(fc=Dense(5, 3), act=Softmax())
    network = network_of(model, model.init(0), "float64", sample_shape=(5,), input_dtype="float64")
    x = stream(0, "x").normal(size=(4, 5))
    wide = run(build_onnx(network), x)
    narrow = run(build_onnx(network, dtype="float32"), x.astype("float32"))
    assert (wide.dtype, narrow.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)
    # The input keeps its dtype where that is asked for, and is cast in the graph.
    cast = run(build_onnx(network, dtype="float32", input_dtype="float64"), x)
    np.testing.assert_array_equal(cast, narrow)


@pytest.mark.parametrize(
    ("loss", "target", "output", "function"),
    [
        (xpnet.binary_cross_entropy, lambda x: (x[:, :3] > 0).astype(int), "probabilities", None),
        (xpnet.mean_squared_error, lambda x: x[:, :2], "values", None),
    ],
    ids=["multilabel", "values"],
)
def test_other_kinds_of_targets(loss, target, output, function):
    x = stream(0, "x").normal(size=(30, 5)).astype("float32")
    y = target(x)
    model = Sequential(fc=Dense(5, y.shape[1]))
    network = xpnet.fit(model, (x, y), loss=loss, epochs=2, backend="numpy")
    if output == "values":
        with pytest.raises(ValueError, match="trained on real numbers and gives values"):
            build_onnx(network, probabilities=True)
        built, expected = build_onnx(network), network.predict(x)
    else:
        built, expected = build_onnx(network, probabilities=True), network.predict_proba(x)
    assert [tensor.name for tensor in built.graph.output] == [output]
    np.testing.assert_allclose(run(built, x), expected, rtol=1e-5, atol=1e-6)


def test_layers_called_like_the_input_or_output():
    network = small(input=Dense(5, 4), logits=ReLU(), logits_2=Dense(4, 4), probabilities=Tanh())
    x = stream(0, "x").normal(size=(3, 5)).astype("float32")
    expected, _ = network.model.forward(np, network.params, x, EVALUATION)
    np.testing.assert_allclose(run(build_onnx(network), x), expected, rtol=1e-5)
    found = run(build_onnx(network, probabilities=True), x)
    np.testing.assert_allclose(found, network.predict_proba(x), rtol=1e-5)


def test_images_are_flattened_only_for_models_that_take_rows():
    x = stream(0, "x").normal(size=(3, 2, 4)).astype("float32")
    rows = xpnet.mlp(8, 2)
    images = Sequential(flat=Flatten((2, 4)), fc=Dense(8, 2))
    for model in (rows, images):
        network = network_of(model, model.init(0), sample_shape=(2, 4), input_dtype="float32")
        flat = [node.op_type for node in build_onnx(network).graph.node].count("Flatten")
        assert flat == 1
        found = run(build_onnx(network, probabilities=True), x)
        np.testing.assert_allclose(found, network.predict_proba(x), rtol=1e-5)


def export_square(place, layer, x):
    square = place.node("Mul", x, x, part="square")
    return place.node("Mul", square, place.parameter("factor"))


def test_a_layer_of_ones_own():
    network = small(fc1=Dense(5, 4), block=Sequential(square=Square(4)), fc2=Dense(4, 3))
    with pytest.raises(ExportError, match=r"layer 'block.square', Square\(n=4\), has no ONNX form"):
        build_onnx(network)
    model = build_onnx(network, layers={Square: export_square})
    assert "block.square.square" in [node.name for node in model.graph.node]
    x = stream(0, "x").normal(size=(3, 5)).astype("float32")
    expected, _ = network.model.forward(np, network.params, x, EVALUATION)
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5)


def test_the_graph_of_a_layer_of_ones_own_is_checked():
    network = small(fc=Dense(5, 4), square=Square(4))
    for wrong in (lambda p, _, x: p.node("NoSuchOperator", x), lambda p, _, x: p.node("Mul", x)):
        with pytest.raises(ExportError, match="not valid ONNX"):
            build_onnx(network, layers={Square: wrong})


def test_a_subclass_with_another_forward_is_not_taken_for_its_parent():
    class Named(ReLU):
        """The same function."""

    class Other(ReLU):
        def forward(self, xp, params, x, ctx):
            return x * 2, ()

    assert build_onnx(small(act=Named())).graph.node[0].op_type == "Relu"
    with pytest.raises(ExportError, match=r"layer 'act', .*Other\(\), has no ONNX form"):
        build_onnx(small(act=Other()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 8}, "opset must be from 9 to"),
        ({"opset": 10_000}, "opset must be from 9 to"),
        ({"opset": "17"}, "opset must be from 9 to"),
        ({"opset": True}, "opset must be from 9 to"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
        ({"input_dtype": "complex64"}, "input_dtype must be one of uint8, .*; got 'complex64'"),
    ],
    ids=str,
)
def test_options_that_are_not_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        build_onnx(small(fc=Dense(5, 2)), **options)


def test_what_is_not_known_is_asked_for():
    network = small(fc=Dense(5, 2))
    network.input_dtype = None
    with pytest.raises(ExportError, match=r"trained on: give input_dtype='uint8'"):
        build_onnx(network)
    network = small(act=Tanh(), drop=Dropout(0.5))
    network.sample_shape = None
    with pytest.raises(ExportError, match=r"set network.sample_shape"):
        build_onnx(network)


def test_numbers_that_float32_does_not_have_are_refused():
    model = Sequential(fc=Dense(5, 3))
    arrays = {**model.init(0), "fc.bias": np.full(3, 1e300)}
    network = network_of(model, arrays, "float64", sample_shape=(5,), input_dtype="float64")
    build_onnx(network)
    with pytest.raises(ExportError, match=r"fc.bias has values that are not finite in float32"):
        build_onnx(network, dtype="float32")


def test_networks_that_are_too_large_for_the_format_are_refused(monkeypatch):
    model = Sequential(fc=Dense(50, 3))
    network = network_of(model, model.init(0), "float64", sample_shape=(50,), input_dtype="float64")
    monkeypatch.setattr(onnx_export, "LARGEST", 700)
    with pytest.raises(ExportError, match=r"has 1,224 bytes, .* 700: take dtype='float32', or ano"):
        build_onnx(network)
    monkeypatch.setattr(onnx_export, "LARGEST", 500)
    with pytest.raises(ExportError, match=r"has 612 bytes, .*: take another format"):
        build_onnx(network, dtype="float32")


def test_without_onnx_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'xpnet\[onnx\]'"):
        build_onnx(small(fc=Dense(5, 2)))


def test_a_file_that_cannot_be_written_leaves_the_old_one(monkeypatch, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        to_onnx(small(fc=Dense(5, 2)), path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"old"


def test_the_dtype_of_the_samples_in_a_file_is_checked(tmp_path):
    network = small(fc=Dense(5, 2))
    for given in (None, "uint16"):
        network.input_dtype = given
        network.save(tmp_path / "model.safetensors")
        assert xpnet.load(tmp_path).input_dtype == given
    network.input_dtype = 16
    network.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="samples of an unknown dtype, 16"):
        xpnet.load(tmp_path)
