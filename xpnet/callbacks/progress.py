"""A bar on a terminal, a line for each epoch."""

import sys
from typing import IO, Any

from xpnet.callbacks.base import Callback
from xpnet.history import EpochRecord
from xpnet.network import Network
from xpnet.streams import Forgiving, can_flush
from xpnet.typing import State


class ProgressBar(Callback):
    """A progress bar while training, and one line an epoch.

    Where the stream is closed or full, the training goes on without.

    Warnings of xpnet are written above the bar, unless the program has set up its logging.

    Parameters
    ----------
    file
        Where to write; standard error if None. The bar is drawn only on a terminal.
    """

    every_step = False
    _warnings: Any = None

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file
        self._bar: Any = None

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        from tqdm import tqdm

        from xpnet.callbacks.messages import watch_warnings  # late, with the logging that it needs

        done = len(network.history)
        self._epochs, self._steps = epochs, steps
        self._bar = tqdm(
            total=epochs * steps,
            initial=done * steps,
            desc=f"epoch {min(done + 1, epochs)}/{epochs}",
            unit=" steps",
            file=Forgiving(self._file or sys.stderr),
            # On whatever is not a terminal; and where tqdm, which flushes both, would fail.
            disable=None if can_flush(sys.stderr) and can_flush(sys.stdout) else True,
            leave=False,
            dynamic_ncols=True,
        )
        self._warnings = None if self._bar.disable else watch_warnings(self._bar.fp)

    def on_step(self, state: State, count: int) -> None:
        self._bar.update(count)

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        # Where a training went on within an epoch, fewer steps of it have been seen.
        self._bar.update(record.epoch * self._steps - self._bar.n)
        self._bar.write(str(record), file=Forgiving(self._file or sys.stdout))
        self._bar.set_description(f"epoch {min(record.epoch + 1, self._epochs)}/{self._epochs}")

    def on_end(self, network: Network) -> None:
        from xpnet.callbacks.messages import unwatch_warnings

        unwatch_warnings(self._warnings)
        self._warnings = None
        if self._bar is not None:
            self._bar.close()

    def __getstate__(self) -> Any:
        # Both hold locks, and are made anew.
        return {**super().__getstate__(), "_bar": None, "_warnings": None}
