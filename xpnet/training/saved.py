"""Networks read from the files that `Network.save` writes."""

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import checkpoint
from xpnet.backends import DTYPES, Backend, open_backend
from xpnet.checks import finite_number, positive_integer
from xpnet.errors import CheckpointError, one_line, shown
from xpnet.layers import Layer, build_layer
from xpnet.losses import TARGET_KINDS, Loss, build_loss
from xpnet.model import Sequential  # noqa: F401 - enters itself among the layers
from xpnet.training.history import History
from xpnet.training.network import Network
from xpnet.training.numbers import check_numbers
from xpnet.training.step import check_loss_fits, load_array, select
from xpnet.typing import Shape


def load(
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    backend: str | Backend = "numpy",
    device: str | None = None,
    dtype: str | None = None,
) -> Network:
    """Read a network that `Network.save` wrote, on this or any other backend.

    A file is not believed: what it says is checked, and its arrays are compared with the model,
    before memory is taken for it.

    Parameters
    ----------
    path
        The file, or a run folder that holds a `model.safetensors`.
    model
        The layers, needed only where some of them are not xpnet's own.
    backend, device
        Where the parameters shall live.
    dtype
        Their dtype; as saved if None.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or of a later version, or does not fit the model; the
        message lists every missing, unexpected and mismatched array.
    BackendUnavailable
        If the backend cannot be used.
    """
    # os.path rather than Path, whose is_dir raises for names that cannot be.
    path = Path(path, "model.safetensors") if os.path.isdir(path) else Path(path)  # noqa: PTH112
    arrays, metadata = checkpoint.read_checkpoint(path)
    if "training" in metadata:
        raise CheckpointError(
            f"{path}: this is the checkpoint of a training: give it to fit(..., resume=...), or "
            f"load the network that was saved beside it"
        )
    try:
        if model is None:
            model = build_layer(metadata["model"])
        saved_dtype = _one_of(DTYPES, metadata["dtype"])
        details = _details(metadata)
        shapes = {f"param/{name}": shape for name, shape in model.parameter_shapes().items()}
        shapes |= {f"buffer/{name}": value.shape for name, value in model.buffers().items()}
        checkpoint.check_arrays(path, arrays, shapes, dtype=saved_dtype)
        _check_together(model, saved_dtype, details)
    except CheckpointError:
        raise
    except checkpoint.WRONG_VALUES as error:
        raise CheckpointError(
            f"{path}: the metadata does not describe a network: {one_line(error)}"
        ) from error
    opened = open_backend(backend, device, dtype or saved_dtype)
    with opened.scope():
        loaded = {name: load_array(opened, np.asarray(value)) for name, value in arrays.items()}
    return Network(
        model,
        select(loaded, "param/"),
        opened,
        buffers=select(loaded, "buffer/"),
        **details,
    )


def _details(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a network is made of beside model and arrays, each entry checked by itself."""
    # A file from before there was such an entry has none.
    return {
        name: read(metadata[name] if name not in _ADDED else metadata.get(name, _ADDED[name]))
        for name, read in _READERS.items()
    }


def _one_of(allowed: tuple[str, ...], value: Any) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"expected one of {', '.join(allowed)}, found {shown(value)}")
    return value


def _shape(value: Any) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError(f"sample_shape is {shown(value)}")
    return tuple(positive_integer("sample_shape", n) for n in value)


def _dtype_name(value: Any) -> str | None:
    # Of any library, which may have others than NumPy.
    if value is None or (isinstance(value, str) and re.fullmatch("[a-z][a-z0-9_]{1,30}", value)):
        return value
    raise ValueError(f"samples of an unknown dtype, {shown(value)}")


_READERS: dict[str, Callable[[Any], Any]] = {
    "sample_shape": _shape,
    "pixel_maximum": lambda value: finite_number("pixel_maximum", value, above=0),
    "input_dtype": _dtype_name,
    "target_kind": lambda value: _one_of(TARGET_KINDS, value),
    "loss": lambda value: None if value is None else build_loss(value),
    "history": History.from_dicts,
}
"""How each entry of the metadata becomes the argument of `Network` of the same name."""

_ADDED: dict[str, Any] = {"input_dtype": None, "target_kind": "classes", "loss": None}
"""The entries that older files lack, and what they then are."""


def _check_together(model: Layer, dtype: str, details: Mapping[str, Any]) -> None:
    """Check that the model, the samples, the loss and the dtype go together, as after `fit`.

    Raises
    ------
    ValueError
        If they do not.
    """
    shape, loss = details["sample_shape"], details["loss"]
    if shape is not None:
        wanted = model.input_shape()
        rows = wanted is not None and len(wanted) == 1
        model.output_shape((math.prod(shape),) if rows else shape)
    check_numbers(dtype, model, loss)
    if isinstance(loss, Loss):
        check_loss_fits(model, loss)
        if loss.target_kind != details["target_kind"]:
            raise ValueError(
                f"a loss for {loss.target_kind}, and targets of the kind {details['target_kind']}"
            )
