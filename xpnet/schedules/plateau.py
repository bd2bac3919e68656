"""The schedule that follows what is measured."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpnet.checks import as_float, finite_number, positive_integer
from xpnet.errors import shown
from xpnet.fields import Checked, checked_by, number


def _monitor(name: str, value: Any) -> str:
    if not (isinstance(value, str) and value):
        raise ValueError(
            f"{name} must be the name of a field of EpochRecord such as 'train_loss', "
            f"got {shown(value)}"
        )
    return value


def _count(name: str, value: Any) -> int:
    if as_float(value) == 0:
        return 0
    return positive_integer(f"{name}, if it is not 0,", value)


@dataclass(frozen=True)
class ReduceOnPlateau(Checked):
    """Makes the learning rate smaller when a measured value has not become better for a while.

    Parameters
    ----------
    monitor
        The field of `EpochRecord` that is looked at after each epoch. More is better where its
        name ends in "accuracy", less is better otherwise.
    factor
        What the learning rate is multiplied by, above 0 and below 1.
    patience
        How many epochs without a better value are let pass; the next one reduces.
    min_delta
        By how much a value must be better than the best so far in order to count, 0 or more.
    cooldown
        For how many epochs after a reduction none is counted.
    minimum
        Where the learning rate stops falling, 0 or more.

    Notes
    -----
    This is torch's ReduceLROnPlateau, with its defaults, where `threshold_mode="abs"`: `min_delta`
    is a difference and not a fraction. Keras counts one epoch less as `patience`.
    """

    name: ClassVar[str] = "plateau"

    monitor: str = field(default="train_loss", metadata=checked_by(_monitor))
    factor: float = field(default=0.1, metadata=number(above=0, below=1))
    patience: int = field(default=10, metadata=checked_by(_count))
    min_delta: float = field(default=1e-4, metadata=number(at_least=0))
    cooldown: int = field(default=0, metadata=checked_by(_count))
    minimum: float = field(default=0.0, metadata=number(at_least=0))

    def start(self) -> "Plateau":
        """What follows one training."""
        return Plateau(self)


class Plateau:
    """What `ReduceOnPlateau` remembers of one training: the best value, and two counts."""

    def __init__(self, rule: ReduceOnPlateau) -> None:
        self.rule = rule
        self._better_is_more = rule.monitor.endswith("accuracy")
        self._best: float | None = None
        self._bad_epochs = 0
        self._cooling = 0

    def next_rate(self, rate: float, value: float) -> float:
        """The learning rate of the next epoch.

        Parameters
        ----------
        rate
            That of the epoch which is over.
        value
            What was measured after it. One that is not a number is no better than any.
        """
        rule = self.rule
        if self._is_better(value):
            self._best, self._bad_epochs = value, 0
        else:
            self._bad_epochs += 1
        if self._cooling:
            self._cooling -= 1
            self._bad_epochs = 0
        if self._bad_epochs <= rule.patience:
            return rate
        self._cooling, self._bad_epochs = rule.cooldown, 0
        return min(rate, max(rate * rule.factor, rule.minimum))

    def state_dict(self) -> dict[str, float | int | None]:
        """What is remembered, as JSON values."""
        return {"best": self._best, "bad_epochs": self._bad_epochs, "cooling": self._cooling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._best = None if state["best"] is None else finite_number("best", state["best"])
        self._bad_epochs, self._cooling = (
            int(finite_number(name, state[name], at_least=0)) for name in ("bad_epochs", "cooling")
        )

    def _is_better(self, value: float) -> bool:
        if self._best is None:
            return math.isfinite(value)
        if self._better_is_more:
            return value > self._best + self.rule.min_delta
        return value < self._best - self.rule.min_delta
