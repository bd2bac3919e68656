"""Arrays and JSON in safetensors files, which can run no code: networks and snapshots.

A file holds the arrays by name (`param/fc1.weight`) and, as JSON under the metadata key `xpnet`,
what is needed to use them and a checksum. It is written to a temporary file, synced and renamed,
so that a process that is killed leaves the old file or the new one, whole.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import CheckpointError, one_line, reason_of, shown
from xpnet.files import check_file, write_atomically
from xpnet.typing import HostArray, Shape

SCHEMA = 1
"""The version of the metadata; a file of a later version is refused."""

WRONG_VALUES = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What is raised where JSON values are read that are not of the types expected."""

_MOST_PROBLEMS = 20


def write_tensors(
    path: str | os.PathLike[str], arrays: Mapping[str, HostArray], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and metadata; an existing file is replaced at once or not at all.

    Parameters
    ----------
    path
        The file, usually ending in `.safetensors`.
    arrays
        Host arrays by name.
    metadata
        JSON values.

    Raises
    ------
    ValueError
        If the metadata holds a number that JSON has not: infinity or NaN.
    OSError
        If the file cannot be written: no such folder, no permission, a full disk. The old file,
        if there was one, is still there.
    """
    import json

    from safetensors.numpy import save

    # The order of the arrays in the file is that of their names, so that equal networks are
    # equal files. NOTE: np.ascontiguousarray would give a scalar an axis.
    contiguous = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    content = json.loads(_json({**metadata, "schema": SCHEMA}))
    text = _json({**content, "sha256": _digest(contiguous, content)})
    write_atomically(path, save(contiguous, metadata={"xpnet": text}))


def read_tensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, HostArray], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, was not written by xpnet, or by a later version.
    """
    import json

    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        check_file(path)
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("xpnet")
            # A copy: the file may be replaced or removed while the arrays are in use.
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    # AttributeError: the file holds a dtype that NumPy has not, such as an 8-bit float.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({reason_of(error)})"
        ) from error
    if text is None:
        raise CheckpointError(f"{path}: a safetensors file, but not one that xpnet wrote")
    try:
        metadata = json.loads(text)
        schema = metadata["schema"]
        expected, found = metadata.pop("sha256", None), _digest(arrays, metadata)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: the metadata is damaged ({one_line(error)})") from error
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: written with metadata of version {shown(schema)}, this xpnet reads version "
            f"{SCHEMA}: update xpnet"
        )
    # safetensors has no checksum: without one, damaged numbers would be taken for weights.
    if found != expected:
        raise CheckpointError(
            f"{path}: the content is damaged: expected SHA-256 {one_line(expected)}, found {found}"
        )
    return arrays, metadata


def check_arrays(
    path: Any,
    arrays: Mapping[str, HostArray],
    shapes: Mapping[str, Shape],
    *,
    integers: Collection[str] = (),
    dtype: str = "float64",
) -> None:
    """Check names and shapes against what a model has, and that the numbers are numbers.

    Parameters
    ----------
    path
        What they were read from, for the message.
    arrays
        Host arrays by name.
    shapes
        What there must be.
    integers
        The names of those that hold integers.
    dtype
        What the others must be finite in.

    Raises
    ------
    CheckpointError
        With all that is missing, unexpected, of another shape, or not floating point and finite
        (an integer where one belongs).
    """
    missing = sorted(set(shapes) - set(arrays))
    unexpected = sorted(set(arrays) - set(shapes))
    problems = []
    if missing:
        problems.append(f"missing: {one_line(', '.join(missing))}")
    if unexpected:
        problems.append(f"unexpected: {one_line(', '.join(unexpected))}")
    for name in sorted(set(shapes) & set(arrays)):
        array = arrays[name]
        if array.shape != tuple(shapes[name]):
            problems.append(
                f"{one_line(name)} has shape {one_line(array.shape)}, the model "
                f"{one_line(tuple(shapes[name]))}"
            )
        elif name in integers:
            if array.dtype.kind not in "iu":
                problems.append(f"{one_line(name)} ({array.dtype}) holds what are not integers")
        elif not _all_finite(array, dtype):
            wide = array.dtype.kind == "f" and array.dtype.itemsize > np.dtype(dtype).itemsize
            where = f" in {dtype}" if wide else ""
            problems.append(
                f"{one_line(name)} ({array.dtype}) holds what are not finite floating-point "
                f"numbers{where}"
            )
    if problems:
        others = len(problems) - _MOST_PROBLEMS
        more = [f"and {others} more"] if others > 0 else []
        said = "; ".join(problems[:_MOST_PROBLEMS] + more)
        raise CheckpointError(f"{path}: does not fit the model: {said}")


def _all_finite(array: HostArray, dtype: str) -> bool:
    """Whether they are floating-point numbers, and finite also in this dtype."""
    if array.dtype.kind != "f":
        return False
    if array.dtype.itemsize > np.dtype(dtype).itemsize:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    return bool(np.isfinite(array).all())


def _digest(arrays: Mapping[str, HostArray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 of names, dtypes, shapes, values and metadata, the same on every platform."""
    import hashlib

    digest = hashlib.sha256(_json(metadata).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], dtype=arrays[name].dtype.newbyteorder("<"))
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _json(metadata: Mapping[str, Any]) -> str:
    import json

    return json.dumps(metadata, sort_keys=True, allow_nan=False)
