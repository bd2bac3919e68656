"""Networks made of what the exports wrote, or of arrays from elsewhere."""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np

from xpnet.backends import Backend, open_backend
from xpnet.errors import CheckpointError, one_line
from xpnet.layers import Layer, build_layer
from xpnet.network.metadata import check_together, read_metadata
from xpnet.network.state import load_array
from xpnet.saving.tensors import WRONG_VALUES
from xpnet.typing import HostArray, Shape

N = TypeVar("N")

SHOWN = 8
"""How many names a message repeats."""


def read_description(where: str, text: str, model: Layer | None) -> tuple[Layer, dict[str, Any]]:
    """The model, and the attributes of the network and its dtype, from what `to_npz` wrote.

    Parameters
    ----------
    where
        The file, for messages.
    text
        The description, JSON.
    model
        The layers, if they were given: they take the place of those that are described.

    Raises
    ------
    CheckpointError
        If it does not describe a network.
    """
    try:
        found = json.loads(text)
        if model is None:
            model = build_layer(found["model"])
        dtype, attributes = read_metadata({"history": [], **found}, model)
        check_together(model, dtype, attributes)
    # What a forged description can make of the options of layers is anything but an interrupt.
    except (*WRONG_VALUES, MemoryError) as error:
        raise CheckpointError(
            f"{where}: its description is not that of a network ({one_line(error)}); if it has "
            f"layers of your own, give model=..."
        ) from error
    return model, {**attributes, "dtype": dtype}


def make_network(
    kind: Callable[..., N],
    where: str,
    model: Layer,
    arrays: Mapping[str, HostArray],
    attributes: Mapping[str, Any],
    *,
    backend: str | Backend,
    device: str | None,
    dtype: str | None,
) -> N:
    """A network on a backend, of arrays that were checked.

    Parameters
    ----------
    kind
        The class of the network.
    where
        The file, for messages.
    model
        The layers.
    arrays
        Its parameters and buffers by name, on the host.
    attributes
        Those of `Network`, such as `sample_shape`; and `dtype`, in which it was saved.
    backend, device, dtype
        Where the network shall be, as in `xpnet.load`.

    Raises
    ------
    CheckpointError
        If the dtype does not hold a number.
    """
    attributes = dict(attributes)
    saved = attributes.pop("dtype", None) or widest(arrays)
    opened = open_backend(backend, device, dtype or saved)
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            if not np.isfinite(value.astype(opened.dtype_name)).all():
                raise CheckpointError(
                    f"{where}: {one_line(name, 80)} has values that {opened.dtype_name} does not "
                    f"hold"
                )
    with opened.scope():
        loaded = {name: load_array(opened, value) for name, value in arrays.items()}
    names = model.parameter_shapes()
    return kind(
        model,
        {name: loaded.pop(name) for name in names},
        opened,
        buffers=loaded,
        **attributes,
    )


def widest(arrays: Mapping[str, HostArray]) -> str:
    """The dtype that holds all of the arrays, of those that a network can have."""
    wide = any(value.dtype.itemsize > 4 for value in arrays.values())
    return "float64" if wide else "float32"


def check_fit(
    where: str, missing: Collection[str], unexpected: Collection[str], wrong: Collection[str]
) -> None:
    """Check that names and shapes are those of a model.

    Parameters
    ----------
    where
        The file, for messages.
    missing, unexpected
        The names that should be there and are not, and the other way round.
    wrong
        Sentences about the others.

    Raises
    ------
    CheckpointError
        If anything is in one of the three.
    """
    problems = []
    if missing:
        problems.append(f"missing: {listed(missing)}")
    if unexpected:
        problems.append(f"unexpected: {listed(unexpected)}")
    problems += list(wrong)[:SHOWN]
    if problems:
        raise CheckpointError(f"{where}: does not fit the model: {'; '.join(problems)}")


def compare_shapes(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    """A sentence for each array of another shape than the model has."""
    return [
        f"{one_line(name, 80)} has shape {_cut(found[name])}, the model {_cut(shape)}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]


def _cut(shape: Shape) -> str:
    # An integer from a file can have thousands of digits.
    return str(tuple(shape))[:80]


def listed(names: Collection[str]) -> str:
    """Names for a message, which are cut where there are many."""
    shown = ", ".join(one_line(name, 80) for name in list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
