"""What a value is computed from: the expressions that kernels are written for."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from xpnet.typing import Array, DType, Shape


class Node:
    """A value that is known, or how it is computed.

    Attributes
    ----------
    operation
        A name in `language.TEMPLATES`, or `known`, `constant`, `index`, `view`, `gather`, `sum`,
        `max`, `product`.
    operands
        The nodes that it is computed from.
    shape, dtype
        Of the value.
    detail
        What else belongs to the operation: the number of a constant; which of its own axes each
        axis of a view's operand is, None where that has length 1; the axis of a reduction, or None.
    value
        The array with the value, once there is one.
    stored
        Whether the value is to be written to memory, and not computed again by each who wants it.
    depth
        How many functions of each other it is, from what is known or will be stored.
    handle
        A weak reference to the array that stands for it; without that array nobody can ask for it.
    """

    __slots__ = (
        *("operation", "operands", "shape", "dtype", "detail", "value", "stored"),
        *("depth", "handle", "__weakref__"),
    )

    def __init__(
        self,
        operation: str,
        operands: Sequence["Node"],
        shape: Shape,
        dtype: DType,
        detail: Any = None,
        value: Array | None = None,
    ) -> None:
        self.operation = operation
        self.operands = tuple(operands)
        self.shape = shape
        self.dtype = dtype
        self.detail = detail
        self.value = value
        self.stored = False
        self.depth: int = 1 + max((x.depth for x in operands if not x.stored), default=0)
        self.handle: Any = None


class Builder(Protocol):
    """What deferred arrays and functions ask of the `Fuser` that notes them; see there."""

    device: Any

    def defer(self, x: Any) -> Any: ...
    def known(self, *values: Any) -> list[Any]: ...
    def eager(self, function: Callable[..., Any], *args: Any) -> Any: ...
    def call(self, name: str, *args: Any) -> Any: ...
    def view(self, x: Any, shape: Shape, axes: tuple[int | None, ...]) -> Any: ...
    def note(self, node: Node) -> Any: ...
    def note_loop(self, node: Node) -> Any: ...
    def compute_readers(self, array: Array) -> None: ...


def below(nodes: Sequence[Node], *, past_stored: bool = True) -> list[Node]:
    """All that some nodes are computed from, and that is not known.

    Without `past_stored` what the nodes that are to be stored are computed from is left out.
    """
    found: dict[int, Node] = {}
    stack = [operand for node in nodes for operand in node.operands]
    while stack:
        node = stack.pop()
        if node.value is None and id(node) not in found:
            found[id(node)] = node
            if past_stored or not node.stored:
                stack += node.operands
    return list(found.values())


def needed_first(node: Node) -> list[Node]:
    """What is to be stored and not known yet, of what a node is computed from directly."""
    return [operand for operand in below([node], past_stored=False) if operand.stored]


def stored_in_order(nodes: Sequence[Node]) -> list[Node]:
    """All that is to be stored and not known yet, for some nodes, each after what it needs."""
    order: dict[int, Node] = {}
    entered: set[int] = set()
    stack = [(node, False) for node in reversed([n for top in nodes for n in needed_first(top)])]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            order.setdefault(id(node), node)
        elif id(node) not in entered:
            entered.add(id(node))
            stack.append((node, True))
            stack += [(operand, False) for operand in needed_first(node)]
    return list(order.values())


def arrays_of(node: Node) -> list[Array]:
    """The arrays that a node is computed from."""
    parts = [node, *below([node])]
    return [x.value for part in parts for x in part.operands if x.value is not None]
