"""Saving a training while it runs, so that it can go on after a break."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from xpnet.callbacks.base import Callback
from xpnet.callbacks.early_stopping import Monitor
from xpnet.checks import positive_integer
from xpnet.files import remove_temporaries, writing
from xpnet.history import EpochRecord
from xpnet.network.network import Network
from xpnet.saving.folder_lock import FolderLock
from xpnet.saving.snapshot import CHECKPOINT, Snapshot

BEST = "best.safetensors"
"""What the best network is called in a folder."""


class Checkpoint(Callback):
    """Saves a training in a folder: where it is, to go on from, and its best network.

    `checkpoint.safetensors` is what `fit(..., resume=folder)` goes on from. It is written before
    the first step, after every so many epochs or steps, at the end, and on Ctrl-C or SIGTERM.
    `best.safetensors`, for `load`, is the network of the epoch with the best figure so far; there
    is none where the training has no set for such a figure. Each replaces the one before at once,
    so that a process that is killed leaves the old file or the new one, whole.

    While the training runs it has the folder to itself: another one that would write there, in this
    process or any other, is refused. A process that was killed keeps nobody out.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    every
        After how many epochs the training is saved.
    every_steps
        After how many steps within an epoch it is saved as well; not at all if None. Most backends
        take several steps in one call (`Backend.steps_per_call`: NumPy and CuPy 16, JAX 512), and
        it is saved when enough of them have been taken.
    monitor, mode
        Which figure is the best, as in `EarlyStopping`.
    configuration
        JSON values that `read_snapshot(path).configuration` shall give back, such as the options
        of a program.

    Attributes
    ----------
    best_epoch
        The number of the epoch with the best figure so far; None where there is none.

    Raises
    ------
    ValueError
        If a number is not a positive integer, or the figure is none.
    RunError
        In the training, if the folder cannot be written, such as on a full disk. The old files
        stay as they are. Before the first step, if another training has the folder.
    """

    every_step = False
    files: ClassVar[tuple[str, ...]] = (CHECKPOINT, BEST)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        every_steps: int | None = None,
        monitor: str = "validation_loss",
        mode: str | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.every = positive_integer("every", every)
        self.every_steps = (
            None if every_steps is None else positive_integer("every_steps", every_steps)
        )
        self.configuration = configuration
        self._lock: FolderLock | None = None
        self._monitor = Monitor(monitor, mode)
        if monitor.startswith("train_"):
            self.monitor = monitor  # asked for, unlike the default: so `fit` sees that it is there

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        self._best: float | None = None
        self.best_epoch: int | None = None
        for record in network.history:
            self._improved(record)
        self._last: tuple[int, int] | None = None
        self.saved_to = None
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if self._lock is None:
                self._lock = FolderLock(self.path)
            # A process that was killed while it wrote has left its temporary file.
            remove_temporaries(self.path, self.files)

    def on_epoch(self, network: Network, record: EpochRecord) -> bool | None:
        if self._improved(record):
            self._check_mine()
            with writing(self.path):
                network.save(self.path / BEST)
        return None

    def on_end(self, network: Network) -> None:
        self._let_go()

    def _check_mine(self) -> None:
        """Check, before it is written to, that the folder has not come to be another one."""
        if self._lock is not None:
            self._lock.check()

    def _let_go(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _improved(self, record: EpochRecord) -> bool:
        """Whether it is the best so far, which is then remembered."""
        value = getattr(record, self._monitor.name)
        better = self._monitor.improves(value, self._best)
        if better:
            self._best, self.best_epoch = value, record.epoch
        return better

    def wants_snapshot(self, epoch: int, step: int, *, last: bool) -> bool:
        if last or self._last is None:
            return True
        if step == 0:
            return epoch % self.every == 0
        before = self._last[1] if self._last[0] == epoch else 0
        return self.every_steps is not None and step - before >= self.every_steps

    def on_snapshot(self, snapshot: Snapshot) -> None:
        file = self.path / CHECKPOINT
        self._check_mine()
        with writing(self.path):
            snapshot.save(file, configuration=self.configuration)
            if snapshot.epoch == snapshot.step == 0:
                (self.path / BEST).unlink(missing_ok=True)  # of another training
        self._last = snapshot.epoch, snapshot.step
        self.saved_to = str(file)

    def on_interrupt(self, snapshot: Snapshot) -> None:
        self.on_snapshot(snapshot)
