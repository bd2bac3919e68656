"""Gradients of single steps on several backends, at the same parameters.

Runs of some networks drift apart in float32 within some steps. Each step of them is the same all
the same, up to rounding: that is what is compared then.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from xpnet.backends import Backend
from xpnet.data import Dataset, Preparation
from xpnet.inputs.samples import move
from xpnet.layers import Context, Layer, MaxPool2D
from xpnet.layers.container import trained_layers, wanted_shape
from xpnet.losses import LossFunction
from xpnet.network.output import loaded_loss
from xpnet.network.state import load_array
from xpnet.random import Seed, derive
from xpnet.typing import HostArray

Arrays = Mapping[str, HostArray]


def takes_maxima(model: Layer) -> bool:
    """Whether a network takes the largest of some numbers, which a rounding makes another one."""
    return any(isinstance(layer, MaxPool2D) for layer in trained_layers(model))


def step_gradients(
    backend: Backend,
    model: Layer,
    data: Dataset,
    points: Sequence[Arrays],
    *,
    loss: LossFunction,
    batch_size: int,
    seed: Seed,
) -> list[dict[str, HostArray]]:
    """The gradients of a step at each of some parameters, on the host.

    Parameters
    ----------
    backend, model, loss, seed
        As in `fit`.
    data
        The training set, of whose batches each point has one, in their order.
    points
        Parameters and buffers by name, as they were before a step.
    batch_size
        How many samples a batch has.
    """
    xp, images, labels = backend.xp, data.train.images, data.train.labels
    prepare = Preparation(data.pixel_maximum, backend.dtype_name, wanted_shape(model))
    found = []
    with backend.scope():
        loss = loaded_loss(backend, model, loss)
        for number, point in enumerate(points):
            first = number * batch_size % max(1, len(images) - batch_size + 1)
            part = slice(first, first + batch_size)
            arrays = {name: load_array(backend, value) for name, value in point.items()}
            step = backend.asarray(number, dtype=xp.int32)
            ctx = Context(training=True, seed=derive(seed, "dropout"), step=step)
            x = prepare(xp, move(backend, images[part]))
            output, cache = model.forward(xp, arrays, x, ctx)
            _, d_output = loss(xp, output, backend.asarray(labels[part], dtype=backend.index_dtype))
            _, grads = model.backward(xp, arrays, cache, d_output, need_dx=False)
            found.append({name: backend.to_numpy(value) for name, value in grads.items()})
    return found


def largest_difference(found: Sequence[Arrays], expected: Sequence[Arrays]) -> float:
    """The largest distance of two gradients, all parameters together, relative to the length of the
    expected one; infinite where one is not a number."""
    largest = 0.0
    for grads, others in zip(found, expected, strict=True):
        distance = math.sqrt(sum(_square(grads[name] - others[name]) for name in others))
        length = math.sqrt(sum(map(_square, others.values())))
        relative = distance / max(length, float(np.finfo(np.float64).tiny))
        largest = max(largest, relative if math.isfinite(relative) else math.inf)
    return largest


def _square(array: HostArray) -> float:
    return float(np.sum(np.square(array.astype(np.float64))))
