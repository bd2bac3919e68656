"""The pictures of a run, where they can be drawn."""

from pathlib import Path

import numpy as np

from xpnet.cli.streams import tell
from xpnet.data import Dataset, Split
from xpnet.errors import one_line
from xpnet.network import Network
from xpnet.network.report import RegressionReport, Report
from xpnet.typing import HostArray

_MOST_CLASSES = 1000


def judged_on(data: Dataset) -> tuple[str, Split]:
    """The split that the final figures and the pictures are of, and its name."""
    return ("training", data.train) if data.test is None else ("test", data.test)


def count_confusions(network: Network, split: Split) -> HostArray | None:
    """The confusion matrix of a split; None where there are too many classes to write one down.

    It grows with the square of the number of classes, and of a million entries nobody reads one.
    Numbers that are predicted have none.
    """
    if network.target_kind != "classes":
        return None
    output = network.model.output_shape(network.model.input_shape())
    if output and output[-1] > _MOST_CLASSES:
        return None
    return network.confusion_matrix(split.images, split.labels)


def count_errors(network: Network, split: Split, counts: HostArray | None) -> int:
    """How many samples are taken for another class: by the confusion matrix, if there is one."""
    if counts is None:
        return network.evaluate(split.images, split.labels).errors or 0
    return int(counts.sum() - counts.trace())


def verdict(network: Network, split: Split, counts: HostArray | None) -> str:
    """How good a network is on a split, in a few words: its accuracy, or how far values are off."""
    if network.target_kind == "values":
        report = network.report(split.images, split.labels)
        return values_verdict(report)
    n, errors = len(split), count_errors(network, split, counts)
    return f"accuracy {100 * (n - errors) / n:.2f} % ({errors:,} errors in {n:,})"


def values_verdict(report: Report) -> str:
    """How far predicted values are off, in the units of the label, in a few words."""
    assert isinstance(report, RegressionReport)
    return (
        f"root mean squared error {report.root_mean_squared_error:.6g}, mean absolute error "
        f"{report.mean_absolute_error:.6g}, R² {report.r2:.4f} ({report.count:,} rows)"
    )


def draw_pictures(folder: Path, network: Network, data: Dataset, counts: HostArray | None) -> bool:
    """Draw the pictures of a run; False, with a hint, where matplotlib is missing."""
    from xpnet import plots  # late: the other commands start sooner

    which, split = judged_on(data)
    try:
        with np.errstate(all="ignore"):  # matplotlib warns of figures near the largest float
            plots.draw_run(folder, network, split, counts, f"{one_line(data.name)}, {which} set")
    except ImportError as error:
        hint = "they need pip install 'xpnet[plot]'"
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            hint = str(error)
        tell(f"pictures left out: {hint}", err=True)
        return False
    return True
