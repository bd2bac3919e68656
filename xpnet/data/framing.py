"""How figures lie in the pictures of a data set: measured, so that other pictures can be made so.

The figures of MNIST are scaled until the longer side of their box has 20 pixels, and shifted until
their centre of mass is in the middle of 28 x 28 (Y. LeCun, C. Cortes and C. Burges,
http://yann.lecun.com/exdb/mnist/); those of Fashion-MNIST fill the picture in one direction, with
their box in the middle (H. Xiao, K. Rasul and R. Vollgraf, 2017, https://arxiv.org/abs/1708.07747,
figure 1). Neither is written down here: the pictures themselves say it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xpnet.checks import finite_number, positive_integer
from xpnet.data.picture_shape import without_one_colour
from xpnet.errors import shown
from xpnet.typing import HostArray, Shape

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels, without the last two."""

CENTRINGS = ("mass", "box")

_MOST, _MOST_VALUES, _LEAST = 2000, 1 << 23, 16
"""So many pictures, or pixels, are looked at, spread over all: there may be more than memory holds.

Of very large pictures at least a few.
"""

INK = 0.1
"""What differs so much from the paper, as a part of black to white, belongs to the figure."""

_LEAST_SIDE = 5
_KEEP_TO_IT = 0.9
"""So large a part of the pictures must keep to a rule that is one."""
_WANDERING = 0.08
"""Where the middles of figures spread by more than this part of a side, there is no rule."""
_BRIGHTEST = (1.0, 255.0, 65535.0)
_SHADED = 0.3
_USUAL_STROKES = (10, 80)


