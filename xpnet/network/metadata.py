"""What a file says of a network beside its arrays, as JSON values: written, and read again."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from xpnet.backends import DTYPES
from xpnet.checks import LARGEST, finite_number, positive_integer
from xpnet.data import Framing, TablePreparation, taken_shape
from xpnet.dtype_limits import check_numbers
from xpnet.errors import shown
from xpnet.history import History
from xpnet.inputs.labels import check_class_names, check_classes
from xpnet.layers import Layer, describe_layer
from xpnet.layers.container import wanted_shape
from xpnet.losses import TARGET_KINDS, Loss, build_loss, describe_loss
from xpnet.network.arrays import TrainedArrays
from xpnet.network.output import check_loss_fits
from xpnet.typing import Shape


def network_metadata(network: TrainedArrays) -> dict[str, Any]:
    """All that is needed to use the network again, and its history."""
    return {
        "model": describe_layer(network.model),
        "dtype": network.backend.dtype_name,
        "sample_shape": network.sample_shape,
        "pixel_maximum": network.pixel_maximum,
        "framing": framing_metadata(network),
        "table": None if network.table is None else network.table.to_dict(),
        "input_dtype": network.input_dtype,
        "target_kind": network.target_kind,
        **target_metadata(network),
        "loss": None if network.loss is None else describe_loss(network.loss),
        # Without the seconds: the same run shall give the same bytes.
        "history": [
            replace(record, train_seconds=None, eval_seconds=None).to_dict()
            for record in network.history
        ],
    }


def target_metadata(network: TrainedArrays) -> dict[str, Any]:
    """What turns the outputs of a network into what `predict` gives, as far as it is known."""
    classes = None if network.classes is None else network.classes.tolist()
    shape = None if network.target_shape is None else list(network.target_shape)
    names = None if network.class_names is None else list(network.class_names)
    return {"classes": classes, "class_names": names, "target_shape": shape}


def framing_metadata(network: TrainedArrays) -> dict[str, Any] | None:
    """How the figures of its pictures lie, as JSON values."""
    return None if network.framing is None else network.framing.to_dict()


def read_metadata(metadata: Mapping[str, Any], model: Layer) -> tuple[str, dict[str, Any]]:
    """The dtype, and what a network is made of beside model and arrays, each entry checked.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError
        If an entry is missing, or is none that `network_metadata` would write.
    """
    # A file from before there was such an entry has none, and an export not all of them.
    details = {
        name: read(metadata[name] if name not in _ADDED else metadata.get(name, _ADDED[name]))
        for name, read in _READERS.items()
    }
    output = model.output_shape(model.input_shape())
    kind = details["target_kind"]
    details["classes"] = check_classes(metadata.get("classes"), kind, output)
    details["class_names"] = check_class_names(metadata.get("class_names"), kind, output)
    return _one_of(DTYPES, metadata["dtype"]), details


def _one_of(allowed: tuple[str, ...], value: Any) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"expected one of {', '.join(allowed)}, found {shown(value)}")
    return value


def _shape(name: str, value: Any, least: int) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) < least:
        raise ValueError(f"{name} is {shown(value)}")
    shape = tuple(positive_integer(name, n) for n in value)
    if math.prod(shape) > LARGEST:
        raise ValueError(f"{name} is {shown(value)}, more numbers than there can be")
    return shape


def _dtype_name(value: Any) -> str | None:
    # Of any library, which may have others than NumPy.
    if value is None or (isinstance(value, str) and re.fullmatch("[a-z][a-z0-9_]{1,30}", value)):
        return value
    raise ValueError(f"samples of an unknown dtype, {shown(value)}")


_READERS: dict[str, Callable[[Any], Any]] = {
    "sample_shape": lambda value: _shape("sample_shape", value, least=1),
    "pixel_maximum": lambda value: finite_number("pixel_maximum", value, above=0),
    "framing": lambda value: None if value is None else Framing.from_dict(value),
    "table": lambda value: None if value is None else TablePreparation.from_dict(value),
    "input_dtype": _dtype_name,
    "target_kind": lambda value: _one_of(TARGET_KINDS, value),
    "target_shape": lambda value: _shape("target_shape", value, least=0),
    "loss": lambda value: None if value is None else build_loss(value),
    "history": History.from_dicts,
}
"""How each entry of the metadata becomes the argument of `Network` of the same name."""

_ADDED: dict[str, Any] = {
    "framing": None, "table": None, "input_dtype": None, "target_kind": "classes",
    "target_shape": None, "loss": None,
}  # fmt: skip
"""The entries that older files lack, and what they then are."""


def check_table(model: Layer, table: TablePreparation | None, target_kind: str) -> None:
    """Check that a model takes what rows of a table become, and predicts what its label is.

    Raises
    ------
    ValueError
        If it does not.
    """
    if table is not None:
        takes = model.input_shape()
        gives = model.output_shape(takes)
        table.check_fits(_count(takes), _count(gives), target_kind)


def _count(shape: Shape | None) -> int | None:
    return None if shape is None or None in shape else math.prod(shape)


def check_together(model: Layer, dtype: str, details: Mapping[str, Any]) -> None:
    """Check that the model, the samples, the loss and the dtype go together, as after `fit`.

    Raises
    ------
    ValueError
        If they do not.
    """
    shape, loss = details["sample_shape"], details["loss"]
    if shape is not None:
        model.output_shape(taken_shape(wanted_shape(model), shape))
    if details["framing"] is not None:
        details["framing"].check_fits(shape or ())
    check_table(model, details["table"], details["target_kind"])
    check_numbers(dtype, model, loss)
    if isinstance(loss, Loss):
        check_loss_fits(model, loss)
        if loss.target_kind != details["target_kind"]:
            raise ValueError(
                f"a loss for {loss.target_kind}, and targets of the kind {details['target_kind']}"
            )
