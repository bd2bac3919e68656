"""Pictures as characters, for a terminal."""

import sys
from collections.abc import Sequence

import numpy as np

from xpnet.typing import HostArray

_WIDEST = 36
_SHADES, _PLAIN = " ░▒▓█", " .:*#"
_LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue count for in grey (ITU-R BT.601)."""


def side_by_side(pictures: Sequence[HostArray], titles: Sequence[str]) -> str:
    """Pictures of brightness from 0 to 1 as lines of text, a character for two pixels.

    Parameters
    ----------
    pictures
        Of one shape: (height, width), or (height, width, 3), which are shown in grey.
    titles
        What is written above each.
    """
    shades = _SHADES if _can_print(_SHADES) else _PLAIN
    in_grey = (picture if picture.ndim == 2 else picture @ _LUMA for picture in pictures)
    blocks = [_as_lines(picture, shades) for picture in in_grey]
    width = max(len(line) for block in blocks for line in block)
    lines = ["   ".join(f"{title:{width}}" for title in titles)]
    lines += ["   ".join(parts) for parts in zip(*blocks, strict=True)]
    return "\n".join(line.rstrip() for line in lines)


def _as_lines(picture: HostArray, shades: str) -> list[str]:
    every = max(1, -(-picture.shape[1] // _WIDEST))
    high = 2 * every
    height, width = -(-picture.shape[0] // high) * high, -(-picture.shape[1] // every) * every
    padded = np.pad(
        picture, [(0, height - picture.shape[0]), (0, width - picture.shape[1])], "edge"
    )
    means = padded.reshape(height // high, high, width // every, every).mean(axis=(1, 3))
    levels = (means * (len(shades) - 1)).round().astype(int)
    return ["".join(shades[level] for level in row) for row in levels.tolist()]


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
