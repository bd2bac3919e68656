"""CUDA source for the values of expressions: one kernel that computes several of them.

A kernel has a part for each shape; a thread computes one element
of all values of its part, or, where that takes long sums, a warp does. What several values share is
computed once. Reductions and products of matrices are written as loops, and whatever does not
depend on the variable of a loop stands before it.

The source is C++ as well, and is compiled as such by the tests, with warps of one thread.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from xpnet.backends.cupy.nodes import Node
from xpnet.backends.language import (
    LARGER,
    PREAMBLE,
    SIGNED,
    TEMPLATES,
    TYPES,
    WRAPPING,
    literal,
)
from xpnet.typing import Array, Shape

THREADS = 256
"""Threads of a block."""

LONG_LOOP = 32
"""From how many rounds on a loop is shared by the threads of a warp."""

MOST_WARPS = 2**16
"""So many elements at most are computed by a warp each."""

LANES = """
template <typename T> __device__ inline T xpnet_lanes_sum(T x) {
    for (int o = 16; o > 0; o /= 2) x += __shfl_xor_sync(0xffffffffu, x, o);
    return x;
}
template <typename T> __device__ inline T xpnet_lanes_max(T x) {
    for (int o = 16; o > 0; o /= 2) {
        const T other = __shfl_xor_sync(0xffffffffu, x, o);
        x = (x != x || x > other ? x : other);
    }
    return x;
}
"""
"""What the threads of a warp have together: the sum, and the largest, of a number of each."""

Coordinate = tuple[str, int]
"""The text of an index, and how many loops deep the variables are that it is made of."""


class Kernel(NamedTuple):
    """A kernel in the making: `name` is its function.

    `inputs` are the arrays that it reads, in the order of its arguments, before the arrays for
    `outputs`.
    """

    source: str
    inputs: list[Array]
    outputs: list[Node]
    blocks: int


NAME = "xpnet_fused"


class _Scope:
    """Statements inside of `depth` loops, which are done `times` times."""

    def __init__(self, depth: int, times: int) -> None:
        self.depth = depth
        self.times = times
        self.lines: list[str] = []
        self.known: dict[Any, str] = {}


class _Writer:
    """Writes the statements of one part.

    Parameters
    ----------
    inputs
        The arrays that are read so far, by identity, with the names of their arguments.
    lanes
        How many threads share an element, and the long loops of its outermost level.
    prefix
        What names end with, those of each part with another.
    root
        Given where operations are only counted, for this node; what will be stored counts as known.
    """

    def __init__(
        self,
        inputs: dict[int, tuple[str, Array]],
        lanes: int,
        prefix: str,
        root: Node | None = None,
    ) -> None:
        self.inputs = inputs
        self.lanes = lanes
        self.prefix = prefix
        self.operations = 0
        self._root = root
        self.longest = 0
        self.has_long = False
        self._names = 0

    def value_of(self, node: Node, coords: tuple[Coordinate, ...], scopes: list[_Scope]) -> str:
        """The text that stands for an element; its statements go where they are needed."""
        if node.operation == "constant":
            return literal(node.detail, node.dtype)
        depth = max((depth for _, depth in coords), default=0)
        scope, key = scopes[depth], (id(node), coords)
        if key in scope.known:
            return scope.known[key]
        text = self._expression(node, coords, scopes[: depth + 1])
        name = self._name("v")
        scope.lines.append(f"const {TYPES[node.dtype]} {name} = {text};")
        scope.known[key] = name
        self.operations += scope.times
        return name

    def _expression(self, node: Node, coords: tuple[Coordinate, ...], scopes: list[_Scope]) -> str:
        if node.value is not None:
            return self._load(node.value, coords)
        if self._root is not None and node.stored and node is not self._root:
            return "0"
        operation, operands = node.operation, node.operands
        if operation == "index":
            return f"({TYPES[node.dtype]})({coords[0][0]})"
        if operation == "view":
            (operand,) = operands
            inner = tuple(("0", 0) if axis is None else coords[axis] for axis in node.detail)
            return self.value_of(operand, inner, scopes)
        if operation == "gather":
            source, rows = operands
            depth = len(scopes) - 1
            row = self.value_of(rows, coords[:1], scopes)
            length = source.shape[0]
            # As CuPy counts, also beyond the ends: no memory is read that is not the array's.
            wrapped = f"(((long long){row} % {length} + {length}) % {length})"
            return self.value_of(source, ((wrapped, depth), *coords[1:]), scopes)
        if operation in ("sum", "max"):
            return self._reduce(node, coords, scopes)
        if operation == "product":
            return self._multiply(node, coords, scopes)
        type_name = TYPES[node.dtype]
        texts = [self.value_of(x, _aligned(coords, x.shape), scopes) for x in operands]
        if node.dtype in SIGNED and operation in WRAPPING:
            texts = [f"(unsigned {type_name}){text}" for text in texts]  # or it is undefined
        return f"({type_name})({TEMPLATES[operation].format(*texts)})"

    def _load(self, array: Array, coords: tuple[Coordinate, ...]) -> str:
        if id(array) not in self.inputs:
            self.inputs[id(array)] = (f"a{len(self.inputs)}", array)
        name, _ = self.inputs[id(array)]
        steps = [stride // array.dtype.itemsize for stride in array.strides]
        terms = []
        for (text, _), step, n in zip(coords, steps, array.shape, strict=True):
            if step:
                terms.append(f"{text} * {step}{'LL' if abs(n * step) > 2**31 - 1 else ''}")
        return f"{name}[{' + '.join(terms) or '0'}]"

    def _reduce(self, node: Node, coords: tuple[Coordinate, ...], scopes: list[_Scope]) -> str:
        (operand,) = node.operands
        axis = node.detail
        length = math.prod(operand.shape) if axis is None else operand.shape[axis]
        variable = self._name("k")
        place: Coordinate = (variable, len(scopes))
        if axis is None:
            inner = _unravelled(variable, len(scopes), operand.shape)
        elif len(node.shape) == len(operand.shape):
            inner = (*coords[:axis], place, *coords[axis + 1 :])
        else:
            inner = (*coords[:axis], place, *coords[axis:])
        loop = _Scope(len(scopes), scopes[-1].times * length)
        value = self.value_of(operand, inner, [*scopes, loop])
        is_sum = node.operation == "sum"
        total = self._name("s")
        update = f"{total} + {value}" if is_sum else LARGER.format(total, value)
        first = "0" if is_sum else "-XPNET_INF"
        return self._loop(node, (variable, length, total, update, first), loop, scopes)

    def _multiply(self, node: Node, coords: tuple[Coordinate, ...], scopes: list[_Scope]) -> str:
        a, b = node.operands
        length = a.shape[1]
        variable, total = self._name("k"), self._name("s")
        loop = _Scope(len(scopes), scopes[-1].times * length)
        inside = [*scopes, loop]
        place: Coordinate = (variable, len(scopes))
        left = self.value_of(a, (coords[0], place), inside)
        right = self.value_of(b, (place, coords[1]), inside)
        update = f"fma({left}, {right}, {total})"
        return self._loop(node, (variable, length, total, update, "0"), loop, scopes)

    def _loop(
        self,
        node: Node,
        words: tuple[str, int, str, str, str],
        loop: _Scope,
        scopes: list[_Scope],
    ) -> str:
        """Write a loop into the innermost scope; the text of its result."""
        variable, length, total, update, first = words
        # By its own length alone: the order of a sum must not depend on what else there is.
        is_long = length >= LONG_LOOP
        self.longest = max(self.longest, length)
        self.has_long = self.has_long or (is_long and len(scopes) == 1)
        shared = is_long and len(scopes) == 1 and self.lanes > 1
        start, step = ("lane", self.lanes) if shared else ("0", 1)
        type_name = TYPES[node.dtype]
        self.operations += loop.times
        scopes[-1].lines += [
            f"{type_name} {total} = {first};",
            f"for (int {variable} = {start}; {variable} < {length}; {variable} += {step}) {{",
            *(f"    {line}" for line in loop.lines),
            f"    {total} = {update};",
            "}",
        ]
        if shared:
            word = "max" if node.operation == "max" else "sum"
            return f"xpnet_lanes_{word}({total})"
        return total

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}{self.prefix}"


def cost_of(node: Node) -> tuple[int, int]:
    """What an element takes, once that is known which will be stored.

    About how many operations, and the number of rounds of the longest loop.
    """
    writer = _Writer({}, 1, "", node)
    writer.value_of(node, _unravelled("e", 0, node.shape), [_Scope(0, 1)])
    return writer.operations, writer.longest


def write_kernel(parts: Sequence[Sequence[Node]], warp: int) -> Kernel:
    """A kernel that computes values: those of one part have one shape.

    `warp` is how many threads a warp has.
    """
    inputs: dict[int, tuple[str, Array]] = {}
    outputs: list[Node] = []
    body: list[str] = []
    blocks = 0
    for number, part in enumerate(parts):
        lines, count, lanes = _write_part(part, inputs, len(outputs), number, warp)
        outputs += part
        part_blocks = -(-count * lanes // THREADS)
        body += [
            f"if (block < {part_blocks}) {{",
            f"    const int i = block * {THREADS} + threadIdx.x;",
            f"    const int e = i / {lanes};",
            f"    const int lane = i % {lanes};" if lanes > 1 else "",
            f"    if (e >= {count}) return;",
            *(f"    {line}" for line in lines),
            "    return;",
            "}",
            f"block -= {part_blocks};",
        ]
        blocks += part_blocks
    arguments = [f"const {_type(array)}* __restrict__ {name}" for name, array in inputs.values()]
    arguments += [
        f"{TYPES[node.dtype]}* __restrict__ o{number}" for number, node in enumerate(outputs)
    ]
    source = "\n".join(
        [
            PREAMBLE + (LANES if warp > 1 else ""),
            f'extern "C" __global__ void {NAME}({", ".join(arguments)}) {{',
            "    int block = blockIdx.x;",
            *(f"    {line}" for line in body if line),
            "}",
        ]
    )
    return Kernel(source, [array for _, array in inputs.values()], outputs, blocks)


def _write_part(
    part: Sequence[Node], inputs: dict[int, tuple[str, Array]], first: int, number: int, warp: int
) -> tuple[list[str], int, int]:
    shape = part[0].shape
    count = math.prod(shape)
    lanes = 1
    while True:
        writer, scope = _Writer(inputs, lanes, f"_{number}"), _Scope(0, 1)
        coords = _unravelled("e", 0, shape)
        texts = [writer.value_of(node, coords, [scope]) for node in part]
        if lanes == 1 < warp and writer.has_long and count <= MOST_WARPS:
            lanes = warp
            continue
        break
    condition = "if (lane == 0) " if lanes > 1 else ""
    writes = [f"{condition}o{first + i}[e] = {text};" for i, text in enumerate(texts)]
    return [*scope.lines, *writes], count, lanes


def _unravelled(index: str, depth: int, shape: Shape) -> tuple[Coordinate, ...]:
    """The coordinates of an element from its number, by rows."""
    coords: list[Coordinate] = []
    step = 1
    for axis in reversed(range(len(shape))):
        text = index if step == 1 else f"({index} / {step})"
        coords.append(("0", 0) if shape[axis] == 1 else (text, depth))
        if axis and step * shape[axis] < math.prod(shape) and shape[axis] != 1:
            coords[-1] = (f"({text} % {shape[axis]})", depth)
        step *= shape[axis]
    return tuple(reversed(coords))


def _aligned(coords: tuple[Coordinate, ...], shape: Shape) -> tuple[Coordinate, ...]:
    """The coordinates of the element of an operand that is broadcast."""
    own = coords[len(coords) - len(shape) :]
    return tuple(("0", 0) if n == 1 else place for place, n in zip(own, shape, strict=True))


def _type(array: Array) -> str:
    return TYPES[array.dtype]
