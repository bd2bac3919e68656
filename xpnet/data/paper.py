"""Ink taken off its paper: how much of it each pixel of a picture has. Needs Pillow and SciPy.

The paper is what is left of a picture when all that is narrow is filled: a morphological closing
(J. Serra, "Image Analysis and Mathematical Morphology", 1982) of the picture made small, which
keeps slow shading as well as the edge of a shadow, and fills the strokes of a pen. What differs
from it is ink, and the level that parts the two is the one midway between their means (T. W. Ridler
and S. Calvard, "Picture thresholding using an iterative selection method", 1978).
"""

from dataclasses import dataclass

import numpy as np

from xpnet.typing import HostArray

_SMALL = 120
"""The longer side of the picture in which the paper is looked for."""
_STROKES = (0.3, 0.6, 1.2)
"""What is narrower than this part of the shorter side is a stroke, and not paper.

The next one is tried where strokes turn out to be broader.
"""
_LIKE_INK = 0.25
_FAINT = 0.08
"""Ink differs from its paper by more than this part of black to white."""
_ABOVE_NOISE = 6.0


@dataclass(frozen=True, eq=False)
class Ink:
    """The ink of a picture.

    Attributes
    ----------
    depth
        How far each pixel is from the paper, in the direction of the ink; float32, (height, width).
    level
        The usual depth of ink; 0 where there is none.
    mask
        Where there is ink.
    dark
        Whether it is darker than the paper.
    """

    depth: HostArray
    level: float
    mask: HostArray
    dark: bool


def find_ink(grey: HostArray, dark: bool | None) -> Ink:
    """Tell ink and paper apart.

    Parameters
    ----------
    grey
        Brightness from 0 to 1, float32, shape (height, width).
    dark
        Whether the ink is darker than the paper; if None, it is found out.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(grey, _blur(grey.shape))
    small = _resized(grey, _smaller(grey.shape))
    if dark is None:
        dark = _is_dark(small)
    if not dark:  # dark ink on bright paper is what follows
        grey, smooth, small = 1 - grey, 1 - smooth, 1 - small
    for stroke in _STROKES:
        filled, paper = _paper(small, stroke)
        paper = _resized(paper, grey.shape)
        level, mask = _inked(paper - smooth)
        if not _is_hollow(_resized(filled, grey.shape), grey, mask, level):
            break
    return Ink(paper - grey, level, mask, dark)


def _is_hollow(filled: HostArray, grey: HostArray, mask: HostArray, level: float) -> bool:
    """Whether what was taken for paper, amidst the ink, is as dark as ink: a stroke is so broad."""
    if not mask.any():
        return False
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    amidst = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool(amidst.min() < np.median(grey[mask]) + _LIKE_INK * level)


def _blur(shape: tuple[int, ...]) -> float:
    """So far each pixel is averaged with those around, against noise: in small pictures not."""
    return max(0.0, min(2.0, min(shape) / 400))


def _smaller(shape: tuple[int, ...]) -> tuple[int, int]:
    factor = max(1.0, max(shape) / _SMALL)
    return max(1, round(shape[0] / factor)), max(1, round(shape[1] / factor))


def _resized(values: HostArray, shape: tuple[int, ...]) -> HostArray:
    """Smaller by means, larger by straight lines between."""
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32, copy=False))
    larger = shape[0] > values.shape[0] or shape[1] > values.shape[1]
    how = Image.Resampling.BILINEAR if larger else Image.Resampling.BOX
    return np.asarray(picture.resize((shape[1], shape[0]), how))


def _paper(small: HostArray, stroke: float) -> tuple[HostArray, HostArray]:
    """The brightness of the paper below dark ink, as it is found and made smooth."""
    from scipy import ndimage

    size = max(3, round(stroke * min(small.shape)) | 1)
    without_specks = ndimage.median_filter(small, 3, mode="nearest")
    closed = ndimage.grey_closing(without_specks, size=(size, size), mode="nearest")
    return closed, ndimage.gaussian_filter(closed, size / 10, mode="nearest")


def _is_dark(small: HostArray) -> bool:
    """Whether the ink is the dark part: the paper that belongs to it is then the smoother one."""
    rough = [_roughness(_paper(values, _STROKES[0])[1]) for values in (small, 1 - small)]
    if max(rough) > 2 * min(rough) + 1e-3:
        return rough[0] < rough[1]
    edges = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    middle = (small.max() + small.min()) / 2
    return bool(np.median(edges) + np.median(small) > 2 * middle)


def _roughness(paper: HostArray) -> float:
    return float(sum(np.abs(np.diff(paper, axis=axis)).sum() for axis in (0, 1)) / sum(paper.shape))


def _inked(depth: HostArray) -> tuple[float, HostArray]:
    noise = 1.4826 * float(np.median(np.abs(depth - np.median(depth))))
    least = max(_FAINT, _ABOVE_NOISE * noise)
    top = float(depth.max())
    level = top / 2
    for _ in range(8):
        chosen = depth >= level
        if level < least / 2 or not chosen.any():
            break
        above = float(depth[chosen].mean())
        below = float(depth[~chosen].mean()) if not chosen.all() else 0.0
        level = (above + below) / 2
    if top < least:
        return 0.0, np.zeros(depth.shape, dtype=bool)
    mask = depth >= level
    return float(depth[mask].mean()), mask
