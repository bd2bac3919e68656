"""Recorded calls of NumPy as loops over elements, for C: see `xpnet.backends.numpy.program`.

Only that is taken which C gives to the same bit: arithmetic that IEEE 754 defines, comparisons,
integers, copies. What is left, such as exponentials, stays a call of NumPy. (Which NaN two of them
give is as open as in IEEE 754.)
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from xpnet.backends.language import LARGER, SMALLER, TEMPLATES, TYPES, literal
from xpnet.backends.numpy.calls import Call, Kind
from xpnet.typing import DType, HostArray, Shape

_COMPARISONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
_LOGICAL = {"logical_not", "logical_and", "logical_or"}
_SHIFTS = {"left_shift", "right_shift"}

_FUNCTIONS = {
    **{name: TEMPLATES[name] for name in _COMPARISONS | _LOGICAL},
    **{name: TEMPLATES[name] for name in ("add", "subtract", "multiply", "negative")},
    **{name: TEMPLATES[name] for name in ("divide", "sqrt", "sign", "floor")},
    "absolute": TEMPLATES["abs"], "positive": "{0}", "square": "{0} * {0}",
    "maximum": LARGER, "minimum": SMALLER,
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}",
    "left_shift": "{0} << {1}", "right_shift": "{0} >> {1}",
}  # fmt: skip
"""Ufuncs whose results have no freedom of rounding.

