"""What may happen beside the training: a progress bar, files, whatever a user wants."""

import sys
from typing import IO

from xpnet.training.history import EpochRecord
from xpnet.training.network import Network
from xpnet.typing import State


class Callback:
    """Told of the course of a training; the methods do nothing unless overridden.

    The network is the one that `fit` will return. Its parameters are those of the last finished
    epoch only while `on_start` or `on_epoch` runs: keep `network.copy()` where they are wanted
    later, and read the state in `on_step`.

    Attributes
    ----------
    every_step
        Whether `on_step` is to be called after each single step. If no callback of a training asks
        for that, JAX and CuPy take several steps in one call, which is faster.
    """

    every_step: bool = True

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        """Before the first step, with the numbers of epochs and of steps in each."""

    def on_step(self, state: State, count: int) -> None:
        """After one step, or `count` of them, with what they changed (see `initial_state`).

        The steps may still be under way on a device, and reading an array waits for them. The
        arrays are valid until the method returns.
        """

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        """After an epoch and its evaluation."""

    def on_end(self, network: Network) -> None:
        """After the last epoch, or when the training ends by an error or Ctrl-C.

        In the latter case the history is that of the finished epochs, but the parameters are of
        no use: they may be in the middle of a step.
        """


class ProgressBar(Callback):
    """A progress bar while training, and one line an epoch.

    Parameters
    ----------
    file
        Where to write; standard error if None. The bar is drawn only on a terminal.
    """

    every_step = False

    def __init__(self, file: IO[str] | None = None) -> None:
        self._file = file

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        from tqdm import tqdm

        self._epochs = epochs
        self._bar = tqdm(
            total=epochs * steps,
            desc=f"epoch 1/{epochs}",
            unit=" steps",
            file=self._file or sys.stderr,
            disable=None,  # on whatever is not a terminal
            leave=False,
            dynamic_ncols=True,
        )

    def on_step(self, state: State, count: int) -> None:
        self._bar.update(count)

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        self._bar.write(str(record), file=self._file or sys.stdout)
        self._bar.set_description(f"epoch {min(record.epoch + 1, self._epochs)}/{self._epochs}")

    def on_end(self, network: Network) -> None:
        self._bar.close()
