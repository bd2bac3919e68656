"""What a training is made of: all that `fit` was asked for, checked."""

import math
from dataclasses import dataclass
from typing import Any

from xpnet.augment import Augmentation
from xpnet.callbacks.base import CallbackList
from xpnet.checks import is_one_of, positive_integer
from xpnet.distributed.reduction import WHOLE, Reduction
from xpnet.history import UNMEASURED
from xpnet.inputs.batches import visited_samples
from xpnet.layers import Layer
from xpnet.losses import LossFunction
from xpnet.optimizers import Optimizer
from xpnet.random import Seed, seed_sequence
from xpnet.saving.snapshot import Snapshot
from xpnet.schedules import Plateau
from xpnet.training.starting import Start
from xpnet.typing import SeedSequence


@dataclass(frozen=True)
class Plan:
    """How long a training goes, and in which order.

    Attributes
    ----------
    epochs, batch_size, seed, train_metrics, drop_last, average_from
        As `fit` is given them.
    stop_after
        The number of the epoch that it is left after, to go on later.
    """

    epochs: int
    batch_size: int
    seed: SeedSequence
    stop_after: int
    train_metrics: str
    drop_last: bool
    average_from: float | None = None

    @classmethod
    def of(
        cls,
        *,
        epochs: Any,
        batch_size: Any,
        seed: Seed,
        stop_after: Any = None,
        train_metrics: Any = "evaluated",
        drop_last: Any = False,
        average_from: float | None = None,
    ) -> "Plan":
        """Check what `fit` is given.

        Raises
        ------
        ValueError
            If a number is not a positive integer, the seed is none, or there is no such word for
            `train_metrics`.
        TypeError
            If `drop_last` is not a Boolean.
        """
        epochs = positive_integer("epochs", epochs)
        batch_size = positive_integer("batch_size", batch_size)
        stop_after = epochs if stop_after is None else positive_integer("stop_after", stop_after)
        if not isinstance(drop_last, bool):
            raise TypeError(f"drop_last must be True or False, got {drop_last!r}")
        seed = seed_sequence(seed)
        if not is_one_of(UNMEASURED, train_metrics):
            raise ValueError(
                f"train_metrics must be one of {', '.join(UNMEASURED)}; got {train_metrics!r}"
            )
        return cls(
            epochs, batch_size, seed, stop_after, train_metrics, drop_last, average_from
        )  # fmt: skip

    @property
    def last_epoch(self) -> int:
        """The number of the epoch that it ends with, at the latest."""
        return min(self.epochs, self.stop_after)

    def visited(self, n_samples: int) -> int:
        """How many of the samples an epoch takes steps on: all, or those of whole batches."""
        return visited_samples(n_samples, self.batch_size, drop_last=self.drop_last)

    def steps(self, n_samples: int) -> int:
        """How many steps make an epoch."""
        return math.ceil(self.visited(n_samples) / self.batch_size)


@dataclass(frozen=True)
class Setup:
    """What is trained, on what loss, by which optimizer; how, and from where.

    Attributes
    ----------
    model, loss, optimizer
        As `fit` is given them.
    plan
        How long, and in which order.
    start
        What the training begins with.
    callbacks
        Who is told of it.
    plateau
        What watches it for a `ReduceOnPlateau`; None without.
    saved
        The snapshot that it goes on from; None if it begins.
    reduction
        Which ranks train, and how a batch is divided among them.
    augment
        How the samples of a batch are changed; None if they are not.
    """

    model: Layer
    loss: LossFunction
    optimizer: Optimizer
    plan: Plan
    start: Start
    callbacks: CallbackList
    plateau: Plateau | None = None
    saved: Snapshot | None = None
    reduction: Reduction = WHOLE
    augment: Augmentation | None = None
