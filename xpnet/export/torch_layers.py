"""How each layer is written as a module of PyTorch.

A function `(place, layer) -> text` for each, named in `TORCH_LAYERS`, which also hands over the
arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.export.layers import Exporters, Place, exporter_of
from xpnet.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.model import Sequential
from xpnet.typing import HostArray


@dataclass
class TorchModule:
    """A module in the making.

    Attributes
    ----------
    arrays
        The network's arrays by name.
    exporters
        The functions that export a layer, by its type.
    code
        The expression that makes the module.
    state
        Its state dict.
    definitions
        The texts of classes that the expression needs.
    used
        The names of the network's arrays that were asked for.
    """

    arrays: dict[str, HostArray]
    exporters: Exporters
    code: str = ""
    state: dict[str, HostArray] = field(default_factory=dict)
    definitions: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)


class TorchPlace(Place):
    """One layer in the module: what a function that exports a layer to PyTorch is given.

    A function hands over the arrays of the layer and returns the text that makes the module, such
    as `"nn.ReLU()"`.

    Attributes
    ----------
    name
        The names of the layer, from the outermost container inwards, joined by dots.
    """

    def __init__(self, module: TorchModule, name: str) -> None:
        super().__init__(module.arrays, module.exporters, name)
        self._module = module

    def array(self, key: str) -> HostArray:
        """A parameter or buffer of the layer, by the name that the layer gives it."""
        self._module.used.add(self._full(key))
        return super().array(key)

    def keep(self, key: str, array: HostArray) -> None:
        """Put an array into the state dict, by the name that PyTorch's module gives it."""
        # In C order, as safetensors has it. NOTE: ascontiguousarray gives a scalar an axis.
        self._module.state[self._full(key)] = np.asarray(array, order="C")

    def define(self, text: str) -> None:
        """Put the text of a class in front of the module, once."""
        if text not in self._module.definitions:
            self._module.definitions.append(text)

    def layer(self, key: str, layer: Layer) -> str:
        """The text of a layer inside of this one."""
        return export_layer(self._module, self._full(key), layer)


def export_layer(module: TorchModule, name: str, layer: Layer) -> str:
    """The text of a layer, whose arrays are put into the module."""
    export = exporter_of(layer, module.exporters, name, "PyTorch")
    return str(export(TorchPlace(module, name), layer))


TorchExporter = Callable[[TorchPlace, Any], str]


def _text(code: str) -> TorchExporter:
    """The function of a layer that is one module without arrays."""
    return lambda place, layer: code


def _dense(place: TorchPlace, layer: Dense) -> str:
    place.keep("weight", place.array("weight").T)
    if not layer.bias:
        return f"nn.Linear({layer.n_in}, {layer.n_out}, bias=False)"
    place.keep("bias", place.array("bias"))
    return f"nn.Linear({layer.n_in}, {layer.n_out})"


def _batch_norm(place: TorchPlace, layer: BatchNorm) -> str:
    names = {
        "weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance",
    }  # fmt: skip
    for theirs, ours in names.items():
        place.keep(theirs, place.array(ours))
    place.keep("num_batches_tracked", np.asarray(0, dtype=np.int64))
    return f"nn.BatchNorm1d({layer.n_features}, eps={layer.epsilon!r}, momentum={layer.momentum!r})"


def _layer_norm(place: TorchPlace, layer: LayerNorm) -> str:
    place.keep("weight", place.array("scale"))
    place.keep("bias", place.array("bias"))
    return f"nn.LayerNorm({layer.n_features}, eps={layer.epsilon!r})"


def _sequential(place: TorchPlace, layer: Sequential) -> str:
    lines = []
    for key, inner in layer.layers.items():
        code = place.layer(key, inner).replace("\n", "\n    ")
        lines.append(f'    ("{key}", {code}),\n')
    return f"nn.Sequential(OrderedDict([\n{''.join(lines)}]))"


def _residual(place: TorchPlace, layer: Residual) -> str:
    place.define(_RESIDUAL)
    parts = [place.layer(key, inner) for key, inner in layer.layers.items()]
    return f"Residual({', '.join(parts)})"


_RESIDUAL = '''
class Residual(nn.Module):
    """What a block adds to its input: block(x) + skip(x)."""

    def __init__(self, block: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.block = block
        self.skip = skip if skip is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x) + self.skip(x)
'''

TORCH_LAYERS: dict[type[Layer], TorchExporter] = {
    BatchNorm: _batch_norm,
    Dense: _dense,
    Dropout: lambda place, layer: f"nn.Dropout({layer.rate!r})",
    ELU: lambda place, layer: f"nn.ELU({layer.alpha!r})",
    Flatten: _text("nn.Flatten()"),
    GELU: lambda place, layer: f'nn.GELU(approximate="{layer.approximate}")',
    LayerNorm: _layer_norm,
    LeakyReLU: lambda place, layer: f"nn.LeakyReLU({layer.slope!r})",
    ReLU: _text("nn.ReLU()"),
    Residual: _residual,
    Sequential: _sequential,
    SiLU: _text("nn.SiLU()"),
    Sigmoid: _text("nn.Sigmoid()"),
    Softmax: _text("nn.Softmax(dim=-1)"),
    # Above the threshold it is x itself; at PyTorch's 20 that is off by 2e-9.
    Softplus: _text("nn.Softplus(threshold=40.0)"),
    Tanh: _text("nn.Tanh()"),
}
"""The function that exports a layer to PyTorch, by its type."""
