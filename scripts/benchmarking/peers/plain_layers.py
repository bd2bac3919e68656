"""A forward pass written straightforwardly with NumPy: what xpnet's answers are compared with."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
from xpnet.typing import HostArray

PIECE = 100
"""How many pictures go through at once: the columns of more would not fit into memory."""

Arrays = Mapping[str, HostArray]


def forward(model: Sequential, arrays: Arrays, x: HostArray) -> HostArray:
    """The output of a network in evaluation, of rows (B, D) or grey pictures (B, H, W)."""
    if x.ndim == 2:
        return _forward(model, arrays, x)
    pieces = [x[i : i + PIECE, ..., None] for i in range(0, len(x), PIECE)]
    return np.concatenate([_forward(model, arrays, piece) for piece in pieces])


def _forward(model: Sequential, arrays: Arrays, x: HostArray) -> HostArray:
    for name, layer in model.layers.items():
        own = {
            key: arrays[f"{name}.{key}"] for key in (*layer.parameter_shapes(), *layer.buffers())
        }
        x = _LAYERS[type(layer)](layer, own, x)
    return x


def _dense(layer: Dense, own: Arrays, x: HostArray) -> HostArray:
    x = x @ own["weight"]
    x += own["bias"]
    return x


def _relu(layer: ReLU, own: Arrays, x: HostArray) -> HostArray:
    return np.maximum(x, 0, out=x)


def _convolution(layer: Conv2D, own: Arrays, x: HostArray) -> HostArray:
    height, width, _, n_out = own["weight"].shape
    if layer.padding == "same":
        x = np.pad(x, ((0, 0), (height // 2,) * 2, (width // 2,) * 2, (0, 0)))
    windows = sliding_window_view(x, (height, width), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    columns = windows.reshape(*windows.shape[:3], -1)
    y: HostArray = columns @ own["weight"].reshape(-1, n_out)
    if layer.bias:
        y += own["bias"]
    return y


def _max_pool(layer: MaxPool2D, own: Arrays, x: HostArray) -> HostArray:
    samples, height, width, channels = x.shape
    down, right = layer.windows.kernel
    x = x[:, : height // down * down, : width // right * right]
    windows = x.reshape(samples, height // down, down, width // right, right, channels)
    found: HostArray = windows.max(axis=(2, 4))
    return found


def _batch_norm(layer: BatchNorm, own: Arrays, x: HostArray) -> HostArray:
    scale = own["scale"] / np.sqrt(own["variance"] + layer.epsilon)
    x *= scale
    x += own["bias"] - own["mean"] * scale
    return x


def _flatten(layer: Flatten, own: Arrays, x: HostArray) -> HostArray:
    return x.reshape(len(x), -1)


_LAYERS: dict[type, Callable[[Any, Arrays, HostArray], HostArray]] = {
    Dense: _dense,
    ReLU: _relu,
    Conv2D: _convolution,
    MaxPool2D: _max_pool,
    BatchNorm: _batch_norm,
    Flatten: _flatten,
}
