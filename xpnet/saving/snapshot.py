"""A training at one moment: all that it needs to go on as if there had been no break.

A snapshot is saved as a safetensors file (see `xpnet.saving.tensors`): the arrays of the state by
their names, those of callbacks as `callback/NAME/...`, and as JSON what was trained and how, and
how far. Random numbers have no state to be saved: orders follow from the seed and the number of the
epoch, masks from the seed and the number of the step (see `xpnet.random`).
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.checks import LARGEST, MOST_THREADS, as_float
from xpnet.errors import CheckpointError, shown
from xpnet.history import EpochRecord, read_record
from xpnet.saving.tensors import WRONG_VALUES, read_tensors, write_tensors
from xpnet.typing import HostArray

CHECKPOINT = "checkpoint.safetensors"
"""What the file is called in a folder."""

LOSS = "loss"
"""The entry of a state that need not be finite: no step looks at it."""

_CALLBACK = "callback/"


@dataclass(frozen=True)
class Snapshot:
    """All that a training can go on from.

    Attributes
    ----------
    arrays
        The state, on the host; see `initial_state`.
    training
        What was trained and how, as JSON values by name: model, optimizer, loss, seed, ...
    records
        The epochs that are finished.
    epoch, step
        How many they are, and how many steps of the next one have been taken.
    epochs
        How many there shall be.
    stopped
        Whether a callback has ended the training.
    seconds
        The time of the steps of the epoch that is not finished.
    backend, threads, steps_per_call
        Where it was computed, with how many threads, and how many steps were taken in one call:
        what the last digits depend on.
    callbacks
        What the callbacks keep, by their names.
    configuration
        What the caller wants to find here again, as JSON values.
    """

    arrays: Mapping[str, HostArray]
    training: Mapping[str, Any]
    records: tuple[EpochRecord, ...]
    epoch: int
    step: int
    epochs: int
    stopped: bool
    seconds: float
    backend: str
    threads: int | None
    steps_per_call: int
    callbacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configuration: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be trained."""
        return self.stopped or self.epoch >= self.epochs

    def save(
        self, path: str | os.PathLike[str], *, configuration: Mapping[str, Any] | None = None
    ) -> None:
        """Write the snapshot; an existing file is replaced at once or not at all.

        Parameters
        ----------
        path
            The file.
        configuration
            JSON values to be found again in `read_snapshot(path).configuration`.

        Raises
        ------
        OSError
            If the file cannot be written. The old file stays as it is.
        """
        arrays = dict(self.arrays)
        states: dict[str, dict[str, Any]] = {}
        for name, state in self.callbacks.items():
            held = {key: v for key, v in state.items() if isinstance(v, np.ndarray)}
            arrays |= {f"{_CALLBACK}{name}/{key}": value for key, value in held.items()}
            states[name] = {key: value for key, value in state.items() if key not in held}
        metadata = {
            "training": dict(self.training),
            "history": [_to_json(record) for record in self.records],
            "callbacks": states,
            "configuration": configuration,
            **{name: getattr(self, name) for name in _PLAIN},
        }
        write_tensors(path, arrays, metadata)

    def not_finite(self) -> str | None:
        """The name of an array with numbers that are not finite; None where there is none."""
        for name, value in self.arrays.items():
            if name != LOSS and value.dtype.kind == "f" and not np.isfinite(value).all():
                return name
        return None


def _is_count(value: Any, smallest: int = 0, largest: int = LARGEST) -> bool:
    return type(value) is int and smallest <= value <= largest


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "epoch": _is_count,
    "step": _is_count,
    "epochs": lambda value: _is_count(value, 1),
    "stopped": lambda value: isinstance(value, bool),
    "seconds": lambda value: 0 <= as_float(value) < math.inf,
    "backend": lambda value: isinstance(value, str) and value.isprintable() and len(value) < 100,
    "threads": lambda value: value is None or _is_count(value, 1, MOST_THREADS),
    "steps_per_call": lambda value: _is_count(value, 1, 2**31),
}
"""The fields that are JSON values as they are, and whether a value may be one."""


def read_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read what `Snapshot.save` wrote.

    Parameters
    ----------
    path
        The file, or the folder that holds a `checkpoint.safetensors`.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of a later version, or is none of a training.
    """
    file = snapshot_file(path)
    arrays, metadata = read_tensors(file)
    if "training" not in metadata:
        raise CheckpointError(
            f"{file}: this is a network, which can predict, and not the checkpoint of a training, "
            f"which could go on; give the {CHECKPOINT} that Checkpoint or a run folder wrote"
        )
    try:
        for name, is_right in _PLAIN.items():
            if not is_right(metadata[name]):
                raise ValueError(f"{name} is {shown(metadata[name])}")
        records = tuple(_from_json(row) for row in metadata["history"])
        numbers = [record.epoch for record in records]
        # The number that the file says is compared, and nothing is made of that size.
        complete = len(numbers) == metadata["epoch"] and numbers == list(range(1, len(numbers) + 1))
        if not complete or len(numbers) > metadata["epochs"]:
            raise ValueError(
                f"epoch {metadata['epoch']} of {metadata['epochs']}, after {shown(numbers)}"
            )
        callbacks = {name: dict(state.items()) for name, state in metadata["callbacks"].items()}
        for key in [key for key in arrays if key.startswith(_CALLBACK)]:
            name, _, rest = key.removeprefix(_CALLBACK).partition("/")
            callbacks[name][rest] = arrays.pop(key)
        return Snapshot(
            arrays,
            dict(metadata["training"].items()),
            records,
            callbacks=callbacks,
            configuration=_configuration(metadata["configuration"]),
            **{name: metadata[name] for name in _PLAIN},
        )
    except WRONG_VALUES as error:
        raise CheckpointError(
            f"{file}: the metadata describes no training: {shown(error)}"
        ) from error


def snapshot_file(path: str | os.PathLike[str]) -> Path:
    """The file itself, where a folder is named."""
    # os.path rather than Path, whose is_dir raises for names that cannot be.
    return Path(path, CHECKPOINT) if os.path.isdir(path) else Path(path)  # noqa: PTH112


def _to_json(record: EpochRecord) -> dict[str, Any]:
    """A record in which numbers that JSON has not are text, so that they come back as they were."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in vars(record).items()
    }


def _from_json(row: Mapping[str, Any]) -> EpochRecord:
    not_finite = {name: float(x) for name, x in row.items() if x in ("inf", "-inf", "nan")}
    return read_record({**row, **not_finite})


def _configuration(value: Any) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"configuration is {shown(value)}")
    return value
