"""The figures of a picture: pieces of ink put together, and what is none left out. Needs SciPy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from xpnet.data.framing import Box
from xpnet.data.paper import Ink
from xpnet.typing import HostArray

BLANK = "blank: nothing in it stands out from the paper"
UNCLEAR = "no clear figure: what stands out from the paper is scattered, or runs along the edges"

_PLAIN = 0.08
"""What varies by more than this part of black to white is something, and no blank paper."""
_MOST_FIGURES = 1000
_LEAST_SIDE = 0.03
"""A figure is larger than this part of the shorter side of the picture, and `_LEAST_PIXELS`."""
_LEAST_PIXELS = 4
_SPECK = 0.02
"""What has less than this part of the ink of the largest piece is dirt."""
_NEAR = 0.12
"""Pieces that are nearer than this part of the usual size belong together, as the bar of a five."""
_ABOVE = 0.35
"""And so does a small one above or below, up to this distance, as the dot of an i."""
_ALONG_EDGE = 0.45
"""What runs along more than this part of an edge of the picture is the edge of the paper.

And so is what lies in a corner.
"""
_MOST_CONTACTS = 8
"""What meets the edges of the picture at more places is the grid of the paper."""
_RULED = 0.06
"""A line from one edge to the other is narrower than this part of its length, if it is askew,"""
_STRAIGHT = 0.9
"""or fills so much of its box."""
_BESIDE = 0.03
"""Ink and paper are compared so far from the outline, as a part of the longer side."""
_STEEP = 0.42
"""Across its outline ink rises by this part of its depth at least: half if it is out of focus.

