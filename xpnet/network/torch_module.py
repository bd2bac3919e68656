"""A model as a module of PyTorch: its arrays by PyTorch's names and in its layouts, and its text.

Nothing here needs PyTorch. How a layer is written, its class says (`Layer.torch`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from xpnet.errors import ExportError
from xpnet.layers import Layer
from xpnet.layers.places import TorchPlace
from xpnet.network.places import Exporters, Place, exporter_of
from xpnet.typing import HostArray, Shape

DESCRIPTION = "network"
"""The metadata of a file that hold what is needed beside the arrays, as JSON text."""


@dataclass
class TorchModule:
    """A module in the making.

    Attributes
    ----------
    arrays
        The network's arrays by name.
    exporters
        Functions that export a layer, by its type, in the place of its method.
    code
        The expression that makes the module.
    state
        Its state dict.
    definitions
        The texts of classes that the expression needs.
    used
        The names of the network's arrays that were asked for.
    """

    arrays: Mapping[str, HostArray]
    exporters: Exporters
    code: str = ""
    state: dict[str, HostArray] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


def make_module(
    model: Layer,
    arrays: Mapping[str, HostArray],
    layers: Exporters | None = None,
    *,
    shape: Shape | None = None,
) -> TorchModule:
    """The module of a model whose arrays are these.

    Parameters
    ----------
    model
        The layers.
    arrays
        Its parameters and buffers by name.
    layers
        How layers of one's own are exported: a function `(place, layer) -> text` by type.
    shape
        The shape of one sample as the model takes it; what the model says itself if None.

    Raises
    ------
    ExportError
        If a layer cannot be exported, or leaves an array out.
    """
    module = TorchModule(arrays, layers or {})
    module.code = _text_of(module, "", model, shape or model.input_shape())
    unused = set(module.arrays) - module.used
    if unused:
        raise ExportError(
            f"{', '.join(sorted(unused))}: not exported by the function of its layer: call "
            f"place.array and place.keep there"
        )
    return module


def _text_of(module: TorchModule, name: str, layer: Layer, shape: Shape | None) -> str:
    """The text of a layer, whose arrays are put into the module."""
    place: TorchPlace = _PlaceInModule(module, name, shape)
    return str(exporter_of(layer, module.exporters, "torch", name)(place))


class _PlaceInModule(Place):
    """A `TorchPlace`, which says what the methods do."""

    def __init__(self, module: TorchModule, name: str, shape: Shape | None) -> None:
        super().__init__(module.arrays, name)
        self.shape = shape
        self._module = module

    def array(self, key: str) -> HostArray:
        self._module.used.add(self.full(key))
        return super().array(key)

    def keep(self, key: str, array: HostArray | int) -> None:
        dtype = np.int64 if isinstance(array, int) else None
        # In C order, as safetensors has it. NOTE: ascontiguousarray gives a scalar an axis.
        self._module.state[self.full(key)] = np.asarray(array, dtype=dtype, order="C")

    def define(self, text: str) -> None:
        if text not in self._module.definitions:
            self._module.definitions.append(text)

    def layer(self, key: str, layer: Layer, shape: Shape | None = None) -> str:
        return _text_of(self._module, self.full(key), layer, shape)
