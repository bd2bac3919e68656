"""What was measured in each epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, overload

from xpnet.checks import finite_number, positive_integer
from xpnet.errors import shown

UNMEASURED: dict[str, tuple[str, ...]] = {
    "evaluated": (),
    "running": ("train_accuracy",),
    "none": ("train_loss", "train_accuracy"),
}
"""The choices of `fit(..., train_metrics=)`, each with the figures that a record then has not."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes
    ----------
    epoch
        Its number, from 1.
    train_loss, train_accuracy
        Mean loss and fraction correct on the whole training set, after the epoch; the latter None
        where the targets are values. With `fit(..., train_metrics="running")` the mean of the
        losses that the batches had before their steps, and None; with `"none"` both None.
    test_loss, test_accuracy
        The same on the test set; None where there is none.
    train_seconds
        Time of the optimisation steps alone, in seconds; None in a history that was loaded with
        a network, whose file holds what the seed determines and nothing else.
    eval_seconds
        Time of the evaluation after them, in seconds; None likewise.
    learning_rate
        The learning rate of the epoch's last step.
    validation_loss, validation_accuracy
        As on the test set, on the validation set; None where there is none.
    """

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    test_loss: float | None
    test_accuracy: float | None
    train_seconds: float | None
    eval_seconds: float | None
    learning_rate: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """The record as JSON values; a number that JSON has none for (NaN, infinity) is null."""
        return {
            name: None if value is not None and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        text = f"epoch {self.epoch:3d}"
        if self.train_loss is not None:
            text += f"  loss {self.train_loss:.4f}"
        if self.train_accuracy is not None:
            text += f"  accuracy {100 * self.train_accuracy:6.2f} %"
        for name in ("validation", "test"):
            loss, accuracy = getattr(self, f"{name}_loss"), getattr(self, f"{name}_accuracy")
            if loss is not None:
                text += f"  {name} loss {loss:.4f}"
            if accuracy is not None:
                text += f"  {name} accuracy {100 * accuracy:6.2f} %"
        return text if self.train_seconds is None else f"{text}  {self.train_seconds:6.2f} s"


def read_record(row: Mapping[str, Any]) -> EpochRecord:
    """A record from the values of a file, which may be any.

    Raises
    ------
    TypeError
        If the row lacks a field (but for the validation's), or has another.
    ValueError
        If the number of the epoch is none, or a figure neither a number nor None.
    """
    values: dict[str, Any] = dict(row)
    for name, value in values.items():
        if name == "epoch":
            values[name] = positive_integer("the number of an epoch", value)
        elif value is not None and not isinstance(value, float):
            values[name] = finite_number(name, value)
    return EpochRecord(**values)


class History(Sequence[EpochRecord]):
    """The epochs of a training run, in order.

    `history[-1]` is the last record, `history["train_loss"]` a list with one value an epoch, and
    `print(history)` a table.
    """

    def __init__(self, records: Sequence[EpochRecord] = ()) -> None:
        self._records = list(records)

    @classmethod
    def from_dicts(cls, rows: Sequence[Mapping[str, Any]]) -> "History":
        """The inverse of `to_dict` for each record.

        Raises
        ------
        TypeError
            If a row lacks one of the fields (but for the validation's), or has another.
        ValueError
            If the number of an epoch is none, or a figure neither a number nor None.
        """
        return cls([read_record(row) for row in rows])

    def append(self, record: EpochRecord) -> None:
        """Add the record of an epoch."""
        self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, key: int) -> EpochRecord: ...
    @overload
    def __getitem__(self, key: slice) -> "History": ...
    @overload
    def __getitem__(self, key: str) -> list[float | None]: ...

    def __getitem__(self, key: int | slice | str) -> "EpochRecord | History | list[float | None]":
        if isinstance(key, str):
            names = [field.name for field in fields(EpochRecord)]
            if key not in names:
                raise KeyError(f"a history has {', '.join(names)}; got {shown(key)}")
            return [getattr(record, key) for record in self._records]
        if isinstance(key, slice):
            return History(self._records[key])
        return self._records[key]

    def __repr__(self) -> str:
        return "\n".join(map(str, self._records)) or "<History of no epochs>"
