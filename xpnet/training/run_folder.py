"""The folder of a run: its history, its summary, its network and its pictures."""

import itertools
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpnet.backends import Backend
from xpnet.checkpoint import write_atomically
from xpnet.errors import RunError
from xpnet.training.checkpoints import BEST, Checkpoint, cannot_write
from xpnet.training.history import EpochRecord
from xpnet.training.loggers import JSONLogger
from xpnet.training.network import Network
from xpnet.training.snapshot import CHECKPOINT, read_snapshot
from xpnet.typing import HostArray

HISTORY, SUMMARY, MODEL = "history.jsonl", "summary.json", "model.safetensors"
CURVES, CONFUSION, MISTAKES = "curves.png", "confusion.png", "mistakes.png"
FILES = (HISTORY, SUMMARY, MODEL, CHECKPOINT, BEST, CURVES, CONFUSION, MISTAKES)


class RunFolder(Checkpoint):
    """Writes a run folder while a network trains: give it to `fit` as a callback.

    Nothing is written before the training starts. After each epoch the record is appended to
    `history.jsonl` and the network written to `model.safetensors`, so that a training that is
    interrupted leaves the epochs it finished. `checkpoint.safetensors` and `best.safetensors` are
    written as `Checkpoint` does. When a training goes on, the files become those of one that was
    never stopped.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    force
        Whether a run that is already there may be replaced. Only the files that a run folder
        consists of are removed.
    resume
        Whether the run that is there goes on: give `fit(..., resume=path)` as well.
    options
        As for `Checkpoint`: `every`, `every_steps`, `monitor`, `mode`, `configuration`.

    Raises
    ------
    RunError
        If the folder holds a run and neither `force` nor `resume` is given, holds none that could
        go on, or is not a folder; when the training starts, if it cannot be written.
    """

    files = FILES

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        resume: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(path, **options)
        self._resume = resume
        there = self._files()
        if os.path.lexists(self.path) and not os.path.isdir(self.path):  # noqa: PTH112
            raise RunError(f"{self.path}: there is a file of this name; give another folder")
        if resume and CHECKPOINT not in there:
            raise RunError(f"{self.path}: no run that could go on: there is no {CHECKPOINT}")
        if there and not force and not resume:
            raise RunError(
                f"{self.path}: holds a run already ({', '.join(there)}); "
                f"give another folder, or --force to replace it"
            )

    def _files(self) -> list[str]:
        """The files of a run that the folder holds."""
        # os.path: unlike Path's methods it is silent about names that cannot be.
        return [name for name in FILES if os.path.lexists(self.path / name)]

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        self._network, self._finished = network, False
        super().on_start(network, epochs=epochs, steps=steps)
        if self._resume and len(read_snapshot(self.path).records) != len(network.history):
            raise RunError(
                f"{self.path}: the run there would be replaced: give fit(..., resume=path) as well"
            )
        stale = [SUMMARY, CURVES, CONFUSION, MISTAKES] if self._resume else FILES
        try:
            for name in set(stale) & set(self._files()):
                (self.path / name).unlink()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        # Of a run that goes on, what came after its checkpoint will be trained again.
        self._history = JSONLogger(self.path / HISTORY)
        self._history.write_all(network.history)

    def on_epoch(self, network: Network, record: EpochRecord) -> bool | None:
        self._history.on_epoch(network, record)
        self._save(network)
        return super().on_epoch(network, record)

    def on_finish(self, network: Network) -> None:
        # Another callback may be about to change the network, or have done so.
        self._finished = True

    def on_end(self, network: Network) -> None:
        if self._finished:
            self._save(network)

    def _save(self, network: Network) -> None:
        try:
            network.save(self.path / MODEL)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def write_summary(
        self,
        network: Network,
        configuration: Mapping[str, Any],
        confusion: HostArray,
        split: str,
        *,
        total_seconds: float,
    ) -> None:
        """Write `summary.json`, whole or not at all.

        Parameters
        ----------
        network
            The trained network.
        configuration
            How it was trained, as JSON values.
        confusion
            The confusion matrix, shape (C, C).
        split
            Which set the matrix is of.
        total_seconds
            How long the run took.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        summary = {
            "configuration": dict(configuration),
            "parameters": sum(map(math.prod, network.model.parameter_shapes().values())),
            **environment(network.backend),
            "final": network.history[-1].to_dict(),
            "confusion_matrix": {"split": split, "counts": confusion.tolist()},
            "total_seconds": total_seconds,
            "train_seconds": sum(record.train_seconds or 0.0 for record in network.history),
            "eval_seconds": sum(record.eval_seconds or 0.0 for record in network.history),
            "peak_memory": {
                "host_bytes": peak_host_memory(),
                "device_bytes": network.backend.peak_memory(),
            },
        }
        try:
            text = json.dumps(summary, indent=2) + "\n"
            write_atomically(self.path / SUMMARY, text.encode())
        except OSError as error:
            raise cannot_write(self.path, error) from error


class NumberedRunFolder(RunFolder):
    """The first of `runs/DATASET-1`, `runs/DATASET-2`, ... that is not there when training starts.

    Parameters
    ----------
    dataset
        What the folder is called after.
    parent
        Where it is made.
    options
        As for `Checkpoint`.
    """

    def __init__(self, dataset: str, parent: Path = Path("runs"), **options: Any) -> None:
        self._stem = parent / dataset
        Checkpoint.__init__(self, self._stem, **options)  # until the training starts
        self._resume = False

    def on_start(self, network: Network, *, epochs: int, steps: int) -> None:
        for number in itertools.count(1):
            self.path = self._stem.with_name(f"{self._stem.name}-{number}")
            try:
                # Of two trainings at once, only one makes the folder.
                self.path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise cannot_write(self.path, error) from error
            break
        super().on_start(network, epochs=epochs, steps=steps)


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The summary of a finished run.

    Raises
    ------
    RunError
        If the folder has none, as after a training that was interrupted, or it is damaged.
    """
    file = Path(path) / SUMMARY
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{path}: not the folder of a finished run: no {SUMMARY} (to evaluate a network "
            f"without one, name the data set)"
        ) from error
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file}: damaged ({error})") from error
    try:
        str(summary["configuration"]["dataset"])
    except (TypeError, KeyError) as error:
        raise RunError(f"{file}: damaged: it does not say which data set was used") from error
    return dict(summary)


def environment(backend: Backend) -> dict[str, Any]:
    """What a run was made with: backend, device, and the versions of what matters to it."""
    libraries = ["xpnet", "numpy", "array-api-compat", "safetensors", "matplotlib"]
    libraries += ["jaxlib"] if backend.name == "jax" else []
    versions = {name: _version(name) for name in libraries}
    versions[backend.distribution] = backend.installed_version()
    return {
        "backend": backend.name,
        "device": backend.device_name(),
        "dtype": backend.dtype_name,
        "backend_reason": backend.reason,
        "threads": backend.threads,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
    }


def peak_host_memory() -> int | None:
    """Most bytes of main memory that the process has held so far; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
