"""The flat dictionary of arrays that a training changes: its entries by their prefixes."""

from collections.abc import Mapping
from typing import Any

from xpnet.backends import Backend
from xpnet.inputs.samples import source_of
from xpnet.layers import Layer
from xpnet.typing import Array, HostArray, Params, State


def select(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries whose key starts with `prefix`, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def put(state: State, prefix: str, arrays: Params) -> None:
    """Consumes `state`: put the arrays where `select` takes them from, those that are there alone.

    What a layer was given beside its parameters may be among them, and stays out.
    """
    for name, value in arrays.items():
        key = prefix + name
        if key in state:
            state[key] = value


def trained_params(state: State) -> dict[str, Array]:
    """The parameters that a trained network has: their averages where the optimizer makes any."""
    return select(state, "ema/") or select(state, "param/")


def network_arrays(model: Layer, state: State) -> tuple[dict[str, Array], dict[str, Array]]:
    """The parameters and the buffers that a network has, by the names of the plain model."""
    arrays = {**trained_params(state), **select(state, "buffer/")}  # all of a frozen layer
    return {name: arrays.pop(name) for name in model.parameter_shapes()}, arrays


def load_array(backend: Backend, value: HostArray) -> Array:
    """A floating-point host array on the device, in the backend's dtype, always a copy."""
    return backend.asarray(value.astype(backend.dtype_name), copy=True)


def arrays_there(backend: Backend, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays of any library, by their names, on a backend and in its dtype."""
    there = {}
    for name, value in arrays.items():
        source, value = source_of(backend, value, name)
        with source.scope():
            host = source.to_numpy(value)
        with backend.scope():
            there[name] = load_array(backend, host)
    return there
