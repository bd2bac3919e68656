"""The command that asks a network about pictures and tables: predict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.cli.asking import asked
from xpnet.cli.outputs import check_drawing, check_not_read, check_place
from xpnet.cli.streams import show, tell
from xpnet.cli.tables import predict_tables
from xpnet.cli.terminal import side_by_side
from xpnet.cli.together import is_run, load_together
from xpnet.cli.types import FILE
from xpnet.data import fit_picture, is_table, read_picture
from xpnet.data.picture_shape import PictureShape
from xpnet.data.prepared import brightness
from xpnet.errors import DataError, RunError, counted, one_line, readable, shortened
from xpnet.figures import save_figure
from xpnet.network import Network
from xpnet.network.pictures import Answer

_MOST_SAID = 1000
"""So many values or labels of a picture are said: a file may make a network of millions of them."""

_NO_ANSWER = 5
"""The exit code where a picture has no clear figure, and there was no other mistake."""


@dataclass(frozen=True)
class Request:
    """What `xpnet predict` is asked, as it is typed."""

    runs: tuple[Path, ...]
    files: tuple[Path, ...]
    as_is: bool
    invert: bool | None
    several: bool
    shown: bool
    out: Path | None

    @property
    def run(self) -> Path:
        """The run that messages name."""
        return self.runs[0]

    @property
    def is_of_pictures(self) -> bool:
        """Whether an option is given that there is for pictures alone."""
        return self.as_is or self.several or self.shown or self.invert is not None


@click.command()
@click.argument("run", type=FILE, metavar="RUN...")
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")
@click.option("--as-is", is_flag=True, help="Fit the whole picture, and look for no figure in it.")
@click.option(
    "--invert/--no-invert",
    default=None,
    help="Whether to swap black and white.  [default: as is found out]",
)
@click.option("--several", is_flag=True, help="There may be several figures in a picture.")
@click.option("--show", "shown", is_flag=True, help="Print what the network saw as well.")
@click.option(
    "--out",
    type=FILE,
    help="Draw the pictures, and what the network saw of them (.png); or write the table of "
    "predictions for tables here (.csv, .parquet).",
)
def predict(**given: Any) -> None:
    """Say what the network of RUN sees in each picture, or gives for each row of a table.

    Pictures (PNG, JPEG, GIF, BMP, PPM, WebP, TIFF) may be of any size: a figure is found, and
    prepared as those that the network was trained on; a network for colours is given the whole
    picture. Of a network of several labels those are said that hold, of one that gives values the
    values.

    A table (CSV, Parquet, Arrow, Feather, ARFF) is answered by a table, with the prediction for
    each row and the probabilities of the classes: CSV, or the file that --out names.

    Of several runs, which are named before the files, the mean of the probabilities is said, or of
    the values.
    """
    request = _request(**given)
    if request.as_is and request.several:
        raise click.UsageError("--as-is takes the whole picture: leave out --several")
    tables = [path for path in request.files if is_table(path)]
    if tables and len(tables) < len(request.files):
        other = next(path for path in request.files if path not in tables)
        raise click.UsageError(
            f"give tables or pictures, not both: {readable(str(other))} is no table"
        )
    if request.out is not None:
        check_place(request.out)
        check_not_read(request.out, (*request.runs, *request.files))
    if request.out is not None and not tables:
        check_drawing(request.out, "--out")
    network = load_together(request.runs)
    if not tables and network.table is None:
        _predict_pictures(network, request)
        return
    if request.is_of_pictures:
        raise click.UsageError(
            "--as-is, --invert, --several and --show are for pictures: leave them out"
        )
    with asked(request.run):
        predict_tables(network, request.files, request.out)


def _request(run: Path, files: tuple[Path, ...], **options: Any) -> Request:
    """What is asked: the first words are runs, as far as they name any, and the others files."""
    count = next((i for i, file in enumerate(files) if not is_run(file)), len(files))
    if count == len(files):
        raise click.UsageError("give a FILE after the runs: pictures, or tables")
    return Request((run, *files[:count]), files[count:], **options)


def _predict_pictures(network: Network, request: Request) -> None:
    try:
        PictureShape.of(network.sample_shape)
    except DataError as error:
        raise DataError(f"{request.run}: {error}") from error
    if network.framing is None and not request.as_is:
        tell(
            "the network does not say how figures lie in its pictures: the whole picture is "
            "fitted, as with --as-is",
            err=True,
        )
    answers: list[Answer] = []
    failed = False
    for path in request.files:
        try:
            with asked(request.run), np.errstate(all="ignore"):
                found = network.predict_pictures(
                    path, as_is=request.as_is, invert=request.invert, several=request.several
                )
        except (DataError, RunError) as error:
            tell(f"error: {shortened(str(error))}", err=True)
            failed = True
            continue
        for answer in found:
            _say(network, answer, request.several)
            if request.shown:
                show(_shown(answer, whole=answer is found[0]))
        answers += found
    if request.out is not None and answers:
        _draw(request.out, network, answers)
    if failed:
        raise SystemExit(1)
    if any(answer.problem for answer in answers):
        raise SystemExit(_NO_ANSWER)


def _say(network: Network, answer: Answer, several: bool) -> None:
    name = readable(answer.path)
    if answer.problem is not None:
        tell(f"no answer: {shortened(name)}: {answer.problem}", err=True)
        return
    where = ""
    if several and answer.box is not None:
        top, left, bottom, right = answer.box
        where = f"  at {left},{top} to {right},{bottom}"
    show(f"{name}: {said(network, answer)}{where}")


def said(network: Network, answer: Answer) -> str:
    """The answer in words: the class, the labels that hold, or the values."""
    if network.target_kind == "values":
        numbers = np.ravel(answer.prediction)
        values = [f"{value:.6g}" for value in numbers[:_MOST_SAID].tolist()]
        return "  ".join(values) + _more(numbers.size)
    percent = 100 * np.asarray(answer.probabilities).ravel()
    if network.target_kind == "classes":
        best = int(percent.argmax())
        return f"{_called(network, best)}  ({percent[best]:.1f} %)"
    holding = np.flatnonzero(percent > 50)
    said_of = holding[:_MOST_SAID].tolist()
    labels = [f"{_called(network, label)}  ({percent[label]:.1f} %)" for label in said_of]
    if not labels:
        return f"none of {counted(percent.size, 'label')}"
    return ", ".join(labels) + _more(holding.size)


def _called(network: Network, number: int) -> str:
    return str(number) if network.names is None else one_line(network.names[number])


def _shown(answer: Answer, *, whole: bool) -> str:
    """What the network saw, in characters; of the first answer beside the whole picture."""
    seen = answer.prepared.sample
    if not whole:
        return side_by_side([seen], ["as the network sees it"])
    picture = brightness(read_picture(answer.path, colour=seen.ndim == 3))
    pictures = [fit_picture(picture, seen.shape[:2]), seen]
    return side_by_side(pictures, ["the picture", "as the network sees it"])


def _draw(path: Path, network: Network, answers: list[Answer]) -> None:
    from xpnet import sheets  # late: it is seldom wanted

    words = [answer.problem or said(network, answer) for answer in answers]
    save_figure(sheets.plot_answers(answers, words), path)
    tell(f"drawn: {readable(str(path))}")


def _more(count: int) -> str:
    """How many are left out of a list of so many; nothing where all are said."""
    return f" and {count - _MOST_SAID:,} more" if count > _MOST_SAID else ""