Of zeros of both signs NumPy's `maximum` takes one or the other by the place in the array; nothing
that a training writes depends on which.
"""

_OF_FLOATS = {"divide", "sqrt", "sign", "absolute", "floor"}
_OF_INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor"} | _SHIFTS


Span: TypeAlias = tuple[int, int]
"""The addresses of the first byte of an array, and of the first after it."""


class ShiftCount(str):
    """By how many bits a number is shifted, as C writes it."""


class Operand:
    """Where the elements of a loop come from, or go to.

    Attributes
    ----------
    array
        The array.
    strides
        How far apart its elements are along each axis of the loop, in elements.
    rows
        Indices along the first axis that stand in the place of the loop's own, for `take`.
    spans
        From where to where its memory goes.
    """

    def __init__(self, array: HostArray, shape: Shape, rows: HostArray | None = None) -> None:
        self.array = array
        self.rows = rows
        self.arrays = [array] if rows is None else [array, rows]
        spread = np.broadcast_to(array, shape) if rows is None else array
        self.strides = tuple(
            0 if n == 1 else stride // array.itemsize
            for n, stride in zip(spread.shape, spread.strides, strict=True)
        )
        self.spans = {byte_bounds(x) for x in self.arrays}
        self._place = byte_bounds(array), self.strides, array.dtype

    @property
    def place(self) -> Any:
        """What two operands have in common if they must alias: of the same elements, in order."""
        if self.rows is not None:
            return id(self)
        return self._place

    def is_independent_of(self, other: "Operand") -> bool:
        """Whether one iteration of a loop touches no element that another iteration has in `other`.

        So it is where the two must alias, element by element, and where they cannot alias at all.
        """
        return self.place == other.place or not may_alias(self.spans, other.spans)

    def is_addressable(self) -> bool:
        """Whether C has the dtype, and every element lies where one may."""
        return all(
            x.dtype in TYPES
            and x.flags.aligned
            and x.size
            and all(stride % x.itemsize == 0 for stride in x.strides)
            for x in self.arrays
        )


class Statement:
    """One recorded call: `target` gets, element by element, what the template says.

    Attributes
    ----------
    target
        Where to, of the shape of the loop.
    operands
        What from: elements of arrays, and numbers as C writes them.
    template
        How, in C, with a number in braces for each operand.
    axis
        Of the one operand, which is reduced along it; None where nothing is.
    reads
        The operands that are arrays.
    spans
        From where to where the memory goes that it touches.
    """

    def __init__(
        self,
        target: HostArray,
        operands: Sequence[Operand | str],
        template: str,
        axis: int | None = None,
    ) -> None:
        self.target = Operand(target, target.shape)
        self.operands = operands
        self.reads = [x for x in operands if isinstance(x, Operand)]
        self.template = template
        self.axis = axis
        self.shape: Shape = target.shape
        self.spans = self.target.spans.union(*(x.spans for x in self.reads))

    def is_sound(self) -> bool:
        """Whether C can address all, and no iteration reads what another one writes."""
        return all(x.is_addressable() for x in (self.target, *self.reads)) and all(
            self.target.is_independent_of(x) for x in self.reads
        )


class FusedLoop:
    """Statements in one loop over a shape, one element after the other."""

    def __init__(self, first: Statement) -> None:
        self.shape = first.shape
        self.axis = first.axis
        self.statements: list[Statement] = []
        self._written: set[Span] = set()
        self._touched: set[Span] = set()
        self.add(first)

    def add(self, statement: Statement) -> None:
        """Fuse one more statement."""
        self.statements.append(statement)
        self._written |= statement.target.spans
        self._touched |= statement.spans

    @property
    def arrays(self) -> list[HostArray]:
        """What it reads from memory; what its own statements have made before is in registers."""
        made: set[Any] = set()
        arrays: list[HostArray] = []
        for statement in self.statements:
            arrays += [a for x in statement.reads if x.place not in made for a in x.arrays]
            made.add(statement.target.place)
        return arrays

    def can_fuse(self, other: Statement) -> bool:
        """Whether a statement that follows can be done in the same loop."""
        if other.shape != self.shape or other.axis is not None or self.axis is not None:
            return False
        # What one iteration writes must be nothing that another one reads or writes.
        return all(
            all(mine.target.is_independent_of(x) for x in (other.target, *other.reads))
            and all(other.target.is_independent_of(x) for x in mine.reads)
            for mine in self.statements
        )

    def commutes_with(self, other: Statement) -> bool:
        """Whether a statement that follows may as well be done before."""
        return not (
            may_alias(self._written, other.spans) or may_alias(self._touched, other.target.spans)
        )


def may_alias(some: set[Span], others: set[Span]) -> bool:
    """Whether a span of these has memory of one of those."""
    for low, high in some:
        for begin, end in others:
            if begin < high and low < end:
                return True
    return False


def statement_of(call: Call) -> Statement | None:
    """A recorded call as a statement; None if it has to stay what it is."""
    make = _STATEMENTS.get(call.kind)
    found = None if make is None else make(call)
    return found if found is not None and found.is_sound() else None


def _elementwise(call: Call) -> Statement | None:
    name, target = call.function.__name__, call.output
    if name not in _FUNCTIONS or call.options:
        return None
    dtypes = {x.dtype for x in call.inputs if isinstance(x, np.ndarray)}
    if len(dtypes) != 1:
        return None
    (dtype,) = dtypes
    result = np.dtype(bool) if name in _COMPARISONS | _LOGICAL else dtype
    if target.dtype != result or not _allows(name, dtype):
        return None
    operands = [_operand(x, dtype, target.shape) for x in call.inputs]
    if name in _SHIFTS:
        count = call.inputs[1]
        if type(count) is not int or not 0 <= count < 8 * dtype.itemsize:
            return None
        operands[1] = ShiftCount(count)
    known = [x for x in operands if x is not None]
    return Statement(target, known, _FUNCTIONS[name]) if len(known) == len(operands) else None


def _allows(name: str, dtype: DType) -> bool:
    if dtype not in TYPES:
        return False
    if name in _COMPARISONS:
        return True
    if dtype.kind == "b":
        return name in _LOGICAL | (_OF_INTEGERS - _SHIFTS)
    if dtype.kind == "f":
        return name not in _LOGICAL | _OF_INTEGERS
    # C widens what is smaller than an int.
    return dtype.itemsize >= 4 and name not in _LOGICAL | _OF_FLOATS


def _operand(x: Any, dtype: DType, shape: Shape) -> Operand | str | None:
    """An argument; a number as the dtype of the arrays beside it."""
    if isinstance(x, np.ndarray):
        return Operand(x, shape)
    if type(x) not in (int, float):
        return None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if type(x) is not int or not int(limits.min) <= x <= int(limits.max):
            return None
    elif dtype.kind != "f":
        return None
    return literal(x, dtype)


def _copy(call: Call) -> Statement | None:
    value = _copied(call.inputs[0], call.output)
    return None if value is None else Statement(call.output, [value], "{0}")


def _where(call: Call) -> Statement | None:
    (source, mask), target = call.inputs, call.output
    value = _copied(source, target)
    if value is None or not isinstance(mask, np.ndarray):
        return None
    operands = [value, Operand(mask, target.shape), Operand(target, target.shape)]
    return Statement(target, operands, "{1} ? {0} : {2}")


def _copied(source: Any, target: HostArray) -> Operand | str | None:
    """What is copied, if C converts it as NumPy does."""
    if isinstance(source, np.ndarray):
        kinds = source.dtype.kind + target.dtype.kind
        # C does not say what an integer is that is too large for the other type.
        if kinds not in ("ff", "bf", "uf", "if", "bb", "bi", "bu") and source.dtype != target.dtype:
            return None
    return _operand(source, target.dtype, target.shape)


def _take(call: Call) -> Statement | None:
    (source, rows), target = call.inputs, call.output
    axis, mode = call.options["axis"], call.options["mode"]
    along_first = axis in (0, -source.ndim) or (axis is None and source.ndim == 1)
    whole = rows.ndim == 1 and rows.dtype.kind == "i" and source.dtype == target.dtype
    if mode != "clip" or not along_first or not whole or not source.size:
        return None
    return Statement(target, [Operand(source, source.shape, rows)], "{0}")


def _extremum(call: Call) -> Statement | None:
    """A maximum or minimum along one axis, which stays as an axis of length 1."""
    (source,), target, name = call.inputs, call.output, call.function.__name__
    axis = call.options.get("axis")
    if name not in ("maximum", "minimum") or call.options != {"axis": axis, "keepdims": True}:
        return None
    if type(axis) is not int or source.dtype != target.dtype or source.dtype.kind != "f":
        return None
    axis %= source.ndim
    if not source.shape[axis]:
        return None
    return Statement(target, [Operand(source, source.shape)], _FUNCTIONS[name], axis)


_STATEMENTS: dict[Kind, Callable[[Call], Statement | None]] = {
    Kind.ELEMENTWISE: _elementwise,
    Kind.REDUCE: _extremum,
    Kind.COPY: _copy,
    Kind.WHERE: _where,
    Kind.TAKE: _take,
}
"""The kinds of calls that may be loops."""
