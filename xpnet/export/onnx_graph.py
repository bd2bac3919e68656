"""An ONNX graph in the making: its nodes and its constants, with names that occur once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from xpnet.errors import ExportError
from xpnet.export.onnx_erf import add_erf
from xpnet.layers import Layer
from xpnet.layers.places import OnnxPlace
from xpnet.network.places import Exporters, Place, exporter_of
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
        Functions that export a layer, by its type, in the place of its method.
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
        export = exporter_of(layer, self.exporters, "onnx", name)
        shape = self.shapes.get(x)
        place: OnnxPlace = _PlaceInGraph(self, name, type(layer).__name__.lower(), shape)
        output = str(export(place, x))
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


class _PlaceInGraph(Place):
    """An `OnnxPlace`, which says what the methods do."""

    def __init__(self, graph: Graph, name: str, kind: str, shape: Shape | None) -> None:
        super().__init__(graph.arrays, name)
        self.shape = shape
        self.opset = graph.opset
        self.dtype = graph.dtype
        self._graph = graph
        self._called = name or kind

    def node(self, operator: str, *inputs: str, part: str | None = None, **attributes: Any) -> str:
        self.need_opset(_first_opsets().get(operator, 1), f"the operator {operator}")
        name = f"{self._called}.{part}" if part else self._called
        return self._graph.add(operator, list(inputs), name, **attributes)

    def need_opset(self, opset: int, what: str) -> None:
        if self.opset < opset:
            raise ExportError(
                f"layer {self._called!r}: {what} needs opset {opset} or later, and "
                f"opset={self.opset} was asked for: take opset={opset}"
            )

    def parameter(self, key: str) -> str:
        return self._graph.constant(self.full(key), self.array(key))

    def number(self, value: float) -> str:
        return self.constant("number", np.asarray(value, dtype=self.dtype))

    def constant(self, part: str, value: HostArray | Sequence[Any]) -> str:
        return self._graph.constant(f"{self._called}.{part}", np.asarray(value))

    def last_axis(self, x: str) -> int | None:
        return self._graph.last_axis(x)

    def erf(self, x: str) -> str:
        # Runtimes have it in float32 alone.
        return add_erf(self, x) if self.dtype == "float64" else self.node("Erf", x, part="erf")

    def layer(self, key: str, layer: Layer, x: str) -> str:
        return self._graph.layer(self.full(key), layer, x)


@cache
def _first_opsets() -> dict[str, int]:
    """The opset in which each standard operator came into ONNX."""
    from onnx import defs

    first: dict[str, int] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            first[schema.name] = min(schema.since_version, first.get(schema.name, 10**6))
    return first
