"""Networks for PyTorch: their arrays by its names and layouts, and the text of the module.

Nothing here needs PyTorch: a state dict is written as a safetensors file, and a module as text.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from xpnet.data import taken_shape
from xpnet.errors import ExportError
from xpnet.export.layers import (
    checked_dtype,
    describe_network,
    host_arrays,
    installed_version,
    number,
)
from xpnet.files import write_atomically
from xpnet.layers import Layer
from xpnet.layers.container import wanted_shape
from xpnet.layers.places import TorchPlace
from xpnet.network import Network
from xpnet.network.torch_module import DESCRIPTION, TorchModule, make_module
from xpnet.typing import HostArray

Layers = Mapping[type[Layer], Callable[[TorchPlace, Any], str]]


def to_torch_state_dict(
    network: Network, *, dtype: str | None = None, layers: Layers | None = None
) -> dict[str, HostArray]:
    """The arrays of a network by PyTorch's names and in its layouts, as NumPy arrays.

    `fc1.weight` of a dense layer has the shape (n_out, n_in), a batch norm has `weight`, `bias`,
    `running_mean`, `running_var` and `num_batches_tracked` (0: xpnet does not count batches, and
    PyTorch looks at it only where there is no momentum).

    Parameters
    ----------
    network
        The network, on any backend.
    dtype
        `"float32"`, `"float64"`, or the network's own if None.
    layers
        How layers of one's own are exported: a function `(place, layer) -> text` by type, where
        `place` is a `TorchPlace`; see there.

    Returns
    -------
    state
        Has the keys of the `state_dict()` of the module that `torch_code` describes, in its order.

    Raises
    ------
    ExportError
        If a layer cannot be exported, or a number is not finite in this dtype.
    ValueError
        If there is no such dtype.
    """
    return dict(_module(network, dtype, layers).state)


def save_torch(
    network: Network,
    path: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    layers: Layers | None = None,
) -> None:
    """Write `to_torch_state_dict` as a safetensors file, which can run no code.

    `model.load_state_dict(safetensors.torch.load_file(path))` loads it, and so does
    `Network.from_torch`: under `network` the metadata has what is needed beside the arrays, as in
    `to_npz`. An existing file is replaced at once or not at all. Parameters and errors are those of
    `to_torch_state_dict`.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from safetensors.numpy import save

    state = to_torch_state_dict(network, dtype=dtype, layers=layers)
    metadata = {"format": "pt", "producer": f"xpnet {installed_version()}"}
    # Of a layer of one's own there may be none: then the model is given to Network.from_torch.
    with suppress(ExportError):
        metadata[DESCRIPTION] = describe_network(network, checked_dtype(network, dtype))
    write_atomically(path, save(state, metadata=metadata))


def torch_code(network: Network, *, dtype: str | None = None, layers: Layers | None = None) -> str:
    """The text of a Python module that builds the network with PyTorch.

    It has two functions. `make_model()` returns the `torch.nn.Module` that
    `to_torch_state_dict` is for, with its own initial weights. `prepare(x)` makes of a tensor of
    samples what the module takes: integers and Booleans are multiplied by 1 / `pixel_maximum`,
    images made rows where the model takes rows, and grey ones given their channel where it takes
    one. The module gives what xpnet's model gives: logits,
    or values, always with an axis of the outputs; `Network.classes`, which they stand for, are not
    in it.

    Parameters and errors are those of `to_torch_state_dict`.
    """
    module = _module(network, dtype, layers)
    dtype = checked_dtype(network, dtype)
    taken = _reshaping(network)
    definitions = "".join(f"\n\n{text.strip()}\n" for text in module.definitions)
    maximum = number(network.pixel_maximum)
    ordered = "from collections import OrderedDict\n\n" if "OrderedDict(" in module.code else ""
    return (
        f'"""A network trained with xpnet {installed_version()}: load its state dict into '
        f'`make_model()`."""\n\n'
        f"{ordered}import torch\nfrom torch import nn\n{definitions}\n\n"
        f"def make_model() -> nn.Module:\n"
        f"    model = {_indented(module.code)}\n"
        f"    return model.to(torch.{dtype})\n\n\n"
        f"def prepare(x: torch.Tensor) -> torch.Tensor:\n"
        f"    if not x.is_floating_point():\n"
        f"        return (x.to(torch.{dtype}) * (1 / {maximum})){taken}\n"
        f"    return x.to(torch.{dtype}){taken}\n"
    )


def _reshaping(network: Network) -> str:
    """What `prepare` does to the shape of a batch."""
    wanted, sample = wanted_shape(network.model), network.sample_shape
    if wanted is not None and len(wanted) == 1:
        return ".flatten(1)"
    channel = sample is not None and len(taken_shape(wanted, sample)) > len(sample)
    return ".unsqueeze(-1)" if channel else ""


def _module(network: Network, dtype: str | None, layers: Layers | None) -> TorchModule:
    wanted, sample = wanted_shape(network.model), network.sample_shape
    shape = wanted if sample is None else taken_shape(wanted, sample)
    return make_module(network.model, host_arrays(network, dtype), layers, shape=shape)


def _indented(code: str) -> str:
    return code.replace("\n", "\n    ")
