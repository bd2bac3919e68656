"""What the exports have in common: the arrays of a network, and its description."""

import json
import re

import numpy as np

from xpnet.backends import DTYPES
from xpnet.checks import is_one_of
from xpnet.errors import ExportError
from xpnet.layers import describe_layer
from xpnet.network import Network
from xpnet.network.metadata import framing_metadata, target_metadata
from xpnet.typing import HostArray


def host_arrays(network: Network, dtype: str | None) -> dict[str, HostArray]:
    """The parameters and buffers of a network by name, on the host.

    Parameters
    ----------
    network
        Any network, on any backend.
    dtype
        `"float32"`, `"float64"`, or the network's own if None.

    Raises
    ------
    ExportError
        If a number is not finite in this dtype.
    """
    dtype = checked_dtype(network, dtype)
    found = {}
    for name, value in network.arrays.items():
        with np.errstate(over="ignore"):
            array = network.backend.to_numpy(value).astype(dtype)
        if not np.isfinite(array).all():
            raise ExportError(f"{name} has values that are not finite in {dtype}")
        found[name] = array
    return found


def checked_dtype(network: Network, dtype: str | None) -> str:
    """The name of the floating-point dtype of an export.

    Raises
    ------
    ValueError
        If there is no such dtype.
    TypeError
        If the network is none.
    """
    if not isinstance(network, Network):
        advice = ""
        if hasattr(network, "to_network"):
            advice = ": give what its to_network() returns"
        elif hasattr(network, "named_steps"):
            advice = ": give its last step, which is what was trained"
        raise TypeError(f"network must be a Network, got {type(network).__name__}{advice}")
    if dtype is not None and not is_one_of(DTYPES, dtype):
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    return dtype or network.backend.dtype_name


def describe_network(network: Network, dtype: str) -> str:
    """What is needed of a network beside its arrays, as JSON.

    Raises
    ------
    ExportError
        If the options of a layer of one's own are not JSON values.
    """
    try:
        return json.dumps(
            {
                "xpnet": installed_version(),
                "model": describe_layer(network.model),
                "dtype": dtype,
                "sample_shape": network.sample_shape,
                "input_dtype": network.input_dtype,
                "pixel_maximum": network.pixel_maximum,
                "framing": framing_metadata(network),
                "target_kind": network.target_kind,
                **target_metadata(network),
            },
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise ExportError(
            f"the options of a layer are not JSON values ({error}): define its config()"
        ) from error


def number(value: float) -> str:
    """A number as text, the shortest that is read as the same number; `3` for 3.0."""
    return re.sub(r"\.0$", "", repr(float(value)))


def installed_version() -> str:
    """The version of xpnet."""
    from importlib.metadata import version  # late: it is slow to import

    return version("xpnet")
