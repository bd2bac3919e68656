"""Networks read from .npz files: arrays by name, and what `to_npz` wrote beside them."""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import CheckpointError, reason_of
from xpnet.files import check_file
from xpnet.layers import Layer
from xpnet.network.reading import (
    check_fit,
    compare_shapes,
    listed,
    make_network,
    read_description,
)
from xpnet.saving.tensors import check_arrays
from xpnet.typing import HostArray, Shape

N = TypeVar("N")

DESCRIPTION = "xpnet"
"""The entry that holds what is needed beside the arrays, as JSON text."""

LARGEST_RATIO = 100
"""How far a file may be compressed; weights hardly can."""

_LARGEST_TEXT = 1 << 26
"""Bytes of the description, four for a character: more than a million classes take."""


def from_npz(
    kind: Callable[..., N],
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    backend: str | Backend = "numpy",
    device: str | None = None,
    dtype: str | None = None,
    **attributes: Any,
) -> N:
    """`Network.from_npz`, which says more; `kind` is the class of the network."""
    where = str(path)
    with _opened(path) as file:
        headers = {name: _header(file, info) for name, info in _entries(file, where).items()}
        described: dict[str, Any] = {}
        if DESCRIPTION in headers:
            text_shape, text_dtype = headers.pop(DESCRIPTION)
            if text_shape != () or text_dtype.kind != "U":
                raise CheckpointError(f"{where}: the entry {DESCRIPTION!r} is not a text")
            model, described = read_description(where, _text(file, text_dtype), model)
        if model is None:
            raise CheckpointError(
                f"{where}: xpnet did not write it, and it does not say of which layers it is: give "
                f"the model, from_npz(..., model=...)"
            )
        # Before the buffers are made, whose sizes are then known to be sound.
        shapes = {name: shape for name, (shape, _) in headers.items()}
        wanted: dict[str, Shape] = dict(model.parameter_shapes())
        wrong = compare_shapes(shapes, wanted)
        missing = [name for name in wanted if name not in shapes]
        check_fit(where, missing, (), wrong)
        wanted |= {name: value.shape for name, value in model.buffers().items()}
        missing = [name for name in wanted if name not in shapes]
        unexpected = [name for name in shapes if name not in wanted]
        check_fit(where, missing, unexpected, compare_shapes(shapes, wanted))
        arrays = {name: _array(file, name) for name in wanted}
    check_arrays(where, arrays, wanted)
    attributes = {**described, **attributes}
    return make_network(
        kind, where, model, arrays, attributes, backend=backend, device=device, dtype=dtype
    )


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """An .npz file; whatever is wrong with it is said by a `CheckpointError`."""
    try:
        check_file(path)
        with zipfile.ZipFile(path) as file:
            yield file
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    # RuntimeError: encrypted; NotImplementedError: an unknown compression; zlib.error, EOFError:
    # cut or changed; SyntaxError and the like: the header of an array is not one.
    except (
        zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, KeyError,
        RuntimeError, NotImplementedError, SyntaxError, OverflowError,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path}: not a readable .npz file ({reason_of(error)})") from error


def _entries(file: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """The entries by the names of their arrays."""
    entries = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
    foreign = [i.filename for i in file.infolist() if not i.filename.endswith(".npy")]
    if foreign:
        hint = ""
        if any(name.endswith(".pkl") for name in foreign):
            hint = (
                ": a file of PyTorch can run code when it is read; read it with torch.load(..., "
                "weights_only=True), and give what that returns to Network.from_torch"
            )
        raise CheckpointError(f"{where}: is not an .npz file, it holds {listed(foreign)}{hint}")
    if len(entries) != len(file.infolist()):
        raise CheckpointError(f"{where}: holds two arrays of the same name")
    written = sum(info.compress_size for info in entries.values())
    size = sum(info.file_size for info in entries.values())
    actual = os.fstat(file.fp.fileno()).st_size if file.fp else 0
    if size > LARGEST_RATIO * min(written, actual) + 2**20:
        raise CheckpointError(
            f"{where}: its {actual:,} bytes would become {size:,}: no weights can be packed so "
            f"densely; it is damaged, or made to fill the memory"
        )
    return entries


def _header(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[Shape, np.dtype[Any]]:
    """The shape and dtype of an array, which is not read."""
    with file.open(info) as entry:
        # A header has less than 64 KiB, whatever length it says itself.
        head = io.BytesIO(entry.read(2**16))
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(head)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(head)
    if dtype.hasobject:
        raise ValueError(f"{info.filename}: holds Python objects, which can run code")
    if head.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
        raise ValueError(f"{info.filename}: has not the size that its header says")
    return shape, dtype


def _text(file: zipfile.ZipFile, dtype: np.dtype[Any]) -> str:
    """The description, whose characters may be none: NumPy's own way is without checks."""
    if dtype.itemsize > _LARGEST_TEXT:
        raise ValueError(f"a description of {dtype.itemsize:,} bytes")
    codes = _array(file, DESCRIPTION).astype(dtype.newbyteorder("<"))
    return codes.tobytes().decode("utf-32-le").rstrip("\0")


def _array(file: zipfile.ZipFile, name: str) -> HostArray:
    with file.open(f"{name}.npy") as entry:
        array: HostArray = np.lib.format.read_array(entry, allow_pickle=False)
    return array
