"""A picture prepared as the pictures of a data set were: its figure found, scaled and placed."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.data.framing import INK, Box, Figures, Framing, stroke_widths
from xpnet.errors import DataError
from xpnet.typing import HostArray, Shape

_BLUR = 0.15
"""What differs by less than this part of its ink from a small picture enlarged is one."""

_MOST_BROAD = 3.0
"""What is more than so many times as broad as the usual strokes is none,"""
_CONVEX = 0.96
"""if it also is so large a part of its convex hull: loops that are filled are not."""

SOLID = "no clear figure: what stands out from the paper is one solid thing, and no strokes"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture, or one figure of it, as a network is to see it.

    Attributes
    ----------
    sample
        Brightness from 0, black, to 1, white, float64: the (height, width) that was asked for,
        with the three colours last of a picture that has them.
    box
        Where in the picture the figure is, (top, left, bottom, right); None if none was looked for,
        or found.
    inverted
        Whether black and white were swapped.
    problem
        Why it is nothing to ask a network about, in a sentence; None if it is.
    """

    sample: HostArray
    box: Box | None
    inverted: bool
    problem: str | None = None


def prepare_picture(
    grey: HostArray, shape: Shape, framing: Framing | None, *, invert: bool | None = None
) -> Prepared:
    """Prepare a picture of one figure.

    The brightness of the paper is taken off, the box of the figure scaled to that of the framing
    and placed as its figures are. A picture that has the size, the paper and the box already is
    left as it is. Without a framing the whole picture is fitted, see `fit_picture`.

    Parameters
    ----------
    grey
        Shape (height, width): integers or Booleans of which the largest of the dtype is white, or
        floating point from 0 to 1. Without a framing also one in colour, (height, width, 3).
    shape
        The wanted (height, width).
    framing
        How the figures of the data set lie, as `Dataset.framing` or `Network.framing`.
    invert
        Whether to swap black and white; if None, this is found out.

    Raises
    ------
    DataError
        If it is no picture, or Pillow or SciPy is not installed.
    ValueError
        If the framing is one of larger pictures.
    """
    bright = brightness(grey)
    if framing is None:
        return Prepared(fit_picture(bright, shape, invert=bool(invert)), None, bool(invert))
    return _prepared(bright, shape, framing, invert, several=False)[0]


def find_figures(
    grey: HostArray, shape: Shape, framing: Framing, *, invert: bool | None = None
) -> list[Prepared]:
    """Prepare each figure of a picture, in the order in which they are read.

    Parameters, and errors, as of `prepare_picture`.

    Returns
    -------
    figures
        Line by line, from left to right. Of a picture without any, one that has the problem.
    """
    return _prepared(brightness(grey), shape, framing, invert, several=True)


def _prepared(
    bright: HostArray, shape: Shape, framing: Framing, invert: bool | None, *, several: bool
) -> list[Prepared]:
    framing.check_fits(shape)
    if bright.ndim != 2:
        raise DataError(f"figures are found in pictures in grey, got one of shape {bright.shape}")
    left_alone = _as_it_is(bright, shape, framing, invert)
    if left_alone is not None:
        return [left_alone]
    _pillow()  # what follows takes it for granted
    try:
        from xpnet.data.figures import figures_of, largest_of  # late: they need SciPy
    except ImportError as error:
        raise DataError(
            "figures are found with SciPy: pip install 'xpnet[image]'; or take the whole picture "
            "as it is (--as-is)"
        ) from error
    from xpnet.data.paper import find_ink

    dark = None if invert is None else bool(invert) ^ bool(framing.paper)
    shaded = framing.stroke is None
    ink = find_ink(bright.astype(np.float32), dark, shaded=shaded)
    inverted = ink.dark ^ bool(framing.paper)
    found = figures_of(ink, shaded=shaded)
    problem = found.problem
    figures = found.figures
    if not several and not problem:
        figures, problem = largest_of(found, as_one=shaded)
    prepared = []
    for figure in figures:
        top, left, bottom, right = figure.box
        depth = ink.depth[top:bottom, left:right] / ink.level
        cover = np.where(found.around(figure), np.clip(depth, 0, 1), 0)
        if not _is_solid(cover, framing):
            prepared.append(Prepared(place_figure(cover, shape, framing), figure.box, inverted))
    if prepared:
        return prepared
    return [Prepared(fit_picture(bright, shape, invert=inverted), None, inverted, problem or SOLID)]


