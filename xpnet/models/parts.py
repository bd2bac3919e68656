"""What convolutional networks have in common: the pictures that come in, activation, pooling."""

from typing import NamedTuple

from xpnet.checks import is_one_of
from xpnet.errors import shown
from xpnet.layers import AveragePool2D, Dropout, Layer, MaxPool2D, Permute, ReLU
from xpnet.layers.container import not_a_layer
from xpnet.typing import Shape

POOLINGS: dict[str, type[MaxPool2D] | type[AveragePool2D]] = {
    "max": MaxPool2D,
    "average": AveragePool2D,
}
"""How a network makes pictures smaller, by the name that the command line gives it."""

_COLOURS = (1, 3)


class Pictures(NamedTuple):
    """What comes into a convolutional network.

    Attributes
    ----------
    height, width, channels
        Of one picture.
    first
        The layers that come first: what brings the channels to the end, where they come first.
    """

    height: int
    width: int
    channels: int
    first: dict[str, Layer]

    @classmethod
    def of(cls, name: str, shape: Shape, smallest: int, why: str) -> "Pictures":
        """Those of samples of a shape.

        Parameters
        ----------
        name
            The network, for a message.
        shape
            That of one sample: (height, width) in grey, (height, width, channels), or with one or
            three channels (channels, height, width).
        smallest
            The smallest height and width that the network can take.
        why
            What makes it so, for a message.

        Raises
        ------
        ValueError
            If samples of the shape are no pictures, or too small.
        """
        shape = tuple(shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(
                f"{name} takes pictures, samples of shape (height, width) or (height, width, "
                f"channels), and these have shape {shape}: take an mlp, or reshape them"
            )
        first: dict[str, Layer] = {}
        height, width, channels = shape if len(shape) == 3 else (*shape, 1)
        if len(shape) == 3 and shape[0] in _COLOURS and shape[2] not in _COLOURS:
            channels, height, width = shape
            first = {"channels": Permute((2, 3, 1))}
        if min(height, width) < smallest:
            raise ValueError(
                f"{name} takes pictures of {smallest} x {smallest} pixels or more, and these have "
                f"{height} x {width}: {why}; take another model, or larger pictures"
            )
        return cls(height, width, channels, first)


def check_activation(name: str, activation: Layer | None) -> Layer:
    """The layer between others; `ReLU()` if None.

    Raises
    ------
    TypeError
        If it is not a layer, as where a class is given.
    """
    if activation is not None and not isinstance(activation, Layer):
        raise TypeError(f"{name}: activation={not_a_layer(activation)}")
    return ReLU() if activation is None else activation


def pooling_layer(name: str, pooling: str) -> Layer:
    """The layer that halves the height and the width of pictures.

    Raises
    ------
    ValueError
        If there is no such kind of pooling.
    """
    if not is_one_of(POOLINGS, pooling):
        raise ValueError(
            f"{name}: pooling must be one of {', '.join(POOLINGS)}; got {shown(pooling)}"
        )
    return POOLINGS[pooling](2)


def dropped(name: str, dropout: float) -> dict[str, Layer]:
    """A layer of dropout of this name; none if the rate is 0."""
    return {name: Dropout(dropout)} if dropout else {}
