"""The error function in float64 as ONNX nodes, since runtimes have it in float32 alone.

`xpnet.operations.erf` is called with tensors that write down, as nodes, what is done to them.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from xpnet.layers.places import OnnxPlace
from xpnet.operations import erf


@dataclass(frozen=True)
class _Tensor:
    place: OnnxPlace
    name: str

    def _node(self, operator: str, *inputs: Any) -> "_Tensor":
        names = [
            given.name if isinstance(given, _Tensor) else self.place.number(given)
            for given in inputs
        ]
        return _Tensor(self.place, self.place.node(operator, *names, part=operator.lower()))

    def __add__(self, other: Any) -> "_Tensor":
        return self._node("Add", self, other)

    def __sub__(self, other: Any) -> "_Tensor":
        return self._node("Sub", self, other)

    def __rsub__(self, other: Any) -> "_Tensor":
        return self._node("Sub", other, self)

    def __mul__(self, other: Any) -> "_Tensor":
        return self._node("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "_Tensor":
        return self._node("Div", self, other)

    def __neg__(self) -> "_Tensor":
        return self._node("Neg", self)

    def __lt__(self, other: Any) -> "_Tensor":
        return self._node("Less", self, other)


_NAMESPACE = SimpleNamespace(
    abs=lambda x: x._node("Abs", x),
    exp=lambda x: x._node("Exp", x),
    minimum=lambda x, limit: x._node("Min", x, limit),
    where=lambda condition, x, y: x._node("Where", condition, x, y),
)


def add_erf(place: OnnxPlace, x: str) -> str:
    """The nodes of the error function of a tensor; returns the tensor of the result."""
    result: _Tensor = erf(_NAMESPACE, _Tensor(place, x))
    return result.name
