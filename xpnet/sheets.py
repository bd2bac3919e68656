"""Sheets of pictures with what a network saw of them, and said. They need matplotlib."""

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xpnet.data.pictures import open_picture
from xpnet.drawing import figure_class
from xpnet.network.pictures import Answer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _MARK, _EDGE = "#333333", "#D55E00", "#cccccc"

_MOST_CARDS, _MOST_SEEN = 60, 36
"""So many pictures are on a sheet, and so many figures of one are beside it."""
_WIDE, _HIGH = 2.16, 1.3
"""The size of a card, of which the picture and what was seen of it have a square each."""


def plot_answers(answers: Sequence[Answer], said: Sequence[str], *, title: str = "") -> "Figure":
    """Each picture, with the boxes of its figures, beside what the network saw of it.

    Parameters
    ----------
    answers
        What `Network.predict_pictures` gave. The files are read again.
    said
        What is written of each answer, such as `"7  (99.8 %)"`.
    title
        Written above.

    Raises
    ------
    ValueError
        If there is not a text for each answer, or no answer.
    DataError
        If a file cannot be read any more.
    ImportError
        If matplotlib is not installed.
    """
    if len(said) != len(answers) or not answers:
        raise ValueError(
            f"plot_answers needs answers and a text for each, got {len(answers)} and {len(said)}"
        )
    pairs = zip(answers, said, strict=True)
    cards = [list(card) for _, card in itertools.groupby(pairs, key=lambda pair: pair[0].path)]
    left_out = len(cards) - _MOST_CARDS
    cards = cards[:_MOST_CARDS]
    columns = min(len(cards), 2 if max(map(len, cards)) > 1 else 3)
    rows = math.ceil(len(cards) / columns)
    size = 1.75 if columns > 2 else 2.5
    figure = figure_class()(
        figsize=(size * _WIDE * columns, size * _HIGH * rows + 0.3 * bool(title)), dpi=110
    )
    if left_out > 0:
        title = f"{title}  (the first {_MOST_CARDS} of {_MOST_CARDS + left_out} pictures)".strip()
    if title:
        figure.suptitle(title, fontsize=9, color=_INK, parse_math=False)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0 - 0.3 / figure.get_figheight() * bool(title)))
    for i, card in enumerate(cards):
        _draw_card(axes, card, _WIDE * (i % columns), _HIGH * (i // columns))
    axes.set(xlim=(-0.06, _WIDE * columns - 0.06), ylim=(_HIGH * rows - 0.2, -0.2))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure


def _draw_card(axes: "Axes", card: list[tuple[Answer, str]], left: float, top: float) -> None:
    """A picture on the left, and on the right what was seen: of one figure or of several."""
    path = card[0][0].path
    picture = open_picture(path, colour=card[0][0].prepared.sample.ndim == 3)
    height, width = picture.size
    scale = 1 / max(height, width)
    x, y = left + (1 - scale * width) / 2, top + (1 - scale * height) / 2
    extent = x, x + scale * width, y + scale * height, y
    axes.imshow(picture.in_bytes, "gray", vmin=0, vmax=255, extent=extent)
    _text(axes, x, y - 0.03, _short(Path(path).name, 30), size=6.5)
    side = math.ceil(math.sqrt(min(len(card), _MOST_SEEN)))
    for i, (answer, said) in enumerate(card):
        if answer.box is not None:
            _draw_box(axes, answer, x, y, scale, i + 1 if len(card) > 1 else None)
        if i >= _MOST_SEEN:
            continue
        cell = 1 / side
        at_x, at_y = left + 1.06 + cell * (i % side), top + cell * (i // side)
        shown = 0.97 * cell if side == 1 else 0.78 * cell
        at_y += cell - shown if side > 1 else 0
        if answer.problem is not None:
            _text(axes, at_x, at_y + 0.5, textwrap.fill(said, 28), size=6.5, color=_MARK)
            continue
        seen = answer.prepared.sample
        fit = shown / max(seen.shape[:2])
        box = at_x, at_x + fit * seen.shape[1], at_y + fit * seen.shape[0], at_y
        axes.imshow(seen, "gray", vmin=0, vmax=1, interpolation="nearest", extent=box)
        words = said if len(card) == 1 else f"{i + 1}: {said.partition('  ')[0]}"
        size = 7.5 if side == 1 else max(3.5, 9 / math.sqrt(side))
        _text(axes, at_x, at_y - 0.03 / side, _short(words, 40 // side), size=size)


def _draw_box(
    axes: "Axes", answer: Answer, x: float, y: float, scale: float, number: int | None
) -> None:
    top, left, bottom, right = (scale * end for end in answer.box or ())
    across, down = [left, right, right, left], [top, top, bottom, bottom]
    axes.fill([x + a for a in across], [y + d for d in down], fill=False, ec=_MARK, lw=0.8)
    if number is not None:
        _text(axes, x + left, y + top, str(number), size=5.5, color=_MARK)


def _text(axes: "Axes", x: float, y: float, words: str, *, size: float, color: str = _INK) -> None:
    axes.text(x, y, words, ha="left", va="bottom", fontsize=size, color=color, parse_math=False)


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 3]}..."
