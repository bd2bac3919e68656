"""Element-wise activation functions. None of them has parameters."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpnet.checks import finite_number, is_one_of
from xpnet.errors import shown
from xpnet.fields import checked_by, number
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.operations import erf
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


class Activation(Layer):
    """A function of each element by itself."""

    name: ClassVar[str]
    """What the command line calls it, and `xpnet.layers.ACTIVATIONS`."""

    operations: ClassVar[int]
    """How many operations an element takes."""

    def flops(self, shape: Shape) -> int:
        return self.operations * math.prod(shape)

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(), (4, 5)


@dataclass(frozen=True)
class ReLU(Activation):
    """Rectified linear unit: y = x where x > 0, else 0. Its slope at 0 is taken as 0."""

    name = "relu"
    operations = 1

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        # Not `where(x > 0, x, 0)`, which takes four times as long and would hide a NaN.
        y = xp.maximum(x, 0.0)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if not need_dx:
            return None, {}
        (y,) = cache
        dx = xp.astype(y > 0, dy.dtype)
        dx *= dy
        return dx, {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Relu", x)

    def torch(self, place: TorchPlace) -> str:
        return "nn.ReLU()"


@dataclass(frozen=True)
class Tanh(Activation):
    """Hyperbolic tangent: y = tanh(x), with slope 1 - y²."""

    name = "tanh"
    operations = 1

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = xp.tanh(x)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (y,) = cache
        return (dy * (1 - y * y) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Tanh", x)

    def torch(self, place: TorchPlace) -> str:
        return "nn.Tanh()"


def logistic(xp: Namespace, x: Array) -> Array:
    """1 / (1 + exp(-x)), as (1 + tanh(x / 2)) / 2: the same function, which never overflows."""
    return 0.5 + 0.5 * xp.tanh(0.5 * x)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """Logistic function: y = 1 / (1 + exp(-x)), with slope y (1 - y).

    Computed as (1 + tanh(x / 2)) / 2, which is the same function and never overflows.
    """

    name = "sigmoid"
    operations = 4
    gives_probabilities = True

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = logistic(xp, x)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (y,) = cache
        return (dy * y * (1 - y) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Sigmoid", x)

    def torch(self, place: TorchPlace) -> str:
        return "nn.Sigmoid()"


def _slope(name: str, value: Any) -> float:
    slope = finite_number(name, value)
    if slope < 0:
        raise ValueError(f"{name} must not be negative, got {shown(value)}")
    return slope


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """y = x where x > 0, else slope x; its slope at 0 is taken as that of the left.

    Parameters
    ----------
    slope
        The slope on the left, finite and not negative.

    Raises
    ------
    ValueError
        If it is not.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013,
    https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf
    """

    slope: float = field(default=0.01, metadata=checked_by(_slope, in_dtype=True))
    name = "leaky_relu"
    operations = 2

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return xp.where(x > 0, x, self.slope * x), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (xp.where(x > 0, dy, self.slope * dy) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(0.1), (4, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.dtype == "float32":
            return place.node("LeakyRelu", x, alpha=self.slope)
        scaled = place.node("Mul", x, place.number(self.slope), part="scaled")
        return place.node(
            "Where", place.node("Greater", x, place.number(0), part="right"), x, scaled
        )

    def torch(self, place: TorchPlace) -> str:
        return f"nn.LeakyReLU({self.slope!r})"


@dataclass(frozen=True)
class ELU(Activation):
    """Exponential linear unit: y = x where x > 0, else alpha (exp(x) - 1), with slope y + alpha.

    Parameters
    ----------
    alpha
        Minus the limit on the left, positive. Only with 1 the slope has no jump at 0.

    Raises
    ------
    ValueError
        If it is not a positive number.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential
    linear units (ELUs)", 2015, https://arxiv.org/abs/1511.07289
    """

    alpha: float = field(default=1.0, metadata=number(above=0))
    name = "elu"
    operations = 4

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        # The minimum: exp of what is not used would overflow.
        y = xp.where(x > 0, x, self.alpha * xp.expm1(xp.minimum(x, 0.0)))
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (y,) = cache
        return (xp.where(y > 0, dy, dy * (y + self.alpha)) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(1.5), (4, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.dtype == "float32":
            return place.node("Elu", x, alpha=self.alpha)
        zero, one = place.number(0), place.number(1)
        left = place.node("Exp", place.node("Min", x, zero, part="left"), part="exp")
        less = place.node("Sub", left, one, part="less")
        scaled = place.node("Mul", less, place.number(self.alpha), part="scaled")
        return place.node("Where", place.node("Greater", x, zero, part="right"), x, scaled)

    def torch(self, place: TorchPlace) -> str:
        return f"nn.ELU({self.alpha!r})"


_TANH_SCALE = math.sqrt(2 / math.pi)


def _approximation(name: str, value: Any) -> str:
    if not is_one_of(("none", "tanh"), value):
        raise ValueError(f"{name} must be 'none' or 'tanh', got {shown(value)}")
    return str(value)


@dataclass(frozen=True)
class GELU(Activation):
    """Gaussian error linear unit: y = x P(x), with P the distribution function of a normal number.

    P(x) = (1 + erf(x / sqrt(2))) / 2 and slope P(x) + x exp(-x² / 2) / sqrt(2 π). The approximation
    by tanh is P(x) = (1 + t) / 2 with t = tanh(sqrt(2 / π) (x + 0.044715 x³)) and slope
    P(x) + x (1 - t²) sqrt(2 / π) (1 + 0.134145 x²) / 2.

    Parameters
    ----------
    approximate
        `"none"` or `"tanh"`. The first takes some 70 operations where the library has no erf, as
        NumPy, the second some ten everywhere.

    Raises
    ------
    ValueError
        If it is neither.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016,
    https://arxiv.org/abs/1606.08415
    """

    approximate: str = field(default="none", metadata=checked_by(_approximation))
    name = "gelu"
    operations = 5

    def flops(self, shape: Shape) -> int:
        return (9 if self.approximate == "tanh" else 5) * math.prod(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        if self.approximate == "tanh":
            p = 0.5 + 0.5 * xp.tanh(_TANH_SCALE * x * (1 + 0.044715 * (x * x)))
        else:
            p = 0.5 + 0.5 * erf(xp, math.sqrt(0.5) * x)
        return x * p, (x, p)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if not need_dx:
            return None, {}
        x, p = cache
        if self.approximate == "tanh":
            # (1 - t²) / 2 = 2 p (1 - p)
            density = 2 * _TANH_SCALE * p * (1 - p) * (1 + 3 * 0.044715 * (x * x))
        else:
            density = math.sqrt(0.5 / math.pi) * xp.exp(-0.5 * x * x)
        return dy * (p + x * density), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(), (4, 5)
        yield cls("tanh"), (4, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.opset >= 20 and place.dtype == "float32":
            return place.node("Gelu", x, approximate=self.approximate)
        half, one = place.number(0.5), place.number(1)
        if self.approximate == "tanh":
            square = place.node("Mul", x, x, part="square")
            cubic = place.node("Mul", square, place.number(0.044715), part="cubic")
            factor = place.node("Add", cubic, one, part="factor")
            scaled = place.node("Mul", x, place.number(_TANH_SCALE), part="scaled")
            t = place.node("Tanh", place.node("Mul", scaled, factor, part="inner"), part="tanh")
        else:
            t = place.erf(place.node("Mul", x, place.number(math.sqrt(0.5)), part="scaled"))
        twice = place.node("Add", t, one, part="twice")
        return place.node("Mul", x, place.node("Mul", twice, half, part="probability"))

    def torch(self, place: TorchPlace) -> str:
        return f'nn.GELU(approximate="{self.approximate}")'


@dataclass(frozen=True)
class SiLU(Activation):
    """Sigmoid linear unit, or swish: y = x s with s = 1 / (1 + exp(-x)); slope s (1 + x (1 - s)).

    References
    ----------
    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", 2017, https://arxiv.org/abs/1702.03118
    """

    name = "silu"
    operations = 5

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        s = logistic(xp, x)
        return x * s, (x, s)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        x, s = cache
        return (dy * s * (1 + x * (1 - s)) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Mul", x, place.node("Sigmoid", x, part="sigmoid"))

    def torch(self, place: TorchPlace) -> str:
        return "nn.SiLU()"


@dataclass(frozen=True)
class Softplus(Activation):
    """A smooth ReLU: y = log(1 + exp(x)), with slope 1 / (1 + exp(-x)).

    Computed as max(x, 0) + log(1 + exp(-abs(x))), which never overflows and loses no digits.
    """

    name = "softplus"
    operations = 6

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = xp.log1p(xp.exp(-xp.abs(x)))
        y += xp.maximum(x, 0.0)
        return y, (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (dy * logistic(xp, x) if need_dx else None), {}

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.dtype == "float32":
            return place.node("Softplus", x)
        size = place.node("Neg", place.node("Abs", x, part="abs"), part="size")
        sum_ = place.node("Add", place.node("Exp", size, part="exp"), place.number(1), part="sum")
        right = place.node("Max", x, place.number(0), part="right")
        return place.node("Add", right, place.node("Log", sum_, part="log"))

    def torch(self, place: TorchPlace) -> str:
        # Above the threshold it is x itself; at PyTorch's 20 that is off by 2e-9.
        return "nn.Softplus(threshold=40.0)"
