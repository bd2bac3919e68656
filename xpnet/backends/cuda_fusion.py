"""Steps whose functions of small arrays are put together into few CUDA kernels.

A kernel on a few thousand numbers takes longer to start than to run, also in a CUDA graph. So a
step is called with arrays (`Deferred`) that only note what is to be computed with them. Once a
value is needed, by a product of large matrices or as a result of the step, one kernel is written
that computes it, together with all else of its shape that is still wanted.

These arrays are never written to, as those of JAX: `y += x` binds another one. What cannot be noted
is computed at once, by CuPy's own functions.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from xpnet.backends.cuda_deferred import Deferred
from xpnet.backends.cuda_functions import FUNCTIONS
from xpnet.backends.cuda_source import (
    NAME,
    TEMPLATES,
    THREADS,
    TYPES,
    Node,
    operations_of,
    write_kernel,
)
from xpnet.errors import one_line
from xpnet.typing import Array, DType, Namespace, Shape, State

logger = logging.getLogger("xpnet")

MOST_OPERATIONS = 256
"""What takes more than that for an element is written to memory, if several will need it."""

FEW_OPERATIONS = 16
"""What takes no more than that is never worth it."""


_COMPARISONS = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
_LOGICAL = {"logical_not", "logical_and", "logical_or"}
_OF_INTEGERS = {"add", "subtract", "multiply", "negative", "maximum", "minimum"}


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

    Attributes
    ----------
    wrote
        Whether an array that came from outside has been written to.
    """

    def __init__(
        self, cupy: Any, xp: Namespace, device: Any, kernels: dict[str, Any], warp: int = 32
    ) -> None:
        self.device = device
        self._cupy = cupy
        self._xp = xp
        self._kernels = kernels
        self._warp = warp
        self.wrote = False
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

    def known(self, *values: Any) -> list[Any]:
        """What is deferred computed, also in lists and tuples."""
        nodes: list[Node] = []
        _collect(values, nodes)
        self.compute(nodes)
        return [_plain(value) for value in values]

    def eager(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function that computes at once."""
        args, options = (
            self.known(*args),
            dict(zip(options, self.known(*options.values()), strict=True)),
        )
        return self.defer(function(*args, **options))

    # -- what is noted ---------------------------------------------------------------------------

    def apply(self, name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
        """What a function of the namespace gives for arrays, some of them deferred."""
        own = FUNCTIONS.get(name)
        if own is not None:
            result = own(self, function, *args, **options)
            if result is not NotImplemented:
                return result
        elif name in TEMPLATES and not options:
            noted = self.elementwise(name, *args)
            if noted is not None:
                return noted
        return self.eager(function, *args, **options)

    def call(self, name: str, *args: Any) -> Any:
        """The same for a function of each element, by its name."""
        return self.apply(name, getattr(self._xp, name), args, {})

    def elementwise(self, name: str, *args: Any) -> Deferred | None:
        """A function of each element, noted; None if that cannot be."""
        arrays = [self.defer(x) for x in args]
        of_values = arrays[1:] if name == "where" else arrays
        dtype = _common_dtype(of_values)
        if dtype is None or not _allows(name, dtype.kind):
            return None
        nodes = [self._operand(x, dtype) for x in of_values]
        if name == "where":
            nodes.insert(0, self._operand(arrays[0], np.dtype(bool)))
        shape = np.broadcast_shapes(*(node.shape for node in nodes))
        for node in nodes:
            if node.shape != shape:
                self._store_if_long(node, MOST_OPERATIONS)
        result = np.dtype(bool) if name in _COMPARISONS | _LOGICAL else dtype
        return self.note(Node(name, nodes, shape, result))

    def view(self, x: Deferred, shape: Shape, axes: tuple[int | None, ...]) -> Deferred:
        """The same elements in another shape, noted.

        Axis i of `x` is axis `axes[i]` of the result; it has length 1 and goes where that is None.
        """
        return self.note(Node("view", (x.node,), shape, x.dtype, axes))

    def _operand(self, x: Any, dtype: DType) -> Node:
        """An operand as a node, in a dtype."""
        if not isinstance(x, Deferred):
            return Node("constant", (), (), dtype, x)
        return x.node if x.dtype == dtype else Node("astype", (x.node,), x.shape, dtype)

    def note(self, node: Node) -> Deferred:
        """A node as an array."""
        self._noted.append(weakref.ref(node))
        return Deferred(self, node)

    def note_loop(self, node: Node) -> Deferred:
        """Note what has a loop: what takes long in it is computed before, once for all."""
        if operations_of(node) > MOST_OPERATIONS:
            for operand in node.operands:
                self._store_if_long(operand, FEW_OPERATIONS)
        return self.note(node)

    def _store_if_long(self, node: Node, operations: int) -> None:
        if node.value is None and not node.stored and operations_of(node) > operations:
            node.stored = True

    # -- what is computed ------------------------------------------------------------------------

    def compute(self, nodes: Iterable[Node], *, alone: bool = False) -> None:
        """Compute values, with all else of their shapes that is still wanted unless `alone`."""
        wanted = list({id(node): node for node in nodes if node.value is None}.values())
        if not wanted:
            return
        first = [node for node in _below(wanted) if node.stored]
        if first:
            self.compute(first)
            wanted = [node for node in wanted if node.value is None]
        parts: dict[Shape, list[Node]] = {}
        for node in wanted:
            parts.setdefault(node.shape, []).append(node)
        if not alone:
            for node in self._others(wanted):
                if node.shape in parts:
                    parts[node.shape].append(node)
        self._run(list(parts.values()))

    def compute_readers(self, array: Array) -> None:
        """Compute all that reads an array which is about to be written to."""
        readers = [
            node
            for node in self._others([])
            if any(self._cupy.may_share_memory(x, array) for x in _arrays(node))
        ]
        self.compute(readers)

    def _others(self, wanted: Sequence[Node]) -> list[Node]:
        """What else has been noted, is not computed, and can still be asked for."""
        found = [node for node in (ref() for ref in self._noted) if node is not None]
        pending = [node for node in found if node.value is None]
        self._noted = [weakref.ref(node) for node in pending]
        there = {id(node) for node in wanted}
        return [
            node
            for node in pending
            if (node.stored or node.handle() is not None)
            and id(node) not in there
            and node.operation not in ("view", "index", "constant")
            and not any(below.stored for below in _below([node]))
        ]

    def _run(self, parts: list[list[Node]]) -> None:
        kernel = write_kernel(parts, self._warp)
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
            node.operands = ()


class FusedStep:
    """A step whose functions of small arrays are put together.

    Parameters
    ----------
    step
        `step(state, x, y, rows) -> state`, with functions of the namespace of `switch`.
    switch
        Whether these are noted.
    make
        Makes the `Fuser` of one step.
    """

    def __init__(
        self, step: Callable[..., State], switch: "Switch", make: Callable[[], Fuser]
    ) -> None:
        self._step = step
        self._switch = switch
        self._make = make
        self._broken = False

    def __call__(self, state: State, x: Array, y: Any, rows: Array) -> State:
        if self._broken:
            return self._step(state, x, y, rows)
        fuser = self._make()
        try:
            return self._fused(fuser, state, x, y, rows)
        except Exception as error:
            if fuser.wrote or "OutOfMemory" in type(error).__name__:
                raise
            self._broken = True
            text = f"{type(error).__name__}: {one_line(error)[:300]}"
            logger.warning("small kernels are not put together, which is slower (%s)", text)
            return self._step(state, x, y, rows)

    def _fused(self, fuser: Fuser, state: State, x: Array, y: Any, rows: Array) -> State:
        before = {name: fuser.defer(value) for name, value in state.items()}
        with self._switch.to(fuser):
            after = self._step(before, *fuser.defer((x, y, rows)))
        nodes = [value.node for value in after.values() if isinstance(value, Deferred)]
        fuser.compute(nodes, alone=True)
        return {name: _plain(value) for name, value in after.items()}


class Switch(threading.local):
    """Whether functions of a namespace compute at once or are noted, in each thread by itself."""

    fuser: Fuser | None = None

    @contextmanager
    def to(self, fuser: Fuser) -> Iterator[None]:
        """A context in which functions are noted by a fuser."""
        self.fuser = fuser
        try:
            yield
        finally:
            self.fuser = None

    def namespace(self, xp: Namespace) -> Namespace:
        """A namespace whose functions obey this switch."""
        return SimpleNamespace(
            **{
                name: self._obeying(name, value) if _is_function(name, value) else value
                for name, value in vars(xp).items()
            }
        )

    def _obeying(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def either(*args: Any, **options: Any) -> Any:
            fuser = self.fuser
            if fuser is None:
                return function(*args, **options)
            return fuser.apply(name, function, args, options)

        return either


def _is_function(name: str, value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and not name.startswith("_")


def _collect(value: Any, nodes: list[Node]) -> None:
    if isinstance(value, Deferred):
        nodes.append(value.node)
    elif isinstance(value, tuple | list):
        for part in value:
            _collect(part, nodes)


def _plain(value: Any) -> Any:
    """What has been computed, as the arrays of the library."""
    if isinstance(value, Deferred):
        return value.node.value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_plain, value))
    if isinstance(value, tuple | list):
        return type(value)(map(_plain, value))
    return value


def _allows(name: str, kind: str) -> bool:
    """Whether a function of each element is noted for a kind of dtype."""
    if name in _LOGICAL:
        return kind == "b"
    if name in _COMPARISONS or name == "where":
        return True
    return kind == "f" or (kind in "iu" and name in _OF_INTEGERS)


def _common_dtype(values: Sequence[Any]) -> DType | None:
    """The dtype of arrays and numbers together; None where the standard has none, or CUDA's C."""
    dtypes = [x.dtype for x in values if isinstance(x, Deferred)]
    if not dtypes or len({dtype.kind for dtype in dtypes}) > 1:
        return None
    dtype = np.result_type(*dtypes)
    if str(dtype) not in TYPES:
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


def _below(nodes: Sequence[Node]) -> list[Node]:
    """All that has to be computed for some nodes, without those themselves."""
    found: dict[int, Node] = {}
    stack = [operand for node in nodes for operand in node.operands]
    while stack:
        node = stack.pop()
        if node.value is None and id(node) not in found:
            found[id(node)] = node
            stack += node.operands
    return list(found.values())


def _arrays(node: Node) -> list[Array]:
    """The arrays that a node is computed from."""
    nodes = [node, *_below([node])]
    return [x.value for part in nodes for x in part.operands if x.value is not None]
