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


def find_ink(grey: HostArray, dark: bool | None, *, shaded: bool = False) -> Ink:
    """Tell ink and paper apart.

    Parameters
    ----------
    grey
        Brightness from 0 to 1, float32, shape (height, width).
    dark
        Whether the ink is darker than the paper; if None, it is found out.
    shaded
        Whether it is no ink, but a thing with shades of its own. The paper is then what lies along
        the edges of the picture.
    """
    from scipy import ndimage

    if shaded:
        return _find_shaded(grey, dark)
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


def _find_shaded(grey: HostArray, dark: bool | None) -> Ink:
    small = _resized(grey, _smaller(grey.shape))
    depth = _resized(_plane_of_edges(small), grey.shape) - grey
    if dark is None:
        dark = bool(depth.mean() > 0)
    depth = depth if dark else -depth
    mask = depth > max(_FAINT, _ABOVE_NOISE * _spread(depth[depth < np.median(depth)]))
    level = float(np.percentile(depth[mask], 98)) if mask.any() else 0.0
    return Ink(depth, level, mask, dark)


def _plane_of_edges(small: HostArray) -> HostArray:
    """The brightness that the edges of a picture lead to, as a plane, without what is on them."""
    height, width = small.shape
    y, x = np.mgrid[0:height, 0:width]
    terms = np.stack([np.ones(small.size), y.ravel() / height, x.ravel() / width], axis=1)
    ring = np.minimum(np.minimum(y, height - 1 - y), np.minimum(x, width - 1 - x)).ravel()
    chosen = ring <= min(small.shape) // 20
    values = small.ravel().astype(np.float64)
    plane = np.full(small.size, np.median(values[chosen]))
    for _ in range(5):
        apart = np.abs(values - plane)
        near = chosen & (apart <= max(0.02, 2 * float(np.median(apart[chosen]))))
        plane = terms @ np.linalg.lstsq(terms[near], values[near], rcond=None)[0]
    return plane.reshape(small.shape).astype(np.float32)


def _spread(values: HostArray) -> float:
    """The standard deviation, of values of which some are far off."""
    if not values.size:
        return 0.0
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


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
    smooth = ndimage.gaussian_filter(closed, size / 10, mode="nearest")
    return closed, np.minimum(smooth, closed)  # beside a brighter part it is not brighter


def _is_dark(small: HostArray) -> bool:
    """Whether the ink is the dark part: the paper that belongs to it is then the smoother one.

    A slope of the light would be as rough as faint ink, and is taken off.
    """
    flat = small - _plane_of_edges(small)
    rough = [_roughness(_paper(values, _STROKES[0])[1]) for values in (flat, -flat)]
    if max(rough) > 2 * min(rough) + 1e-3:
        return rough[0] < rough[1]
    edges = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    middle = (small.max() + small.min()) / 2
    return bool(np.median(edges) + np.median(small) > 2 * middle)


def _roughness(paper: HostArray) -> float:
    return float(sum(np.abs(np.diff(paper, axis=axis)).sum() for axis in (0, 1)) / sum(paper.shape))


def _inked(depth: HostArray) -> tuple[float, HostArray]:
    top = float(depth.max())
    # Of a large figure most is ink, which is no noise.
    least = max(_FAINT, _ABOVE_NOISE * _spread(depth[depth < top / 2]))
    level = top / 2
    for _ in range(8):
        chosen = depth >= level
        if level < least / 2 or not chosen.any():
            break
        above = float(depth[chosen].mean())
        below = float(depth[~chosen].mean()) if not chosen.all() else 0.0
        level = (above + below) / 2
    mask = depth >= level
    if top < least or _is_noise(depth, mask):
        return 0.0, np.zeros(depth.shape, dtype=bool)
    return float(depth[mask].mean()), mask


def _is_noise(depth: HostArray, mask: HostArray) -> bool:
    """Whether what is deepest is scattered, and not far above the rest."""
    from scipy import ndimage

    if depth[mask].mean() >= _ABOVE_NOISE * depth[~mask].std():
        return False
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    return bool(np.bincount(labels[mask]).max() < mask.sum() / 2)
