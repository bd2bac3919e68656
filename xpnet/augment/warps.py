"""Augmentations that take every pixel from another place, between pixels: smooth deformations."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from array_api_compat import device

from xpnet.augment.base import Augmentation, Random, along
from xpnet.fields import number
from xpnet.operations import gather_rows
from xpnet.typing import Array, HostArray, Namespace, Shape

Places = tuple[Array, Array]
"""Rows and columns, in pixels and between them: shapes (B or 1, H W)."""

Mover = Callable[[Namespace, Places, Shape, Random], Places]
"""`Warp.move` of some warp, or of one that does not always do it."""

_LEAST = 0.02
"""Waves of a displacement whose amplitude is a smaller part of the largest are left out."""


class Warp(Augmentation):
    """A deformation: a subclass says in `move` from where each pixel is taken.

    Values between four pixels are interpolated in both directions (bilinear). Beside the picture
    lie zeros, with which its outermost pixels are interpolated, or its nearest pixels (`edge`).
    Deformations that follow each other in a `Compose`, with the same edge, are one: the places go
    through all of them, and the picture is interpolated once, which costs less and blurs less.
    """

    edge: str

    def move(self, xp: Namespace, places: Places, shape: Shape, random: Random) -> Places:
        """From where pixels are taken that are at some places of the deformed picture.

        Parameters
        ----------
        xp
            The array namespace.
        places
            Rows and columns of the deformed picture, from 0, shapes (B or 1, H W).
        shape
            (H, W, C).
        random
            The random numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} must define move")

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        return warped(xp, x, [(self.move, random)], self.edge, random), y


@dataclass(frozen=True)
class Affine(Warp):
    """Pictures turned, enlarged, slanted and moved, each by random numbers of its own.

    About the middle of the picture: it is slanted, enlarged, turned and moved, in this order. All
    numbers are uniform.

    Parameters
    ----------
    rotation
        The angle at most, to either side, in degrees.
    scale
        How much larger or smaller, as a part: height and width are multiplied by numbers of their
        own from 1 - scale to 1 + scale.
    shear
        The angle at most by which columns are slanted, to either side, in degrees.
    translation
        How far it is moved at most, as a part of the height and of the width.
    edge
        `"zero"` or `"nearest"`; see `Warp`.

    References
    ----------
    Cireşan, Meier, Gambardella and Schmidhuber, "Deep, big, simple neural nets for handwritten
    digit recognition", 2010, https://doi.org/10.1162/NECO_a_00052
    """

    rotation: float = field(default=10.0, metadata=number(at_least=0, at_most=180))
    scale: float = field(default=0.1, metadata=number(at_least=0, below=1))
    shear: float = field(default=5.0, metadata=number(at_least=0, below=90))
    translation: float = field(default=0.05, metadata=number(at_least=0, at_most=1))
    edge: str = field(default="zero", metadata=along("edge"))

    name = "affine"

    def move(self, xp: Namespace, places: Places, shape: Shape, random: Random) -> Places:
        numbers = random.uniform(xp, "numbers", 6, -1.0, 1.0)
        turn, tall, wide, slant, down, right = (numbers[:, i : i + 1] for i in range(6))
        height, width = shape[0], shape[1]
        # From the deformed picture back to the picture: the inverse of each, the last one first.
        rows = places[0] - (down * (self.translation * height) + (height - 1) / 2)
        columns = places[1] - (right * (self.translation * width) + (width - 1) / 2)
        angle = turn * math.radians(self.rotation)
        cosine, sine = xp.cos(angle), xp.sin(angle)
        tall, wide = 1.0 / (tall * self.scale + 1.0), 1.0 / (wide * self.scale + 1.0)
        tangent = xp.tan(slant * math.radians(self.shear))
        back_rows = (cosine * tall) * rows - (sine * tall) * columns
        back_columns = (sine * wide) * rows + (cosine * wide) * columns
        back_columns = back_columns + tangent * back_rows
        return back_rows + (height - 1) / 2, back_columns + (width - 1) / 2

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(40, 0.3, 20, 0.2, "nearest")


@dataclass(frozen=True)
class Elastic(Warp):
    """Pictures deformed as if on rubber: each pixel is taken from beside its place.

    The displacement along each axis is a random smooth function of the place: F = A Z A^T, with
    normal numbers Z, a few for each picture, and a fixed basis A of cosines, whose amplitudes fall
    as a Gaussian filter has them fall. So it is white noise smoothed by a Gaussian filter that is
    reflected at the edges, without the waves that are below 2 % of the largest, at the cost of one
    product with a matrix.

    Parameters
    ----------
    displacement
        How far pixels are moved along each axis, as a part of the height and of the width: the
        square root of the mean square. 0.04 of 28 pixels is 1.1 pixels.
    smoothness
        The standard deviation of the Gaussian, as a part of the height and of the width. 0.16 of 28
        pixels is 4.5 pixels.
    edge
        `"zero"` or `"nearest"`; see `Warp`.

    Notes
    -----
    In the terms of Simard and others, noise that is uniform from -1 to 1, smoothed with sigma and
    multiplied by alpha, has a displacement of alpha / (2 sigma sqrt(3 pi)) pixels: 1.2 for alpha 36
    and sigma 5.

    References
    ----------
    Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to
    visual document analysis", 2003, https://doi.org/10.1109/ICDAR.2003.1227801
    """

    displacement: float = field(default=0.04, metadata=number(at_least=0, at_most=1))
    smoothness: float = field(default=0.16, metadata=number(at_least=0.02, at_most=1))
    edge: str = field(default="zero", metadata=along("edge"))

    name = "elastic"

    def constants(self, shape: Shape, dtype: str) -> Mapping[str, HostArray]:
        return {"basis": smooth_basis(shape[0], shape[1], self.smoothness).astype(dtype)}

    def move(self, xp: Namespace, places: Places, shape: Shape, random: Random) -> Places:
        basis = random.constants["basis"]
        n_waves = basis.shape[0]
        z = random.normal(xp, "waves", 2 * n_waves)
        z = xp.concat(
            [
                z[:, :n_waves] * (self.displacement * shape[0]),
                z[:, n_waves:] * (self.displacement * shape[1]),
            ],
            axis=0,
        )
        displaced, count = xp.matmul(z, basis), z.shape[0] // 2
        return places[0] + displaced[:count, :], places[1] + displaced[count:, :]

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(0.1, 0.1, "nearest")


