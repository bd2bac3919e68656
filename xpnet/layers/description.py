"""Layers as JSON values, and back, for saved networks."""

from typing import Any

from xpnet.descriptions import as_json_values
from xpnet.errors import shown
from xpnet.layers.base import Layer

LAYERS: dict[str, type[Layer]] = {}
"""The layers by name: all that a saved network may be made of. `xpnet.layers` fills it."""


def describe_layer(layer: Layer) -> dict[str, Any]:
    """A layer as JSON values, from which `build_layer` makes an equal one of xpnet's."""
    kind = type(layer)
    options = layer.config()
    is_own = LAYERS.get(kind.__name__) is kind
    return {"layer": kind.__name__, "options": options if is_own else as_json_values(options)}


def build_layer(description: dict[str, Any]) -> Layer:
    """The inverse of `describe_layer`, for xpnet's own layers.

    Raises
    ------
    ValueError
        If the layer is not one of xpnet's, or its options are not allowed.
    """
    kind = description["layer"]
    if kind not in LAYERS:
        raise ValueError(
            f"{shown(kind)} is not one of xpnet's layers ({', '.join(sorted(LAYERS))}): "
            f"give the model to load(..., model=...)"
        )
    return LAYERS[kind].from_config(description["options"])
