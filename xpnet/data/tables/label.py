"""The label of a table: classes as numbers, or numbers on a scale, and back."""

from dataclasses import dataclass, replace

import numpy as np

from xpnet.data.tables.columns import Column, ColumnKind, as_numbers, as_text
from xpnet.data.tables.names import listed
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray

Class = str | int | float | bool


@dataclass(frozen=True)
class Label:
    """The column that is predicted.

    Attributes
    ----------
    name
        Its name.
    kind
        What stands in the table: `"text"`, `"truth"` or `"number"`.
    classes
        What it may be, sorted: the place of each is its number. None where it is a number.
    mean, scale
        Of a number y the network predicts (y - mean) / scale.
    """

    name: str
    kind: ColumnKind
    classes: tuple[Class, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def numbers(self, what: str, column: Column) -> HostArray:
        """The numbers of the classes, int64, or the scaled values, float32; shape (N,).

        Raises
        ------
        DataError
            If a value is missing, infinite, or none of the classes.
        """
        if column.missing.any():
            row = int(np.flatnonzero(column.missing)[0])
            raise DataError(f"{what}: the label {shown(self.name)} is missing in row {row + 1}")
        if self.classes is None:
            return self._scaled(what, column)
        known = {written(name): number for number, name in enumerate(self.classes)}
        column = self._texts(column)
        unknown = [text for text in column.texts if text not in known]
        numbers = np.asarray([known.get(text, -1) for text in column.texts], dtype=np.int64)
        found = numbers[column.values]
        if (found < 0).any():
            raise DataError(
                f"{what}: the label {shown(self.name)} has values that the training table had not: "
                f"{listed(unknown)}; there it is one of {listed(list(known))}"
            )
        return found

    def _texts(self, column: Column) -> Column:
        """A column of classes as the texts that `written` gives: 3 for 3.0, true for 1."""
        if self.kind == "text":
            return as_text(column)
        numbers, odd = as_numbers(column)
        if odd is not None or not np.isin(numbers.values, np.asarray(self.classes, float)).all():
            return as_text(column)
        whole = all(isinstance(name, int) for name in self.classes or ())
        return as_text(replace(numbers, kind=self.kind, whole=whole))

    def _scaled(self, what: str, column: Column) -> HostArray:
        values, odd = as_numbers(column)
        if odd is not None:
            raise DataError(
                f"{what}: the label {shown(self.name)} is of numbers, and {shown(odd)} is none"
            )
        with np.errstate(all="ignore"):
            scaled = ((values.values - self.mean) / self.scale).astype(np.float32)
        if not np.isfinite(scaled).all():
            row = int(np.flatnonzero(~np.isfinite(scaled))[0])
            raise DataError(
                f"{what}: the label {shown(self.name)} is {values.values[row]:g} in row {row + 1}: "
                f"such a number cannot be predicted"
            )
        return scaled

    def values(self, outputs: HostArray) -> HostArray:
        """Outputs of the network in the units of the column, float64."""
        return np.asarray(outputs, dtype=np.float64) * self.scale + self.mean


def written(name: Class) -> str:
    """A class as it stands in a table of text."""
    return str(name).lower() if isinstance(name, bool) else str(name)
