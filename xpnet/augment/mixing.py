"""Augmentations that mix each sample with another one, and their targets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np

from xpnet.augment.base import Augmentation, Random
from xpnet.augment.pixels import within
from xpnet.fields import number
from xpnet.operations import gather_rows
from xpnet.typing import Array, HostArray, Namespace, Shape

LEVELS = 4096
"""So many numbers of a beta distribution there are, all as likely: the middles of its quantiles."""

_GRID = 20_000


class Mixing(Augmentation):
    """Each sample is mixed with the one in front of it in the batch; before the first is the last.

    Batches are drawn anew in each epoch, so that this is a random other sample. How much of it is
    left follows a beta distribution whose parameters are both `alpha`: uniform for 1, and mostly
    near 0 and near 1 below that.
    """

    alpha: float

    takes_pictures: ClassVar[bool] = False
    changes_targets: ClassVar[bool] = True
    neighbours: ClassVar[int] = 1


@dataclass(frozen=True)
class Mixup(Mixing):
    """Samples and targets mixed: f x + (1 - f) x', and f y + (1 - f) y' of the sample in front.

    Parameters
    ----------
    alpha
        That of the beta distribution which f is drawn from, in each sample.

    References
    ----------
    Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond empirical risk minimization", 2018,
    https://arxiv.org/abs/1710.09412
    """

    alpha: float = field(default=0.2, metadata=number(at_least=0.05, at_most=100))

    name = "mixup"

    def constants(self, shape: Shape, dtype: str) -> Mapping[str, HostArray]:
        return {"parts": beta_levels(self.alpha).astype(dtype)}

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        own = random.without_first(1)
        level = own.integers(xp, "part", 1, LEVELS)[:, 0]
        level = xp.astype(level, random.index_dtype)
        part = gather_rows(xp, random.constants["parts"], level)
        return mixed(xp, x, part), mixed(xp, y, part)

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()
        yield cls(1.0)


@dataclass(frozen=True)
class CutMix(Mixing):
    """A rectangle of each picture taken from the one in front of it in the batch.

    Its sides are sqrt(1 - f) of those of the picture, rounded to pixels, about a pixel that may be
    any of it; what would be outside is left out. The targets are mixed by the parts that the two
    have of the pixels.

    Parameters
    ----------
    alpha
        That of the beta distribution which f is drawn from, in each picture.

    References
    ----------
    Yun, Han, Oh, Chun, Choe and Yoo, "CutMix: Regularization strategy to train strong classifiers
    with localizable features", 2019, https://arxiv.org/abs/1905.04899
    """

    alpha: float = field(default=1.0, metadata=number(at_least=0.05, at_most=100))

    name = "cutmix"
    takes_pictures: ClassVar[bool] = True

    def constants(self, shape: Shape, dtype: str) -> Mapping[str, HostArray]:
        # Made on the host: a root that is another in its last digit would be another pixel.
        sides = np.sqrt(1 - beta_levels(self.alpha))
        sizes = {"heights": shape[0], "widths": shape[1]}
        return {n: np.rint(sides * side).astype(np.int32) for n, side in sizes.items()}

    def apply(self, xp: Namespace, x: Array, y: Array, random: Random) -> tuple[Array, Array]:
        own = random.without_first(1)
        level = xp.astype(own.integers(xp, "part", 1, LEVELS)[:, 0], random.index_dtype)
        spans = []
        for which, side in (("heights", x.shape[1]), ("widths", x.shape[2])):
            long = gather_rows(xp, random.constants[which], level)[:, None]
            first = own.integers(xp, which, 1, side) - (long >> 1)
            spans.append(within(xp, x, side, first, first + long))
        down, across = spans
        hole = down[:, :, None, None] * across[:, None, :, None]
        taken = xp.sum(down, axis=1) * xp.sum(across, axis=1) / (x.shape[1] * x.shape[2])
        return x[1:, ...] * (1.0 - hole) + x[:-1, ...] * hole, mixed(xp, y, 1.0 - taken)

    @classmethod
    def examples(cls) -> Iterator[Augmentation]:
        yield cls()


def mixed(xp: Namespace, x: Array, part: Array) -> Array:
    """Each row but the first with what is in front of it: part x + (1 - part) x'."""
    column = xp.reshape(part, (part.shape[0], *[1] * (x.ndim - 1)))
    return column * x[1:, ...] + (1.0 - column) * x[:-1, ...]


@cache
def beta_levels(alpha: float) -> HostArray:
    """Numbers that are a beta distribution with two equal parameters, float64, shape (LEVELS,).

    Number i is the quantile at (i + 1/2) / LEVELS. The integral of t^(a-1) (1-t)^(a-1) is taken up
    to the middle, about which it is symmetric; for a below 1 over s = t^a, so that it has no pole.
    """
    power = min(alpha, 1.0)
    s = np.linspace(0, 0.5**power, _GRID)
    t = s ** (1 / power)
    slope = t ** (alpha - power) * (1 - t) ** (alpha - 1)
    steps = (slope[1:] + slope[:-1]) / 2 * np.diff(s)
    below = np.concatenate([[0.0], np.cumsum(steps)])
    below *= 0.5 / below[-1]
    wanted = (np.arange(LEVELS // 2) + 0.5) / LEVELS
    lower = np.interp(wanted, below, s) ** (1 / power)
    levels: HostArray = np.concatenate([lower, 1 - lower[::-1]])
    return levels
