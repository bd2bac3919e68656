"""Arrays that note what is computed with them; see `xpnet.backends.cupy.fusion`."""

import math
import weakref
from collections.abc import Callable
from typing import Any

from xpnet.backends.cupy.nodes import Builder, Node
from xpnet.typing import DType, Shape


class Deferred:
    """An array that is known, or that will be computed when it is needed."""

    __slots__ = ("__weakref__", "fuser", "node")
    __array_priority__ = 1000

    def __init__(self, fuser: Builder, node: Node) -> None:
        self.fuser = fuser
        self.node = node
        node.handle = weakref.ref(self)

    @property
    def shape(self) -> Shape:
        return self.node.shape

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def ndim(self) -> int:
        return len(self.node.shape)

    @property
    def size(self) -> int:
        return math.prod(self.node.shape)

    @property
    def device(self) -> Any:
        return self.fuser.device

    @property
    def T(self) -> "Deferred":  # noqa: N802 - the standard's name
        if self.node.value is not None:
            return self.fuser.defer(self.node.value.T)
        return self.fuser.view(self, self.shape[::-1], tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> "Deferred":  # noqa: N802 - the standard's name
        return self.T if self.ndim == 2 else self.fuser.eager(lambda x: x.mT, self)

    def __getitem__(self, key: Any) -> "Deferred":
        keys = key if isinstance(key, tuple) else (key,)
        adds_axes = all(k is None or (isinstance(k, slice) and k == slice(None)) for k in keys)
        if self.node.value is not None or not adds_axes:
            return self.fuser.eager(lambda x, k: x[k], self, key)
        kept = [axis for axis, k in enumerate(keys) if k is not None]
        kept += range(len(keys), len(keys) + self.ndim - len(kept))
        shape = [1] * (len(keys) + self.ndim - sum(k is not None for k in keys))
        for n, axis in zip(self.shape, kept, strict=True):
            shape[axis] = n
        return self.fuser.view(self, tuple(shape), tuple(kept))

    def __len__(self) -> int:
        return self.shape[0]

    def __neg__(self) -> "Deferred":
        return self.fuser.call("negative", self)

    def __pos__(self) -> "Deferred":
        return self

    def __pow__(self, power: Any) -> "Deferred":
        if type(power) in (int, float) and power == 2 and self.dtype.kind == "f":
            return self.fuser.call("multiply", self, self)
        return self.fuser.eager(lambda x, y: x**y, self, power)

    def __rpow__(self, base: Any) -> "Deferred":
        return self.fuser.eager(lambda x, y: y**x, self, base)

    def __matmul__(self, other: Any) -> "Deferred":
        return self.fuser.call("matmul", self, other)

    def __rmatmul__(self, other: Any) -> "Deferred":
        return self.fuser.call("matmul", other, self)

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("an array on a GPU does not become one of NumPy by itself, nor does this")

    def _become(self, value: "Deferred") -> "Deferred":
        """What `+=` does to an array, for all who have it: this array has the value then."""
        if value.shape != self.shape:
            raise ValueError(f"shape {self.shape} cannot become {value.shape} in place")
        if value.dtype != self.dtype:
            value = self.fuser.call("astype", value, self.dtype)
        self.node = value.node
        self.node.handle = weakref.ref(self)
        return self


def _noted(name: str, *, swapped: bool = False) -> Callable[[Deferred, Any], Any]:
    def method(self: Deferred, other: Any) -> Any:
        return self.fuser.call(name, other, self) if swapped else self.fuser.call(name, self, other)

    return method


def _at_once(name: str) -> Callable[..., Any]:
    def method(self: Deferred, *others: Any) -> Any:
        return self.fuser.eager(lambda x, *rest: getattr(x, name)(*rest), self, *others)

    return method


def _in_place(name: str) -> Callable[[Deferred, Any], Deferred]:
    def method(self: Deferred, other: Any) -> Deferred:
        return self._become(getattr(self, name)(other))

    return method


_ARITHMETIC = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide"}
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip

_BITWISE = {
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip

for _word, _name in (_ARITHMETIC | _BITWISE).items():
    setattr(Deferred, f"__{_word}__", _noted(_name))
    setattr(Deferred, f"__r{_word}__", _noted(_name, swapped=True))
for _word, _name in _COMPARISONS.items():
    setattr(Deferred, f"__{_word}__", _noted(_name))
for _word in ("mod", "floordiv"):
    for _side in ("", "r"):
        setattr(Deferred, f"__{_side}{_word}__", _at_once(f"__{_side}{_word}__"))
for _word in ("invert", "abs", "bool", "int", "float", "index"):
    setattr(Deferred, f"__{_word}__", _at_once(f"__{_word}__"))
for _word in (*_ARITHMETIC, *_BITWISE, "mod", "floordiv", "pow"):
    setattr(Deferred, f"__i{_word}__", _in_place(f"__{_word}__"))
