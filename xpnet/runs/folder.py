"""The folder of a run: its history, its summary, its network and its pictures."""

import itertools
import json
import math
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from xpnet.callbacks.checkpoint import BEST, Checkpoint
from xpnet.callbacks.loggers import JSONLogger, TensorBoard
from xpnet.distributed.group import ALONE, Group
from xpnet.errors import RunError
from xpnet.files import is_device, write_atomically, writing
from xpnet.history import EpochRecord
from xpnet.network.network import Network
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import CONFIG, write_config
from xpnet.runs.environment import environment, peak_host_memory
from xpnet.saving.snapshot import CHECKPOINT, read_snapshot
from xpnet.typing import HostArray

HISTORY, SUMMARY, MODEL = "history.jsonl", "summary.json", "model.safetensors"
TENSORBOARD = "tensorboard"
PICTURES = (
    *("curves.png", "confusion.png", "mistakes.png"),
    *("filters.png", "features.png", "saliency.png"),
)
FILES = (CONFIG, HISTORY, SUMMARY, MODEL, CHECKPOINT, BEST, *PICTURES)


class RunFolder(Checkpoint):
    """Writes a run folder while a network trains: give it to `fit` as a callback.

    Nothing is written before the training starts. After each epoch the record is appended to
    `history.jsonl` and the network written to `model.safetensors`, so that a training that is
    interrupted leaves the epochs it finished. `checkpoint.safetensors` and `best.safetensors` are
    written as `Checkpoint` does. When a training goes on, the files become those of one that was
    never stopped.

    As a context manager it keeps the folder to itself (see `Checkpoint`) also after the training,
    until the context is left.

    Where a configuration is given, `config.toml` has it, and logs for TensorBoard are written to
    the folder `tensorboard` if it asks for them.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    force
        Whether a run that is already there may be replaced. Only the files that a run folder
        consists of are removed.
    resume
        Whether the run that is there goes on: give `fit(..., resume=path)` as well.
    config
        What `xpnet train --resume` shall find again. It has `checkpoint_every` and `tensorboard`.
    options
        As for `Checkpoint`: `every`, `every_steps`, `monitor`, `mode`, `configuration`.

    Attributes
    ----------
    finished
        Whether the training has come to its end, and was not left before.

    Raises
    ------
    ImportError
        If logs for TensorBoard are asked for and tensorboardX is not installed.
    RunError
        If the folder holds a run and neither `force` nor `resume` is given, holds none that could
        go on, or is not a folder; when the training starts, if it cannot be written, or another
        training has it. What the same run left that was killed before its first checkpoint is none.
    """

    files = FILES

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        resume: bool = False,
        config: RunConfig | None = None,
        **options: Any,
    ) -> None:
        self._set_up(path, resume, config, options)
        self._force = force
        there = self._files()
        if os.path.lexists(self.path) and not os.path.isdir(self.path):  # noqa: PTH112
            raise RunError(f"{self.path}: there is a file of this name; give another folder")
        if resume and CHECKPOINT not in there:
            if not self._is_my_beginning(there):
                raise RunError(f"{self.path}: no run that could go on: there is no {CHECKPOINT}")
            self._resume = False
        self._check_free()

    def _check_free(self) -> None:
        """Check that nothing is there that must not be replaced."""
        there = self._files()
        if there and not (self._force or self._resume or self._is_my_beginning(there)):
            raise RunError(
                f"{self.path}: holds a run already ({', '.join(there)}); "
                f"give another folder, or --force to replace it"
            )

    def _is_my_beginning(self, there: list[str]) -> bool:
        """Whether this very run left these files when it was killed before its first checkpoint."""
        if not only_begun(self.path):
            return False
        if CONFIG not in there:
            return (self.path / HISTORY).stat().st_size == 0
        if self._named:
            return True
        return self._config is not None and _content(self.path / CONFIG) == self._config.encode()

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        self._entered = False
        self._let_go()

    def _set_up(
        self,
        path: str | os.PathLike[str],
        resume: bool,
        config: RunConfig | None,
        options: dict[str, Any],
    ) -> None:
        self._config, self._board = None, None
        if config is not None:
            options = {
                "every": config.checkpoint_every, "configuration": config.to_dict(), **options
            }  # fmt: skip
            # Both may fail: before anything is trained.
            self._config = write_config(config)
            self._board = TensorBoard(TENSORBOARD) if config.tensorboard else None
        Checkpoint.__init__(self, path, **options)
        self._resume, self.finished = resume, False
        self._named = resume  # whether it was said that this run is meant
        self._force = self._entered = False

    def _files(self) -> list[str]:
        """The files of a run that the folder holds."""
        # os.path: unlike Path's methods it is silent about names that cannot be.
        return [name for name in FILES if os.path.lexists(self.path / name)]

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        self.finished = False
        super().on_start(network, epochs=epochs, steps=steps)
        self._check_free()  # again: now that no other training can write there
        if self._resume and len(read_snapshot(self.path).records) != len(network.history):
            raise RunError(
                f"{self.path}: the run there would be replaced: give fit(..., resume=path) as well"
            )
        stale = [SUMMARY, *PICTURES] if self._resume else list(FILES)
        stale += filter(lambda name: is_device(self.path / name), FILES)  # a pipe waits for readers
        with writing(self.path):
            # The checkpoint first: who is killed here must not go on with the run of before.
            there = set(stale) & set(self._files())
            for name in sorted(there, key=lambda name: name != CHECKPOINT):
                (self.path / name).unlink()
            self._clear_board()
            if self._config is not None:
                write_atomically(self.path / CONFIG, self._config.encode())
                self.resume_with = f"xpnet train --resume {shlex.quote(str(self.path))}"
        # Of a run that goes on, what came after its checkpoint will be trained again.
        self._history = JSONLogger(self.path / HISTORY)
        self._history.write_all(network.history)
        if self._board is not None:
            self._board.logdir = self.path / TENSORBOARD
            self._board.on_start(network, epochs=epochs, steps=steps)

    def _clear_board(self) -> None:
        """Remove the logs of the run that is replaced; what a link points to is not the run's."""
        logs = self.path / TENSORBOARD
        if logs.is_symlink() and self._board is not None:
            if self._resume:
                raise RunError(
                    f"{logs}: is a link, and logs are not written to where it points: put the "
                    f"folder itself there, or remove the link"
                )
            logs.unlink()
        if not self._resume and not logs.is_symlink():
            for events in logs.glob("events.out.tfevents.*"):
                if events.is_file() or events.is_symlink():
                    events.unlink()

    def on_epoch(self, network: Network, record: EpochRecord) -> bool | None:
        self._check_mine()
        self._history.on_epoch(network, record)
        self._save(network)
        if self._board is not None:
            self._board.on_epoch(network, record)
        return super().on_epoch(network, record)

    def on_finish(self, network: Network) -> None:
        # Another callback may be about to change the network, or have done so.
        self.finished = True

    def on_end(self, network: Network) -> None:
        try:
            if self._board is not None:
                self._board.on_end(network)
            if self.finished:
                self._save(network)
        finally:
            if not self._entered:
                self._let_go()

    def save_network(self, network: Network) -> None:
        """Write another network in the place of the one that was trained last.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        self._save(network)

    def _save(self, network: Network) -> None:
        self._check_mine()
        with writing(self.path):
            network.save(self.path / MODEL)

    def write_summary(
        self,
        network: Network,
        configuration: Mapping[str, Any],
        confusion: HostArray | None,
        split: str,
        *,
        total_seconds: float,
        pending: str | None = None,
        group: Group = ALONE,
    ) -> None:
        """Write `summary.json`, whole or not at all.

        Parameters
        ----------
        network
            The trained network.
        configuration
            How it was trained, as JSON values.
        confusion
            The confusion matrix, shape (C, C); None for none.
        split
            Which set the matrix is of.
        total_seconds
            How long the run took.
        pending
            What still is to be done, for which `xpnet train --resume` will go on; None for nothing.
        group
            The ranks that it was trained on.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        summary = {
            "configuration": dict(configuration),
            "parameters": sum(map(math.prod, network.model.parameter_shapes().values())),
            **environment(network.backend),
            "ranks": group.size,
            "engine": group.engine,
            "final": network.history[-1].to_dict(),
            "best_epoch": self.best_epoch,
            "confusion_matrix": {
                "split": split,
                "counts": confusion if confusion is None else confusion.tolist(),
            },
            "total_seconds": total_seconds,
            "train_seconds": sum(record.train_seconds or 0.0 for record in network.history),
            "eval_seconds": sum(record.eval_seconds or 0.0 for record in network.history),
            "peak_memory": {
                "host_bytes": peak_host_memory(),
                "device_bytes": network.backend.peak_memory(),
            },
            **({} if pending is None else {"pending": pending}),
        }
        self._check_mine()
        with writing(self.path):
            text = json.dumps(summary, indent=2) + "\n"
            write_atomically(self.path / SUMMARY, text.encode())


