"""The networks for pictures, by name: layers of xpnet, after which each peer builds its own."""

from collections.abc import Callable

from xpnet.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU, Sequential
from xpnet.models import lenet5, small_cnn
from xpnet.typing import Shape

_FILTERS = (32, 32, 64, 64)


def plain_cnn(shape: Shape, n_outputs: int) -> Sequential:
    """`small_cnn` without batch norm: its four convolutions with biases, the latter two pooled.

    Two of 32 filters, two of 64, each of 3 x 3 on pictures that keep their size, with ReLU; maxima
    of 2 x 2 after each two; and one dense layer.
    """
    layers: dict[str, Layer] = {}
    n_in = 1
    for i, n_filters in enumerate(_FILTERS, start=1):
        layers |= {f"conv{i}": Conv2D(n_in, n_filters, 3), f"act{i}": ReLU()}
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = MaxPool2D(2)
        n_in = n_filters
    height, width = (side // 4 for side in shape)
    maps = (height, width, n_in)
    return Sequential(**layers, flatten=Flatten(maps), fc=Dense(height * width * n_in, n_outputs))


NETWORKS: dict[str, Callable[[Shape, int], Sequential]] = {
    "lenet5": lenet5,
    "small_cnn": small_cnn,
    "plain_cnn": plain_cnn,
}
"""Each makes one for grey pictures of shape (height, width), and a number of classes."""


def matrix_products(model: Sequential, shape: Shape) -> list[tuple[int, int, int]]:
    """The products of a forward pass over one sample of a shape, as (rows, n_in, n_out).

    A dense layer has one row. A convolution has a row for each of its windows, in which are all
    numbers of the window, its columns.
    """
    if len(shape) == 2:
        shape = (*shape, 1)
    found = []
    for layer in model.layers.values():
        after = layer.output_shape(shape)
        assert after is not None
        if isinstance(layer, Conv2D):
            height, width, n_out = after
            *kernel, n_in, _ = layer.parameter_shapes()["weight"]
            found.append((height * width, kernel[0] * kernel[1] * n_in, n_out))
        elif isinstance(layer, Dense):
            n_in, n_out = layer.parameter_shapes()["weight"]
            found.append((1, n_in, n_out))
        shape = after
    return found
