"""Networks as .npz files, which NumPy alone reads."""

import io
import os
import zipfile

import numpy as np

from xpnet.errors import ExportError
from xpnet.export.layers import checked_dtype, describe_network, host_arrays
from xpnet.files import write_atomically
from xpnet.network import Network
from xpnet.network.npz import DESCRIPTION


def to_npz(network: Network, path: str | os.PathLike[str], *, dtype: str | None = None) -> None:
    """Write the parameters and buffers of a network by their names, and a description as JSON.

    `numpy.load(path, allow_pickle=False)` reads it, and so does `Network.from_npz`. The entry
    `xpnet` is text, an array without axes: JSON with `xpnet` (the version), `model` (the layers, in
    order, with their options), `dtype`, `sample_shape`, `input_dtype`, `pixel_maximum`,
    `target_kind`, `classes`, `class_names` and `target_shape`; see `Network` for these. The same
    network gives the same bytes.

    Parameters
    ----------
    network
        The network, on any backend.
    path
        The file, usually ending in `.npz`. An existing file is replaced at once or not at all.
    dtype
        `"float32"`, `"float64"`, or the network's own if None.

    Raises
    ------
    ExportError
        If a number is not finite in this dtype, an array is called `xpnet`, or the options of a
        layer of one's own are not JSON values.
    ValueError
        If there is no such dtype.
    OSError
        If the file cannot be written.
    """
    arrays = host_arrays(network, dtype)
    if DESCRIPTION in arrays:
        raise ExportError(f"an array called {DESCRIPTION!r} would hide the description: rename it")
    arrays[DESCRIPTION] = np.asarray(describe_network(network, checked_dtype(network, dtype)))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in arrays.items():
            # Not savez, to which an array called "file" would be an argument; a ZipInfo has the
            # same time of writing always.
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    write_atomically(path, content.getvalue())
