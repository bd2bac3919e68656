"""Augmentations that move whole pixels: shifts, crops of padded pictures, mirrored pictures."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from array_api_compat import device

from xpnet.augment.base import Augmentation, Random, along
from xpnet.fields import number
from xpnet.operations import gather_rows
from xpnet.typing import Array, Namespace


@dataclass(frozen=True)
class Shift(Augmentation):
    """Pictures moved by whole pixels, up and down, left and right: no pixel is changed.

    Each distance is one of the integers from -k to k, all alike, with k the part of the side,
    rounded to pixels.

    Parameters
    ----------
    vertical, horizontal
        How far at most, as a part of the height and of the width: 0.1 of 28 pixels is 3.
    edge
        What comes in: `"zero"`, or the `"nearest"` pixel of the picture.
    """

    vertical: float = field(default=0.1, metadata=number(at_least=0, at_most=1))
    horizontal: float = field(default=0.1, metadata=number(at_least=0, at_most=1))
    edge: str = field(default="zero", metadata=along("edge"))

    name = "shift"

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        most = (round(self.vertical * x.shape[1]), round(self.horizontal * x.shape[2]))
        return moved(xp, x, most, self.edge, random), y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(0.5, 0, "nearest")


@dataclass(frozen=True)
class Crop(Augmentation):
    """A part of the picture's own size, cut out anywhere of the picture with padding around it.

    Parameters
    ----------
    padding
        How much is put on each side, as a part of the height and of the width, rounded to pixels:
        1/8 of 32 pixels is 4, as is usual for CIFAR-10.
    edge
        What it is padded with: `"zero"`, or the `"nearest"` pixel of the picture.

    References
    ----------
    Lee, Xie, Gallagher, Zhang and Tu, "Deeply-supervised nets", 2015,
    https://proceedings.mlr.press/v38/lee15a.html
    """

    padding: float = field(default=0.125, metadata=number(at_least=0, at_most=1))
    edge: str = field(default="zero", metadata=along("edge"))

    name = "crop"

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        most = (round(self.padding * x.shape[1]), round(self.padding * x.shape[2]))
        return moved(xp, x, most, self.edge, random), y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(0.3, "nearest")


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirrored pictures: left and right changed, or top and bottom.

    Not for figures and letters, which are others in a mirror.

    Parameters
    ----------
    horizontal, vertical
        The probability of changing left and right, and top and bottom.
    """

    horizontal: float = field(default=0.5, metadata=number(at_least=0, at_most=1))
    vertical: float = field(default=0.0, metadata=number(at_least=0, at_most=1))

    name = "flip"

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        places = []
        for which, side in (("vertical", x.shape[1]), ("horizontal", x.shape[2])):
            probability = getattr(self, which)
            there = _positions(xp, x, side)
            if probability:
                turned = xp.astype(random.chance(xp, which, probability), xp.int32)
                there = there + turned * (side - 1 - 2 * there)
            places.append(there)
        return pixels(xp, x, places[0], places[1], random), y

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(0.3, 0.6)


def moved(xp: Namespace, x: Array, most: tuple[int, int], edge: str, random: Random) -> Array:
    """Each picture moved by whole pixels, at most so many along its two axes."""
    places, inside = [], None
    for which, side, far in zip(("vertical", "horizontal"), x.shape[1:3], most, strict=True):
        there = _positions(xp, x, side)
        if far:
            there = there + (random.integers(xp, which, 1, 2 * far + 1) - far)
            within = xp.maximum(xp.minimum(there, side - 1), 0)
            if edge == "zero":
                shown = xp.astype(within == there, x.dtype)
                shown = shown[:, :, None, None] if which == "vertical" else shown[:, None, :, None]
                inside = shown if inside is None else inside * shown
            there = within
        places.append(there)
    x = pixels(xp, x, places[0], places[1], random)
    return x if inside is None else x * inside


def pixels(xp: Namespace, x: Array, rows: Array, columns: Array, random: Random) -> Array:
    """The pixels of each picture at rows (B or 1, H) and columns (B or 1, W), all in range."""
    count, height, width, channels = x.shape
    first = xp.arange(count, dtype=random.index_dtype, device=device(x)) * (height * width)
    rows = xp.astype(rows, random.index_dtype, copy=False)
    columns = xp.astype(columns, random.index_dtype, copy=False)
    indices = first[:, None, None] + (rows * width)[:, :, None] + columns[:, None, :]
    flat = xp.reshape(x, (count * height * width, channels))
    taken = gather_rows(xp, flat, xp.reshape(indices, (count * height * width,)))
    return xp.reshape(taken, x.shape)


def _positions(xp: Namespace, x: Array, side: int) -> Array:
    """The numbers of the rows or columns, int32, shape (1, side)."""
    return xp.arange(side, dtype=xp.int32, device=device(x))[None, :]
