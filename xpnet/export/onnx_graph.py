"""An ONNX graph in the making: its nodes and its constants, with names that occur once."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from xpnet.errors import ExportError
from xpnet.export.layers import Exporters, Place, exporter_of
from xpnet.layers import Layer
from xpnet.typing import HostArray, Shape

NEGATIVE_AXES = 11
"""The first opset in which an axis may be counted from the end."""


@dataclass
class Node:
    """One operator: what it is called, what it reads, the tensor that it writes."""

    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Nodes in the order in which they are computed, and constants by name.

    Attributes
    ----------
    dtype
        `float32` or `float64`: of all tensors but the input.
    opset
        The version of the operators.
    arrays
        The network's arrays by name.
    exporters
        The functions that export a layer, by its type.
    shapes
        The shapes of one sample of the tensors between the layers, as far as they are known.
    """

    dtype: str
    opset: int
    arrays: dict[str, HostArray]
    exporters: Exporters
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, HostArray] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    shapes: dict[str, Shape | None] = field(default_factory=dict)

    def unique(self, name: str) -> str:
        """The name, with a number behind it where it is there already."""
        found, count = name, 1
        while found in self.names:
            count += 1
            found = f"{name}_{count}"
        self.names.add(found)
        return found

    def add(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """A node; returns the tensor that it writes, which is called like the node."""
        output = self.unique(name)
        self.nodes.append(Node(operator, inputs, output, attributes))
        return output

    def constant(self, name: str, value: HostArray) -> str:
        """A constant tensor; the same one where it is there already."""
        if name not in self.constants or self.constants[name] is not value:
            name = self.unique(name)
            self.constants[name] = value
        return name

    def layer(self, name: str, layer: Layer, x: str) -> str:
        """The nodes of a layer; returns the tensor of its output."""
        export = exporter_of(layer, self.exporters, name, "ONNX")
        shape = self.shapes.get(x)
        output = str(export(OnnxPlace(self, name, type(layer).__name__.lower(), shape), layer, x))
        self.shapes[output] = layer.output_shape(shape)
        return output

    def last_axis(self, x: str) -> int | None:
        """The last axis of a tensor as this opset takes it; None if that is not known."""
        if self.opset >= NEGATIVE_AXES:
            return -1
        shape = self.shapes.get(x)
        return None if shape is None else len(shape)

    def rename_output(self, tensor: str, name: str) -> str:
        """Call the last tensor by another name, with a node for it if it is the input itself."""
        writers = [node for node in self.nodes if node.output == tensor]
        if not writers:
            return self.add("Identity", [tensor], name)
        new = self.unique(name)
        writers[0].output = new
        self.shapes[new] = self.shapes.get(tensor)
        for node in self.nodes:
            node.inputs = [new if given == tensor else given for given in node.inputs]
        return new


class OnnxPlace(Place):
    """One layer in the graph: what a function that exports a layer to ONNX is given.

    Tensors are named after the layer. A function adds nodes and returns the name of the tensor
    that holds the output, such as `place.node("Relu", x)`.

    Attributes
    ----------
    name
        The names of the layer, from the outermost container inwards, joined by dots.
    opset
        The version of the operators.
    dtype
        `"float32"` or `"float64"`: of all tensors.
    shape
        The shape of one sample that comes in, without the batch; None if it is not known.
    """

    def __init__(self, graph: Graph, name: str, kind: str, shape: Shape | None) -> None:
        super().__init__(graph.arrays, graph.exporters, name)
        self.shape = shape
        self.opset = graph.opset
        self.dtype = graph.dtype
        self._graph = graph
        self._kind = kind

    def node(self, operator: str, *inputs: str, part: str | None = None, **attributes: Any) -> str:
        """Add a node of a standard operator; returns the tensor that it writes.

        Parameters
        ----------
        operator
            Its name, such as `"Gemm"`.
        inputs
            The tensors that it reads.
        part
            What it computes, in a word, where it is not the output of the layer.
        attributes
            Its attributes, as in the list of operators, https://onnx.ai/onnx/operators/.

        Raises
        ------
        ExportError
            If the operator came into ONNX after the opset of the graph.
        """
        self.need_opset(_first_opsets().get(operator, 1), f"the operator {operator}")
        name = self.name or self._kind
        return self._graph.add(
            operator, list(inputs), f"{name}.{part}" if part else name, **attributes
        )

    def need_opset(self, opset: int, what: str) -> None:
        """Refuse an opset below this one; `what` says what of the layer is not in it.

        Raises
        ------
        ExportError
            If the graph has an older opset; the message has the layer and the lowest it can have.
        """
        if self.opset < opset:
            raise ExportError(
                f"layer {self.name or self._kind!r}: {what} needs opset {opset} or later, and "
                f"opset={self.opset} was asked for: take opset={opset}"
            )

    def parameter(self, key: str) -> str:
        """The tensor of a parameter or buffer of the layer."""
        return self._graph.constant(self._full(key), self.array(key))

    def number(self, value: float) -> str:
        """The tensor of a number."""
        return self.constant("number", np.asarray(value, dtype=self.dtype))

    def last_axis(self, x: str) -> int | None:
        """The last axis of a tensor as the opset takes it; None if that is not known."""
        return self._graph.last_axis(x)

    def constant(self, part: str, value: HostArray) -> str:
        """The tensor of a constant, called after the layer and what it is, in a word."""
        return self._graph.constant(f"{self.name or self._kind}.{part}", value)

    def layer(self, key: str, layer: Layer, x: str) -> str:
        """The nodes of a layer inside of this one; returns the tensor of its output."""
        return self._graph.layer(self._full(key), layer, x)


@cache
def _first_opsets() -> dict[str, int]:
    """The opset in which each standard operator came into ONNX."""
    from onnx import defs

    first: dict[str, int] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            first[schema.name] = min(schema.since_version, first.get(schema.name, 10**6))
    return first
