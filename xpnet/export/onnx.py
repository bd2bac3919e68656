"""Networks as ONNX files, which other runtimes, languages and devices run."""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.checks import is_one_of
from xpnet.data import taken_shape
from xpnet.errors import ExportError, one_line
from xpnet.export.layers import checked_dtype, host_arrays, installed_version
from xpnet.export.onnx_graph import Graph
from xpnet.export.onnx_heads import Output, check_head, estimator_outputs, network_outputs
from xpnet.files import write_atomically
from xpnet.layers import Layer
from xpnet.layers.container import wanted_shape
from xpnet.layers.places import OnnxPlace
from xpnet.network import Network
from xpnet.typing import Shape

OLDEST_OPSET = 9
"""The first with Where, and in which a file's constants are not inputs as well."""

DEFAULT_OPSET = 17
"""What is written if nothing is asked for: the first with LayerNormalization, which every ONNX
Runtime from 1.12 on reads."""

LARGEST = 2**31 - 1
"""How many bytes an ONNX file may have: what Protocol Buffers, in which it is written, can hold."""

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
INPUT_DTYPES = (*INTEGERS, "bool", "float16", "float32", "float64")
"""What the input of a graph may be."""


def to_onnx(network: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a network, or a fitted estimator, as an ONNX file.

    An existing file is replaced at once or not at all.

    Needs `pip install 'xpnet[onnx]'`.

    Parameters
    ----------
    network
        A network on any backend, or a fitted estimator of `xpnet.sklearn`.
    path
        The file, usually ending in `.onnx`.
    options
        Those of `build_onnx`: `probabilities`, `input_dtype`, `dtype`, `opset` and `layers`.

    Raises
    ------
    ExportError, ValueError, TypeError, ImportError
        As `build_onnx` does.
    OSError
        If the file cannot be written.
    """
    write_atomically(path, build_onnx(network, **options).SerializeToString(deterministic=True))


def build_onnx(
    network: Any,
    *,
    probabilities: bool = False,
    input_dtype: str | None = None,
    dtype: str | None = None,
    opset: int = DEFAULT_OPSET,
    layers: Mapping[type[Layer], Callable[[OnnxPlace, Any, str], str]] | None = None,
) -> Any:
    """A network as an `onnx.ModelProto`: the same function of the samples as `Network.predict`.

    The graph has one input, `input`, of shape `(batch, *sample_shape)`, in which `batch` is any
    number of samples. Integers are multiplied by 1 / `pixel_maximum`, samples are flattened where
    the model takes rows, and then the layers follow, as in evaluation. The only output, of shape
    `(batch, ...)`, is called `logits` (of a network for values, `values`) or `probabilities`.
    Every other tensor is called after the layer that it is the output of, and every constant like
    the parameter or buffer that it is. The output keeps its axis of outputs also where `predict`
    gives (N,). The metadata of the model have `target_kind`, `output` and, where the network has
    any, `classes` and `class_names`, JSON lists in the order of the outputs.

    A fitted `MLPClassifier` or `MLPRegressor` answers as it does by scikit-learn's converter,
    skl2onnx, with `zipmap=False`. The input is called `X`. A classifier has two outputs: `label`,
    the classes (N,) as int64 or strings (of several labels int64 rows of 0 and 1), and
    `probabilities` (N, classes). A regressor has `variable`, always (N, outputs).

    Parameters
    ----------
    network
        A network on any backend, or a fitted estimator of `xpnet.sklearn`.
    probabilities
        Whether the output is what `predict_proba` gives, and not what the model gives. A classifier
        gives both its answers whatever is said here.
    input_dtype
        What the input holds, such as `"uint8"`. If None, what the network was trained on; floating
        point then comes in the dtype of the graph.
    dtype
        `"float32"` or `"float64"`, in which the graph computes; the network's own if None. In
        float64 some layers are made of several operators, see `xpnet.export.OnnxPlace`.
    opset
        The version of the operators, from 9. Layers whose operator is newer are made of others.
    layers
        How layers of one's own are exported: a function `(place, layer, x) -> tensor` by type,
        where `place` is an `OnnxPlace`; see there. A class can have a method `onnx` instead.

    Returns
    -------
    model
        The model, checked.

    Raises
    ------
    ExportError
        If a layer cannot be exported, or not in this opset, the shape or dtype of the samples or
        the shape of the output is not known, the file would be larger than ONNX files can be
        (2 GiB), or a layer's own function made a graph that is not right; if the classes of an
        estimator are no strings and not in int64.
    ValueError
        If an option is not allowed.
    TypeError
        If it is neither a network nor an estimator.
    ImportError
        If onnx is not installed.
    """
    onnx = _import_onnx()
    _check_opset(onnx, opset)
    estimator = network if hasattr(network, "to_network") else None
    network = network if estimator is None else estimator.to_network()
    dtype = checked_dtype(network, dtype)
    input_dtype = _input_dtype(network, input_dtype, dtype)
    check_head(network, probabilities)
    shape = _sample_shape(network)
    _check_size(network, dtype)
    graph = Graph(dtype, opset, host_arrays(network, dtype), layers or {})
    # First of all names, so that a layer of the same name gives way to the input.
    given = graph.unique("input" if estimator is None else "X")
    x = _add_model(graph, network, given, shape, input_dtype)
    if estimator is None:
        outputs = network_outputs(graph, network, x, probabilities)
    else:
        outputs = estimator_outputs(graph, estimator, network, x)
    model = _to_proto(onnx, graph, network, Output(given, input_dtype, shape), outputs)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the graph is not valid ONNX: {one_line(error)}") from error
    return model


def _add_model(graph: Graph, network: Network, x: str, shape: Shape, input_dtype: str) -> str:
    """Put what is done to samples, and the model, into the graph; returns the model's output."""
    name = x
    if input_dtype != graph.dtype:
        x = graph.add("Cast", [x], f"{name}.cast", to=_tensor_type(graph.dtype))
    if input_dtype in INTEGERS or (input_dtype == "bool" and network.pixel_maximum != 1):
        factor = np.asarray(1 / network.pixel_maximum, dtype=graph.dtype)
        x = graph.add("Mul", [x, graph.constant(f"{name}.factor", factor)], f"{name}.normalized")
    taken = taken_shape(wanted_shape(network.model), shape)
    if len(taken) == 1 < len(shape):
        x = graph.add("Flatten", [x], f"{name}.flat", axis=1)
    elif taken != shape:
        # An axis of 0 is as long as it was.
        target = graph.constant(f"{name}.shape", np.asarray([0, *taken]))
        x = graph.add("Reshape", [x, target], f"{name}.channel")
    graph.shapes[x] = taken
    return graph.layer("", network.model, x)


def _to_proto(
    onnx: Any, graph: Graph, network: Network, given: Output, outputs: list[Output]
) -> Any:
    helper = onnx.helper
    proto = helper.make_graph(
        [
            helper.make_node(
                node.operator, node.inputs, [node.output], node.output, **node.attributes
            )
            for node in graph.nodes
        ],
        "xpnet",
        [_value_info(helper, given)],
        [_value_info(helper, output) for output in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    operators = [helper.make_opsetid("", graph.opset)]
    names = ", ".join(output.name for output in outputs)
    model = helper.make_model(
        proto,
        opset_imports=operators,
        # The oldest that goes with the operators, which the most runtimes read.
        ir_version=helper.find_min_ir_version_for(operators),
        producer_name="xpnet",
        producer_version=installed_version(),
        doc_string=_describe(network, given.dtype, names),
    )
    properties = {"target_kind": network.target_kind, "output": names}
    if network.classes is not None:
        properties["classes"] = json.dumps(network.classes.tolist())
    if network.class_names is not None:
        properties["class_names"] = json.dumps(network.class_names)
    helper.set_model_props(model, properties)
    return model


def _value_info(helper: Any, value: Output) -> Any:
    return helper.make_tensor_value_info(
        value.name, _tensor_type(value.dtype), ["batch", *value.shape]
    )


def _describe(network: Network, input_dtype: str, output: str) -> str:
    scaled = f"; integers are divided by {network.pixel_maximum:g} in the graph"
    return (
        f"A network trained with xpnet. Input: samples as {input_dtype}"
        f"{scaled if input_dtype in INTEGERS else ''}. Output: {output}. Model: {network.model!r}"
    )


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise ImportError(
            "ONNX files need onnx: pip install 'xpnet[onnx]'", name=error.name
        ) from error
    return onnx


def _tensor_type(dtype: str) -> int:
    from onnx import TensorProto, helper

    if dtype == "string":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _check_opset(onnx: Any, opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset must be from {OLDEST_OPSET} to {newest}, the newest that this onnx "
            f"({onnx.__version__}) knows; got {opset!r}"
        )


def _input_dtype(network: Network, given: str | None, dtype: str) -> str:
    if given is not None:
        if not is_one_of(INPUT_DTYPES, given):
            raise ValueError(f"input_dtype must be one of {', '.join(INPUT_DTYPES)}; got {given!r}")
        return given
    known = network.input_dtype
    if known is None:
        raise ExportError(
            "it is not known what the network was trained on: give input_dtype='uint8' for pixels, "
            "which are divided by its pixel_maximum, or 'float32' for numbers as they are"
        )
    return known if known in (*INTEGERS, "bool") else dtype


def _sample_shape(network: Network) -> Shape:
    shape = network.sample_shape or network.model.input_shape()
    if shape is None or None in shape:
        raise ExportError(
            "the shape of a sample is not known: set network.sample_shape, such as (28, 28)"
        )
    return shape


def _check_size(network: Network, dtype: str) -> None:
    count = sum(math.prod(value.shape) for value in network.arrays.values())
    size = count * np.dtype(dtype).itemsize
    if size > LARGEST:
        other = "dtype='float32', or " if dtype == "float64" and size <= 2 * LARGEST else ""
        raise ExportError(
            f"the network has {size:,} bytes, and an ONNX file can have {LARGEST:,}: take {other}"
            f"another format (to_npz, save_torch), which have no such limit"
        )
