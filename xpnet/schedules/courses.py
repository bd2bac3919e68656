"""The schedules that follow a formula."""

from dataclasses import dataclass, field

import numpy as np

from xpnet.checks import positive_integer, true_or_false
from xpnet.fields import checked_by, number
from xpnet.schedules.base import Schedule, WarmedUp
from xpnet.typing import HostArray


@dataclass(frozen=True)
class Constant(WarmedUp):
    """The learning rate as it is, after a warm-up if there is one.

    Parameters
    ----------
    warmup
        See `WarmedUp`.
    """

    name = "constant"

    def course(self, epochs: HostArray, length: float) -> HostArray:
        return np.ones(epochs.shape)


@dataclass(frozen=True)
class Step(WarmedUp):
    """Falls by a factor every so many epochs: factor ** floor(epoch / every).

    Parameters
    ----------
    every
        After how many epochs, a positive integer.
    factor
        Above 0; 0.1 unless another is given, as in torch.
    warmup
        See `WarmedUp`.
    """

    name = "step"

    every: int = field(metadata=checked_by(positive_integer))
    factor: float = field(default=0.1, metadata=number(above=0))

    def course(self, epochs: HostArray, length: float) -> HostArray:
        return self.factor ** (np.floor(epochs) // self.every)


@dataclass(frozen=True)
class Exponential(WarmedUp):
    """Falls by the same factor in every epoch: factor ** epoch.

    Parameters
    ----------
    factor
        Above 0.
    smooth
        Whether it falls a little in every step, and not at the end of each epoch.
    warmup
        See `WarmedUp`.
    """

    name = "exponential"

    factor: float = field(metadata=number(above=0))
    smooth: bool = field(default=False, metadata=checked_by(true_or_false))

    def course(self, epochs: HostArray, length: float) -> HostArray:
        return self.factor ** (epochs if self.smooth else np.floor(epochs))


@dataclass(frozen=True)
class Polynomial(WarmedUp):
    """Falls from 1 as a power of what is left: final + (1 - final) (1 - epoch / epochs) ** power.

    Parameters
    ----------
    power
        Above 0; with 1 the learning rate falls linearly.
    final
        Where it would be after the last step, from 0 to 1.
    warmup
        See `WarmedUp`.
    """

    name = "polynomial"

    power: float = field(default=1.0, metadata=number(above=0))
    final: float = field(default=0.0, metadata=number(at_least=0, at_most=1))

    def course(self, epochs: HostArray, length: float) -> HostArray:
        return self.final + (1 - self.final) * (1 - epochs / length) ** self.power


@dataclass(frozen=True)
class Cosine(WarmedUp):
    """Falls from 1 in half a wave: final + (1 - final) (1 + cos(pi epoch / epochs)) / 2.

    With `cycles` it does so in each of so many equal parts of the run, and begins at 1 again after
    each (warm restarts).

    Parameters
    ----------
    final
        Where it would be after the last step, from 0 to 1.
    cycles
        How often, a positive integer.
    warmup
        See `WarmedUp`.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    https://arxiv.org/abs/1608.03983
    """

    name = "cosine"

    final: float = field(default=0.0, metadata=number(at_least=0, at_most=1))
    cycles: int = field(default=1, metadata=checked_by(positive_integer))

    def course(self, epochs: HostArray, length: float) -> HostArray:
        part = self.cycles * epochs / length
        # A quotient may be a little below the whole number that it should be.
        part = np.maximum(part - np.floor(part + 1e-9), 0.0)
        return self.final + (1 - self.final) * _half_wave(part)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Rises to the learning rate and falls far below where it began, once in the run.

    The factor rises from 1 / div_factor to 1, and falls to 1 / (div_factor * final_div_factor) in
    the last step, both in half a wave of the cosine. The defaults are torch's. The momentum stays
    as it is.

    Parameters
    ----------
    pct_start
        Which part of the run it rises for, above 0 and below 1.
    div_factor
        How many times smaller the learning rate is in the first step, at least 1.
    final_div_factor
        How many times smaller than in the first step it is in the last, above 0.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2017, https://arxiv.org/abs/1708.07120
    """

    name = "one-cycle"

    pct_start: float = field(default=0.3, metadata=number(above=0, below=1))
    div_factor: float = field(default=25.0, metadata=number(at_least=1))
    final_div_factor: float = field(default=1e4, metadata=number(above=0))

    def factors(self, epochs: int, steps_per_epoch: int) -> HostArray:
        n_steps = epochs * steps_per_epoch
        first, last = 1 / self.div_factor, 1 / (self.div_factor * self.final_div_factor)
        step, peak = np.arange(n_steps), self.pct_start * n_steps - 1
        if peak <= 0:  # too short a run to rise in
            return last + (1 - last) * _half_wave(step / max(n_steps - 1, 1))
        rising = 1 + (first - 1) * _half_wave(step / peak)
        falling = last + (1 - last) * _half_wave((step - peak) / (n_steps - 1 - peak))
        return np.where(step <= peak, rising, falling)


def _half_wave(part: HostArray) -> HostArray:
    """From 1, where `part` is 0, to 0, where it is 1, as a cosine."""
    return (1 + np.cos(np.pi * part)) / 2
