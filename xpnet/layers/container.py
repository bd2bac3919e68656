"""What all layers have in common that are made of layers."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from xpnet.data.preparation import taken_shape
from xpnet.errors import shown
from xpnet.layers.base import Layer
from xpnet.layers.constraints import Constraint
from xpnet.layers.description import build_layer, describe_layer
from xpnet.layers.summary import summarize
from xpnet.random import Seed, derive
from xpnet.typing import Array, Cache, HostArray, Namespace, Params, Shape

_LONGEST_NAME = 100
_DEEPEST = 64  # each container inside of another takes some frames of Python's stack


class Container(Layer):
    """A layer made of named layers, after which parameters and buffers are called.

    Subclasses define `forward`, `backward`, `output_shape` and `inner_shapes`, and where
    it is cheaper than `backward`, `input_gradient`. Their
    cache is the tuple of the caches of the layers, in order.

    Parameters
    ----------
    layers
        The layers by name, in order. Names are letters, digits and underscores.

    Raises
    ------
    TypeError
        If a value is not a layer, or the constraints of one are no functions by name.
    ValueError
        If a name has other characters or more than 100, a layer calls a parameter and a buffer the
        same or has a constraint of what is no parameter, or more than 64 containers are inside of
        each other.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        kind = type(self).__name__
        for name, layer in layers.items():
            if not re.fullmatch(rf"\w{{1,{_LONGEST_NAME}}}", name, re.ASCII):
                raise ValueError(
                    f"{kind}: the layer name {shown(name)} may have only letters, digits and _, "
                    f"up to {_LONGEST_NAME} of them"
                )
            if not isinstance(layer, Layer):
                raise TypeError(f"{kind}: {name}={not_a_layer(layer)}")
        self._layers = dict(layers)
        self._depth = 1 + max((getattr(layer, "_depth", 0) for layer in layers.values()), default=0)
        if self._depth > _DEEPEST:
            raise ValueError(f"{kind}: more than {_DEEPEST} containers inside of each other")
        trained = {name: tuple(layer.parameter_shapes()) for name, layer in layers.items()}
        buffers = {name: tuple(layer.buffers()) for name, layer in layers.items()}
        for name in layers:
            twice = set(trained[name]) & set(buffers[name])
            if twice:
                raise ValueError(
                    f"{kind}: {name}: {', '.join(sorted(twice))} is the name of a parameter and of "
                    f"a buffer; rename one"
                )
            check_constraints(layers[name], f"{kind}: {name}")
        # As the layer calls its arrays, and as they are called here.
        self._keys = {
            name: [(key, f"{name}.{key}") for key in trained[name] + buffers[name]]
            for name in layers
        }
        self._buffer_keys = {name: keys for name, keys in buffers.items() if keys}

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by name, in order."""
        return dict(self._layers)

    @property
    def parameter_count(self) -> int:
        """The number of trainable numbers."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def inner_shapes(self, shape: Shape | None) -> Iterator[tuple[str, Layer, Shape | None]]:
        """Each layer with its name and the shape of its input, for an input of this shape."""
        raise NotImplementedError(f"{type(self).__name__} must define inner_shapes")

    def with_layers(self, layers: Mapping[str, Layer]) -> "Container":
        """The same container of other layers, which have the same names in the same order.

        A container whose constructor takes more than its layers by name defines its own.
        """
        kind: Any = type(self)
        again: Container = kind(**layers)
        return again

    def summary(self, shape: Shape | None = None) -> str:
        """A table of the layers, those inside of containers too.

        Columns: the name, after which parameters are called; the layer; the shape of one output
        sample; the number of parameters; the bytes that they and the buffers take in float32; the
        operations (FLOPs) of the evaluation of one sample, as `Layer.flops` counts them; and the
        bytes of the activations of one sample in float32, the output of the layer. Times the size
        of a batch their sum is what a training step keeps for its backward pass at the most: less
        where a layer does without, as the output of a convolution is not needed behind ReLU. A
        container's own row counts what is not counted in the rows of its parts. `?` is what
        depends on the shape of the input, where that is not known.

        Parameters
        ----------
        shape
            The shape of one sample, such as (28, 28) or (32, 32, 3), where that does not
            follow from the layers: convolutions take pictures of any size.

        Raises
        ------
        ValueError
            If the network takes no samples of that shape.
        """
        return summarize(self, None if shape is None else taken_shape(self.input_shape(), shape))

    # -- what is asked of each layer ------------------------------------------------------------

    def parameter_shapes(self) -> dict[str, Shape]:
        return _prefixed({name: layer.parameter_shapes() for name, layer in self._layers.items()})

    def init(self, seed: Seed) -> dict[str, HostArray]:
        # Each layer draws from a stream named after it: the same seed and name give the same
        # weights whatever other layers stand beside it.
        return _prefixed(
            {name: layer.init(derive(seed, name)) for name, layer in self._layers.items()}
        )

    def buffers(self) -> dict[str, HostArray]:
        return _prefixed({name: self._layers[name].buffers() for name in self._buffer_keys})

    def update_buffers(self, xp: Namespace, buffers: Params, cache: Cache) -> dict[str, Array]:
        caches = dict(zip(self._layers, cache, strict=True))
        return _prefixed(
            {
                name: self._layers[name].update_buffers(
                    xp, {key: buffers[f"{name}.{key}"] for key in keys}, caches[name]
                )
                for name, keys in self._buffer_keys.items()
            }
        )

    def constraints(self) -> dict[str, Constraint]:
        return _prefixed({name: layer.constraints() for name, layer in self._layers.items()})

    def smallest_batch(self) -> int:
        return max((layer.smallest_batch() for layer in self._layers.values()), default=1)

    def flops(self, shape: Shape) -> int:
        return sum(
            layer.flops(inner) for _, layer, inner in self.inner_shapes(shape) if inner is not None
        )

    # -- description ----------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        # A list: the order is part of the model, and JSON objects have none.
        return {
            "layers": [
                {"name": name, **describe_layer(layer)} for name, layer in self._layers.items()
            ]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The inverse of `config`, for xpnet's own layers.

        Raises
        ------
        ValueError
            If a layer is not one of xpnet's.
        """
        layers: dict[str, Any] = {}
        for entry in config["layers"]:
            name = entry["name"]
            if name in layers:
                raise ValueError(f"two layers are called {shown(name)}")
            try:
                layers[name] = build_layer(entry)
            except ValueError as error:
                raise ValueError(f"layer {shown(name)}: {error}") from None
        return cls(**layers)

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Container) or type(other) is not type(self):
            return NotImplemented
        return list(self._layers.items()) == list(other._layers.items())

    def __hash__(self) -> int:
        return hash((type(self), *self._layers.items()))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={layer!r}" for name, layer in self._layers.items())
        return f"{type(self).__name__}({inner})"

    def _of(self, name: str, params: Params) -> dict[str, Array]:
        return {key: params[full] for key, full in self._keys[name]}


def inner_layers(layer: Layer) -> Mapping[str, Layer]:
    """The layers that a layer is made of, by name; none of one that has no such mapping."""
    layers = getattr(layer, "layers", None)
    return layers if isinstance(layers, Mapping) else {}


def takes_any_axes(layer: Layer) -> bool:
    """Whether a layer leaves the shape of samples as it is, however many axes they have."""
    unchanged = type(layer).output_shape is Layer.output_shape and layer.input_shape() is None
    return unchanged or layer.takes_more_axes()


def wanted_shape(model: Layer) -> Shape | None:
    """The shape that samples are brought into for a model; None where they stay as they are."""
    return None if model.takes_more_axes() else model.input_shape()


def smallest_batch(model: Layer, shape: Shape | None) -> int:
    """How many samples of a shape, as far as it is known, a batch must have for training.

    Of samples with more axes than a layer says, such as pictures in batch norm, each is several.
    """
    if isinstance(model, Container):
        parts = [smallest_batch(layer, inner) for _, layer, inner in model.inner_shapes(shape)]
        return max(parts, default=1)
    needed, features = model.smallest_batch(), model.input_shape()
    if shape is None or None in shape or features is None or not model.takes_more_axes():
        return needed
    return math.ceil(needed / math.prod(shape[: len(shape) - len(features)]))


def trained_layers(model: Layer) -> list[Layer]:
    """The model, and all layers within it but those that are frozen."""
    layers = [model]
    for layer in layers:
        layers += inner_layers(layer).values()
    return layers


def looks_at_batch(model: Layer) -> bool:
    """Whether a layer that is trained computes something of a batch as a whole."""
    return any(layer.takes_totals or layer.smallest_batch() > 1 for layer in trained_layers(model))


def check_constraints(layer: Layer, name: str = "") -> None:
    """Check what a layer says that its parameters must keep to.

    Parameters
    ----------
    layer
        The layer, whose parts have been checked before, if it has any.
    name
        What a message calls it, if not by its class.

    Raises
    ------
    ValueError
        If it says so of what is no parameter.
    TypeError
        If it gives no functions by name.
    """
    given: Any = layer.constraints()
    where = f"{name or type(layer).__name__}: constraints()"
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{where} must give functions by the names of parameters, got {shown(given)}"
        )
    parameters = layer.parameter_shapes()
    unknown = set(given) - set(parameters)
    if unknown:
        raise ValueError(
            f"{where} has {', '.join(sorted(map(str, unknown)))}, but the parameters are "
            f"{', '.join(parameters) or 'none'}"
        )
    for key, constraint in given.items():
        if isinstance(constraint, type) or not callable(constraint):
            raise TypeError(
                f"{where} must give a function (xp, parameter) -> parameter for {key}, such as "
                f"MaxNorm(3.0), got {shown(constraint)}"
            )


def not_a_layer(given: Any) -> str:
    """What was given instead of a layer, for a message; of a class, how its instance is written."""
    if isinstance(given, type) and issubclass(given, Layer):
        brackets = "()" if _takes_nothing(given) else "(...)"
        return f"{given.__name__} is the class, not a layer: write {given.__name__}{brackets}"
    return f"{shown(given)} is not a layer such as ReLU() or Dense(784, 10)"


def _takes_nothing(kind: type[Layer]) -> bool:
    try:
        kind()
    except TypeError:
        return False
    return True


def _prefixed(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One dictionary of those of the layers: `{"fc1": {"weight": w}}` becomes `fc1.weight`."""
    return {f"{name}.{key}": value for name, own in values.items() for key, value in own.items()}
