"""C for loops over elements; see `xpnet.backends.numpy.loops`.

There is no address in it, only shapes and strides: who takes the same step with other arrays can
use what it was compiled to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy.lib.array_utils import byte_bounds

from xpnet.backends.language import PREAMBLE, TYPES
from xpnet.backends.numpy.loops import FusedLoop, Operand, ShiftCount, Span, Statement, may_alias
from xpnet.backends.numpy.products import Product
from xpnet.backends.numpy.shared_library import MARK
from xpnet.typing import HostArray, Shape

HEAD = f"""#include <tgmath.h>
{PREAMBLE}
#if defined(__clang__)
#define XPNET_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define XPNET_INDEPENDENT _Pragma("GCC ivdep")
#endif
#if defined(__VERSION__)
const char* const xpnet_compiler = "{MARK}" __VERSION__;
#endif
"""
"""What stands before the functions.

The iterations of a loop after `XPNET_INDEPENDENT` are. (Clang takes it as leave to add up in
another order as well: sums are not written in C.)
"""

AHEAD = 4
"""So many rows before it is read a row that is taken is asked for: memory is slow to answer."""

LINE = 64
"""Bytes that come from memory together."""


SHORT = 16
"""Fewer numbers next to each other, such as the channels of a picture, make no loop of their own
where there is more to do than to copy them: processors take eight or sixteen at a time."""

LONGEST_ROW = 512
"""So many numbers may be in a row that is put together of such."""


class Arguments:
    """The table of addresses that functions are given, each once."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._spans: dict[int, tuple[int, int]] = {}

    @property
    def addresses(self) -> list[int]:
        """In the order of the table."""
        return list(self._numbers)

    @property
    def memory(self) -> list[tuple[int, int]]:
        """How many bytes loops may touch before and after each of them; BLAS goes elsewhere."""
        return [self._spans.get(address, (0, 0)) for address in self._numbers]

    def number_of(self, address: int) -> int:
        """Where in the table an address stands."""
        return self._numbers.setdefault(address, len(self._numbers))

    def number_of_array(self, array: HostArray) -> int:
        """Where in the table the address of an array's first element stands."""
        address = array.__array_interface__["data"][0]
        first, end = byte_bounds(array)
        below, above = self._spans.get(address, (0, 0))
        self._spans[address] = max(below, address - first), max(above, end - address)
        return self.number_of(address)


def write_function(
    name: str, parts: Iterable[FusedLoop | Product], arguments: Arguments, live: set[Span]
) -> str:
    """A function of the table of arguments that makes loops and products, one after the other.

    `live` is the memory that somebody else reads; what is elsewhere need not be written.
    """
    body: list[str] = []
    for part in parts:
        if isinstance(part, Product):
            body.append(part.line(arguments.number_of))
        else:
            body += _Writer(part, arguments, live).lines()
    return "\n".join([f"void {name}(char** a) {{", *(f"    {line}" for line in body), "}", ""])


@dataclass(frozen=True)
class _Run:
    """The last two axes as blocks of so many rows of so few numbers, each block in one loop."""

    before: int
    blocks: int
    rows: int
    axis: int
    length: int

    @property
    def axes(self) -> list[tuple[int, int]]:
        """What they become."""
        outer = [(self.before, self.blocks)] if self.blocks > 1 else []
        return [*outer, (self.axis, self.rows * self.length)]

    @property
    def index(self) -> str:
        """Where in its block a number is."""
        return f"j * {self.length} + k"

    def each(self, line: str) -> list[str]:
        """A line for each number of a block."""
        loops = (("j", self.rows), ("k", self.length))
        return [*(f"for (long long {x} = 0; {x} < {n}; {x}++)" for x, n in loops), line]

    def is_apart(self, operand: Operand) -> bool:
        """Whether the elements do not go on in the same stride from row to row."""
        return operand.strides[self.before] != operand.strides[self.axis] * self.length


