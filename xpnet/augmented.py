"""Sheets of pictures before and after augmentation. They need matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.augment import Augmentation, Augmenter, checked_augmentation
from xpnet.backends import open_backend
from xpnet.data import Preparation
from xpnet.drawing import figure_class
from xpnet.random import Seed
from xpnet.typing import HostArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#333333"
_INCH = 0.72  # of a picture
_MARGIN = 0.9  # inches for the names of the rows
_LETTERS = 14


def augmented(
    samples: HostArray,
    augment: Augmentation | Sequence[Augmentation],
    *,
    step: int = 0,
    seed: Seed = 0,
    pixel_maximum: float = 255.0,
) -> HostArray:
    """Samples as a training step would see them, on NumPy.

    Parameters
    ----------
    samples
        A batch, shape (N, ...): integers, which are divided by `pixel_maximum`, or floating point.
    augment
        As in `fit`.
    step
        The number of the step.
    seed
        That of the run. The row of a sample is its number here.
    pixel_maximum
        The value of a white pixel.

    Returns
    -------
    changed
        The same shape, float32.

    Raises
    ------
    ValueError
        If the samples are no pictures, and must be.
    """
    samples = np.asarray(samples)
    chosen = checked_augmentation(augment)
    x = Preparation(pixel_maximum, "float32", None)(np, samples)
    if chosen is None:
        return x
    backend = open_backend("numpy")
    augmenter = Augmenter(
        chosen, samples.shape[1:], seed=seed, dtype="float32", asarray=backend.asarray,
        index_dtype=backend.index_dtype, n_classes=None,
    )  # fmt: skip
    with backend.scope():
        numbers = np.arange(len(samples), dtype=backend.index_dtype)
        rows = augmenter.with_neighbours(backend.xp, numbers)
        targets = np.zeros((len(rows), 1), np.float32)
        changed, *_ = augmenter(
            backend.xp, x[rows], targets, None,
            step=backend.asarray(step, dtype=np.int32), count=len(samples), first_row=0,
        )  # fmt: skip
    found: HostArray = changed
    return found


def plot_augmented(rows: Sequence[tuple[str, HostArray]], *, title: str = "") -> "Figure":
    """Rows of pictures, each with a name on its left, such as those before and after.

    Parameters
    ----------
    rows
        Names, and pictures (N, height, width), or with an axis of one or three colours last; from 0
        to 1, beyond which they are cut off. As many in each row.
    title
        Written above.

    Raises
    ------
    ValueError
        If there are no pictures, not as many in each row, or other arrays.
    ImportError
        If matplotlib is not installed.
    """
    sizes = {np.shape(pictures) for _, pictures in rows}
    shape: Any = sizes.pop() if len(sizes) == 1 else ()
    fits = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if not fits or not shape[0]:
        raise ValueError("plot_augmented needs rows of as many pictures, all of one shape")
    count, height, width = shape[:3]
    tall, head = _INCH * height / width, 0.3 * bool(title) + 0.05
    wide, high = _MARGIN + _INCH * count + 0.05, tall * len(rows) + head + 0.05
    figure = figure_class()(figsize=(wide, high), dpi=150)
    if title:
        figure.text(_MARGIN / wide, 1 - 0.2 / high, title, size=9, color=_INK, parse_math=False)
    for i, (name, pictures) in enumerate(rows):
        bottom = high - head - (i + 1) * tall
        middle = (bottom + tall / 2) / high
        figure.text(
            (_MARGIN - 0.1) / wide, middle, name[:_LETTERS], size=8, color=_INK,
            ha="right", va="center", parse_math=False,
        )  # fmt: skip
        for j, picture in enumerate(np.clip(pictures, 0, 1)):
            place = (_MARGIN + j * _INCH) / wide, bottom / high
            axes = figure.add_axes((*place, 0.94 * _INCH / wide, 0.94 * tall / high))
            shown = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
            axes.imshow(shown, "gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="#d9d9d9", linewidth=0.6)
    return figure