def smooth_basis(height: int, width: int, smoothness: float) -> HostArray:
    """Smooth functions of a picture's pixels, float64, shape (waves, H W).

    Products of cosines along both axes, those of a transform of type II, with amplitudes that fall
    as exp(-(pi k s)^2 / 2) with their number of half-waves k: so much a Gaussian filter whose
    standard deviation is the part s of the side leaves of them. Scaled such that the sum of the
    squares has the mean 1: times normal numbers they add up to a function of that variance.
    """

    def along_axis(side: int) -> tuple[HostArray, HostArray]:
        waves = np.arange(min(side, math.ceil(1 / smoothness) + 1))
        at = (np.arange(side) + 0.5) / side
        cosines = np.where(waves == 0, 1.0, math.sqrt(2))[:, None] * np.cos(
            math.pi * waves[:, None] * at
        )
        return cosines, np.exp(-((math.pi * smoothness * waves) ** 2) / 2)

    (down, falls_down), (across, falls_across) = along_axis(height), along_axis(width)
    amplitudes = falls_down[:, None] * falls_across
    i, j = np.nonzero(amplitudes >= _LEAST)
    basis: HostArray = (down[i, :, None] * across[j, None, :]).reshape(len(i), -1)
    basis *= amplitudes[i, j][:, None]
    basis /= math.sqrt(float((basis**2).sum(axis=0).mean()))
    return basis


def warped(
    xp: Namespace, x: Array, movers: Sequence[tuple[Mover, Random]], edge: str, random: Random
) -> Array:
    """Pictures deformed by what moves places, one after the other, and interpolated once."""
    shape = x.shape[1:]
    flat = xp.arange(shape[0] * shape[1], dtype=xp.int32, device=device(x))
    rows = flat // shape[1]
    columns = flat - rows * shape[1]
    places: Places = (
        xp.astype(rows, x.dtype)[None, :],
        xp.astype(columns, x.dtype)[None, :],
    )
    # A pixel of the last picture is taken from the one before, and so on to the first.
    for move, own in reversed(movers):
        places = move(xp, places, shape, own)
    return bilinear(xp, x, places, edge, random)


def bilinear(xp: Namespace, x: Array, places: Places, edge: str, random: Random) -> Array:
    """The values of pictures (B, H, W, C) at places, of four pixels around each.

    Beside the picture are zeros (`"zero"`), or what is nearest in it (`"nearest"`); SciPy's
    `map_coordinates` calls them `grid-constant` and `nearest`.
    """
    rows, columns = places
    shape = x.shape
    if edge == "zero":
        x = framed(xp, x)
        rows, columns = rows + 1.0, columns + 1.0
    count, height, width, channels = x.shape
    top, down = _cell(xp, rows, height)
    left, right = _cell(xp, columns, width)
    # In floating point, of one picture: integers up to 2**24 are exact.
    cell = xp.astype(top * float(width) + left, random.index_dtype)
    first = xp.arange(count, dtype=random.index_dtype, device=device(x)) * (height * width)
    n = cell.shape[1] * count
    cell = xp.reshape(cell + first[:, None], (n,))
    down = xp.reshape(xp.broadcast_to(down, (count, n // count)), (n, 1))
    right = xp.reshape(xp.broadcast_to(right, (count, n // count)), (n, 1))
    flat = xp.reshape(x, (count * height * width, channels))
    corners = [gather_rows(xp, flat, cell + step) for step in _steps(height, width)]
    upper = corners[0] + right * (corners[1] - corners[0])
    lower = corners[2] + right * (corners[3] - corners[2])
    return xp.reshape(upper + down * (lower - upper), shape)


def framed(xp: Namespace, x: Array) -> Array:
    """Pictures with a frame of zeros, one pixel wide."""
    count, height, width, channels = x.shape
    beside = xp.zeros((count, height, 1, channels), dtype=x.dtype, device=device(x))
    x = xp.concat([beside, x, beside], axis=2)
    above = xp.zeros((count, 1, width + 2, channels), dtype=x.dtype, device=device(x))
    return xp.concat([above, x, above], axis=1)


def _cell(xp: Namespace, places: Array, side: int) -> tuple[Array, Array]:
    """The pixel before each place along an axis, and how far behind it the place is, from 0 to 1.

    What is outside is taken at the edge.
    """
    places = xp.minimum(xp.maximum(places, 0.0), side - 1.0)
    before = xp.minimum(xp.floor(places), max(side - 2.0, 0.0))
    return before, places - before


def _steps(height: int, width: int) -> tuple[int, int, int, int]:
    """From the first of four pixels to each of them; within pictures of a single row or column."""
    right, down = int(width > 1), width * (height > 1)
    return 0, right, down, down + right
