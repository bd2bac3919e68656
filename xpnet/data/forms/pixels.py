"""Arrays from files as the samples and labels of a data set: their shapes, and their scale."""

import math

import numpy as np

from xpnet.data.stored import is_large
from xpnet.errors import DataError
from xpnet.typing import HostArray

_FEWEST = 64
"""Rows of so many values or more are taken for pictures, if they are the square of a number."""
_SAMPLED = 1 << 12
_FAR = 16
"""Floating-point numbers beyond this, which are no pixels of a known scale, are far from 1."""
_MOST_FEATURES = 1 << 12


def scale_of(dtype: np.dtype, low: float, high: float) -> float | None:
    """What pixels of a dtype with such values are divided by; 1 for what is taken as it is.

    255 for integers of at most 255, 65535 for those of at most 65535; of floating-point ones 255
    and 65535 where they come near to it, and else 1. None for integers that are no pixels.

    >>> scale_of(np.dtype("int64"), 0, 200), scale_of(np.dtype("uint16"), 0, 40000)
    (255.0, 65535.0)
    >>> scale_of(np.dtype("float32"), 0, 255), scale_of(np.dtype("float32"), 0, 1)
    (255.0, 1.0)
    """
    if dtype.kind == "b":
        return 1.0
    if dtype == np.uint8:
        return 255.0
    whites = [white for white in (255.0, 65535.0) if high <= white + (dtype.kind == "f") / 2]
    if dtype.kind == "f":
        return whites[0] if low >= 0 and whites and high > whites[0] / 2 and high > 127 else 1.0
    if low < 0:
        return float(np.iinfo(dtype).max) if dtype.itemsize <= 2 else None
    return 1.0 if high == 1 else whites[0] if whites else None


def scaled(what: str, arrays: list[HostArray]) -> tuple[list[HostArray], float, tuple[str, ...]]:
    """Pixels of all parts of a data set in one scale, what they are divided by, and what to say.

    Those of 0 to 255 in a wider dtype become uint8, which holds them as they are. Arrays that stay
    in their file are not changed.

    Raises
    ------
    DataError
        If they are integers that cannot be pixels.
    """
    mapped = any(is_large(a.nbytes) and _is_mapped(a) for a in arrays)
    arrays = arrays if mapped else _of_one_dtype(arrays)
    dtype = arrays[0].dtype
    if not all(a.size and a.dtype == dtype and a.dtype.kind in "iuf" for a in arrays):
        return arrays, 255.0, ()
    if dtype == np.uint8:
        return arrays, 255.0, ()
    ranges = [_range(array) for array in arrays]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    maximum = scale_of(dtype, low, high)
    if maximum is None:
        raise DataError(
            f"{what}: integers of {dtype} from {low:g} to {high:g} are no pixels, which go from 0 "
            f"to 255, or to 65535: write them as uint8, or as float32 from 0 to 1"
        )
    white = ranges[0][1]
    if low >= 0 and 0 < white <= 1 < high and maximum > 1:
        raise DataError(
            f"{what}: pixels for training go from {ranges[0][0]:g} to {white:g}, and those for the "
            f"test to {high:g}: write both in one scale, such as uint8 from 0 to 255"
        )
    said = _said(dtype, low, high, maximum)
    if mapped or maximum == 1 or (dtype.kind != "f" and maximum != 255):
        return arrays, maximum, () if mapped and dtype.kind == "f" else said
    if maximum == 255 and all(_fits_bytes(array) for array in arrays):
        return [array.astype(np.uint8) for array in arrays], 255.0, said
    if dtype.kind == "f":
        return [array / dtype.type(maximum) for array in arrays], 1.0, said
    return arrays, maximum, said


def _of_one_dtype(arrays: list[HostArray]) -> list[HostArray]:
    """Integers, or floating-point numbers, of different dtypes in one that has room for all."""
    kinds = {"f" if array.dtype.kind == "f" else "ui" for array in arrays}
    common = np.result_type(*arrays)
    if len(kinds) == 1 and common.kind in kinds.pop():
        return [array.astype(common, copy=False) for array in arrays]
    return arrays


def pictures_of(array: HostArray) -> HostArray:
    """Samples without an axis of one colour, and rows of square pictures as pictures.

    >>> pictures_of(np.zeros((5, 28, 28, 1))).shape, pictures_of(np.zeros((5, 784))).shape
    ((5, 28, 28), (5, 28, 28))
    """
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]) and min(array.shape[1:3]) > 0:
        axis = 3 if array.shape[3] == 1 else 1
        shape = tuple(n for i, n in enumerate(array.shape) if i != axis)
        return array.reshape(shape)
    if array.ndim == 2 and _FEWEST <= array.shape[1] <= _MOST_FEATURES:
        side = math.isqrt(array.shape[1])
        if side * side == array.shape[1]:
            return array.reshape(-1, side, side)
    return array


def labels_of(array: HostArray) -> HostArray:
    """Labels (N,) of what stands for them: a column, one-hot rows, QMNIST's eight columns.

    Whole numbers in floating point become integers. What is something else stays as it is.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and array.dtype.kind in "biuf" and array.shape[1] > 1:
        if _is_one_hot(array):
            array = array.argmax(axis=1)
        elif array.shape[1] == 8 and array.dtype == np.int32:
            array = array[:, 0]  # class, writer, and where the picture was in NIST's files
    if array.dtype.kind == "f" and array.ndim == 1 and array.size:
        whole = np.isfinite(array).all() and (array == np.floor(array)).all()
        array = array.astype(np.int64) if whole and np.abs(array).max() < 2**31 else array
    # Labels are always in memory: they are looked through.
    return np.array(array, dtype=array.dtype.newbyteorder("="))


def _is_one_hot(array: HostArray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _is_mapped(array: HostArray) -> bool:
    root = array
    while isinstance(root, np.ndarray) and not isinstance(root, np.memmap):
        root = root.base  # type: ignore[assignment]
    return isinstance(root, np.memmap)


def _range(array: HostArray) -> tuple[float, float]:
    """The smallest and the largest value; of what stays in its file by some of the rows."""
    if is_large(array.nbytes) and _is_mapped(array):
        rows = np.unique(np.linspace(0, len(array) - 1, min(len(array), _SAMPLED)).astype(np.int64))
        parts = [array[row] for row in rows.tolist()]
        return float(min(p.min() for p in parts)), float(max(p.max() for p in parts))
    return float(array.min()), float(array.max())


def _fits_bytes(array: HostArray) -> bool:
    return array.dtype.kind != "f" or bool((array == np.floor(array)).all())


def _said(dtype: np.dtype, low: float, high: float, maximum: float) -> tuple[str, ...]:
    span = f"pixels of {dtype} from {low:g} to {high:g}"
    if maximum == 1:
        far = max(-low, high) > _FAR
        why = ": networks train well on numbers around 1, so divide them before" if far else ""
        return () if dtype.kind == "f" and not far else (f"{span} are taken as they are{why}",)
    dark = ""
    if high < maximum / 8:
        dark = (
            f", so all are dark: if {high:g} is white, give a Dataset with pixel_maximum={high:g}"
        )
    return (f"{span} are divided by {maximum:g}{dark}",)
