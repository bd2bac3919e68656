"""What a schedule is: a table of the factors of the learning rate, made before the first step."""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import numpy as np

from xpnet.errors import counted
from xpnet.fields import Checked, number
from xpnet.typing import HostArray


@dataclass(frozen=True)
class Schedule(Checked):
    """The factors of the learning rate in all steps of a run; a subclass defines `factors`."""

    name: ClassVar[str]
    """What the command line calls it, and `xpnet.schedules.SCHEDULES`."""

    def factors(self, epochs: int, steps_per_epoch: int) -> HostArray:
        """What the learning rate is multiplied by in each step.

        Parameters
        ----------
        epochs, steps_per_epoch
            How long the run is.

        Returns
        -------
        factors
            float64, shape (epochs * steps_per_epoch,), finite and not negative. Where a training
            goes on for longer, the last one holds.

        Raises
        ------
        ValueError
            If the schedule does not fit in a run of that length.
        """
        raise NotImplementedError(f"{type(self).__name__} must define factors")


@dataclass(frozen=True)
class WarmedUp(Schedule):
    """A schedule that can begin with a warm-up; a subclass defines `course`.

    Parameters
    ----------
    warmup
        For how many epochs, 0 or more and not necessarily whole, the factor first rises linearly.
        With W steps of warm-up it is (i + 1) / W in step i, from 0: the first step is not lost, and
        the last one has the full learning rate. What else the schedule says, it says of the rest of
        the run, and counts from there.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017,
    https://arxiv.org/abs/1706.02677
    """

    _: KW_ONLY
    warmup: float = field(default=0.0, metadata=number(at_least=0))

    def course(self, epochs: HostArray, length: float) -> HostArray:
        """The factors after the warm-up.

        Parameters
        ----------
        epochs
            How many epochs after the warm-up each step begins: 0, 1/s, 2/s, ... where an epoch has
            s steps.
        length
            How many epochs the run has after the warm-up, above 0.
        """
        raise NotImplementedError(f"{type(self).__name__} must define course")

    def factors(self, epochs: int, steps_per_epoch: int) -> HostArray:
        n_steps = epochs * steps_per_epoch
        n_warm = round(self.warmup * steps_per_epoch)
        if n_warm >= n_steps:
            raise ValueError(
                f"{type(self).__name__}: a warm-up of {counted(self.warmup, 'epoch')} leaves "
                f"nothing of a run of {epochs}: take a shorter one"
            )
        rising = np.arange(1, n_warm + 1) / max(n_warm, 1)
        n_left = n_steps - n_warm
        rest = self.course(np.arange(n_left) / steps_per_epoch, n_left / steps_per_epoch)
        return np.concatenate([rising, np.broadcast_to(rest, (n_left,))])
