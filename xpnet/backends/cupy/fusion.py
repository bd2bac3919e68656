"""Steps whose functions of small arrays are fused into few CUDA kernels.

A kernel on a few thousand numbers takes longer to start than to run, also in a CUDA graph. So a
step is called with arrays (`Deferred`) that only note what is to be computed with them. Once a
value is needed, by a product of large matrices or as a result of the step, one kernel is written
that computes it, together with all else of its shape that is still wanted.

The memory of an array is never written to: `y += x` gives `y` another value, for all who have it.
What cannot be noted is computed at once, by CuPy's own functions.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from xpnet.backends.cupy.deferred import Deferred
from xpnet.backends.cupy.functions import FUNCTIONS
from xpnet.backends.cupy.nodes import Node, arrays_of, needed_first, stored_in_order
from xpnet.backends.cupy.source import LONG_LOOP, NAME, THREADS, cost_of, write_kernel
from xpnet.backends.language import TEMPLATES, TYPES
from xpnet.typing import Array, DType, Namespace, Shape

MOST_OPERATIONS = 256
"""What takes more than that for an element is written to memory, if it is broadcast or looped."""

FEW_OPERATIONS = 16
"""What takes no more than that is not worth it."""

DEEPEST = 64
"""So many functions of each other at most are written in one kernel."""

MOST_ARGUMENTS = 400
"""A kernel may be given 4 KB, which is 512 addresses."""

LARGEST = 2**31 - THREADS
"""A kernel counts elements in 32 bits."""

_COMPARISONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
_LOGICAL = {"logical_not", "logical_and", "logical_or"}
_BITWISE = {f"bitwise_{name}" for name in ("and", "or", "xor", "left_shift", "right_shift")}
_OF_INTEGERS = {"add", "subtract", "multiply", "negative", "maximum", "minimum"} | _BITWISE


class Fuser:
    """Notes what a step computes, and computes it.

    Parameters
    ----------
    cupy
        The module, or something like it.
    xp
        The namespace with the functions that compute at once.
    device
        The device of all arrays.
    kernels
        The kernels there are already, by their source.
    warp
        How many threads a warp has.
    """

    def __init__(
        self, cupy: Any, xp: Namespace, device: Any, kernels: dict[str, Any], warp: int = 32
    ) -> None:
        self.device = device
        self._cupy = cupy
        self._xp = xp
        self._kernels = kernels
        self._warp = warp
        self._noted: list[weakref.ref[Node]] = []

    # -- from arrays to deferred ones, and back --------------------------------------------------

    def defer(self, x: Any) -> Any:
        """An array as a deferred one; a tuple of them likewise; anything else as it is."""
        if isinstance(x, tuple):
            parts = [self.defer(part) for part in x]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        if isinstance(x, self._cupy.ndarray):
            return Deferred(self, Node("known", (), tuple(x.shape), x.dtype, value=x))
        return x

    def known(self, *values: Any, alone: bool = False) -> list[Any]:
        """What is deferred computed, also in lists, tuples and dictionaries; see `compute`."""
        nodes: list[Node] = []
        _collect(values, nodes)
        self.compute(nodes, alone=alone)
        return [_plain(value) for value in values]

    def eager(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function that computes at once."""
        *known, known_options = self.known(*args, options)
        return self.defer(function(*known, **known_options))

    # -- what is noted ---------------------------------------------------------------------------

    def apply(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """What a function of the namespace gives for arrays, some of them deferred."""
        result = NotImplemented
        if name in FUNCTIONS:
            result = FUNCTIONS[name](self, function, *args, **options)
        elif name in TEMPLATES and not options:
            result = self.elementwise(name, *args)
        return self.eager(function, *args, **options) if result is NotImplemented else result

    def call(self, name: str, *args: Any) -> Any:
        """The same for a function of each element, by its name."""
        return self.apply(name, getattr(self._xp, name), args, {})

    def elementwise(self, name: str, *args: Any) -> Any:
        """A function of each element, noted; NotImplemented if that cannot be."""
        arrays = [self.defer(x) for x in args]
        of_values = arrays[1:] if name == "where" else arrays
        dtype = _common_dtype(of_values)
        if dtype is None or not _allows(name, dtype.kind):
            return NotImplemented
        nodes = [self._operand(x, dtype) for x in of_values]
        if name == "where":
            nodes.insert(0, self._operand(arrays[0], np.dtype(bool)))
        shape = np.broadcast_shapes(*(node.shape for node in nodes))
        for node in nodes:
            if node.shape != shape:
                self._store_if(node, lambda operations, loop: operations > MOST_OPERATIONS)
        result = np.dtype(bool) if name in _COMPARISONS | _LOGICAL else dtype
        return self.note(Node(name, nodes, shape, result))

    def view(self, x: Deferred, shape: Shape, axes: tuple[int | None, ...]) -> Any:
        """The same elements in another shape, noted.

        Axis i of `x` is axis `axes[i]` of the result; it has length 1 and goes where that is None.
        """
        return self.note(Node("view", (x.node,), shape, x.dtype, axes))

    def _operand(self, x: Any, dtype: DType) -> Node:
        """An operand as a node, in a dtype."""
        if not isinstance(x, Deferred):
            return Node("constant", (), (), dtype, x)
        return x.node if x.dtype == dtype else Node("astype", (x.node,), x.shape, dtype)

    def note(self, node: Node) -> Any:
        """A node as an array; NotImplemented where CUDA has no such dtype, or it is too large."""
        if math.prod(node.shape) > LARGEST or any(
            n.dtype not in TYPES for n in (node, *node.operands)
        ):
            return NotImplemented
        node.stored = node.depth > DEEPEST
        self._noted.append(weakref.ref(node))
        return Deferred(self, node)

    def note_loop(self, node: Node) -> Any:
        """Note what has a loop: what takes long in it is computed before, once for all."""
        noted = self.note(node)
        if noted is NotImplemented:
            return noted
        for operand in node.operands:
            # In a loop it would be added up in another order than elsewhere.
            self._store_if(operand, lambda operations, loop: loop >= LONG_LOOP)
        if cost_of(node)[0] > MOST_OPERATIONS:
            for operand in node.operands:
                self._store_if(operand, lambda operations, loop: operations > FEW_OPERATIONS)
        return noted

    def _store_if(self, node: Node, is_costly: Callable[[int, int], bool]) -> None:
        if node.value is None and not node.stored and is_costly(*cost_of(node)):
            node.stored = True

    # -- what is computed ------------------------------------------------------------------------

    def compute(self, nodes: Iterable[Node], *, alone: bool = False) -> None:
        """Compute values, with all else of their shapes that is still wanted unless `alone`."""
        wanted = list({id(node): node for node in nodes if node.value is None}.values())
        together: list[Node] = []
        for node in stored_in_order(wanted):
            if node.value is not None:  # it came with those before
                continue
            if needed_first(node):
                self._compute_now(together, alone)
                together = []
            together.append(node)
        self._compute_now(together, alone)
        self._compute_now([node for node in wanted if node.value is None], alone)

    def _compute_now(self, nodes: Sequence[Node], alone: bool) -> None:
        """Compute values for which all is known that is to be stored."""
        parts: dict[Shape, list[Node]] = {}
        for node in nodes:
            parts.setdefault(node.shape, []).append(node)
        if not alone:
            there = {id(node) for node in nodes}
            for node in self._wanted() if parts else ():
                own = id(node) not in there and node.operation not in ("view", "index", "constant")
                if own and node.shape in parts and not needed_first(node):
                    parts[node.shape].append(node)
        if parts:
            self._run(list(parts.values()))

    def compute_readers(self, array: Array) -> None:
        """Compute all that reads an array which is about to be written to."""
        share = self._cupy.may_share_memory
        self.compute(
            [node for node in self._wanted() if any(share(x, array) for x in arrays_of(node))]
        )

    def _wanted(self) -> list[Node]:
        """What has been noted and not computed, and can still be asked for."""
        pending = [node for ref in self._noted if (node := ref()) is not None]
        pending = [node for node in pending if node.value is None]
        self._noted = [weakref.ref(node) for node in pending]
        return [node for node in pending if node.stored or _is_held(node)]

    def _run(self, parts: list[list[Node]]) -> None:
        kernel = write_kernel(parts, self._warp)
        if len(kernel.inputs) + len(kernel.outputs) > MOST_ARGUMENTS and len(kernel.outputs) > 1:
            for half in _halves(parts):
                self._run(half)
            return
        empty = self._cupy.empty
        values = [empty(node.shape, dtype=node.dtype) for node in kernel.outputs]
        if kernel.blocks:
            function = self._kernels.get(kernel.source)
            if function is None:
                # Contracted to fused multiplications and additions, a kernel's bits would depend on
                # what else is in it.
                function = self._cupy.RawKernel(kernel.source, NAME, ("--fmad=false",))
                self._kernels[kernel.source] = function
            function((kernel.blocks,), (THREADS,), (*kernel.inputs, *values))
        for node, value in zip(kernel.outputs, values, strict=True):
            node.value = value
            node.operands, node.depth = (), 0


def _is_held(node: Node) -> bool:
    """Whether there still is an array with this value."""
    array = node.handle()
    return array is not None and array.node is node


def _halves(parts: list[list[Node]]) -> tuple[list[list[Node]], list[list[Node]]]:
    """The same values in two groups of parts."""
    if len(parts) > 1:
        middle = len(parts) // 2
        return parts[:middle], parts[middle:]
    middle = len(parts[0]) // 2
    return [parts[0][:middle]], [parts[0][middle:]]


def _collect(value: Any, nodes: list[Node]) -> None:
    if isinstance(value, Deferred):
        nodes.append(value.node)
    elif isinstance(value, tuple | list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            _collect(part, nodes)


def _plain(value: Any) -> Any:
    """What has been computed, as the arrays of the library."""
    if isinstance(value, Deferred):
        return value.node.value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_plain, value))
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _allows(name: str, kind: str) -> bool:
    """Whether a function of each element is noted for a kind of dtype."""
    if name in _LOGICAL:
        return kind == "b"
    if name in _COMPARISONS or name == "where":
        return True
    if kind == "f":
        return name not in _BITWISE
    return kind in "iu" and name in _OF_INTEGERS


def _common_dtype(values: Sequence[Any]) -> DType | None:
    """The dtype of arrays and numbers together; None where the standard has none, or CUDA's C."""
    dtypes = [x.dtype for x in values if isinstance(x, Deferred)]
    if not dtypes or len({dtype.kind for dtype in dtypes}) > 1:
        return None
    dtype = np.result_type(*dtypes)
    if dtype not in TYPES:
        return None
    for x in values:
        if not isinstance(x, Deferred) and not _fits(x, dtype):
            return None
    return dtype


def _fits(number: Any, dtype: DType) -> bool:
    if dtype.kind == "f":
        return type(number) in (int, float)
    if dtype.kind == "b":
        return type(number) is bool
    limits = np.iinfo(dtype)
    return type(number) is int and int(limits.min) <= number <= int(limits.max)
