"""What a network makes of one picture: the values of its hidden layers, and what units look at."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xpnet.network import Network
from xpnet.network.inside import Step, applied, stages_of, with_maps
from xpnet.typing import Array, HostArray, Namespace, Shape


@dataclass(frozen=True)
class Unit:
    """One unit of a layer, and what it looks at.

    Attributes
    ----------
    number
        Its place in the layer, from 0: of pictures (height, width, channels) row by row.
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
    shape
        Of what the layer gives for one picture: (units,), or (height, width, channels).
    strongest
        Some units, the strongest first.
    """

    names: tuple[str, ...]
    values: HostArray
    shape: Shape
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
    picture is; in a `Conv2D` its kernel, at the place of the unit. Above it they are the weights as
    far down as the picture, by way of the units below as this picture switches them: of ReLU the
    exact linear function that the network is nearby.

    Parameters
    ----------
    network
        A network for pictures, with layers of any kind, on any backend.
    sample
        One picture as `predict` takes it, without the axis of the batch.
    units
        How many units of a layer are looked at; the strongest are those of the largest magnitude,
        and of the output the highest. Of a convolution each is the strongest of its filter.
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
        *hidden, output = stages_of(applied(xp, model, "", network.arrays, x, None, 0))
        return (
            *(
                _insight(
                    network, with_maps(stage), sample.shape, units if i < layers else 0, np.abs
                )
                for i, stage in enumerate(hidden)
            ),
            _insight(network, output, sample.shape, units, np.asarray),
        )


def _insight(
    network: Network,
    stage: list[Step],
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
    names, gives = tuple(step.name for step in stage), tuple(last.output.shape[1:])
    if units == 0:
        return Insight(names, values, gives, ())
    order = _strongest(strength(np.nan_to_num(values)), gives)[:units]
    wanted = np.zeros((units, math.prod(source.output.shape[1:])))
    wanted[np.arange(len(order)), order] = 1
    dy = network.backend.asarray(wanted.reshape(source.output.shape), network.backend.dtype)
    pictures = to_numpy(_down_to_the_picture(network.backend.xp, source, dy))
    strongest = tuple(
        Unit(int(number), float(values[number]), picture.reshape(shape))
        for number, picture in zip(order, pictures, strict=False)
    )
    return Insight(names, values, gives, strongest)


def _strongest(strengths: HostArray, shape: Shape) -> HostArray:
    """The numbers of the units, the strongest first.

    Of pictures with channels, which a convolution gives, one unit of each channel: where the filter
    has found most. Its neighbours would be the same filter, a pixel further.
    """
    if len(shape) < 2:
        return np.argsort(-strengths, kind="stable")
    maps = strengths.reshape(-1, shape[-1])
    channels = np.arange(shape[-1])
    best = maps.argmax(axis=0) * shape[-1] + channels
    return best[np.argsort(-strengths[best], kind="stable")]


def _down_to_the_picture(xp: Namespace, step: Step | None, dy: Array) -> Array:
    while step is not None:
        dy = step.layer.input_gradient(xp, step.params, step.cache, dy)
        step = step.before
    return dy