def _is_solid(cover: HostArray, framing: Framing) -> bool:
    """Whether a figure is broad and has no hollows, as a coin on the paper, or a sheet."""
    if framing.stroke is None:
        return False
    from scipy import ndimage, spatial

    step = max(1, max(cover.shape) // 200)
    inside = np.pad(cover[::step, ::step] >= 0.5, 1)
    broadest = 2 * step * float(ndimage.distance_transform_edt(inside).max())
    scale = min(framing.box[0] / cover.shape[0], framing.box[1] / cover.shape[1])
    if scale * broadest <= _MOST_BROAD * framing.stroke[1]:
        return False
    corners = np.argwhere(inside)[:, None] + [[0, 0], [0, 1], [1, 0], [1, 1]]
    hull = spatial.ConvexHull(corners.reshape(-1, 2))
    return bool(inside.sum() > _CONVEX * hull.volume)


def place_figure(cover: HostArray, shape: Shape, framing: Framing) -> HostArray:
    """Scale a figure, ink from 0 to 1 in its box, and place it on the paper of the framing."""
    sample = _placed(cover, shape, framing)
    if framing.stroke is not None:
        for _ in range(3):
            width = float(stroke_widths(sample[None])[0])
            wanted = min(max(width, framing.stroke[0]), framing.stroke[1])
            if abs(wanted - width) < 0.1:
                break
            scale = min(framing.box[0] / cover.shape[0], framing.box[1] / cover.shape[1])
            least = framing.stroke[0] / 2 / scale
            cover = _broadened(cover, (wanted - width) / 2 / scale, least)
            sample = _placed(cover, shape, framing)
    return 1 - sample if framing.paper else sample


def _broadened(cover: HostArray, by: float, least: float) -> HostArray:
    """A figure whose edges lie farther out by so many pixels, or farther in if that is negative.

    Its finer strokes are left at least twice `least` wide.
    """
    from scipy import ndimage

    margin = max(1, math.ceil(by) + 1)
    ink = np.pad(cover, margin)
    inside = ink >= 0.5
    if not inside.any():
        return cover
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    distance += np.where(inside, -0.5, 0.5)
    if by < 0:
        ridge = inside & (distance == ndimage.maximum_filter(distance, 3))
        by = min(0.0, max(by, least - float(np.quantile(distance[ridge], 0.2))))
    distance = ndimage.gaussian_filter(distance, 1.0)
    found = np.clip(distance + by + 0.5, 0, 1)
    rows, columns = np.flatnonzero((found >= 0.5).any(1)), np.flatnonzero((found >= 0.5).any(0))
    if not rows.size:
        return cover
    return found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _placed(cover: HostArray, shape: Shape, framing: Framing) -> HostArray:
    Image = _pillow()
    height, width = cover.shape
    scale = min(framing.box[0] / height, framing.box[1] / width)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    picture = Image.fromarray(cover.astype(np.float32, copy=False))
    scaled = np.asarray(
        picture.resize(size[::-1], Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    )
    scaled = np.clip(scaled, 0, None)
    scaled = np.clip(scaled / max(float(scaled.max()), INK), 0, 1).astype(np.float64)
    if framing.centring == "mass":
        weights = [scaled.sum(axis=1), scaled.sum(axis=0)]
        middle = [float((w * (np.arange(len(w)) + 0.5)).sum() / w.sum()) for w in weights]
    else:
        middle = [n / 2 for n in size]
    sample = np.zeros(shape)
    corner = [
        min(max(0, round(at - m)), n - side)
        for at, m, n, side in zip(framing.centre, middle, shape, size, strict=True)
    ]
    sample[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = scaled
    return sample


def _as_it_is(
    bright: HostArray, shape: Shape, framing: Framing, invert: bool | None
) -> Prepared | None:
    """The picture itself, or made small again, if it is one as those of the data set."""
    small = bright if bright.shape == tuple(shape) else _before_it_was_enlarged(bright, shape)
    if small is None:
        return None
    edges = _edges(small)
    like_paper = [
        (np.abs(edges - paper) <= INK).mean() for paper in (framing.paper, 1 - framing.paper)
    ]
    inverted = bool(like_paper[1] > like_paper[0]) if invert is None else bool(invert)
    sample = (1 - small if inverted else small).astype(np.float64)
    figure = Figures.of((1 - sample if framing.paper else sample)[None])
    if not len(figure.sizes):
        return None
    whole = all(side >= n - 1 for side, n in zip(framing.box, shape, strict=True))
    middle = (figure.masses if framing.centring == "mass" else figure.middles)[0]
    longer = np.abs(figure.sizes[0] - framing.box).min()
    placed = np.abs(middle - framing.centre).max() <= 1
    fits = longer <= 2 and placed and like_paper[int(inverted)] > 0.5
    if fits or (whole and small is bright):
        return Prepared(sample, (0, 0, *bright.shape), inverted)
    return None


def _before_it_was_enlarged(bright: HostArray, shape: Shape) -> HostArray | None:
    """A picture of the shape that this one was enlarged from, if it has no finer details."""
    Image = _pillow()
    if any(n < 2 * m for n, m in zip(bright.shape, shape, strict=True)):
        return None
    if abs(bright.shape[0] * shape[1] - bright.shape[1] * shape[0]) > max(bright.shape):
        return None
    picture = Image.fromarray(bright.astype(np.float32, copy=False))
    small = picture.resize((shape[1], shape[0]), Image.Resampling.BOX)
    contrast = np.abs(bright - np.median(_edges(bright))).mean()
    ways = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    enlarged = (np.asarray(small.resize(picture.size, way)) for way in ways)
    if min(float(np.abs(each - bright).mean()) for each in enlarged) > _BLUR * contrast:
        return None
    return np.asarray(small).clip(0, 1)


def _edges(bright: HostArray) -> HostArray:
    return np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])


def fit_picture(bright: HostArray, shape: Shape, *, invert: bool = False) -> HostArray:
    """The whole picture, scaled to lie within the shape, and padded with its paper.

    Parameters
    ----------
    bright
        Brightness from 0 to 1, shape (height, width), or (height, width, 3) in colour.
    shape
        The wanted (height, width).
    invert
        Whether to swap black and white, in each colour.

    Returns
    -------
    sample
        Brightness from 0 to 1, float64, in grey or in colour as the picture.
    """
    found = bright.shape[:2]
    scale = min(n / side for n, side in zip(shape, found, strict=True))
    size = tuple(min(n, max(1, round(scale * side))) for n, side in zip(shape, found, strict=True))
    scaled = bright
    if size != found:
        scaled = _resized(bright.astype(np.float32, copy=False), size)
    fitted = np.empty((*shape, *bright.shape[2:]))
    fitted[...] = np.median(_edges(bright), axis=0)
    top, left = ((n - side) // 2 for n, side in zip(shape, size, strict=True))
    fitted[top : top + size[0], left : left + size[1]] = scaled
    return 1 - fitted if invert else fitted


def _resized(bright: HostArray, size: Shape) -> HostArray:
    if bright.ndim == 3:  # Pillow has no floating point in colour
        return np.stack([_resized(bright[..., i], size) for i in range(bright.shape[2])], axis=2)
    Image = _pillow()
    picture = Image.fromarray(np.ascontiguousarray(bright))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.LANCZOS)).clip(0, 1)


def _pillow() -> Any:
    """`PIL.Image`, which resizes."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "pictures are made smaller with Pillow: pip install 'xpnet[image]'"
        ) from error
    return Image


def brightness(pixels: HostArray) -> HostArray:
    """A picture, in grey or in three colours, as floating point from 0 to 1.

    Raises
    ------
    DataError
        If it is no picture, or has numbers that are none or not from 0 to 1.
    """
    values = np.asarray(pixels)
    if (values.ndim != 2 and values.shape[2:] != (3,)) or not values.size:
        raise DataError(
            f"a picture has the shape (height, width), or (height, width, 3) in colour; got "
            f"{values.shape}"
        )
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind in "ui":
        return values / float(np.iinfo(values.dtype).max)
    if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
        found = f" from {values.min():g} to {values.max():g}" if values.dtype.kind == "f" else ""
        raise DataError(
            f"a picture is uint8, uint16, or floating point from 0 to 1; got {values.dtype}{found}"
        )
    return values