Light, which rises slowly, has risen by a third.
"""
_LEAST_STEP = 0.05
"""And by this part of black to white: what is left of light is faint as well."""
_LOOKED_AT = 200
"""The longer side, in pixels, of the part of them in which outlines are looked at."""


@dataclass(frozen=True)
class Figure:
    """One figure: the numbers of its pieces, its box, and how many pixels of ink it has."""

    pieces: tuple[int, ...]
    box: Box
    area: int

    @property
    def height(self) -> int:
        """The height of the box."""
        return self.box[2] - self.box[0]

    @property
    def width(self) -> int:
        """The width of the box."""
        return self.box[3] - self.box[1]

    @property
    def side(self) -> int:
        """The longer side of the box."""
        return max(self.height, self.width)


@dataclass(frozen=True, eq=False)
class FoundFigures:
    """The figures of a picture in reading order, or the problem; and the number of each piece."""

    figures: list[Figure]
    labels: HostArray
    problem: str | None = None

    def around(self, figure: Figure) -> HostArray:
        """Where the ink of a figure is in its box, with the soft edge around it."""
        top, left, bottom, right = figure.box
        ink = np.isin(self.labels[top:bottom, left:right], figure.pieces)
        return ndimage.binary_dilation(ink, np.ones((3, 3)), iterations=2)


def figures_of(ink: Ink, *, shaded: bool = False) -> FoundFigures:
    """The figures of a picture, in the order in which they are read.

    Parameters
    ----------
    ink
        The ink of the picture.
    shaded
        Whether it is no ink, but things with shades of their own, which may rise as slowly as
        light does.
    """
    mask = ink.mask
    labels, count = ndimage.label(mask, np.ones((3, 3), dtype=int))
    nothing = UNCLEAR if ink.depth.std() > _PLAIN else BLANK
    if not count:
        return FoundFigures([], labels, nothing)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]
    pieces = [Figure((i,), box, int(areas[i])) for i, box in enumerate(boxes, start=1)]
    pieces = _without_edges(_without_rulings(pieces, labels), labels)
    largest = max((piece.area for piece in pieces), default=0)
    pieces = [piece for piece in pieces if piece.area >= _SPECK * largest]
    steep = [piece for piece in pieces if shaded or _is_steep(piece, ink, labels)]
    if pieces and not steep:
        return FoundFigures([], labels, nothing)
    pieces = steep
    least = max(_LEAST_PIXELS, _LEAST_SIDE * min(mask.shape))
    size = max((piece.side for piece in pieces), default=0)
    if not size:
        return FoundFigures([], labels, UNCLEAR)
    usual = float(np.median([piece.side for piece in pieces if piece.side >= 0.4 * size]))
    if usual < least:  # where most are specks, so is the largest of them
        return FoundFigures([], labels, UNCLEAR)
    figures = _put_together(pieces, labels, usual)
    figures = [figure for figure in figures if figure.side >= max(least, 0.3 * usual)]
    if not figures or len(figures) > _MOST_FIGURES:
        return FoundFigures([], labels, UNCLEAR)
    return FoundFigures(_in_reading_order(figures), labels)


def largest_of(found: FoundFigures, *, as_one: bool) -> tuple[list[Figure], str | None]:
    """The one figure of a picture, or the problem that there are several.

    What lies by the largest and is not like it, as a part that the pen has not joined, is taken to
    it.

    Parameters
    ----------
    found
        The figures.
    as_one
        Whether all together are one.
    """
    if as_one:
        return [_joined(found.figures)], None
    main = max(found.figures, key=lambda figure: figure.area * figure.side)
    parts, others = [main], 0
    for figure in found.figures:
        if figure is main:
            continue
        as_high = min(main.height, figure.height) >= 0.6 * max(main.height, figure.height)
        apart = figure.side >= 0.6 * main.side and _gap(main, figure) > 0.5 * main.side
        if figure.area >= 0.2 * main.area and (as_high or apart):
            others += 1
        elif _gap(main, figure) <= 0.3 * main.side:
            parts.append(figure)
    if others:
        return [], f"several figures, {others + 1} of one size: cut them apart, or take --several"
    return [_joined(parts)], None


def _without_rulings(pieces: list[Figure], labels: HostArray) -> list[Figure]:
    """Without the lines and the grid of the paper: from one edge of the picture to the other."""
    height, width = labels.shape
    edges = [labels[0], labels[:, -1], labels[-1, ::-1], labels[::-1, 0]]
    ring = np.concatenate(edges)
    contacts = np.bincount(ring[ring != np.roll(ring, 1)], minlength=len(pieces) + 1)
    lines = [piece for piece in pieces if _is_line(piece, height, width)]
    if len(lines) < 2:  # one alone may be a figure
        lines = []
    return [
        piece
        for piece in pieces
        if contacts[piece.pieces[0]] <= _MOST_CONTACTS and piece not in lines
    ]


def _is_line(piece: Figure, height: int, width: int) -> bool:
    """Whether a piece is a line or a stripe from one edge of the picture to the other."""
    if piece.width < width and piece.height < height:
        return False
    straight = piece.area >= _STRAIGHT * piece.height * piece.width
    return straight or min(piece.height, piece.width) <= _RULED * piece.side


def _is_steep(piece: Figure, ink: Ink, labels: HostArray) -> bool:
    """Whether a piece is ink, beside which the paper is bright, and not a patch of less light."""
    step = max(1, piece.side // _LOOKED_AT)
    around = max(2, round(_BESIDE * piece.side / step))
    top, left, bottom, right = piece.box
    margin = (around + 1) * step
    part = (
        slice(max(0, top - margin), bottom + margin, step),
        slice(max(0, left - margin), right + margin, step),
    )
    inside = labels[part] == piece.pieces[0]
    size = 2 * around + 1
    inner = inside & ~ndimage.minimum_filter(inside, size, mode="nearest")
    outer = ndimage.maximum_filter(inside, size, mode="nearest") & ~ink.mask[part]
    if not (inner.any() and outer.any()):
        return True
    depth = ink.depth[part]
    rise = depth[inner].mean() - depth[outer].mean()
    return bool(rise >= max(_STEEP * depth[inside].mean(), _LEAST_STEP))


def _without_edges(pieces: list[Figure], labels: HostArray) -> list[Figure]:
    """Without what runs along the edges of the picture, such as the table around the paper."""
    height, width = labels.shape
    edges = [
        (labels[0], width),
        (labels[-1], width),
        (labels[:, 0], height),
        (labels[:, -1], height),
    ]
    along = np.zeros(labels.max() + 1, dtype=int)
    for edge, length in edges:
        counts = np.bincount(edge, minlength=len(along))
        along += counts > _ALONG_EDGE * length
    corners = labels[[0, 0, -1, -1], [0, -1, 0, -1]]
    inner = [
        piece for piece in pieces if not along[piece.pieces[0]] and piece.pieces[0] not in corners
    ]
    largest = max((piece.side for piece in inner), default=0)
    if largest >= 2 * _LEAST_SIDE * min(labels.shape):
        return inner
    # A digit that fills the picture may have a bar along one edge, but hardly along two.
    return [piece for piece in pieces if along[piece.pieces[0]] < 2]


def _put_together(pieces: list[Figure], labels: HostArray, usual: float) -> list[Figure]:
    """The pieces that lie near each other, or one above the other, as figures."""
    near = max(1, round(_NEAR * usual / 2))
    kept = np.zeros(labels.max() + 1, dtype=np.uint8)
    kept[[piece.pieces[0] for piece in pieces]] = 1
    broad = ndimage.maximum_filter(kept[labels], 2 * near + 1, mode="constant")
    groups, _ = ndimage.label(broad, np.ones((3, 3), dtype=int))
    together: dict[int, list[Figure]] = {}
    for piece in pieces:
        top, left, bottom, right = piece.box
        inside = labels[top:bottom, left:right] == piece.pieces[0]
        number = int(groups[top:bottom, left:right][inside][0])
        together.setdefault(number, []).append(piece)
    figures = sorted(map(_joined, together.values()), key=lambda figure: -figure.area)
    whole: list[Figure] = []
    for figure in figures:
        at = next((i for i, other in enumerate(whole) if _is_above(other, figure, usual)), None)
        if at is None:
            whole.append(figure)
        else:
            whole[at] = _joined([whole[at], figure])
    return whole


def _is_above(figure: Figure, small: Figure, usual: float) -> bool:
    """Whether a small piece lies above or below a figure, or a flat one in it: they are one."""
    if small.height <= 0.3 * figure.height and _gap(figure, small) == 0:
        return True
    return (
        small.height <= 0.5 * figure.height
        and _overlap(figure, small, 1) >= 0.6 * min(figure.width, small.width)
        and _gap(figure, small) <= _ABOVE * usual
    )


def _joined(figures: Sequence[Figure]) -> Figure:
    boxes = np.array([figure.box for figure in figures])
    top, left = boxes[:, :2].min(axis=0).tolist()
    bottom, right = boxes[:, 2:].max(axis=0).tolist()
    pieces = tuple(piece for figure in figures for piece in figure.pieces)
    return Figure(pieces, (top, left, bottom, right), sum(figure.area for figure in figures))


def _overlap(one: Figure, other: Figure, axis: int) -> int:
    """How far two boxes overlap along an axis; negative if they are apart."""
    return min(one.box[axis + 2], other.box[axis + 2]) - max(one.box[axis], other.box[axis])


def _gap(one: Figure, other: Figure) -> int:
    """How far two boxes are apart."""
    return max(0, -_overlap(one, other, 0), -_overlap(one, other, 1))


def _in_reading_order(figures: list[Figure]) -> list[Figure]:
    """Line by line, from left to right; a line may rise or fall."""
    lines: list[list[Figure]] = []
    for figure in sorted(figures, key=lambda figure: figure.box[1]):
        overlaps = [
            _overlap(line[-1], figure, 0) / min(line[-1].height, figure.height) for line in lines
        ]
        best = max(range(len(lines)), key=overlaps.__getitem__, default=-1)
        if best >= 0 and overlaps[best] >= 0.4:
            lines[best].append(figure)
        else:
            lines.append([figure])
    lines.sort(key=lambda line: float(np.mean([sum(f.box[::2]) / 2 for f in line])))
    return [figure for line in lines for figure in line]
