"""Tables with what a network predicts for the rows of another table."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.cli.streams import show, tell
from xpnet.data.tables.arrow import arrow
from xpnet.data.tables.files import open_table
from xpnet.data.tables.folders import ending_of
from xpnet.data.tables.label import written
from xpnet.data.tables.pictures import read_unlabelled
from xpnet.errors import DataError, counted, one_line, readable
from xpnet.files import cannot_write, write_atomically
from xpnet.network import Network
from xpnet.network.tabular import answers_for
from xpnet.typing import HostArray

Columns = Mapping[str, Sequence[Any]]

_WRITTEN = (".csv", ".parquet", ".pq")


def check_out(out: Path | None) -> None:
    """Refuse a file to write whose name does not say of which form it shall be, before the work.

    Raises
    ------
    DataError
        If it does not.
    """
    if out is not None and out.suffix.lower() not in _WRITTEN:
        raise DataError(f"{out}: tables are written as .csv or .parquet, by the name of the file")
    if out is not None and out.suffix.lower() != ".csv":
        arrow()


def predict_tables(network: Network, paths: Sequence[Path], out: Path | None) -> None:
    """Write what a network predicts for the rows of tables, one after the other.

    Parameters
    ----------
    network
        The network.
    paths
        The tables.
    out
        The file to write; None for CSV on standard output.

    Raises
    ------
    DataError
        If a table cannot be read, or does not fit the network.
    RunError
        If the file cannot be written.
    """
    check_out(out)
    parts = [_predicted(network, path) for path in paths]
    columns = {name: [value for part in parts for value in part[name]] for name in parts[0]}
    if out is None:
        show(_as_csv(columns).removesuffix("\n"))
        return
    try:
        write_atomically(out, _encoded(out, columns))
    except OSError as error:
        raise cannot_write(out, error) from error
    count = len(next(iter(columns.values())))
    tell(f"{counted(count, 'prediction')}: {readable(str(out))}")


def _predicted(network: Network, path: Path) -> Columns:
    """The columns that are written of one table: those that number its rows as they are there."""
    prepared, file = network.table, open_table(path)
    if prepared is not None:
        file = file.named_like(prepared)
    else:
        images = read_unlabelled(file, network.sample_shape)
        return _of_pictures(network, images)
    numbering = [name for name, why in prepared.left_out if "each row" in why]
    table = file.table((*prepared.text_columns, *numbering))
    answers = answers_for(network, str(path), table)
    for note in answers.notes:
        tell(f"note: {path.name}: {one_line(note, 500)}", err=True)
    columns = {name: file.values_of(name, table) for name in numbering if name in table}
    predictions = answers.predictions.tolist()
    if prepared.label.classes is None:
        predictions = _digits(predictions)
    columns[prepared.label.name] = predictions
    return columns | _probabilities(answers.classes or (), answers.probabilities)


def _of_pictures(network: Network, images: HostArray) -> Columns:
    if network.target_kind != "classes":
        return {"prediction": network.backend.to_numpy(network.predict(images)).tolist()}
    probabilities = np.asarray(network.backend.to_numpy(network.predict_proba(images)))
    names = range(probabilities.shape[1]) if network.classes is None else network.classes.tolist()
    names = list(names)
    best = probabilities.argmax(axis=1).tolist()
    return {"label": [names[i] for i in best]} | _probabilities(names, probabilities)


def _probabilities(names: Sequence[Any], probabilities: HostArray | None) -> dict[str, Any]:
    if probabilities is None:
        return {}
    return {
        f"probability {written(name)}": _digits(column)
        for name, column in zip(names, probabilities.T.tolist(), strict=True)
    }


def _digits(values: Sequence[float]) -> list[float]:
    """Numbers with the digits of float32: others of float64 would say nothing."""
    return [float(f"{value:.7g}") for value in values]


def _as_csv(columns: Columns) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        ["" if value is None else written(value) for value in row]
        for row in zip(*columns.values(), strict=True)
    )
    return text.getvalue()


def _encoded(out: Path, columns: Columns) -> bytes:
    if ending_of(out.name) == ".csv":
        return _as_csv(columns).encode()
    pa = arrow()
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(dict(columns)), sink)
    return bytes(sink.getvalue())
