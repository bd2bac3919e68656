"""What a network says of the rows of tables, which it prepares as those that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.data.tables.arrow import is_frame, table_of
from xpnet.data.tables.columns import Table, number_of_rows
from xpnet.data.tables.names import listed
from xpnet.data.tables.preparation import TablePreparation
from xpnet.errors import DataError, DataWarning, shown
from xpnet.network.report import RegressionReport
from xpnet.streams import warn
from xpnet.typing import HostArray


@dataclass(frozen=True, eq=False)
class TableAnswers:
    """What a network says of the rows of a table.

    Attributes
    ----------
    predictions
        What it says the label is, shape (N,): classes as they stood in the table, or numbers in the
        units of the label.
    probabilities
        Those of the classes, shape (N, C); None for numbers.
    classes
        What the columns of these are of; None for numbers.
    notes
        What is to be said of the table: what was missing, and which categories were not known.
    """

    predictions: HostArray
    probabilities: HostArray | None
    classes: tuple[Any, ...] | None
    notes: tuple[str, ...]


class Tabular:
    """How a `Network` is asked about tables."""

    table: TablePreparation | None

    def predict_table(self: Any, frame: Any) -> TableAnswers:
        """Predictions and probabilities for the rows of a table.

        Parameters
        ----------
        frame
            A table as for `xpnet.data.table_dataset`, with the columns of the training table in any
            order; others are not looked at.

        Raises
        ------
        DataError
            If the network was not trained on a table, or columns are not there.
        """
        if self.table is None:
            raise DataError(
                "predict_table: this network was not trained on a table with columns of its own; "
                "take predict"
            )
        return answers_for(self, "predict_table", table_of(frame, "predict_table"))


def answers_for(network: Any, what: str, columns: Table) -> TableAnswers:
    """What a network that was trained on a table says of the rows of another, called `what`."""
    prepared: TablePreparation = network.table
    rows, notes = prepared.rows(what, columns)
    extra = prepared.extra(columns)
    if extra:
        notes.append(f"not looked at, the training table had no such column: {listed(extra)}")
    if prepared.label.classes is None:
        outputs = np.asarray(network.backend.to_numpy(network.predict(rows)))
        values = prepared.label.values(outputs.reshape(len(rows)))
        return TableAnswers(values, None, None, tuple(notes))
    probabilities = np.asarray(network.backend.to_numpy(network.predict_proba(rows)))
    if network.target_kind == "multilabel":
        second = probabilities.reshape(len(rows))
        probabilities = np.stack([1 - second, second], axis=1)
    names = np.asarray(prepared.label.classes)
    best = probabilities.argmax(axis=1) if len(rows) else np.empty(0, dtype=np.int64)
    return TableAnswers(names[best], probabilities, prepared.label.classes, tuple(notes))


def predictions_for(network: Any, what: str, frame: Any) -> Any:
    """The predictions for the rows of a table.

    Warns
    -----
    DataWarning
        If values are missing, or categories or columns were not in the training.
    """
    answers = answers_for(network, what, table_of(frame, what))
    _say(what, answers.notes)
    return answers.predictions


def samples_of(table: TablePreparation | None, what: str, x: Any) -> Any:
    """The rows of a table as the network takes them; what is no table, or is prepared, as it is.

    Warns
    -----
    DataWarning
        If values are missing, or categories were not in the training.
    """
    if table is None or not is_frame(x):
        return x
    rows, said = table.rows(what, table_of(x, what))
    _say(what, said)
    return rows


def pair_of(table: TablePreparation | None, what: str, x: Any, y: Any) -> tuple[Any, Any]:
    """Samples and targets as the network takes them; the label may be in the table, or by itself.

    Raises
    ------
    DataError
        If there is no label.
    """
    if table is None or not is_frame(x):
        if y is None:
            raise DataError(f"{what}: give the targets as well: {what}(x, y)")
        return x, y
    columns = table_of(x, what)
    label = table.label
    if y is not None:
        name = label.name
        columns = {**columns, name: table_of({name: y}, what)[name]}
    if label.name not in columns:
        raise DataError(
            f"{what}: there is no column {shown(label.name)}, the label that the network predicts: "
            f"give it in the table, or as y"
        )
    if not number_of_rows(columns):
        raise DataError(f"{what}: there are no rows in this table")
    numbers = label.numbers(what, columns[label.name])
    rows, said = table.rows(what, columns)
    _say(what, said)
    return rows, numbers


def _say(what: str, said: Sequence[str]) -> None:
    if said:
        # Shown at the line that calls the method of the network.
        warn(f"{what}: {'; '.join(said)}", DataWarning, stacklevel=4)


def in_units(table: TablePreparation | None, report: RegressionReport) -> RegressionReport:
    """A report on scaled values, in the units of the label."""
    if table is None:
        return report
    scale = table.label.scale
    return RegressionReport(
        report.count,
        report.mean_squared_error * scale**2,
        report.root_mean_squared_error * scale,
        report.mean_absolute_error * scale,
        report.r2,
    )
