"""The softmax over the classes, as functions and as a layer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


def softmax(xp: Namespace, z: Array) -> Array:
    """Probabilities from logits: exp(z) / sum(exp(z)) over the last axis.

    The row maximum is subtracted first, which changes nothing mathematically and keeps exp from
    overflowing: the largest exponent is 0.

    Parameters
    ----------
    xp
        The array namespace of `z`.
    z
        Logits, floating point, shape (..., C).

    Returns
    -------
    p
        Same shape and dtype; non-negative, and each row sums to 1.
    """
    p = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    p /= xp.sum(p, axis=-1, keepdims=True)
    return p


def log_softmax(xp: Namespace, z: Array) -> Array:
    """Logarithm of the softmax: z - max - log(sum(exp(z - max))) over the last axis.

    Finite as long as the logits are and their differences do not overflow: the logarithm is of a
    sum that is at least 1.
    """
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    shifted -= xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    return shifted


@dataclass(frozen=True)
class Softmax(Layer):
    """Softmax over the last axis: y = exp(x) / sum(exp(x)).

    With dy the gradient of the loss with respect to y, dx = y (dy - sum(y dy)).

    Notes
    -----
    A classifier does not end in this layer: `softmax_cross_entropy` takes logits and fuses the
    two, which is cheaper and never takes the logarithm of 0. It is for networks that need
    probabilities inside, or whose loss takes probabilities.
    """

    gives_probabilities = True

    def flops(self, shape: Shape) -> int:
        return 5 * math.prod(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        y = softmax(xp, x)
        return y, (y,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if not need_dx:
            return None, {}
        (y,) = cache
        return y * (dy - xp.sum(y * dy, axis=-1, keepdims=True)), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(), (4, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        # Until 13 all axes from this one on are one: of the last that is the same.
        axis = place.last_axis(x)
        if axis is None:
            place.need_opset(11, "the last axis of samples of unknown shape")
        return place.node("Softmax", x, axis=axis)

    def torch(self, place: TorchPlace) -> str:
        return "nn.Softmax(dim=-1)"
