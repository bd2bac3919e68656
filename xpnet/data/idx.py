"""The IDX format, in which MNIST and its relatives are published.

A file is four bytes of magic (two zeros, a type code, the number of axes), one big-endian
uint32 for each axis, and the values in row-major order, big-endian. It may be gzipped.

Source: http://yann.lecun.com/exdb/mnist/ ("The IDX file format").
"""

import math
import os
from pathlib import Path
from typing import IO, cast

import numpy as np

from xpnet.data.masked import unmasked
from xpnet.data.stored import is_large
from xpnet.errors import DataError, counted, one_line, reason_of
from xpnet.files import write_atomically
from xpnet.typing import HostArray, Shape

_DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES: dict[np.dtype, int] = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
# No deflate stream can say more than 1032 bytes with one (https://zlib.net/zlib_tech.html).
_MOST_EXPANSION = 1032
# Images and labels come to a tenth. A file of zeros that unpacks to a thousand times its size is a
# mistake, or a trap.
_USUAL_EXPANSION = 64
_SMALL_UNPACKED = 32 * 2**20
_MOST_AXES = 32


def read_idx(path: str | os.PathLike[str]) -> HostArray:
    """Read an IDX file, plain or gzipped; which one it is, is seen from its first bytes.

    The header is checked before memory is taken, and a gzipped file is read in pieces, so that a
    corrupt or hostile header cannot make the reader allocate more than the file can hold. A plain
    file of more than 256 MiB of values is mapped and not read. A gzipped one may hold 32 MiB, or 64
    times its own size.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    values
        An array of the file's dtype (uint8, int8, int16, int32, float32 or float64, in native
        byte order) and shape. If mapped, a read-only `numpy.memmap`, in the file's byte order,
        which is big-endian.

    Raises
    ------
    DataError
        If the file is missing or unreadable, is not an IDX file, holds fewer or more values than
        its header says, or is a damaged gzip file or one that unpacks to far more than its size.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return read_idx_stream(path, file, os.fstat(file.fileno()).st_size, on_disk=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def read_idx_stream(
    path: Path | str, file: IO[bytes], size: int, *, on_disk: bool = False
) -> HostArray:
    """As `read_idx`, from a file that is open, of so many bytes; `on_disk` if `path` is its name.

    Raises
    ------
    DataError
        As `read_idx`.
    """
    import gzip
    import zlib

    try:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _read(path, file, size, map_large=on_disk)
        with gzip.open(file) as unzipped:
            return _read(path, cast(IO[bytes], unzipped), size, expansion=_MOST_EXPANSION)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip stream is damaged or cut off ({one_line(error)})"
        ) from error
    except MemoryError as error:
        raise DataError(f"{path}: the values do not fit into memory") from error


def write_idx(path: str | os.PathLike[str], values: HostArray) -> None:
    """Write an array as an IDX file, gzipped if the name ends in `.gz`.

    Raises
    ------
    DataError
        If the format has no code for the dtype, or not for so many axes (see `idx_header`).
    """
    import gzip

    values = np.asarray(unmasked("write_idx", values))
    content = idx_header(values) + values.astype(values.dtype.newbyteorder(">")).tobytes()
    path = Path(path)
    # A fixed time stamp makes equal arrays equal files.
    write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def idx_header(values: HostArray) -> bytes:
    """The bytes that stand before the values of an IDX file.

    Raises
    ------
    DataError
        If the format has no code for the dtype, or not for so many axes or so long a one.
    """
    code = _CODES.get(values.dtype.newbyteorder("="))
    if code is None:
        allowed = ", ".join(str(dtype) for dtype in _CODES)
        raise DataError(f"IDX has no code for {values.dtype}; it can hold {allowed}")
    if values.ndim > _MOST_AXES or max(values.shape, default=0) >= 2**32:
        raise DataError(f"IDX cannot hold an array of shape {values.shape}")
    return bytes((0, 0, code, values.ndim)) + np.asarray(values.shape, dtype=">u4").tobytes()


def _read(
    path: Path | str,
    file: IO[bytes],
    size: int,
    *,
    expansion: int = 1,
    map_large: bool = False,
) -> HostArray:
    dtype, shape = _read_header(path, file)
    expected = math.prod(shape) * dtype.itemsize
    if expected > size * expansion:
        raise DataError(
            f"{path}: the header promises {_values(shape, dtype)} of data, "
            f"more than the file of {size:,} bytes can hold"
        )
    if expansion > 1 and expected > max(_SMALL_UNPACKED, size * _USUAL_EXPANSION):
        raise DataError(
            f"{path}: the header promises {_values(shape, dtype)} of data, more than "
            f"{_USUAL_EXPANSION} times the {size:,} bytes of the gzipped file: if that is right, "
            f"unpack it first (gunzip)"
        )
    if map_large and is_large(expected) and file.tell() + expected == size:
        return np.memmap(path, dtype, "r", file.tell(), shape)
    content = bytearray()
    while len(content) <= expected:
        piece = file.read(min(_CHUNK, expected + 1 - len(content)))
        if not piece:
            break
        content += piece
    if len(content) < expected:
        raise DataError(
            f"{path}: truncated: the header promises {_values(shape, dtype)} of data, "
            f"the file holds {counted(len(content), 'byte')}"
        )
    if len(content) > expected:
        raise DataError(
            f"{path}: trailing bytes: the header promises {_values(shape, dtype)} of data, "
            f"and the file goes on after it"
        )
    try:
        values = np.frombuffer(content, dtype=dtype).reshape(shape)
    except ValueError as error:  # an axis of 0 beside axes that together are too long
        raise DataError(
            f"{path}: the header promises {_values(shape, dtype)} of data, a shape that no array "
            f"can have"
        ) from error
    native = dtype.newbyteorder("=")
    # In place: the values are not held twice.
    return values if native == dtype else values.byteswap(inplace=True).view(native)


def _read_header(path: Path | str, file: IO[bytes]) -> tuple[np.dtype, Shape]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        codes = ", ".join(f"{code:02x}" for code in _DTYPES)
        raise DataError(
            f"{path}: not an IDX file: expected the bytes 00 00, a type code ({codes}) and the "
            f"number of axes, found {magic.hex(' ') or 'an empty file'}"
        )
    n_axes = magic[3]
    if n_axes > _MOST_AXES:
        raise DataError(f"{path}: {n_axes} axes are more than the {_MOST_AXES} supported")
    sizes = file.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        raise DataError(
            f"{path}: truncated: a header of {counted(n_axes, 'axis', 'axes')} takes "
            f"{counted(4 + 4 * n_axes, 'byte')}, the file ends after {4 + len(sizes)}"
        )
    return _DTYPES[magic[2]], tuple(int(n) for n in np.frombuffer(sizes, dtype=">u4"))


def _values(shape: Shape, dtype: np.dtype) -> str:
    axes = one_line(" x ".join(map(str, shape))) or "1"
    return (
        f"{axes} {dtype.newbyteorder('=')} ({counted(math.prod(shape) * dtype.itemsize, 'byte')})"
    )
