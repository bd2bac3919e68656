"""A picture prepared as the pictures of a data set were: its figure found, scaled and placed."""

from dataclasses import dataclass

import numpy as np

from xpnet.data.framing import INK, Figures, Framing
from xpnet.errors import DataError, shown
from xpnet.typing import HostArray, Shape

Box = tuple[int, int, int, int]
"""(top, left, bottom, right) in pixels, without the last two."""

BLANK = "blank: nothing in it differs from the paper"
UNCLEAR = "no clear figure: there are marks all over it, and none is the largest"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture, or one figure of it, as a network is to see it.

    Attributes
    ----------
    sample
        Brightness from 0, black, to 1, white, float64, of the shape that was asked for.
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
        floating point from 0 to 1.
    shape
        The wanted (height, width).
    framing
        How the figures of the data set lie, as `Dataset.framing` or `Network.framing`.
    invert
        Whether to swap black and white; if None, this is found out.

    Raises
    ------
    DataError
        If it is no picture.
    """
    bright = brightness(grey)
    if framing is None:
        return Prepared(fit_picture(bright, shape, invert=bool(invert)), None, bool(invert))
    left_alone = _as_it_is(bright, shape, framing, invert)
    if left_alone is not None:
        return left_alone
    found = find_figures(bright, shape, framing, invert=invert)
    return found[0]


def find_figures(
    grey: HostArray, shape: Shape, framing: Framing, *, invert: bool | None = None
) -> list[Prepared]:
    """Prepare each figure of a picture, in the order in which they are read."""
    from scipy import ndimage

    from xpnet.data.paper import find_ink

    bright = brightness(grey)
    dark = None if invert is None else bool(invert) ^ bool(framing.paper)
    ink = find_ink(bright, dark)
    inverted = ink.dark ^ bool(framing.paper)
    if not ink.mask.any():
        sample = fit_picture(bright, shape, invert=inverted)
        return [Prepared(sample, None, inverted, BLANK)]
    labels, _ = ndimage.label(ink.mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    keep = np.flatnonzero(sizes >= 0.03 * sizes.max()) + 1
    chosen = np.isin(labels, keep)
    rows, columns = np.flatnonzero(chosen.any(1)), np.flatnonzero(chosen.any(0))
    box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    around = ndimage.binary_dilation(chosen, iterations=2)
    cover = np.where(around, np.clip(ink.depth / ink.level, 0, 1), 0)
    sample = place_figure(cover[box[0] : box[2], box[1] : box[3]], shape, framing)
    return [Prepared(sample, box, inverted)]


def place_figure(cover: HostArray, shape: Shape, framing: Framing) -> HostArray:
    """Scale a figure, ink from 0 to 1 in its box, and place it on the paper of the framing."""
    from PIL import Image

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
    return 1 - sample if framing.paper else sample


def _as_it_is(
    bright: HostArray, shape: Shape, framing: Framing, invert: bool | None
) -> Prepared | None:
    """The picture itself, if it is one as those of the data set."""
    if bright.shape != tuple(shape):
        return None
    edges = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    like_paper = [
        (np.abs(edges - paper) <= INK).mean() for paper in (framing.paper, 1 - framing.paper)
    ]
    inverted = bool(like_paper[1] > like_paper[0]) if invert is None else bool(invert)
    sample = (1 - bright if inverted else bright).astype(np.float64)
    figure = Figures.of((1 - sample if framing.paper else sample)[None])
    if not len(figure.sizes):
        return None
    whole = all(side >= n - 1 for side, n in zip(framing.box, shape, strict=True))
    middle = (figure.masses if framing.centring == "mass" else figure.middles)[0]
    longer = np.abs(figure.sizes[0] - framing.box).min()
    placed = np.abs(middle - framing.centre).max() <= 1
    if whole or (longer <= 2 and placed and like_paper[int(inverted)] > 0.5):
        return Prepared(sample, (0, 0, *bright.shape), inverted)
    return None


def fit_picture(bright: HostArray, shape: Shape, *, invert: bool = False) -> HostArray:
    """The whole picture, scaled to lie within the shape, and padded with its paper.

    Parameters
    ----------
    bright
        Brightness from 0 to 1, shape (height, width).
    shape
        The wanted (height, width).
    invert
        Whether to swap black and white.

    Returns
    -------
    sample
        Brightness from 0 to 1, float64.
    """
    from PIL import Image

    height, width = bright.shape
    scale = min(shape[0] / height, shape[1] / width)
    size = tuple(
        min(n, max(1, round(scale * side))) for n, side in zip(shape, bright.shape, strict=True)
    )
    scaled = bright
    if size != bright.shape:
        picture = Image.fromarray(bright.astype(np.float32, copy=False))
        scaled = np.asarray(picture.resize(size[::-1], Image.Resampling.LANCZOS)).clip(0, 1)
    edges = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    fitted = np.full(shape, float(np.median(edges)))
    top, left = ((n - side) // 2 for n, side in zip(shape, size, strict=True))
    fitted[top : top + size[0], left : left + size[1]] = scaled
    return 1 - fitted if invert else fitted


def brightness(grey: HostArray) -> HostArray:
    """A picture as floating point from 0 to 1.

    Raises
    ------
    DataError
        If it is no picture in grey, or has numbers that are not from 0 to 1.
    """
    values = np.asarray(grey)
    if values.ndim != 2 or not values.size:
        raise DataError(f"a picture in grey has the shape (height, width), got {values.shape}")
    if values.dtype.kind == "b":
        return values.astype(np.float64)
    if values.dtype.kind in "ui":
        return values / float(np.iinfo(values.dtype).max)
    if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"a picture is uint8, uint16, or floating point from 0 to 1; got {values.dtype} from "
            f"{shown(values.min())} to {shown(values.max())}"
        )
    return values
