"""Watching a figure of the history: is it still getting better?"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.callbacks.base import Callback
from xpnet.checks import finite_number, is_one_of, positive_integer
from xpnet.errors import counted, shown
from xpnet.fields import check_fields, checked_by, number
from xpnet.history import EpochRecord
from xpnet.network.network import Network
from xpnet.saving.tensors import check_arrays
from xpnet.streams import log_info
from xpnet.typing import Array

MONITORED = tuple(
    f"{part}_{what}" for part in ("validation", "train", "test") for what in ("loss", "accuracy")
)
"""The figures of a record that can be watched."""
MODES = ("min", "max")


def _monitored(_: str, value: Any) -> str:
    if not is_one_of(MONITORED, value):
        raise ValueError(f"monitor must be one of {', '.join(MONITORED)}; got {shown(value)}")
    return str(value)


def _mode(name: str, value: Any) -> str:
    if not is_one_of(MODES, value):
        raise ValueError(f"{name} must be one of {', '.join(MODES)}, or None; got {shown(value)}")
    return str(value)


@dataclass(frozen=True)
class Monitor:
    """A figure of the records, and what is better.

    Parameters
    ----------
    name
        One of `MONITORED`.
    mode
        `"min"` where less is better, `"max"` where more is; if None, as the name says: accuracies
        shall rise, losses fall.
    min_delta
        By how much more than this a figure must be better to count as an improvement.

    Raises
    ------
    ValueError
        If a value is not allowed.
    """

    name: str = field(default="validation_loss", metadata=checked_by(_monitored))
    mode: str | None = field(default=None, metadata=checked_by(_mode, optional=True))
    min_delta: float = field(default=0.0, metadata=number(at_least=0))

    def __post_init__(self) -> None:
        check_fields(self, "")  # named as the arguments of the callbacks

    def improves(self, value: float | None, best: float | None) -> bool:
        """Whether a value is better than the best so far. One that is not finite never is."""
        if value is None or not math.isfinite(value):
            return False
        if best is None:
            return True
        mode = self.mode or ("max" if self.name.endswith("accuracy") else "min")
        gain = value - best if mode == "max" else best - value
        return gain > self.min_delta


class EarlyStopping(Callback):
    """Ends a training when a figure has not become better for some epochs.

    Parameters
    ----------
    monitor
        Which figure: `"validation_loss"`, `"validation_accuracy"`, or the same of `train` or
        `test`. (Who stops by the test set has no independent judgement left.)
    patience
        After how many epochs without an improvement the training ends; a positive integer.
    min_delta
        By how much more than this the figure must be better.
    mode
        `"min"` or `"max"`; if None, losses shall fall and accuracies rise.
    restore_best
        Whether the network that `fit` returns has the parameters of the best epoch, also where the
        training was not ended early. Else it has those of the last one.

    Attributes
    ----------
    best, best_epoch
        The best figure and the number of its epoch; None before the first.
    stopped_epoch
        The number of the epoch that the training was ended after; None if it was not.

    Raises
    ------
    ValueError
        If a value is not allowed; by `fit`, if the training has no such figure.

    Examples
    --------
    >>> from xpnet import EarlyStopping, fit, load_dataset, mlp
    >>> stopping = EarlyStopping(patience=2)
    >>> network = fit(
    ...     mlp(64, 32, 10), load_dataset("digits"), validation=0.2, epochs=200,
    ...     callbacks=[stopping], backend="numpy",
    ... )
    >>> len(network.history) == stopping.best_epoch + 2 < 200
    True
    """

    every_step = False

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.monitor = monitor
        self.patience = positive_integer("patience", patience)
        self.restore_best = bool(restore_best)

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._backend, self._waited = network.backend, 0
        self._shapes = {name: tuple(value.shape) for name, value in network.state_arrays().items()}
        self._arrays: dict[str, Array] = {}

    def on_epoch(self, network: Network, record: EpochRecord) -> bool:
        value = getattr(record, self._monitor.name)
        if self._monitor.improves(value, self.best):
            self.best, self.best_epoch, self._waited = value, record.epoch, 0
            if self.restore_best:
                self._arrays = network.copy().state_arrays()
            return False
        self._waited += 1
        if self._waited < self.patience:
            return False
        self.stopped_epoch = record.epoch
        log_info(
            "%s has not improved for %s: the training ends after epoch %d",
            self._monitor.name, counted(self._waited, "epoch"), record.epoch,
        )  # fmt: skip
        return True

    def on_finish(self, network: Network) -> None:
        if self._arrays:
            network.set_arrays(self._arrays)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "waited": self._waited,
            **{name: self._backend.to_numpy(value) for name, value in self._arrays.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = None if state["best"] is None else finite_number("best", state["best"])
        self.best_epoch, self.stopped_epoch = (
            None if state[name] is None else positive_integer(name, state[name])
            for name in ("best_epoch", "stopped_epoch")
        )
        self._waited = int(finite_number("waited", state["waited"], at_least=0))
        best = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
        if best:
            check_arrays("the best parameters of EarlyStopping", best, self._shapes)
        self._arrays = {
            name: self._backend.asarray(value, copy=True) for name, value in best.items()
        }
