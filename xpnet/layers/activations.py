"""Element-wise activation functions. None of them has parameters."""

from dataclasses import dataclass

from xpnet.layers.base import Context, Layer
from xpnet.typing import Array, Cache, Grads, Namespace, Params


@dataclass(frozen=True)
class ReLU(Layer):
    """Rectified linear unit: y = x where x > 0, else 0. Its slope at 0 is taken as 0."""

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


@dataclass(frozen=True)
class Tanh(Layer):
    """Hyperbolic tangent: y = tanh(x), with slope 1 - y²."""

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = xp.tanh(x)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (y,) = cache
        return (dy * (1 - y * y) if need_dx else None), {}


@dataclass(frozen=True)
class Sigmoid(Layer):
    """Logistic function: y = 1 / (1 + exp(-x)), with slope y (1 - y).

    Computed as (1 + tanh(x / 2)) / 2, which is the same function and never overflows.
    """

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = 0.5 + 0.5 * xp.tanh(0.5 * x)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (y,) = cache
        return (dy * y * (1 - y) if need_dx else None), {}


ACTIVATIONS: dict[str, type[Layer]] = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
"""The activations by the name that the command line gives them."""