class NumberedRunFolder(RunFolder):
    """The first of `runs/DATASET-1`, `runs/DATASET-2`, ... that is not there when training starts.

    Parameters
    ----------
    dataset
        What the folder is called after.
    parent
        Where it is made.
    config, options
        As for `RunFolder`.
    """

    def __init__(
        self,
        dataset: str,
        parent: Path = Path("runs"),
        *,
        config: RunConfig | None = None,
        **options: Any,
    ) -> None:
        self._stem = parent / dataset
        self._set_up(self._stem, False, config, options)  # until the training starts

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        for number in itertools.count(1):
            self.path = self._stem.with_name(f"{self._stem.name}-{number}")
            with writing(self.path):
                try:
                    # Of two trainings at once, only one makes the folder.
                    self.path.mkdir(parents=True)
                except FileExistsError:
                    continue
            break
        super().on_start(network, epochs=epochs, steps=steps)


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def only_begun(path: str | os.PathLike[str]) -> bool:
    """Whether a run folder has nothing but the files written before the first checkpoint.

    A link, or a pipe, is none of them: no run makes one.
    """
    there = [Path(path) / name for name in FILES if os.path.lexists(Path(path) / name)]
    return bool(there) and all(
        file.name in (CONFIG, HISTORY) and stat.S_ISREG(file.lstat().st_mode) for file in there
    )
