"""Networks as .npz files, which NumPy alone reads."""

import io
import json
import os
import zipfile

import numpy as np

from xpnet.checkpoint import write_atomically
from xpnet.errors import ExportError
from xpnet.export.layers import checked_dtype, host_arrays, installed_version
from xpnet.layers import describe_layer
from xpnet.training import Network
from xpnet.training.metadata import target_metadata

DESCRIPTION = "xpnet"
"""The entry that holds what is needed beside the arrays, as JSON text."""


def to_npz(network: Network, path: str | os.PathLike[str], *, dtype: str | None = None) -> None:
    """Write the parameters and buffers of a network by their names, and a description as JSON.

    `numpy.load(path, allow_pickle=False)` reads it. The entry `xpnet` is text, an array without
    axes: JSON with `xpnet` (the version), `model` (the layers, in order, with their options),
    `dtype`, `sample_shape`, `input_dtype`, `pixel_maximum`, `target_kind`, `classes` and
    `target_shape`; see `Network` for these. The same network gives the same bytes.

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
    arrays[DESCRIPTION] = np.asarray(_description(network, checked_dtype(network, dtype)))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, array in arrays.items():
            # Not savez, to which an array called "file" would be an argument; a ZipInfo has the
            # same time of writing always.
            with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    write_atomically(path, content.getvalue())


def _description(network: Network, dtype: str) -> str:
    try:
        return json.dumps(
            {
                "xpnet": installed_version(),
                "model": describe_layer(network.model),
                "dtype": dtype,
                "sample_shape": network.sample_shape,
                "input_dtype": network.input_dtype,
                "pixel_maximum": network.pixel_maximum,
                "target_kind": network.target_kind,
                **target_metadata(network),
            },
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"the options of a layer are not JSON values ({error}): define its config()"
        ) from error