def _run_of(axes: Sequence[tuple[int, int]]) -> _Run | None:
    """What the last two axes become, if the last one is short."""
    if len(axes) < 2 or axes[-1][1] >= SHORT:
        return None
    (before, count), (axis, length) = axes[-2:]
    rows = max(n for n in range(1, LONGEST_ROW // length + 1) if count % n == 0)
    return _Run(before, count // rows, rows, axis, length) if rows > 1 else None


class _Writer:
    """Writes one loop over a shape, axis by axis.

    Axes along which all arrays go on in the same stride are collapsed, where none has a meaning of
    its own. A line belongs to a scope, which lies within so many of the loops.

    A last axis that is short is collapsed with the one before all the same: arrays that do not go
    on in the same stride, such as a bias or every second pixel, are copied to a row that does, or
    from it after the innermost loop.
    """

    def __init__(self, loop: FusedLoop, arguments: Arguments, live: set[Span]) -> None:
        self._loop = loop
        self._arguments = arguments
        self._live = live
        operands = [x for s in loop.statements for x in (s.target, *s.reads)]
        fixed = 1 if any(x.rows is not None for x in operands) else 0
        if loop.axis is not None:
            fixed = len(loop.shape)
        self._axes = _collapsed(loop.shape, operands, fixed)
        self._run = _run_of(self._axes[fixed:]) if len(loop.statements) > 1 else None
        if self._run is not None:
            self._axes[-2:] = self._run.axes
        self._after: list[str] = []
        self._scopes: list[list[str]] = [[] for _ in range(len(self._axes) + 1)]
        self._names: dict[Any, str] = {}

    def lines(self) -> list[str]:
        """All lines, in a block."""
        for statement in self._loop.statements:
            self._add(statement)
        lines = ["{", *self._scopes[0]]
        for depth, (_, length) in enumerate(self._axes):
            if depth == len(self._axes) - 1:
                lines.append("XPNET_INDEPENDENT")
            lines.append(f"for (long long i{depth} = 0; i{depth} < {length}; i{depth}++) {{")
            lines += self._scopes[depth + 1]
        ends = ["}" for _ in self._axes]
        return [*lines, *ends[:1], *self._after, *ends[1:], "}"]

    def _add(self, statement: Statement) -> None:
        target, kind = statement.target, _type(statement.target)
        if statement.axis is not None:
            text = self._reduced(statement, statement.axis)
        else:
            values = [self._value(x) for x in statement.operands]
            text = statement.template.format(*values)
        value = self._named(len(self._axes), kind, f"({kind})({text})")
        self._names[target.place] = value
        if may_alias(self._live, target.spans):
            run = self._run
            place = self._element(target)
            if run is not None and run.is_apart(target):
                place = self._to_row(target, run)
            self._scopes[-1].append(f"{place} = {value};")

    def _value(self, operand: Operand | str) -> str:
        """An element, read once, and outside of the loops in which it stays the same."""
        if isinstance(operand, ShiftCount):
            return self._count(operand)
        if isinstance(operand, str):
            return operand
        if operand.place not in self._names:
            depths = [d for d, (axis, _) in enumerate(self._axes) if operand.strides[axis]]
            depth = 1 + max(depths, default=-1 if operand.rows is None else 0)
            run = self._run
            if run is not None and run.is_apart(operand):
                depth, text = len(self._axes), self._from_row(operand, run)
            else:
                text = self._element(operand)
            if operand.array.dtype.kind == "b":
                text += " != 0"  # for a view of other bytes may be neither 0 nor 1
            self._names[operand.place] = self._named(depth, _type(operand), text)
        return self._names[operand.place]

    def _from_row(self, operand: Operand, run: "_Run") -> str:
        """An element of a row that the array is copied to, outside of loops where it stays."""
        depths = [d for d, (axis, _) in enumerate(self._axes[:-1]) if operand.strides[axis]]
        depth = 1 + max(depths, default=-1 if operand.rows is None else 0)
        row = self._new_row(operand, depth, run)
        place = self._element(operand, self._in_block(run))
        self._scopes[depth] += run.each(f"{row}[{run.index}] = {place};")
        return f"{row}[i{len(self._axes) - 1}]"

    def _to_row(self, target: Operand, run: "_Run") -> str:
        """An element of a row that is copied to the array after the innermost loop."""
        row = self._new_row(target, len(self._axes) - 1, run)
        place = self._element(target, self._in_block(run))
        self._after += run.each(f"{place} = {row}[{run.index}];")
        return f"{row}[i{len(self._axes) - 1}]"

    def _in_block(self, run: "_Run") -> dict[int, str]:
        """The indices of both axes, for a number of a block."""
        block = f"i{len(self._axes) - 2} * {run.rows} + " if run.blocks > 1 else ""
        return {run.before: f"({block}j)", run.axis: "k"}

    def _new_row(self, operand: Operand, depth: int, run: "_Run") -> str:
        row = f"r{sum(map(len, self._scopes))}"
        kind = _type_in_memory(operand.array)
        self._scopes[depth].append(f"{kind} {row}[{run.rows * run.length}];")
        return row

    def _count(self, count: ShiftCount) -> str:
        # Hidden from the compiler: GCC makes rotations of shifts by two numbers that it knows, and
        # then finds that the processor has none for vectors.
        if ("count", count) not in self._names:
            self._names["count", count] = f"c{count}"
            self._scopes[0].append(f'int c{count} = {count}; __asm__("" : "+r"(c{count}));')
        return f"c{count}"

    def _element(self, operand: Operand, others: Mapping[int, str] = MappingProxyType({})) -> str:
        """An element in memory; `others` are indices in the place of the loop's, by their axis."""
        places = {axis: f"i{depth}" for depth, (axis, _) in enumerate(self._axes)}
        if self._run is not None and self._run.before in places:
            places[self._run.before] += f" * {self._run.rows}"
        if operand.rows is not None:
            places[0] = self._row(operand, operand.rows)
        places |= others
        steps = [(text, operand.strides[axis]) for axis, text in places.items()]
        terms = [f"{text} * {step}" for text, step in steps if step]
        return f"{self._pointer(operand.array)}[{' + '.join(terms) or '0'}]"

    def _row(self, operand: Operand, rows: HostArray) -> str:
        """The index that a loop's first one stands for, as `take` clips it."""
        last = operand.array.shape[0] - 1
        key = ("row", operand.place)
        if key not in self._names:
            index = f"{self._pointer(rows)}[{{}} * {rows.strides[0] // rows.itemsize}]"
            row = self._named(1, "long long", index.format("i0"))
            text = f"({row} < 0 ? 0 : {row} > {last} ? {last} : {row})"
            self._names[key] = self._named(1, "long long", text)
            size = operand.array[0].nbytes
            if len(self._axes) > 1 and operand.array[0].flags.c_contiguous:
                later = f"({self._pointer(operand.array)} + {index} * {operand.strides[0]})"
                self._scopes[1] += [
                    f"if (i0 + {AHEAD} < {rows.size})",
                    f"for (long long k = 0; k < {size}; k += {LINE})",
                    f"__builtin_prefetch((char*){later.format(f'(i0 + {AHEAD})')} + k);",
                ]
        return self._names[key]

    def _reduced(self, statement: Statement, axis: int) -> str:
        (operand,) = statement.reads
        kind, inner = _type(operand), self._scopes[-1]
        total = f"t{len(self._names)}"
        update = statement.template.format(total, "x")
        inner += [
            f"{kind} {total} = {self._element(operand, {axis: '0'})};",
            f"for (long long k = 1; k < {operand.array.shape[axis]}; k++) {{",
            f"const {kind} x = {self._element(operand, {axis: 'k'})};",
            f"{total} = {update};",
            "}",
        ]
        return total

    def _pointer(self, array: HostArray) -> str:
        number, kind = self._arguments.number_of_array(array), _type_in_memory(array)
        key = ("pointer", number, kind)
        if key not in self._names:
            self._names[key] = f"p{len(self._names)}"
            self._scopes[0].append(f"{kind}* const {self._names[key]} = ({kind}*)a[{number}];")
        return self._names[key]

    def _named(self, depth: int, kind: str, text: str) -> str:
        name = f"v{sum(map(len, self._scopes))}"
        self._scopes[depth].append(f"const {kind} {name} = {text};")
        return name


def _collapsed(shape: Shape, operands: Sequence[Operand], fixed: int) -> list[tuple[int, int]]:
    """Axes with their lengths, those collapsed that can be; the first `fixed` stay as they are.

    Of those that were collapsed it is the last that is named: its strides are theirs.
    """
    axes = [(axis, shape[axis]) for axis in range(fixed)]
    for axis in range(fixed, len(shape)):
        if shape[axis] == 1:
            continue
        if len(axes) > fixed:
            before, length = axes[-1]
            if all(x.strides[before] == x.strides[axis] * shape[axis] for x in operands):
                axes[-1] = (axis, length * shape[axis])
                continue
        axes.append((axis, shape[axis]))
    return axes


def _type_in_memory(array: HostArray) -> str:
    return "unsigned char" if array.dtype.kind == "b" else TYPES[array.dtype]


def _type(operand: Operand) -> str:
    # Loops with C's own type for truths are not vectorised.
    return "int" if operand.array.dtype.kind == "b" else TYPES[operand.array.dtype]
