"""The table of a network's layers."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from xpnet.layers.base import Layer
from xpnet.layers.flatten import Flatten
from xpnet.layers.reshape import Permute, Reshape
from xpnet.typing import Shape

_HEADER = ("name", "layer", "output", "parameters", "bytes", "FLOPs", "activations")

_VIEWS = Flatten | Permute | Reshape
"""Layers whose output is their input in another shape, which takes no memory of its own."""


class Row(NamedTuple):
    """A layer, less what the layers inside of it have; None for what is not known."""

    name: str
    layer: str
    output: Shape | None
    parameters: int
    bytes: int
    flops: int | None
    activations: int | None


def summarize(model: Layer, shape: Shape | None = None) -> str:
    """The table of `Container.summary`."""
    whole, *rows = _rows(model, model.input_shape() if shape is None else shape, "")
    # The model's own operations, which a residual network has, are in the total.
    flops = [row.flops for row in (whole, *rows)]
    activations = [row.activations for row in (whole, *rows)]
    parameters = sum(row.parameters for row in rows)
    size = sum(row.bytes for row in rows)
    total = Row("total", "", (), parameters, size, _sum(flops), _sum(activations))
    lines = [_HEADER, *map(_cells, (*rows, total))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if column < 2 else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _rows(layer: Layer, shape: Shape | None, name: str) -> list[Row]:
    """The row of a layer, then those of the layers inside of it."""
    shape = layer.input_shape() if shape is None else shape
    inner = list(_inner_rows(layer, shape, name))
    parameters = sum(math.prod(s) for s in layer.parameter_shapes().values())
    kept = parameters + sum(buffer.size for buffer in layer.buffers().values())
    parts = _sum([row.flops for row in inner])
    flops = None
    if shape is not None and None not in shape and parts is not None:
        flops = layer.flops(shape) - parts
    output = layer.output_shape(shape)
    own = Row(
        name,
        type(layer).__name__,
        output,
        parameters - sum(row.parameters for row in inner),
        4 * kept - sum(row.bytes for row in inner),
        flops,
        _activations(layer, output, flops, container=bool(inner)),
    )
    return [own, *inner]


def _activations(
    layer: Layer, output: Shape | None, flops: int | None, *, container: bool
) -> int | None:
    """The bytes of the output; of one that is the input's, or that of a part, none."""
    if output is None or None in output or flops is None:
        return None
    own = flops > 0 if container else not isinstance(layer, _VIEWS)
    return 4 * math.prod(output) if own else 0


def _inner_rows(layer: Layer, shape: Shape | None, name: str) -> Iterator[Row]:
    if hasattr(layer, "inner_shapes"):
        for inner, part, inner_shape in layer.inner_shapes(shape):
            yield from _rows(part, inner_shape, f"{name}.{inner}" if name else inner)


def _sum(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _cells(row: Row) -> tuple[str, ...]:
    sides = None if row.output is None else ["?" if n is None else str(n) for n in row.output]
    output = "?" if sides is None else " x ".join(sides)
    counts = row.parameters, row.bytes, row.flops, row.activations
    cells = ("?" if count is None else f"{count:,}" for count in counts)
    return row.name, row.layer, output, *cells
