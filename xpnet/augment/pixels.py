"""Augmentations of the values of pixels: noise, brightness, contrast, and holes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from array_api_compat import device

from xpnet.augment.base import Augmentation, Random
from xpnet.fields import number
from xpnet.typing import Array, Namespace


@dataclass(frozen=True)
class Noise(Augmentation):
    """Normal numbers added to each value: x + deviation z. Nothing is cut off at 0 and 1.

    Parameters
    ----------
    deviation
        The standard deviation of the noise.
    """

    deviation: float = field(default=0.1, metadata=number(at_least=0))

    name = "noise"
    takes_pictures: ClassVar[bool] = False

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        noise = random.normal(xp, "noise", math.prod(x.shape[1:]))
        return x + self.deviation * xp.reshape(noise, x.shape), y


@dataclass(frozen=True)
class Brightness(Augmentation):
    """Each sample multiplied by a number: black stays black. Nothing is cut off at 1.

    Parameters
    ----------
    amount
        The number is uniform from 1 - amount to 1 + amount.
    """

    amount: float = field(default=0.2, metadata=number(at_least=0, at_most=1))

    name = "brightness"
    takes_pictures: ClassVar[bool] = False

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        return x * _of_each(xp, random, 1 - self.amount, 1 + self.amount, x), y


@dataclass(frozen=True)
class Contrast(Augmentation):
    """How far the values of a sample are from their mean, multiplied by a number: m + f (x - m).

    Parameters
    ----------
    amount
        The number f is uniform from 1 - amount to 1 + amount.
    """

    amount: float = field(default=0.2, metadata=number(at_least=0, at_most=1))

    name = "contrast"
    takes_pictures: ClassVar[bool] = False

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        flat = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        mean = xp.sum(flat, axis=1, keepdims=True) / flat.shape[1]
        factor = random.uniform(xp, "factor", 1, 1 - self.amount, 1 + self.amount)
        return xp.reshape(mean + factor * (flat - mean), x.shape), y


@dataclass(frozen=True)
class Cutout(Augmentation):
    """A rectangle of each picture set to 0, about a pixel that may be any of it.

    What would be outside of the picture is left out, so that in some pictures less is missing.

    Parameters
    ----------
    size
        The sides of the rectangle, as parts of the height and of the width, rounded to pixels, of
        which it has one at least: a half of 32 pixels is 16.

    References
    ----------
    DeVries and Taylor, "Improved regularization of convolutional neural networks with Cutout",
    2017, https://arxiv.org/abs/1708.04552
    """

    size: float = field(default=0.4, metadata=number(above=0, at_most=1, in_dtype=False))

    name = "cutout"

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        spans = []
        for which, side in (("row", x.shape[1]), ("column", x.shape[2])):
            long = max(1, round(self.size * side))
            first = random.integers(xp, which, 1, side) - long // 2
            spans.append(within(xp, x, side, first, first + long))
        hole = spans[0][:, :, None, None] * spans[1][:, None, :, None]
        return x * (1.0 - hole), y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(1)


def within(xp: Namespace, x: Array, side: int, first: Array, end: Array) -> Array:
    """Which rows or columns are from `first` to before `end`, (B, 1): 1 or 0, shape (B, side)."""
    there = xp.arange(side, dtype=xp.int32, device=device(x))[None, :]
    return xp.astype(there >= first, x.dtype) * xp.astype(there < end, x.dtype)


def _of_each(xp: Namespace, random: Random, low: float, high: float, x: Array) -> Array:
    """A number for each sample, with as many axes as the batch."""
    factor = random.uniform(xp, "factor", 1, low, high)
    return xp.reshape(factor, (x.shape[0], *[1] * (x.ndim - 1)))
