"""How the layers of a network are written for others: each by a method of its class, or a function.

What a layer is given for it, `xpnet.layers.places` says.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from xpnet.errors import ExportError
from xpnet.layers import Layer
from xpnet.typing import HostArray

Exporters = Mapping[type[Layer], Callable[..., Any]]
"""Functions that export one layer, by its type, in the place of what its class says."""


def exporter_of(layer: Layer, exporters: Exporters, form: str, name: str) -> Callable[..., Any]:
    """What exports a layer: a function for its class, or its method; it is given the place.

    Parameters
    ----------
    layer
        The layer.
    exporters
        Functions that go first: `(place, layer, ...)`.
    form
        The name of the method, `"onnx"` or `"torch"`.
    name
        What the layer is called, for messages.

    Raises
    ------
    ExportError
        If there is none; the message has the layer and its name.
    """
    classes = type(layer).__mro__
    for i, kind in enumerate(classes):
        computed = next((vars(k)["forward"] for k in classes[i:] if "forward" in vars(k)), None)
        if kind is Layer or computed is not type(layer).forward:
            break  # from here on it is how a parent is written, which computes something else
        if kind in exporters:
            function = exporters[kind]
            return lambda place, *tensors: function(place, layer, *tensors)
        if form in vars(kind):
            return partial(vars(kind)[form], layer)
    kind_name = type(layer).__name__
    raise ExportError(
        f"layer {name or kind_name!r}, {layer!r}, has no {TITLES[form]} form that xpnet knows: "
        f"define {form}() in its class, or give layers={{{kind_name}: function}}, see xpnet.export"
    )


TITLES = {"onnx": "ONNX", "torch": "PyTorch"}


class Place:
    """One layer, where it stands in a network: its name, and its arrays.

    Attributes
    ----------
    name
        The names of the layer, from the outermost container inwards, joined by dots, such as
        `res1.block.fc1`; empty for the model itself.
    """

    def __init__(self, arrays: Mapping[str, HostArray], name: str) -> None:
        self.name = name
        self._arrays = arrays

    def array(self, key: str) -> HostArray:
        """A parameter or buffer of the layer, by the name that the layer gives it."""
        return self._arrays[self.full(key)]

    def full(self, key: str) -> str:
        """The name in the whole network of what the layer calls `key`."""
        return f"{self.name}.{key}" if self.name else key
