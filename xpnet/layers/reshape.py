"""Samples in another shape, or with their axes in another order."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet.checks import positive_integer
from xpnet.errors import shown
from xpnet.fields import checked_by
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


def sample_shape(name: str, value: Any) -> Shape:
    """Check that an argument is the shape of one sample, such as (28, 28); kept as a tuple.

    Raises
    ------
    ValueError
        If it is not; the message has the argument's name and value.
    """
    try:
        return tuple(positive_integer(name, n) for n in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be positive integers, got {shown(value)}") from None


def _target(name: str, value: Any) -> Shape:
    shape = sample_shape(name, value)
    if not shape:
        raise ValueError(f"{name} must have one axis or more, such as (28, 28, 1), got ()")
    return shape


def _order(name: str, value: Any) -> Shape:
    try:
        axes = tuple(positive_integer(name, axis) for axis in value)
    except (TypeError, ValueError):
        axes = ()
    if not axes or sorted(axes) != list(range(1, len(axes) + 1)):
        raise ValueError(
            f"{name} must be the axes of a sample, which are numbered from 1, each once, such as "
            f"(3, 1, 2); got {shown(value)}"
        )
    return axes


@dataclass(frozen=True)
class Reshape(Layer):
    """Samples in another shape, of as many numbers, in row-major order: (B, 784) to (B, 28, 28, 1).

    dx is dy in the shape of x.

    Parameters
    ----------
    shape
        The shape of one sample that goes out, such as `(28, 28, 1)`: positive integers.

    Raises
    ------
    ValueError
        If it is no shape, or samples of another number of numbers come in.

    Examples
    --------
    >>> from xpnet import Dense, Flatten, Reshape, Sequential
    >>> Reshape((28, 28, 1)).output_shape((784,))
    (28, 28, 1)
    """

    shape: Shape = field(metadata=checked_by(_target))

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape is not None and None not in shape and math.prod(shape) != math.prod(self.shape):
            raise ValueError(
                f"Reshape({self.shape}) takes samples of {math.prod(self.shape)} numbers "
                f"({_product(self.shape)}), but is given shape {shape}, which has "
                f"{math.prod(shape)}"
            )
        return self.shape

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return xp.reshape(x, (x.shape[0], *self.shape)), (x,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        (x,) = cache
        return (xp.reshape(dy, x.shape) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls((2, 3, 1)), (4, 6)
        yield cls((6,)), (4, 3, 2)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        # An axis of 0 is as long as it was.
        return place.node("Reshape", x, place.constant("shape", [0, *self.shape]))

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH_RESHAPE)
        return f"Reshape({self.shape})"


@dataclass(frozen=True)
class Permute(Layer):
    """The axes of samples in another order: `Permute((3, 1, 2))` of (B, H, W, C) is (B, C, H, W).

    dx is dy with its axes back in their places.

    Parameters
    ----------
    axes
        For each axis that goes out the one that comes in, numbered from 1, since axis 0 is that of
        the batch: each once. So pictures that have their channels first become what convolutions
        take by `Permute((2, 3, 1))`.

    Raises
    ------
    ValueError
        If these are not all axes of a sample, each once, or samples with another number of axes
        come in.
    """

    axes: Shape = field(metadata=checked_by(_order))

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        if len(shape) != len(self.axes):
            raise ValueError(
                f"Permute({self.axes}) takes samples of {len(self.axes)} axes, but is given shape "
                f"{shape}"
            )
        return tuple(shape[axis - 1] for axis in self.axes)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return xp.permute_dims(x, (0, *self.axes)), ()

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        back = (0, *(1 + self.axes.index(axis) for axis in sorted(self.axes)))
        return (xp.permute_dims(dy, back) if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls((3, 1, 2)), (4, 2, 3, 5)
        yield cls((2, 1)), (3, 4, 2)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return place.node("Transpose", x, perm=[0, *self.axes])

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH_PERMUTE)
        return f"Permute({self.axes})"


def _product(shape: Shape) -> str:
    return " x ".join(map(str, shape))


_TORCH_RESHAPE = '''
class Reshape(nn.Module):
    """Samples in another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], *self.shape)
'''

_TORCH_PERMUTE = '''
class Permute(nn.Module):
    """The axes of samples, which are numbered from 1, in another order."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, *self.axes)
'''
