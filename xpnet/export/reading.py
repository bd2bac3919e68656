"""Networks made of what the exports wrote, or of arrays from elsewhere."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from xpnet.backends import DTYPES, Backend, open_backend
from xpnet.checks import finite_number, positive_integer
from xpnet.errors import CheckpointError
from xpnet.layers import Layer, build_layer
from xpnet.losses import TARGET_KINDS
from xpnet.training import Network
from xpnet.training.labels import check_classes
from xpnet.training.step import load_array
from xpnet.typing import HostArray, Shape

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
        shape = found["sample_shape"]
        attributes: dict[str, Any] = {
            "sample_shape": None
            if shape is None
            else tuple(positive_integer("sample_shape", n) for n in shape),
            "input_dtype": found["input_dtype"],
            "pixel_maximum": finite_number("pixel_maximum", found["pixel_maximum"], above=0),
            "target_kind": found["target_kind"],
            "dtype": found["dtype"],
        }
        target = found.get("target_shape")
        attributes["target_shape"] = (
            None if target is None else tuple(positive_integer("target_shape", n) for n in target)
        )
        output = model.output_shape(model.input_shape())
        attributes["classes"] = check_classes(
            found.get("classes"), attributes["target_kind"], output
        )
        if not isinstance(attributes["input_dtype"], str | None):
            raise ValueError("input_dtype must be a text")
        if math.prod(attributes["sample_shape"] or ()) >= 2**62:
            raise ValueError("sample_shape is too large")
        if attributes["target_kind"] not in TARGET_KINDS:
            raise ValueError(f"target_kind must be one of {', '.join(TARGET_KINDS)}")
        if attributes["dtype"] not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}")
    # What a forged description can make of the options of layers is anything but an interrupt.
    except (
        KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MemoryError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{where}: its description is not that of a network ({quoted_text(error)}); if it has "
            f"layers of your own, give model=..."
        ) from error
    return model, attributes


def make_network(
    where: str,
    model: Layer,
    arrays: Mapping[str, HostArray],
    attributes: Mapping[str, Any],
    *,
    backend: str | Backend,
    device: str | None,
    dtype: str | None,
) -> Network:
    """A network on a backend, of arrays that were checked.

    Parameters
    ----------
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
                    f"{where}: {quoted(name)} has values that {opened.dtype_name} does not hold"
                )
    with opened.scope():
        loaded = {name: load_array(opened, value) for name, value in arrays.items()}
    names = model.parameter_shapes()
    return Network(
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
        f"{quoted(name)} has shape {_cut(found[name])}, the model {_cut(shape)}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]


def _cut(shape: Shape) -> str:
    # An integer from a file can have thousands of digits.
    return str(tuple(shape))[:80]


def listed(names: Collection[str]) -> str:
    """Names for a message, which are cut where there are many."""
    shown = ", ".join(quoted(name) for name in list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def quoted(name: Any) -> str:
    """A name from a file, without characters that move a terminal's cursor, and not long."""
    return repr(str(name)[:80])[1:-1]


def quoted_text(error: BaseException) -> str:
    """What an error says, made fit for a message."""
    text = str(error)[:200]
    named = isinstance(error, KeyError | AttributeError | TypeError)
    return repr(f"{type(error).__name__}: {text}" if named else text)[1:-1]
