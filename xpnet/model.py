"""Networks made of named layers."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from xpnet.initializers import Initializer, he_normal
from xpnet.layers import LAYERS, Context, Dense, Dropout, Layer, ReLU
from xpnet.random import Seed, derive
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape


class Sequential(Layer):
    """Layers applied one after the other.

    The names are the caller's, and parameters are called after them (`fc1.weight`), so that
    inserting a layer later renames nothing in a saved network. A `Sequential` is itself a layer
    and may stand inside another.

    Parameters
    ----------
    layers
        The layers by name, in order. Names are letters, digits and underscores.

    Raises
    ------
    TypeError
        If a value is not a layer.
    ValueError
        If there is no layer, a name has other characters, or a layer's output does not fit the
        next layer's input.

    Examples
    --------
    >>> from xpnet import Dense, ReLU, Sequential
    >>> model = Sequential(fc1=Dense(784, 128), act1=ReLU(), fc2=Dense(128, 10))
    >>> model.parameter_count
    101770
    >>> model["fc1"]
    Dense(784, 128)
    """

    def __init__(self, **layers: Layer) -> None:
        if not layers:
            raise ValueError("Sequential needs at least one layer, such as fc1=Dense(784, 10)")
        shape: Shape | None = None
        for name, layer in layers.items():
            if not re.fullmatch(r"\w+", name, re.ASCII):
                raise ValueError(
                    f"Sequential: the layer name {name!r} may have only letters, digits and _"
                )
            if not isinstance(layer, Layer):
                hint = " (write Dense(...), with its sizes)" if isinstance(layer, type) else ""
                raise TypeError(f"Sequential: {name}={layer!r} is not a layer{hint}")
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"Sequential: {name}: {error}") from None
        self._layers = dict(layers)
        # Each layer with the names of its parameters, as it and as this container calls them.
        self._parts = [
            (name, layer, [(key, f"{name}.{key}") for key in layer.parameter_shapes()])
            for name, layer in layers.items()
        ]
        # Below the lowest layer with parameters no gradient is needed for training.
        self._lowest = next((name for name, _, keys in self._parts if keys), None)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers by name, in order."""
        return dict(self._layers)

    @property
    def parameter_count(self) -> int:
        """The number of trainable numbers."""
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def parameter_shapes(self) -> dict[str, Shape]:
        return {
            f"{name}.{key}": shape
            for name, layer in self._layers.items()
            for key, shape in layer.parameter_shapes().items()
        }

    def init(self, seed: Seed) -> dict[str, HostArray]:
        # Each layer draws from a stream named after it: the same seed and name give the same
        # weights whatever other layers stand beside it.
        return {
            f"{name}.{key}": value
            for name, layer in self._layers.items()
            for key, value in layer.init(derive(seed, name)).items()
        }

    def input_shape(self) -> Shape | None:
        # Element-wise layers in front do not change the shape that a later layer asks for.
        for layer in self._layers.values():
            shape = layer.input_shape()
            if shape is not None:
                return shape
            if type(layer).output_shape is not Layer.output_shape:
                return None
        return None

    def output_shape(self, shape: Shape | None) -> Shape | None:
        for layer in self._layers.values():
            shape = layer.output_shape(shape)
        return shape

    def config(self) -> dict[str, Any]:
        # A list: the order is part of the model, and JSON objects have none.
        return {
            "layers": [
                {"name": name, **describe_layer(layer)} for name, layer in self._layers.items()
            ]
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Sequential":
        """The inverse of `config`, for xpnet's own layers.

        Raises
        ------
        ValueError
            If a layer is not one of xpnet's.
        """
        layers: dict[str, Layer] = {}
        for entry in config["layers"]:
            try:
                layers[entry["name"]] = build_layer(entry)
            except ValueError as error:
                raise ValueError(f"layer {entry['name']!r}: {error}") from None
        return cls(**layers)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        caches = []
        for name, layer, keys in self._parts:
            # The path tells the random numbers of layers apart; evaluation draws none.
            inner = ctx.inside(name) if ctx.training else ctx
            x, cache = layer.forward(xp, {key: params[full] for key, full in keys}, x, inner)
            caches.append(cache)
        return x, tuple(caches)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if self._lowest is None and not need_dx:
            return None, {}
        grads: Grads = {}
        d: Array | None = dy
        for (name, layer, keys), layer_cache in zip(
            reversed(self._parts), reversed(cache), strict=True
        ):
            lowest = name == self._lowest and not need_dx
            own = {key: params[full] for key, full in keys}
            d, layer_grads = layer.backward(xp, own, layer_cache, d, need_dx=not lowest)
            grads.update({f"{name}.{key}": grad for key, grad in layer_grads.items()})
            if lowest:
                return None, grads
        return d, grads

    def descend(
        self,
        xp: Namespace,
        params: dict[str, Array],
        cache: Cache,
        dy: Array,
        rate: Array,
        *,
        need_dx: bool = True,
    ) -> tuple[Array | None, dict[str, Array]]:
        if self._lowest is None and not need_dx:
            return None, params
        d: Array | None = dy
        for (name, layer, keys), layer_cache in zip(
            reversed(self._parts), reversed(cache), strict=True
        ):
            lowest = name == self._lowest and not need_dx
            own = {key: params[full] for key, full in keys}
            d, own = layer.descend(xp, own, layer_cache, d, rate, need_dx=not lowest)
            for key, full in keys:
                params[full] = own[key]
            if lowest:
                return None, params
        return d, params

    def summary(self) -> str:
        """A table of the layers: name, layer, shape of one output sample, parameters."""
        rows = [("name", "layer", "output", "parameters")]
        shape = self.input_shape()
        for name, layer in self._layers.items():
            shape = layer.output_shape(shape)
            count = sum(math.prod(s) for s in layer.parameter_shapes().values())
            output = "?" if shape is None else " x ".join(map(str, shape))
            rows.append((name, type(layer).__name__, output, f"{count:,}"))
        rows.append(("total", "", "", f"{self.parameter_count:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        return "\n".join(
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}"
            for a, b, c, d in rows
        )

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequential):
            return NotImplemented
        return list(self._layers.items()) == list(other._layers.items())

    def __hash__(self) -> int:
        return hash(tuple(self._layers.items()))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={layer!r}" for name, layer in self._layers.items())
        return f"Sequential({inner})"


