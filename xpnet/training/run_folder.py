"""The folder of a run: its history, its summary, its network and its pictures."""

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xpnet.backends import Backend
from xpnet.checkpoint import write_atomically
from xpnet.errors import RunError
from xpnet.training.callbacks import Callback
from xpnet.training.history import EpochRecord
from xpnet.training.network import Network
from xpnet.typing import HostArray

HISTORY, SUMMARY, MODEL = "history.jsonl", "summary.json", "model.safetensors"
CURVES, CONFUSION, MISTAKES = "curves.png", "confusion.png", "mistakes.png"
FILES = (HISTORY, SUMMARY, MODEL, CURVES, CONFUSION, MISTAKES)


class RunFolder(Callback):
    """Writes a run folder while a network trains: give it to `fit` as a callback.

    After each epoch the record is appended to `history.jsonl` and the network written to
    `model.safetensors`, so that a training that is interrupted leaves the epochs it finished.

    Parameters
    ----------
    path
        The folder; made if it is not there.
    force
        Whether a run that is already there may be replaced. Only the files that a run folder
        consists of are removed.

    Raises
    ------
    RunError
        If the folder cannot be made, holds a run and `force` is not given, or is not a folder.
    """

    def __init__(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: there is a file of this name; give another folder")
        there = [name for name in FILES if (self.path / name).exists()]
        if there and not force:
            raise RunError(
                f"{self.path}: holds a run already ({', '.join(there)}); "
                f"give another folder, or --force to replace it"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in there:
                (self.path / name).unlink()
            (self.path / HISTORY).touch()
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        try:
            with (self.path / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record.to_dict()) + "\n")
            network.save(self.path / MODEL)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

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
            raise _cannot_write(self.path, error) from error


def next_run_folder(dataset: str, parent: Path = Path("runs")) -> Path:
    """The first of `runs/DATASET-1`, `runs/DATASET-2`, ... that is not there yet."""
    number = 1
    while (path := parent / f"{dataset}-{number}").exists():
        number += 1
    return path


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
    except OSError as error:
        raise RunError(f"{path}: not the folder of a finished run: no {SUMMARY}") from error
    except ValueError as error:
        raise RunError(f"{file}: damaged ({error})") from error
    if not isinstance(summary, dict):
        raise RunError(f"{file}: damaged (expected a JSON object)")
    return summary


def environment(backend: Backend) -> dict[str, Any]:
    """What a run was made with: backend, device, and the versions of what matters to it."""
    libraries = ["xpnet", "numpy", "array-api-compat"]
    versions = {name: _version(name) for name in libraries}
    versions[backend.distribution] = backend.installed_version()
    return {
        "backend": backend.name,
        "device": backend.device_name(),
        "dtype": backend.dtype_name,
        "backend_reason": backend.reason,
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
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cannot_write(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be written: {error.strerror or error}")
