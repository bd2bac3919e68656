"""Networks read from the files that `Network.save` writes."""

import os
from pathlib import Path

import numpy as np

from xpnet import checkpoint
from xpnet.backends import Backend, open_backend
from xpnet.errors import CheckpointError
from xpnet.layers import Layer, build_layer
from xpnet.losses import TARGET_KINDS, build_loss
from xpnet.model import Sequential  # noqa: F401 - enters itself among the layers
from xpnet.training.history import History
from xpnet.training.labels import check_classes
from xpnet.training.network import Network
from xpnet.training.step import load_array, select


def load(
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    backend: str | Backend = "numpy",
    device: str | None = None,
    dtype: str | None = None,
) -> Network:
    """Read a network that `Network.save` wrote, on this or any other backend.

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
        shape = metadata["sample_shape"]
        sample_shape = None if shape is None else tuple(int(n) for n in shape)
        pixel_maximum = float(metadata["pixel_maximum"])
        # A file from before there were others is of classes.
        kind = metadata.get("target_kind", "classes")
        input_dtype = metadata.get("input_dtype")
        if not isinstance(input_dtype, str | None):
            raise ValueError(f"samples of an unknown dtype, {input_dtype!r}")
        if kind not in TARGET_KINDS:
            raise ValueError(f"targets of an unknown kind, {kind!r}")
        described = metadata.get("loss")
        loss = None if described is None else build_loss(described)
        # Files from before there were others are of integers, and predict columns.
        output = model.output_shape(model.input_shape())
        classes = check_classes(metadata.get("classes"), kind, output)
        target = metadata.get("target_shape")
        target_shape = None if target is None else tuple(int(n) for n in target)
        history = History.from_dicts(metadata["history"])
        saved_dtype = str(metadata["dtype"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the metadata does not describe a network: {error}"
        ) from error
    shapes = {f"param/{name}": shape for name, shape in model.parameter_shapes().items()}
    shapes |= {f"buffer/{name}": value.shape for name, value in model.buffers().items()}
    checkpoint.check_arrays(path, arrays, shapes)
    opened = open_backend(backend, device, dtype or saved_dtype)
    with opened.scope():
        loaded = {name: load_array(opened, np.asarray(value)) for name, value in arrays.items()}
    return Network(
        model,
        select(loaded, "param/"),
        opened,
        history=history,
        sample_shape=sample_shape,
        pixel_maximum=pixel_maximum,
        target_kind=kind,
        loss=loss,
        buffers=select(loaded, "buffer/"),
        input_dtype=input_dtype,
        classes=classes,
        target_shape=target_shape,
    )
