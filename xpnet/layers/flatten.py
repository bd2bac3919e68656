"""From images to rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from xpnet.fields import checked_by
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.layers.reshape import sample_shape
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


def _may_be(shape: Shape, wanted: Shape) -> bool:
    """Whether a shape, in which None is an axis of unknown length, may be the one wanted."""
    return len(shape) == len(wanted) and all(
        n in (None, m) for n, m in zip(shape, wanted, strict=True)
    )


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes but the first made one, in row-major order: (B, 28, 28) becomes (B, 784).

    Parameters
    ----------
    shape
        The shape of one sample, such as `(28, 28)`; any shape if None.
    """

    shape: Shape | None = field(default=None, metadata=checked_by(sample_shape, optional=True))

    def input_shape(self) -> Shape | None:
        return self.shape

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if self.shape is not None and shape is not None and not _may_be(shape, self.shape):
            raise ValueError(f"Flatten({self.shape}) is given samples of shape {shape}")
        known = shape if self.shape is None else self.shape
        return None if known is None or None in known else (math.prod(known),)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (xp.reshape(dy, x.shape) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(), (3, 2, 4)
        yield cls((2, 4)), (3, 2, 4)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Flatten", x, axis=1)

    def torch(self, place: TorchPlace) -> str:
        return "nn.Flatten()"
