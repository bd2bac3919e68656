"""Many pictures as one array: in the size that all have, or fitted to one. Needs Pillow."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

import numpy as np

from xpnet.data.pictures import Picture, PictureHead, open_picture, read_head
from xpnet.data.prepared import brightness, fit_picture
from xpnet.errors import DataError
from xpnet.typing import HostArray

_LARGEST_SIDE = 64
"""Pictures of several sizes are made no larger than this."""
_MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class PictureSource:
    """Where a picture is read from.

    Attributes
    ----------
    name
        What it is called in messages.
    open
        Opens its file.
    """

    name: str
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def read(self, colour: bool) -> Picture:
        """The picture, in grey or in colour."""
        with self.open() as file:
            return open_picture(file, name=self.name, colour=colour)

    def head(self) -> PictureHead:
        """What its file says of it."""
        with self.open() as file:
            return read_head(file, name=self.name)


def stack_pictures(
    what: str,
    sources: Sequence[PictureSource],
    *,
    size: tuple[int, int] | None = None,
    colour: bool = False,
) -> tuple[HostArray, str]:
    """Read pictures into one array.

    Parameters
    ----------
    what
        What they are together, for messages.
    sources
        At least one.
    size
        The (height, width) that they are fitted to, see `fit_picture`. If None that which all have;
        where sizes differ, or are of more than some two megapixels, it is their median, of at most
        64 x 64.
    colour
        Whether they are read in colour.

    Returns
    -------
    images
        uint8, shape (N, height, width), or (N, height, width, 3) in colour.
    note
        What is to be said of their size; empty where they stay as they are.

    Raises
    ------
    DataError
        If one cannot be read, or they take too much memory.
    """
    note = ""
    if size is None:
        images = _of_one_size(what, sources, colour)
        if images is not None:
            return images, note
        size, note = _usual_size(sources)
    images = _room(what, len(sources), size, colour)
    for row, source in enumerate(sources):
        images[row] = fitted(source.read(colour), size)
    return images, note


def fitted(picture: Picture, size: tuple[int, int]) -> HostArray:
    """A picture in bytes, fitted to a (height, width) where it has another."""
    if picture.pixels.shape[:2] == size:
        return picture.in_bytes
    return np.rint(255 * fit_picture(brightness(picture.pixels), size)).astype(np.uint8)


def _of_one_size(what: str, sources: Sequence[PictureSource], colour: bool) -> HostArray | None:
    """The pictures in the size that all have; None if there is none, or they were made smaller."""
    first = sources[0].read(colour)
    size = first.size
    if first.pixels.shape[:2] != size:
        return None
    # Where they take too much memory, sizes may differ all the same, and they are made smaller.
    too_large = _bytes_of(len(sources), size, colour) > _MOST_BYTES
    if too_large and any(source.head().size != size for source in sources):
        return None
    images = _room(what, len(sources), size, colour)
    images[0] = first.in_bytes
    for row, source in enumerate(sources[1:], start=1):
        picture = source.read(colour)
        if picture.pixels.shape[:2] != size:
            return None
        images[row] = picture.in_bytes
    return images


def _usual_size(sources: Sequence[PictureSource]) -> tuple[tuple[int, int], str]:
    """The (height, width) that pictures of several sizes are fitted to, and what to say of it."""
    sizes = [source.head().size for source in sources]
    high, wide = np.median(sizes, axis=0).tolist()
    factor = min(1.0, _LARGEST_SIDE / max(high, wide))
    size = max(1, round(factor * high)), max(1, round(factor * wide))
    several = len({*sizes})
    of = f"{several:,} sizes" if several > 1 else f"{high:g} x {wide:g}"
    return size, f"pictures of {of} are fitted to {size[0]} x {size[1]} pixels"


def _bytes_of(count: int, size: tuple[int, int], colour: bool) -> int:
    return count * math.prod(size) * (3 if colour else 1)


def _room(what: str, count: int, size: tuple[int, int], colour: bool) -> HostArray:
    total = _bytes_of(count, size, colour)
    if total > _MOST_BYTES:
        raise DataError(
            f"{what}: {count:,} pictures of {size[0]} x {size[1]} pixels take {total:,} "
            f"bytes of memory: make them smaller, such as 64 x 64"
        )
    return np.empty((count, *size, 3) if colour else (count, *size), dtype=np.uint8)
