"""What a network makes of one picture: the values of its hidden layers, and what units look at."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

import numpy as np

from xpnet.layers import EVALUATION, Layer, Residual, Sequential
from xpnet.network import Network
from xpnet.typing import Array, Cache, HostArray, Namespace, Shape

_C = TypeVar("_C", Sequential, Residual)


@dataclass(frozen=True)
class Unit:
    """One unit of a layer, and what it looks at.

    Attributes
    ----------
    number
        Its place in the layer, from 0.
    value
        What it comes to for the picture.
    weights
        What each pixel counts for in it, of the shape of a picture.
    """

    number: int
    value: float
    weights: HostArray


@dataclass(frozen=True)
class Insight:
    """A layer, and what it comes to for one picture.

    Attributes
    ----------
    names
        The layers that it is made of by name, such as `fc1` and `act1`.
    values
        The activations of all units, shape (units,).
    strongest
        Some units, the strongest first.
    """

    names: tuple[str, ...]
    values: HostArray
    strongest: tuple[Unit, ...]


def look_inside(
    network: Network, sample: HostArray, *, units: int = 8, layers: int = 16
) -> tuple[Insight, ...]:
    """The hidden layers of a network and its output, from below, for one picture.

    A hidden layer is one that has weights, with all that follows it until the next: `Dense`, batch
    norm, activation, dropout. A `Residual` is one after those of its block. The last of all is the
    output.

    What a pixel counts for in a unit is the derivative of the unit by the pixel, before an
    activation is applied to the unit. In the first `Dense` these are its weights, whatever the
    picture is. Above it they are the weights as far down as the picture, by way of the units below
    as this picture switches them: of ReLU the exact linear function that the network is nearby.

    Parameters
    ----------
    network
        A network for pictures, with layers of any kind, on any backend.
    sample
        One picture as `predict` takes it, without the axis of the batch.
    units
        How many units of a layer are looked at; the strongest are those of the largest magnitude,
        and of the output the highest.
    layers
        In how many hidden layers units are looked at, from below; of others there are the values.
        Each costs a backward pass as far down as the picture.

    Returns
    -------
    layers
        At least one: the output.
    """
    backend, model = network.backend, network.model
    with backend.scope():
        xp = backend.xp
        # All rows are the same picture, so that the derivatives of as many units are one pass.
        batch = backend.asarray(np.repeat(np.asarray(sample)[None, ...], units, axis=0))
        x = network.preparation(xp, batch)
        *hidden, output = _stages(_applied(xp, model, "", network.arrays, x, None, 0))
        return (
            *(
                _insight(network, stage, sample.shape, units if i < layers else 0, np.abs)
                for i, stage in enumerate(hidden)
            ),
            _insight(network, output, sample.shape, units, np.asarray),
        )


@dataclass(frozen=True)
class _Step:
    """A layer as it was applied, and the step that its input came from; None for the picture."""

    name: str
    layer: Layer
    params: Mapping[str, Array]
    cache: Cache
    output: Array
    before: "_Step | None"
    depth: int
    """Inside of how many residual blocks it is."""

    @property
    def has_weights(self) -> bool:
        """Whether its units are new ones: a norm scales units, and has a number for each."""
        shapes = self.layer.parameter_shapes().values()
        return isinstance(self.layer, Residual) or any(len(shape) > 1 for shape in shapes)


def _applied(
    xp: Namespace,
    layer: Layer,
    name: str,
    params: Mapping[str, Array],
    x: Array,
    before: _Step | None,
    depth: int,
) -> list[_Step]:
    """Each layer in the order of the forward pass; the last step is what `layer` gives."""
    steps: list[_Step] = []
    if _is(layer, Sequential):
        own = _by_layer(params)
        for inner, part in layer.layers.items():
            arrays = own.get(inner, {})
            steps += _applied(xp, part, _joined(name, inner), arrays, x, before, depth)
            x, before = steps[-1].output, steps[-1]
        return steps
    if _is(layer, Residual):
        arrays = _by_layer(params).get("block", {})
        steps += _applied(xp, layer["block"], _joined(name, "block"), arrays, x, before, depth + 1)
    output, cache = layer.forward(xp, params, x, EVALUATION)
    return [*steps, _Step(name, layer, params, cache, output, before, depth)]


def _is(layer: Layer, kind: type[_C]) -> TypeGuard[_C]:
    """Whether a layer applies its parts as this kind does, which a subclass need not."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward


def _by_layer(params: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The arrays of a container by its layers, with the names that they have there."""
    parts: dict[str, dict[str, Array]] = {}
    for name, value in params.items():
        inner, _, own = name.partition(".")
        parts.setdefault(inner, {})[own] = value
    return parts


def _joined(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name else inner


def _stages(steps: list[_Step]) -> list[list[_Step]]:
    """The steps in groups: one that has weights, and what is applied to its output.

    What comes before the first is left out, since it is the picture still; so is what a residual
    block begins with, since that is the layer below it still. The last group has the output.
    """
    stages: list[list[_Step]] = []
    for step in steps:
        if step.has_weights or (step is steps[-1] and not stages):
            stages.append([step])
        elif stages and stages[-1][-1] is step.before and stages[-1][-1].depth == step.depth:
            stages[-1].append(step)
    return stages


def _insight(
    network: Network,
    stage: list[_Step],
    shape: Shape,
    units: int,
    strength: Callable[[HostArray], HostArray],
) -> Insight:
    """What a layer comes to, and what so many of its units look at."""
    to_numpy = network.backend.to_numpy
    first, last = stage[0], stage[-1]
    # An activation that is saturated has no derivative; what the unit looks at is before it.
    source = first if first.output.shape == last.output.shape else last
    values = to_numpy(last.output)[0].ravel()
    names = tuple(step.name for step in stage)
    if units == 0:
        return Insight(names, values, ())
    order = np.argsort(-strength(np.nan_to_num(values)), kind="stable")[:units]
    wanted = np.zeros((units, math.prod(source.output.shape[1:])))
    wanted[np.arange(len(order)), order] = 1
    dy = network.backend.asarray(wanted.reshape(source.output.shape), network.backend.dtype)
    pictures = to_numpy(_down_to_the_picture(network.backend.xp, source, dy))
    strongest = tuple(
        Unit(int(number), float(values[number]), picture.reshape(shape))
        for number, picture in zip(order, pictures, strict=False)
    )
    return Insight(names, values, strongest)


def _down_to_the_picture(xp: Namespace, step: _Step | None, dy: Array) -> Array:
    while step is not None:
        dy = step.layer.input_gradient(xp, step.params, step.cache, dy)
        step = step.before
    return dy
