"""The arrays of a trained network: their names, copies of them, and pickles."""

from collections.abc import Callable
from typing import Any, Self

from xpnet.backends import Backend
from xpnet.data import Framing, Preparation, TablePreparation
from xpnet.history import History
from xpnet.layers import Layer
from xpnet.losses import LossFunction
from xpnet.network.state import load_array, network_arrays
from xpnet.typing import Array, HostArray, Shape, State

KEPT = "_forward_pass"
"""The attribute with what makes predictions faster, which copies and pickles do not have."""


class TrainedArrays:
    """What a `Network` holds, whose attributes these are; beside its predictions that is all."""

    model: Layer
    backend: Backend
    params: dict[str, Array]
    buffers: dict[str, Array]
    history: History
    sample_shape: Shape | None
    preparation: Preparation
    framing: Framing | None
    table: TablePreparation | None
    input_dtype: str | None
    target_kind: str
    target_shape: Shape | None
    classes: HostArray | None
    class_names: tuple[str, ...] | None
    loss: LossFunction | None

    @property
    def arrays(self) -> dict[str, Array]:
        """The parameters and the buffers by name: what the model's `forward` is given."""
        return {**self.params, **self.buffers}

    @property
    def pixel_maximum(self) -> float:
        """What integer and Boolean samples are divided by."""
        return self.preparation.maximum

    @property
    def names(self) -> list[str] | None:
        """What the classes are called where they are shown; None where they are but numbers."""
        if self.class_names is not None:
            return list(self.class_names)
        return None if self.classes is None else [str(name) for name in self.classes.tolist()]

    def state_arrays(self) -> dict[str, Array]:
        """The arrays that make the network, by their names in a state and in a file."""
        kinds = {"param/": self.params, "buffer/": self.buffers}
        return {kind + name: x for kind, arrays in kinds.items() for name, x in arrays.items()}

    def set_arrays(self, state: State) -> None:
        """Take the arrays of the network from a state, or from what `state_arrays` gave."""
        self.params, self.buffers = network_arrays(self.model, state)

    def copy(self) -> Self:
        """The same network with arrays of its own, as a callback may want to keep it."""
        with self.backend.scope():
            own = self._each_array(lambda value: self.backend.asarray(value, copy=True))
        copied = object.__new__(type(self))
        vars(copied).update({**self._lasting(), **own, "history": self.history[:]})
        return copied

    __copy__ = copy

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {**self._lasting(), **self._each_array(self.backend.to_numpy)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)  # the backend is open again, or another one in its place
        with self.backend.scope():
            vars(self).update(self._each_array(lambda value: load_array(self.backend, value)))

    def _lasting(self) -> dict[str, Any]:
        """All attributes that copies and pickles have as well."""
        return {name: value for name, value in vars(self).items() if name != KEPT}

    def _each_array(self, change: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
        """`params` and `buffers` with all arrays changed."""
        return {
            "params": {name: change(value) for name, value in self.params.items()},
            "buffers": {name: change(value) for name, value in self.buffers.items()},
        }
