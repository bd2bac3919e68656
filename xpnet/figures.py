"""Pictures as files. Needs matplotlib, which has drawn them."""

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from xpnet.files import write_atomically, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOX = "\u25a1"


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises
    ------
    RunError
        If it cannot be written. The old file stays as it is.
    """
    _box_unknown_characters(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    with writing(path):
        write_atomically(path, content.getvalue())


def _box_unknown_characters(figure: "Figure") -> None:
    """Put boxes in the place of characters that no font has, such as those of a script.

    matplotlib would draw them so itself, with a warning of each. To switch off a warning for a
    moment is to do so for all threads.
    """
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]
    known = _characters() if texts else set()
    box = _BOX if ord(_BOX) in known else "?"
    for text in texts:
        written = text.get_text()
        text.set_text("".join(c if c.isascii() or ord(c) in known else box for c in written))


def _characters() -> set[int]:
    """The code points that text without a font of its own can be drawn with."""
    from matplotlib import font_manager, rcParams

    files = []
    for family in rcParams["font.family"]:
        with suppress(ValueError):  # it is not installed: the next one is taken
            wanted = font_manager.FontProperties(family=[family])
            files.append(font_manager.findfont(wanted, fallback_to_default=False))
    files = files or [font_manager.findfont(font_manager.FontProperties())]
    return set().union(*(font_manager.get_font(file).get_charmap() for file in files))
