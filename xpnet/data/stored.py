"""Arrays that stay in their files, because they are larger than memory may be.

Such an array comes as a `numpy.memmap`, from `read_idx`, `read_npy` or `numpy.load`. The mapping
says where the values are; they are read from the file with ordinary reads, and not through the
mapping. Pages that are touched through a mapping count as memory of the process, around each of
them the kernel maps sixteen, and a file that becomes shorter kills the process; and a page fault
takes longer than a read.
"""

import math
import mmap
import os
import weakref
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from xpnet.errors import DataError, reason_of
from xpnet.typing import HostArray, Shape

LARGEST_LOADED = 256 * 2**20
"""Up to so many bytes a file is loaded into memory; the rows of a larger one are read as needed."""


class StoredArray:
    """An array in a file, read row by row: `stored[rows]` is a host array of those rows.

    Attributes
    ----------
    path
        The file.
    shape
        The shape, as of any array; the first axis numbers the rows.
    dtype
        The dtype in the file, in the byte order of the file.
    """

    def __init__(self, path: Path, offset: int, stride: int, shape: Shape, dtype: np.dtype) -> None:
        self.path = path
        self.shape = shape
        self.dtype = dtype
        self._offset, self._stride = offset, stride
        self._reading = Lock()
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error
        weakref.finalize(self, self._file.close)
        wanted = max(offset, offset + (shape[0] - 1) * stride) + self._row_bytes
        if self._file.seek(0, os.SEEK_END) < wanted:
            raise self._truncated(wanted)

    def __getitem__(self, rows: slice | HostArray) -> HostArray:
        """The rows of a slice, or of an array of row numbers, in its order.

        Raises
        ------
        DataError
            If the file cannot be read, or has become shorter.
        """
        numbers = range(self.shape[0])[rows] if isinstance(rows, slice) else rows
        values = np.empty((len(numbers), *self.shape[1:]), dtype=self.dtype)
        content = values.reshape(-1).view(np.uint8)
        in_one_piece = isinstance(numbers, range) and numbers.step * self._stride == self._row_bytes
        try:
            if in_one_piece and len(numbers):
                self._read(content, numbers[0])
            else:
                pieces = content.reshape(len(numbers), self._row_bytes)
                for piece, row in zip(pieces, np.asarray(numbers).tolist(), strict=True):
                    self._read(piece, row)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({reason_of(error)})") from error
        return values

    def _read(self, content: HostArray, row: int) -> None:
        """Fill `content` with the bytes from that row on."""
        start = self._offset + row * self._stride
        with self._reading:  # the file has one position, which all threads would move
            self._file.seek(start)
            count = self._file.readinto(content.data)
            while count < content.size:  # one call reads 2 GB at the most
                more = self._file.readinto(content[count:].data)
                if not more:
                    raise self._truncated(start + content.size)
                count += more

    def _truncated(self, wanted: int) -> DataError:
        size = self.path.stat().st_size
        return DataError(
            f"{self.path}: truncated: the file has {size:,} bytes, but {wanted:,} when it was "
            f"mapped; make it again, and leave it alone while it is being used"
        )


def is_large(n_bytes: int) -> bool:
    """Whether so many bytes are left in their file (see `LARGEST_LOADED`)."""
    return n_bytes > LARGEST_LOADED


def stored_array(x: Any) -> StoredArray | None:
    """The array in its file, if `x` is mapped from one and too large to be loaded; else None.

    Parameters
    ----------
    x
        Anything. A `numpy.memmap` is recognised, and what is a view of one: `x[:1000]`, `x[::2]`,
        `numpy.asarray(x)`.

    Raises
    ------
    DataError
        If it cannot be read row by row.
    """
    if not isinstance(x, np.ndarray) or x.ndim < 1 or not is_large(x.nbytes):
        return None
    root: Any = x
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if not isinstance(root, np.memmap):
        return None
    why = _not_stored(x, root)
    if why:
        raise DataError(
            f"an array of {x.nbytes:,} bytes, mapped from {root.filename or 'a file'}, cannot be "
            f"read from there: {why}; or load all of it with numpy.array(x)"
        )
    offset = root.offset + _address(x) - _address(root)
    return StoredArray(Path(str(root.filename)), offset, x.strides[0], x.shape, x.dtype)


def _not_stored(x: HostArray, root: np.memmap) -> str:
    """Why the rows of a mapped array cannot be read from its file; empty if they can."""
    if root.filename is None:
        return "the file has no name; map it by its name"
    if root.mode == "c":
        return "it is mapped copy-on-write, and may differ from the file; map it with mode 'r'"
    if not x[0].flags.c_contiguous:
        return (
            "its samples are not in one piece (Fortran order, or a slice of pixels); write it with "
            "numpy.save(path, numpy.ascontiguousarray(x))"
        )
    return ""


def _address(x: HostArray) -> int:
    return int(x.__array_interface__["data"][0])
