"""What may happen beside the training: a progress bar, files, whatever a user wants."""

import sys
from typing import IO

from xpnet.training.history import EpochRecord
from xpnet.training.network import Network
from xpnet.typing import State


class Callback:
    """Told of the course of a training; the methods do nothing unless overridden.

    The network is the one that `fit` will return. Its parameters are those of the last finished
    epoch only while a method runs: keep `network.copy()` where they are wanted later.
    """

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        """Before the first step, with the numbers of epochs and of steps in each."""

    def on_step(self, state: State) -> None:
        """After each step was given to the device, with what it changed (see `initial_state`).

        The arrays are valid until the method returns, and reading one makes the device wait.
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

    def on_step(self, state: State) -> None:
        self._bar.update()

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        self._bar.write(str(record), file=self._file or sys.stdout)
        self._bar.set_description(f"epoch {min(record.epoch + 1, self._epochs)}/{self._epochs}")

    def on_end(self, network: Network) -> None:
        self._bar.close()
