"""How a graph ends: in what a network gives, or in what an estimator answers."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from xpnet.errors import ExportError
from xpnet.export.onnx_graph import Graph
from xpnet.network import Network
from xpnet.typing import HostArray, Shape


@dataclass(frozen=True)
class Output:
    """One output of a graph: the tensor, its dtype, and its shape without the batch."""

    name: str
    dtype: str
    shape: Shape


def check_head(network: Network, probabilities: bool) -> None:
    """Check that there are probabilities where they are wanted.

    Raises
    ------
    ValueError
        If the network gives values.
    """
    if probabilities and network.target_kind == "values":
        raise ValueError(
            "probabilities: this network was trained on real numbers and gives values, not "
            "probabilities"
        )


def network_outputs(graph: Graph, network: Network, x: str, probabilities: bool) -> list[Output]:
    """`logits`, `values` or `probabilities` of the output `x` of the model."""
    shape = _known_shape(graph, x)
    if not probabilities:
        name = "values" if network.target_kind == "values" else "logits"
        return [Output(graph.rename_output(x, name), graph.dtype, shape)]
    x = _softmax(graph, x) if network.target_kind == "classes" else _sigmoid(graph, x)
    return [Output(graph.rename_output(x, "probabilities"), graph.dtype, shape)]


def estimator_outputs(graph: Graph, estimator: Any, network: Network, x: str) -> list[Output]:
    """`label` and `probabilities` of a classifier, `variable` of a regressor."""
    shape = _known_shape(graph, x)
    if network.target_kind == "values":
        if estimator.out_activation_ == "exp":
            x = graph.add("Exp", [x], "variable.exp")
        return [Output(graph.rename_output(x, "variable"), graph.dtype, shape)]
    labels = estimator._labels
    several = labels.kind == "multilabel"
    answers = [_several(graph, x) if several else _class(graph, x, labels.classes, network)]
    if network.target_kind == "classes":
        p = _softmax(graph, x)
    else:
        if not several:
            # As predict_proba has it: 1 - p of a logit is p of its negative.
            negative = graph.add("Neg", [x], "probabilities.negative")
            x, shape = graph.add("Concat", [negative, x], "probabilities.logits", axis=1), (2,)
        p = _sigmoid(graph, x)
    label = graph.rename_output(answers[0], "label")
    dtype = "int64" if several or _texts(labels.classes) is None else "string"
    return [
        Output(label, dtype, shape if several else ()),
        Output(graph.rename_output(p, "probabilities"), graph.dtype, shape),
    ]


def _known_shape(graph: Graph, x: str) -> Shape:
    shape = graph.shapes[x]
    if shape is None:
        raise ExportError(
            "the shape of the model's output, which ONNX has to have, is not known: define "
            "output_shape(self, shape) in the layers that have none"
        )
    return shape


def _softmax(graph: Graph, x: str) -> str:
    return graph.add("Softmax", [x], "probabilities.softmax", axis=graph.last_axis(x))


def _sigmoid(graph: Graph, x: str) -> str:
    return graph.add("Sigmoid", [x], "probabilities.sigmoid")


def _above_zero(graph: Graph, x: str, dtype: int) -> str:
    zero = graph.constant("label.number", np.asarray(0, dtype=graph.dtype))
    above = graph.add("Greater", [x, zero], "label.above")
    return graph.add("Cast", [above], "label.holds", to=dtype)


def _several(graph: Graph, x: str) -> str:
    """Rows of 0 and 1: which labels hold."""
    from onnx import TensorProto

    return _above_zero(graph, x, TensorProto.INT64)


def _class(graph: Graph, x: str, classes: HostArray, network: Network) -> str:
    """The class of each sample, by its number among the classes."""
    from onnx import TensorProto

    if network.target_kind == "classes":
        codes = graph.add("ArgMax", [x], "label.code", axis=1, keepdims=0)
    else:
        column = _above_zero(graph, x, TensorProto.INT64)
        shape = graph.constant("label.shape", np.asarray([-1]))
        codes = graph.add("Reshape", [column, shape], "label.code")
    texts = _texts(classes)
    table = _integers(classes) if texts is None else texts
    if len(table) == 1:
        # Of a single class every number is that class; the network has two outputs, or one.
        table = np.repeat(table, 2)
    return graph.add("Gather", [graph.constant("label.classes", table), codes], "label.class")


def _texts(classes: HostArray) -> HostArray | None:
    """The classes as strings that ONNX can hold; None if they are none."""
    if all(isinstance(label, str) for label in classes.tolist()):
        return np.asarray(classes.tolist(), dtype=object)
    return None


def _integers(classes: HostArray) -> HostArray:
    """The classes as int64.

    Raises
    ------
    ExportError
        If they are neither integers nor whole numbers, or are too large.
    """
    values = classes.tolist()
    limits = np.iinfo(np.int64)
    for value in values:
        whole = isinstance(value, Integral) or (isinstance(value, Real) and value == value // 1)
        if not whole or not limits.min <= value <= limits.max:
            raise ExportError(
                f"the class {str(value)[:100]!r} is neither a string nor an integer that int64 "
                f"holds, and ONNX labels are one of them: fit with classes that are"
            )
    return np.asarray([int(value) for value in values], dtype=np.int64)
