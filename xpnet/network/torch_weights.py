"""Networks with the weights of PyTorch's modules: the way there, the other way round.

How a layer's arrays are named and laid out there is said once, by `Layer.torch`. Here it is given
arrays of numbers that count the elements: where a number comes out is where the element of that
number is to be found.
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpnet.backends import Backend, backend_of
from xpnet.errors import CheckpointError, ExportError, one_line, reason_of
from xpnet.files import check_file
from xpnet.layers import Layer
from xpnet.network.arrays import TrainedArrays
from xpnet.network.places import Exporters
from xpnet.network.reading import (
    check_fit,
    compare_shapes,
    make_network,
    read_description,
    widest,
)
from xpnet.network.state import load_array
from xpnet.network.torch_module import DESCRIPTION, make_module
from xpnet.typing import HostArray, Shape

N = TypeVar("N")

_FIRST = 2**40
"""The number of the first element: none that an exporter would write by itself."""


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it had no use for, as in PyTorch."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def from_torch(
    kind: Callable[..., N],
    state: Any,
    model: Layer | None,
    *,
    backend: str | Backend,
    device: str | None,
    dtype: str | None,
    layers: Exporters | None,
    **attributes: Any,
) -> N:
    """`Network.from_torch`, which says more; `kind` is the class of the network."""
    where, state, text = _opened(state)
    described: dict[str, Any] = {}
    if text is not None:
        given = model is not None
        model, described = read_description(where, text, model)
        if not given:
            _check_count(where, model, state)
    if model is None:
        raise CheckpointError(f"{where}: does not say of which layers it is: give the model")
    shapes = {name: tuple(shape) for name, shape in model.parameter_shapes().items()}
    shapes |= {name: value.shape for name, value in model.buffers().items()}
    places = _places(model, shapes, layers)
    values, _ = _matched(where, state, places, strict=True)
    found = described.get("dtype") or widest(values)
    # In the widest, so that make_network says what its dtype does not hold.
    flat = np.empty(sum(map(math.prod, shapes.values())), dtype=widest(values))
    arrays = _filled(where, flat, shapes, places, values)
    attributes = {**described, **attributes, "dtype": found}
    return make_network(
        kind, where, model, arrays, attributes, backend=backend, device=device, dtype=dtype
    )


def load_state_dict(
    network: TrainedArrays, state: Any, *, strict: bool, layers: Exporters | None
) -> IncompatibleKeys:
    """`Network.load_state_dict`, which says more."""
    where, state, _ = _opened(state)
    backend = network.backend
    own = {name: backend.to_numpy(value) for name, value in network.arrays.items()}
    shapes = {name: value.shape for name, value in own.items()}
    places = _places(network.model, shapes, layers)
    values, keys = _matched(where, state, places, strict=strict)
    flat = np.concatenate([value.reshape(-1) for value in own.values()] or [np.empty(0)])
    arrays = _filled(where, flat, shapes, places, values)
    with backend.scope():
        loaded = {name: load_array(backend, value) for name, value in arrays.items()}
    network.params = {name: loaded[name] for name in network.params}
    network.buffers = {name: loaded[name] for name in network.buffers}
    return keys


def _opened(state: Any) -> tuple[str, Mapping[str, Any], str | None]:
    """What messages call it, the tensors by name, and the description of the network if any."""
    if isinstance(state, str | os.PathLike):
        return str(state), *_read(state)
    if callable(getattr(state, "state_dict", None)):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise TypeError(
            f"state must be a module of PyTorch, its state_dict() or a safetensors file, got "
            f"{type(state).__name__}"
        )
    return "state_dict", state, None


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, HostArray], str | None]:
    from safetensors import SafetensorError, safe_open

    advice = ""
    if os.fspath(path).lower().endswith((".pt", ".pth", ".bin", ".ckpt", ".pkl")):
        advice = (
            ": a file of torch.save can run code when it is read; read it with torch.load(..., "
            "weights_only=True), and give what that returns"
        )
    try:
        check_file(path)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        # Where another library has brought NumPy more dtypes, they are read, but not everywhere.
        foreign = [x.dtype.name for x in tensors.values() if x.dtype.kind == "V"]
        if foreign:
            raise TypeError(f"it holds {foreign[0]}")
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    # AttributeError, TypeError: the file holds a dtype that NumPy has not, such as bfloat16.
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, AttributeError | TypeError):
            advice = (
                ": of dtypes that NumPy has not give what safetensors.torch.load_file(path) returns"
            )
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({reason_of(error)}){advice}"
        ) from error
    if "xpnet" in metadata:
        raise CheckpointError(
            f"{path}: is not PyTorch's, but a network that xpnet saved: read it with xpnet.load"
        )
    return tensors, metadata.get(DESCRIPTION)


def _check_count(where: str, model: Layer, state: Mapping[str, Any]) -> None:
    """Check that a model from a file is no larger than the file, before anything is as large."""
    wanted = sum(math.prod(shape) for shape in model.parameter_shapes().values())
    there = sum(value.size for value in state.values())
    if wanted > there:
        raise CheckpointError(
            f"{where}: its model has more parameters than the file has numbers ({there:,})"
        )


def _places(
    model: Layer, shapes: Mapping[str, Shape], layers: Exporters | None
) -> dict[str, HostArray | None]:
    """For each name in a state dict the numbers of its elements; None of what is a constant."""
    counted, first = {}, _FIRST
    for name, shape in shapes.items():
        size = math.prod(shape)
        counted[name] = np.arange(first, first + size).reshape(shape)
        first += size
    places: dict[str, HostArray | None] = {}
    for name, numbers in make_module(model, counted, layers).state.items():
        own = numbers.dtype == np.int64 and numbers.size > 0 and numbers.min() >= _FIRST
        places[name] = numbers - _FIRST if own else None
    found = [value.reshape(-1) for value in places.values() if value is not None]
    order = np.sort(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    if not np.array_equal(order, np.arange(first - _FIRST)):
        raise ExportError(
            "the function that exports a layer of your own to PyTorch does more than to move "
            "numbers, and cannot be used the other way round"
        )
    return places


def _matched(
    where: str, state: Mapping[str, Any], places: Mapping[str, HostArray | None], *, strict: bool
) -> tuple[dict[str, HostArray], IncompatibleKeys]:
    """The tensors that are wanted, on the host, with the shapes that are wanted."""
    wanted = {name: value.shape for name, value in places.items() if value is not None}
    missing = [name for name in wanted if name not in state]
    unexpected = [name for name in state if name not in places]
    values = {name: _on_host(state[name]) for name in wanted if name in state}
    wrong = compare_shapes({name: value.shape for name, value in values.items()}, wanted)
    wrong += [
        f"{one_line(name, 80)} ({value.dtype}) holds what are not finite floating-point numbers"
        for name, value in values.items()
        if value.dtype.kind != "f" or not np.isfinite(value).all()
    ]
    check_fit(where, missing if strict else (), unexpected if strict else (), wrong)
    return values, IncompatibleKeys(missing, unexpected)


def _on_host(value: Any) -> HostArray:
    if isinstance(value, np.ndarray | list | tuple | float):
        return np.asarray(value)
    try:
        return backend_of(value, "float32").to_numpy(value)
    except TypeError:
        return np.asarray(value)


def _filled(
    where: str,
    flat: HostArray,
    shapes: Mapping[str, Shape],
    places: Mapping[str, HostArray | None],
    values: Mapping[str, HostArray],
) -> dict[str, HostArray]:
    """The arrays of the network: all of them in one row, `flat`, into which the values go."""
    for name, value in values.items():
        place = places[name]
        with np.errstate(over="ignore"):
            flat[place] = value
        if not np.isfinite(flat[place]).all():
            raise CheckpointError(f"{where}: {name} has values that {flat.dtype} does not hold")
    arrays, first = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        arrays[name] = flat[first : first + size].reshape(shape)
        first += size
    return arrays
