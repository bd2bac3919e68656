"""Layers that are not trained."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from xpnet.errors import one_line, shown
from xpnet.initializers import zeros
from xpnet.layers.base import EVALUATION, Context, Layer
from xpnet.layers.container import Container
from xpnet.suggestions import did_you_mean
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape


@dataclass(frozen=True)
class Frozen(Layer):
    """A layer as it is in evaluation, in training as well: with parameters that are buffers.

    So it has no gradients, and nothing of what is done to trained parameters reaches it: no update,
    no decay, no share in a norm, no average, no constraint, no array of the optimizer. Its own
    buffers stay as they are too.

    Parameters
    ----------
    layer
        The layer. What it begins with is to be given by who trains: `buffers` has zeros.
    """

    layer: Layer

    def last(self) -> Layer:
        return self.layer.last()

    def buffers(self) -> dict[str, HostArray]:
        shapes = self.layer.parameter_shapes()
        return {name: zeros(shape) for name, shape in shapes.items()} | self.layer.buffers()

    def input_shape(self) -> Shape | None:
        return self.layer.input_shape()

    def takes_more_axes(self) -> bool:
        return self.layer.takes_more_axes()

    def output_shape(self, shape: Shape | None) -> Shape | None:
        return self.layer.output_shape(shape)

    def flops(self, shape: Shape) -> int:
        return self.layer.flops(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        return self.layer.forward(xp, params, x, EVALUATION)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        return (self.layer.input_gradient(xp, params, cache, dy) if need_dx else None), {}


def freeze_layers(model: Layer, names: Collection[str]) -> Layer:
    """The model for a training in which the layers of these names are not trained.

    Its arrays have the same names, but those of frozen layers are all buffers.

    Raises
    ------
    ValueError
        If there is no layer of a name, or nothing is left to train.
    """
    check_layer_names("freeze", model, names)
    if not names:
        return model
    frozen = _with_frozen(model, frozenset(names), "")
    if not frozen.parameter_shapes():
        raise ValueError(
            f"freeze={shown(tuple(names))} leaves nothing to train: leave a layer with parameters "
            f"out of it; of the model there are "
            f"{one_line(', '.join(model.parameter_shapes())) or 'none'}"
        )
    return frozen


def names_given(option: str, names: Any) -> tuple[str, ...] | None:
    """Names of layers in whatever they come: a list, a set, a generator, the keys of a mapping.

    Raises
    ------
    TypeError
        If they are no texts, or are a single one, whose letters would be taken for names.
    """
    if names is None:
        return None
    given: Any = names
    if not isinstance(names, str | bytes) and isinstance(names, Iterable):
        given = tuple(names)
        if all(isinstance(name, str) for name in given):
            return tuple(map(str, given))
    how = f": give ({names!r},)" if isinstance(names, str) else ""
    raise TypeError(
        f"{option} must be names of layers, such as ('fc1', 'fc2'); got {shown(given)}{how}"
    )


def check_layer_names(option: str, model: Layer, names: Collection[str]) -> None:
    """Check that all are names of layers of the model, such as `fc1` or `block.fc1`.

    Raises
    ------
    ValueError
        If there is no layer of a name.
    """
    known = list(_layer_names(model, ""))
    for name in names:
        if name in known:
            continue
        hint = did_you_mean(name, known) or "."
        if name in model.parameter_shapes():
            hint = f", which is a parameter: name its layer, {shown(name.rpartition('.')[0])}."
        raise ValueError(
            f"{option}: the model has no layer {shown(name)}{hint} Its layers are "
            f"{one_line(', '.join(known)) or 'without names: it is not made of layers'}"
        )


def _layer_names(layer: Layer, name: str) -> Iterator[str]:
    if isinstance(layer, Container):
        for inner, part in layer.layers.items():
            full = f"{name}.{inner}" if name else inner
            yield full
            yield from _layer_names(part, full)


def _with_frozen(layer: Layer, names: frozenset[str], name: str) -> Layer:
    if name in names:
        return Frozen(layer)
    if not isinstance(layer, Container):
        return layer
    parts = {
        inner: _with_frozen(part, names, f"{name}.{inner}" if name else inner)
        for inner, part in layer.layers.items()
    }
    same = all(parts[inner] is part for inner, part in layer.layers.items())
    return layer if same else layer.with_layers(parts)