def mlp(
    *sizes: int,
    activation: Layer | None = None,
    dropout: float = 0.0,
    init_weight: Initializer = he_normal,
) -> Sequential:
    """A multi-layer perceptron: dense layers with an activation between them.

    Parameters
    ----------
    sizes
        Numbers of features from the input to the output, at least two.
    activation
        The layer after every dense layer but the last; `ReLU()` if None.
    dropout
        The rate of a `Dropout` layer after every activation; none if 0.
    init_weight
        How the weights are drawn, one of `xpnet.initializers`.

    Returns
    -------
    model
        `Sequential(fc1=Dense(...), act1=..., fc2=Dense(...), ...)`, which gives logits; the
        dropout layers are called `drop1`, `drop2`, ...

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is not a positive integer.

    Examples
    --------
    >>> from xpnet import mlp
    >>> print(mlp(784, 128, 10).summary())
    name   layer  output  parameters
    fc1    Dense     128     100,480
    act1   ReLU      128           0
    fc2    Dense      10       1,290
    total                    101,770
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp needs an input and an output size, as in mlp(784, 10); got {sizes}")
    layers: dict[str, Layer] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
        if i > 1:
            layers[f"act{i - 1}"] = activation if activation is not None else ReLU()
            if dropout:
                layers[f"drop{i - 1}"] = Dropout(dropout)
        layers[f"fc{i}"] = Dense(n_in, n_out, init_weight)
    return Sequential(**layers)


def describe_layer(layer: Layer) -> dict[str, Any]:
    """A layer as JSON values, from which `build_layer` makes an equal one."""
    return {"layer": type(layer).__name__, "options": layer.config()}


def build_layer(description: dict[str, Any]) -> Layer:
    """The inverse of `describe_layer`, for xpnet's own layers.

    Raises
    ------
    ValueError
        If the layer is not one of xpnet's, or its options are not allowed.
    """
    known: dict[str, type[Layer]] = {**LAYERS, "Sequential": Sequential}
    kind = description["layer"]
    if kind not in known:
        raise ValueError(
            f"{kind!r} is not one of xpnet's layers ({', '.join(sorted(known))}): "
            f"give the model to load(..., model=...)"
        )
    return known[kind].from_config(description["options"])
