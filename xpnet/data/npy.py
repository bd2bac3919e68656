"""The `.npy` format of NumPy.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

import contextlib
import io
import math
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from xpnet.checks import LARGEST
from xpnet.data.stored import is_large
from xpnet.errors import DataError, counted, one_line, reason_of
from xpnet.typing import HostArray, Shape

_LONGEST_HEADER = 1 << 16
"""Bytes; NumPy refuses a header of more than 10,000."""

_PARSES = 20
"""Of a header: with four threads that do nothing else, one parse in thirty failed for nothing."""


def read_npy(path: str | os.PathLike[str]) -> HostArray:
    """Read a `.npy` file of numbers, or map it where it is large.

    The header is checked against the size of the file before memory is taken. Nothing is
    unpickled: a file of Python objects is refused.

    Parameters
    ----------
    path
        The file, as `numpy.save` writes it.

    Returns
    -------
    values
        Of at most 256 MiB: an array in memory, in native byte order and row-major order. Larger: a
        read-only `numpy.memmap`, in the orders of the file.

    Raises
    ------
    DataError
        If the file is missing or unreadable, is not a `.npy` file, holds something else than
        real numbers, or holds fewer or more values than its header says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _read_header(path, file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
        _check(path, shape, dtype, start, size)
        shape = tuple(map(int, shape))  # a header may say True
        mapped = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
        if is_large(mapped.nbytes):
            return mapped
        return np.array(mapped, dtype=dtype.newbyteorder("="), order="C")
    except MemoryError as error:
        raise DataError(f"{path}: the values do not fit into memory") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def read_npy_stream(
    path: Path | str, file: IO[bytes], size: int, *, texts: bool = False
) -> HostArray:
    """As `read_npy`, from a file that is open, of so many bytes; with `texts` also of texts.

    Raises
    ------
    DataError
        As `read_npy`.
    """
    try:
        shape, fortran, dtype = _read_header(path, file)
        start = file.tell()
        _check(path, shape, dtype, start, size, texts=texts)
        values = np.frombuffer(file.read(size - start), dtype=dtype)
        values = values.reshape(tuple(map(int, shape)), order="F" if fortran else "C")
        return np.array(values, dtype=dtype.newbyteorder("="), order="C")
    except MemoryError as error:
        raise DataError(f"{path}: the values do not fit into memory") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def read_npz(path: Path | str, file: IO[bytes]) -> dict[str, HostArray]:
    """The arrays of a `.npz` file that is open, by name; each as `read_npy_stream` reads it.

    Raises
    ------
    DataError
        As `read_npy`.
    zipfile.BadZipFile
        If the file is no archive, or a damaged one.
    """
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as stream:
                arrays[entry.filename.removesuffix(".npy")] = read_npy_stream(
                    f"{path}/{entry.filename}", stream, entry.file_size
                )
    return arrays


def _read_header(path: Path | str, file: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    fix = "write it with numpy.save"
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            return _parsed(npy.read_array_header_1_0, _without_long(file, 2))
        if version == (2, 0):
            return _parsed(npy.read_array_header_2_0, _without_long(file, 4))
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, and raises what that raises
        reason = one_line(str(error).partition("\n")[0])
        raise DataError(f"{path}: not a .npy file, or a damaged one ({reason}); {fix}") from error
    # Version 3 is for names of fields.
    raise DataError(f"{path}: .npy files of version {version} do not hold plain numbers; {fix}")


def _parsed(
    read: Callable[[IO[bytes]], tuple[Shape, bool, np.dtype]], header: bytes
) -> tuple[Shape, bool, np.dtype]:
    """What NumPy reads in a header.

    NumPy parses it as Python, and CPython before 3.13 counts how deep it is in one number for all
    threads: where two parse at once, one may fail for nothing, and is right when it parses again.
    Source: https://github.com/python/cpython/issues/106905.
    """
    for _ in range(_PARSES - 1):
        with contextlib.suppress(SystemError):
            return read(io.BytesIO(header))
    return read(io.BytesIO(header))


def _without_long(file: IO[bytes], size: int) -> bytes:
    """The header, its length first, with integers as in Python 3 where Python 2 wrote `3L`.

    NumPy would warn of these, and to switch off a warning for a moment is to do so for all threads.
    """
    length = file.read(size)
    header = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
    return length + re.sub(rb"(?<=\d)L\b", b" ", header)


def _check(
    path: Path | str, shape: Shape, dtype: np.dtype, start: int, size: int, *, texts: bool = False
) -> None:
    if dtype.kind not in ("biufUS" if texts and dtype.itemsize else "biuf"):
        kind = "Python objects" if dtype.hasobject else one_line(dtype)
        why = ""
        if dtype.hasobject:
            why = (
                ", which may run any program when they are read, and never are: if you know where "
                "they come from, open the file with numpy.load(..., allow_pickle=True) yourself"
            )
        raise DataError(
            f"{path}: expected real numbers, found {kind}{why}; numpy.save an array of uint8 or "
            f"float32"
        )
    axes = one_line(" x ".join(map(str, shape))) or "1"
    if len(shape) > 32 or not all(0 <= n <= LARGEST for n in shape):
        raise DataError(
            f"{path}: the header promises {axes} {dtype}, a shape that no array can have"
        )
    expected = math.prod(shape) * dtype.itemsize
    said = f"the header promises {axes} {dtype} ({counted(expected, 'byte')})"
    if size - start < expected:
        raise DataError(
            f"{path}: truncated: {said}, the file holds {counted(size - start, 'byte')} of data; "
            "make or copy it again"
        )
    if size - start > expected:
        raise DataError(f"{path}: trailing bytes: {said}, and the file goes on after it")
    if math.prod(n for n in shape if n) >= 2**63:  # an axis of 0 beside axes too long
        raise DataError(f"{path}: {said}, a shape that no array can have")