@dataclass(frozen=True)
class Framing:
    """How figures lie in pictures, and what is black and white in these.

    Attributes
    ----------
    box
        The (height, width) that the box of a figure is scaled to lie within, as large as it can.
    centring
        What is brought to `centre`: the figure's centre of mass (`"mass"`) or the middle of its
        box (`"box"`).
    centre
        The (y, x) of it in a picture; the upper left corner is (0, 0), the middle of the first
        pixel (0.5, 0.5).
    paper
        The brightness of the paper: 0 is black, as in MNIST, and 1 is white.
    stroke
        Between which widths the usual strokes of a figure of ink are, see `stroke_widths`; None of
        figures with shades of their own, such as clothes.
    black, white
        The numbers that are black and white in samples, after the division by `pixel_maximum`.

    Raises
    ------
    ValueError
        If a value is none that there can be.
    """

    box: tuple[int, int]
    centring: str
    centre: tuple[float, float]
    paper: int = 0
    stroke: tuple[float, float] | None = None
    black: float = 0.0
    white: float = 1.0

    def __post_init__(self) -> None:
        pairs = [self.box, self.centre, (1, 1) if self.stroke is None else self.stroke]
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise ValueError(f"framing: box, centre and stroke are pairs, got {shown(pairs)}")
        box = tuple(positive_integer("framing: box", side) for side in self.box)
        centre = tuple(finite_number("framing: centre", at) for at in self.centre)
        if self.centring not in CENTRINGS:
            raise ValueError(
                f"framing: centring must be one of {', '.join(CENTRINGS)}; "
                f"got {shown(self.centring)}"
            )
        if isinstance(self.paper, bool) or self.paper not in (0, 1):
            raise ValueError(f"framing: paper must be 0 or 1, got {shown(self.paper)}")
        black = finite_number("framing: black", self.black)
        white = finite_number("framing: white", self.white, above=black)
        values = {"box": box, "centre": centre, "black": black, "white": white}
        if self.stroke is not None:
            least = finite_number("framing: stroke", self.stroke[0], above=0)
            most = finite_number("framing: stroke", self.stroke[1], at_least=least)
            values["stroke"] = (least, most)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def check_fits(self, shape: Shape) -> None:
        """Check that the figures lie within pictures of a shape, which may have one colour.

        Raises
        ------
        ValueError
            If they do not.
        """
        shape = without_one_colour(shape)
        fits = len(shape) == 2 and all(
            side <= n and 0 <= at <= n
            for side, at, n in zip(self.box, self.centre, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"framing: {shown(self)} does not fit pictures of {shown(shape)}")

    def as_samples(self, brightness: HostArray) -> HostArray:
        """Brightness from 0 to 1, of any shape, as the numbers that samples have."""
        return self.black + (self.white - self.black) * brightness

    def to_dict(self) -> dict[str, Any]:
        """The framing as JSON values."""
        pairs = {"box": self.box, "centre": self.centre, "stroke": self.stroke}
        return {**asdict(self), **{k: v and list(v) for k, v in pairs.items()}}

    @classmethod
    def from_dict(cls, values: Any) -> "Framing":
        """The framing that `to_dict` wrote.

        Raises
        ------
        ValueError
            If it is none.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"framing: expected an object, found {shown(values)}")
        try:
            return cls(**values)
        except TypeError:
            raise ValueError(f"framing: other entries than there are: {shown(values)}") from None


@dataclass(frozen=True)
class Figures:
    """Where the figures of pictures are: of each one the box, and the two middles (y, x)."""

    sizes: HostArray
    masses: HostArray
    middles: HostArray

    @classmethod
    def of(cls, ink: HostArray) -> "Figures":
        """Those of pictures (N, height, width) of ink from 0 to 1; of empty ones there are none."""
        inked = np.greater(ink, INK)
        filled = inked.any(axis=(1, 2))
        inked, ink = inked[filled], ink[filled]
        sizes, masses, middles = [], [], []
        for axis in (1, 2):
            n = ink.shape[axis]
            lines = inked.any(axis=3 - axis)
            first, end = lines.argmax(axis=1), n - lines[:, ::-1].argmax(axis=1)
            weights = ink.sum(axis=3 - axis, dtype=np.float64)
            sizes.append(end - first)
            middles.append((first + end) / 2)
            masses.append((weights * (np.arange(n) + 0.5)).sum(axis=1) / weights.sum(axis=1))
        return cls(*(np.stack(parts, axis=1) for parts in (sizes, masses, middles)))


def looked_at(shape: Shape) -> HostArray:
    """The numbers of the samples, of pictures (N, height, width), that a framing is measured on."""
    n, pixels = shape[0], max(1, math.prod(shape[1:]))
    count = min(n, _MOST, max(_LEAST, _MOST_VALUES // pixels))
    return np.unique(np.linspace(0, n - 1, count).astype(np.int64))


def measure_framing(images: HostArray, maximum: float) -> Framing | None:
    """The rule that the figures of a data set keep to.

    Parameters
    ----------
    images
        Shape (N, height, width), perhaps with an axis of one colour, last or before these.
    maximum
        What integers are divided by.

    Returns
    -------
    framing
        None where there is no such rule: samples are no pictures in grey, the paper is not of one
        brightness, or sizes and places differ, as those of figures in photographs do.
    """
    images = images.reshape(len(images), *without_one_colour(images.shape[1:]))
    if images.ndim != 3 or min(images.shape[1:]) < _LEAST_SIDE:
        return None
    values = np.asarray(images[looked_at(images.shape)])
    exact = values.dtype.kind in "uib"
    values = values.astype(np.float32) * np.float32(1 / maximum if exact else 1.0)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite([low, high]).all() and low < high):
        return None
    black, white = min(low, 0.0), _white(high)
    x = (values - np.float32(black)) * np.float32(1 / (white - black))
    edges = _edges(x)
    dark, bright = float((edges <= INK).mean()), float((edges >= 1 - INK).mean())
    if max(dark, bright) < 0.5:
        return None
    paper = int(bright > dark)
    ink = 1 - x if paper else x
    found = Figures.of(ink)
    if len(found.sizes) < _KEEP_TO_IT * len(ink):
        return None
    box = np.percentile(found.sizes, 99.5, axis=0, method="nearest").astype(int)
    scaled = (found.sizes >= box - 1).any(axis=1) & (found.sizes <= box + 1).all(axis=1)
    masses, middles = (part.std(axis=0) for part in (found.masses, found.middles))
    by_mass = bool(np.square(masses).sum() < np.square(middles).sum())
    spread = (masses if by_mass else middles) / x.shape[1:]
    if scaled.mean() < _KEEP_TO_IT or spread.max() > _WANDERING or box.min() < 2:
        return None
    centre = (found.masses if by_mass else found.middles).mean(axis=0)
    return Framing(
        box=(int(box[0]), int(box[1])),
        centring="mass" if by_mass else "box",
        centre=(round(float(centre[0]), 2), round(float(centre[1]), 2)),
        paper=paper,
        stroke=None if _are_shaded(ink) else _usual_strokes(ink),
        black=black,
        white=white,
    )


def stroke_widths(ink: HostArray) -> HostArray:
    """The mean width of the strokes of pictures (N, height, width) of ink from 0 to 1, in pixels.

    Of a long stroke the area is its length times its width, and the edge has twice its length: the
    width is twice the sum of the ink over the sum of the lengths of its gradients.
    """
    down, across = np.gradient(ink, axis=(1, 2))
    edges = np.hypot(down, across).sum(axis=(1, 2), dtype=np.float64)
    return 2 * ink.sum(axis=(1, 2), dtype=np.float64) / np.maximum(edges, 1e-9)


def _usual_strokes(ink: HostArray) -> tuple[float, float]:
    widths = stroke_widths(ink[(ink > INK).any(axis=(1, 2))])
    least, most = np.percentile(widths, _USUAL_STROKES).round(2)
    return float(least), float(most)


def _white(high: float) -> float:
    """White, by the largest number: a usual one where that is not far above."""
    return next((m for m in _BRIGHTEST if m / 2 < high <= m), high)


def _edges(x: HostArray) -> HostArray:
    return np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)


def _are_shaded(ink: HostArray) -> bool:
    """Whether many pixels amidst figures are neither ink nor paper."""
    inked = ink > INK
    middle, before, after = slice(1, -1), slice(0, -2), slice(2, None)
    amidst = inked[:, middle, middle].copy()
    for rows, columns in ((before, middle), (after, middle), (middle, before), (middle, after)):
        amidst &= inked[:, rows, columns]
    inside = ink[:, 1:-1, 1:-1][amidst]
    return bool(inside.size and ((inside > 0.25) & (inside < 0.75)).mean() > _SHADED)
