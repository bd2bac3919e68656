"""How samples are pictures: where their rows and columns are, and their colours."""

from dataclasses import dataclass

import numpy as np

from xpnet.errors import DataError, one_line
from xpnet.typing import HostArray, Shape

_LARGEST = 1 << 22
"""Of so many pixels pictures are that others are fitted to."""


@dataclass(frozen=True)
class PictureShape:
    """The shape of samples that are pictures.

    Attributes
    ----------
    shape
        That of one sample: (height, width); with an axis of three colours, or of one, it comes last
        as in (32, 32, 3), or first as in (3, 32, 32).
    axis
        The axis of the colours; None in samples that have none.
    """

    shape: Shape
    axis: int | None = None

    @classmethod
    def of(cls, shape: Shape | None) -> "PictureShape":
        """That of a shape.

        Raises
        ------
        DataError
            If samples of it are no pictures, or larger than pictures are fitted to; or if it is
            None, which is one that is not known.
        """
        axis = None
        if shape is not None and len(shape) == 3:
            axis = next((axis for axis in (2, 0) if shape[axis] in (1, 3)), None)
        if shape is None or (len(shape) != 2 and axis is None):
            known = "of unknown shape" if shape is None else f"of shape {one_line(shape)}"
            raise DataError(
                f"the network takes samples {known}, not pictures in grey or in three colours"
            )
        found = cls(tuple(shape), axis)
        height, width = found.size
        if height * width > _LARGEST:
            raise DataError(
                f"the network takes pictures of {height} x {width} pixels, more than the "
                f"{_LARGEST:,} that pictures are fitted to"
            )
        return found

    @property
    def size(self) -> tuple[int, int]:
        """The (height, width) of the pictures."""
        height, width = (n for axis, n in enumerate(self.shape) if axis != self.axis)
        return height, width

    @property
    def in_colour(self) -> bool:
        """Whether they have three colours."""
        return self.axis is not None and self.shape[self.axis] == 3

    def samples(self, pictures: HostArray) -> HostArray:
        """Pictures as samples, shape (N, ...): a grey is the same in each colour.

        Parameters
        ----------
        pictures
            Shape (N, height, width), or (N, height, width, 3) where there are three colours.
        """
        if self.axis is None:
            return pictures
        if pictures.ndim == 3:
            pictures = np.expand_dims(pictures, -1)
        pictures = np.moveaxis(pictures, -1, 1 + self.axis)
        return np.broadcast_to(pictures, (len(pictures), *self.shape))


def without_one_colour(shape: Shape) -> Shape:
    """The shape of samples without their axis of one colour, if they have one: it is all grey."""
    axes = (axis for axis in (2, 0) if len(shape) == 3 and shape[axis] == 1)
    axis = next(axes, len(shape))
    return (*shape[:axis], *shape[axis + 1 :])
