"""The history as a file, written while the training runs, for other programs to read."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from xpnet.callbacks.base import Callback
from xpnet.files import append_line, write_atomically, writing
from xpnet.history import EpochRecord, History
from xpnet.network.network import Network


class _LineLogger(Callback):
    """One line an epoch, on the disk before the next epoch begins.

    When a training starts, the file is replaced: by nothing, or, where a training goes on, by the
    lines of the epochs that are finished. So it is always that of the training as it is.
    """

    every_step = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        # The epochs that are in the file, and its size, as this logger has left it.
        self._records: list[EpochRecord] = []
        self._size: int | None = None

    def head(self) -> str:
        """What stands above the lines."""
        return ""

    def line(self, record: EpochRecord) -> str:
        """The line of an epoch."""
        raise NotImplementedError

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        # A loop of `partial_fit` starts with each epoch: not all lines are written each time.
        if self._size is None or (list(network.history), _size(self.path)) != (
            self._records, self._size,
        ):  # fmt: skip
            self.write_all(network.history)

    def write_all(self, history: History) -> None:
        """Replace the file by the lines of these epochs."""
        text = self.head() + "".join(map(self.line, history))
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, text.encode())
        self._records, self._size = list(history), _size(self.path)

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        with writing(self.path):
            append_line(self.path, self.line(record))
        self._records.append(record)
        self._size = _size(self.path)


class JSONLogger(_LineLogger):
    """Writes each epoch as a line of JSON (JSON Lines), with the names of `EpochRecord`.

    A number that JSON has none for (NaN, infinity) is null.

    Parameters
    ----------
    path
        The file; its folder is made if it is not there. A file that is there is replaced, unless a
        training goes on (a saved one, or that of an estimator by `partial_fit` or `warm_start`):
        then it is made to hold the finished epochs, and appended to.

    Raises
    ------
    RunError
        In the training, if the file cannot be written.
    """

    def line(self, record: EpochRecord) -> str:
        import json  # late, as all that `import xpnet` has no need of

        return json.dumps(record.to_dict()) + "\n"


class CSVLogger(_LineLogger):
    """Writes each epoch as a line of comma-separated values, below a line of their names.

    What there is none of, such as the loss on a test set that is not there, is left empty.

    Parameters
    ----------
    path
        The file; as for `JSONLogger`.

    Raises
    ------
    RunError
        In the training, if the file cannot be written.
    """

    def head(self) -> str:
        return _csv([field.name for field in fields(EpochRecord)])

    def line(self, record: EpochRecord) -> str:
        return _csv([getattr(record, field.name) for field in fields(record)])


class TensorBoard(Callback):
    """Writes loss, accuracy, learning rate and seconds of each epoch for TensorBoard.

    Needs `pip install 'xpnet[tensorboard]'` (tensorboardX). Look at them with
    `tensorboard --logdir FOLDER`.

    Parameters
    ----------
    logdir
        The folder; made if it is not there. A training that goes on writes a second file there,
        with which TensorBoard takes the place of epochs that had been seen but not saved.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    RunError
        In the training, if the folder cannot be written.
    """

    every_step = False

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs tensorboardX: pip install 'xpnet[tensorboard]'", name=error.name
            ) from error
        self.logdir = Path(logdir)
        self._writer_class = SummaryWriter
        self._writer: Any = None

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        done = len(network.history)
        # The name of a file has the second in it, which may be that of the one before.
        with writing(self.logdir):
            self._writer = self._writer_class(
                str(self.logdir),
                purge_step=done + 1 if done else None,
                filename_suffix=f".{done}" if done else "",
            )

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        with writing(self.logdir):
            for name, value in _tags(record).items():
                self._writer.add_scalar(name, value, record.epoch)
            self._writer.flush()

    def on_end(self, network: Network) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None  # it has a thread, and cannot be pickled


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _tags(record: EpochRecord) -> dict[str, float]:
    """The figures by the names that TensorBoard groups them by: `loss/train`, `loss/test`, ..."""
    values = {
        f"{what}/{part}": getattr(record, f"{part}_{what}")
        for what in ("loss", "accuracy")
        for part in ("train", "validation", "test")
    }
    values |= {
        "learning_rate": record.learning_rate,
        "seconds/train": record.train_seconds,
        "seconds/eval": record.eval_seconds,
    }
    return {name: value for name, value in values.items() if value is not None}


def _csv(row: list[Any]) -> str:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
