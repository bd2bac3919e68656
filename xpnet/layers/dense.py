"""The fully connected layer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet.checks import positive_integer, true_or_false
from xpnet.descriptions import written_as
from xpnet.errors import shown
from xpnet.fields import checked_by
from xpnet.initializers import (
    Initializer,
    build_initializer,
    describe_initializer,
    he_normal,
    zeros,
)
from xpnet.layers.base import Context, Layer
from xpnet.layers.constraints import Constraint, MaxNorm, build_constraint, describe_constraint
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.operations import bias_gradient, weight_gradient
from xpnet.random import Seed, stream
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape


def checked_initializer(name: str, value: Any) -> Initializer:
    """Check that an argument is an initializer."""
    if not callable(value):
        raise ValueError(
            f"{name} must be an initializer such as xpnet.initializers.he_normal, "
            f"got {shown(value)}"
        )
    return value


def checked_constraint(name: str, value: Any) -> Constraint:
    """Check that an argument is a constraint, and not its class."""
    if isinstance(value, type) or not callable(value):
        raise ValueError(f"{name} must be one such as MaxNorm(3.0), got {shown(value)}")
    return value


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected: y = x W + b, with samples as rows.

    Parameters
    ----------
    n_in, n_out
        Numbers of input and output features, positive.
    init_weight
        How the weight is drawn, one of `xpnet.initializers`; the bias starts at zero.
    bias
        Whether there is one. In front of batch norm it would do nothing.
    constraint
        What the weight is to keep to after every update, such as `MaxNorm(3.0)`; nothing if None.

    Notes
    -----
    Parameters: `weight` (n_in, n_out) and, where there is one, `bias` (n_out,). For x (B, n_in) and
    dy (B, n_out): dW = xᵀ dy, db = the column sums of dy, dx = dy Wᵀ.

    Raises
    ------
    ValueError
        If a number of features is not a positive integer, or samples of another shape come in.
    """

    n_in: int = field(metadata=checked_by(positive_integer))
    n_out: int = field(metadata=checked_by(positive_integer))
    init_weight: Initializer = field(
        default=he_normal,
        metadata=checked_by(checked_initializer)
        | written_as(describe_initializer, build_initializer),
    )
    bias: bool = field(default=True, metadata=checked_by(true_or_false))
    constraint: Constraint | None = field(
        default=None,
        metadata=checked_by(checked_constraint, optional=True)
        | written_as(describe_constraint, build_constraint),
    )

    def __repr__(self) -> str:
        options = [str(self.n_in), str(self.n_out)]
        if self.init_weight is not he_normal:
            options.append(getattr(self.init_weight, "__name__", repr(self.init_weight)))
        if not self.bias:
            options.append("bias=False")
        if self.constraint is not None:
            options.append(f"constraint={self.constraint!r}")
        return f"Dense({', '.join(options)})"

    def parameter_shapes(self) -> dict[str, Shape]:
        bias: dict[str, Shape] = {"bias": (self.n_out,)} if self.bias else {}
        return {"weight": (self.n_in, self.n_out), **bias}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        weight = self.init_weight(stream(seed, "weight"), self.n_in, self.n_out)
        return {"weight": weight, **({"bias": zeros((self.n_out,))} if self.bias else {})}

    def constraints(self) -> dict[str, Constraint]:
        return {} if self.constraint is None else {"weight": self.constraint}

    def flops(self, shape: Shape) -> int:
        return 2 * self.n_in * self.n_out + (self.n_out if self.bias else 0)

    def input_shape(self) -> Shape:
        return (self.n_in,)

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape not in (None, (self.n_in,)):
            raise ValueError(
                f"Dense({self.n_in}, {self.n_out}) takes samples of shape ({self.n_in},), "
                f"but is given shape {shape}"
            )
        return (self.n_out,)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = xp.matmul(x, params["weight"])
        if self.bias:
            y += params["bias"]
        return y, (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        grads = {"weight": weight_gradient(xp, x.T, dy)}
        if self.bias:
            grads["bias"] = bias_gradient(xp, dy)
        dx = xp.matmul(dy, params["weight"].T) if need_dx else None
        return dx, grads

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        return xp.matmul(dy, params["weight"].T)

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(5, 3), (4, 5)
        yield cls(1, 1), (1, 1)
        yield cls(5, 3, bias=False), (4, 5)
        yield cls(5, 3, constraint=MaxNorm(1.5)), (4, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        weight = place.parameter("weight")
        if self.bias:
            return place.node("Gemm", x, weight, place.parameter("bias"))
        # Until 11 Gemm has to have a bias.
        return place.node("Gemm" if place.opset >= 11 else "MatMul", x, weight)

    def torch(self, place: TorchPlace) -> str:
        place.keep("weight", place.array("weight").T)
        if not self.bias:
            return f"nn.Linear({self.n_in}, {self.n_out}, bias=False)"
        place.keep("bias", place.array("bias"))
        return f"nn.Linear({self.n_in}, {self.n_out})"
