"""From pixels to what a network takes: normalisation, flattening, a channel; one-hot labels.

One-hot labels are made by `xpnet.losses.one_hot`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xpnet.typing import Array, DType, Namespace, Shape


def normalize(xp: Namespace, images: Array, maximum: float, dtype: DType) -> Array:
    """Pixels as floating point in [0, 1]: images times 1 / maximum.

    Parameters
    ----------
    xp
        The array namespace of `images`.
    images
        Integer pixels from 0 to `maximum`, any shape.
    maximum
        The value of a white pixel: 255 for MNIST.
    dtype
        The floating-point dtype of the result.
    """
    # Converted first: uint8 / 255.0 has a different dtype in each library, or is refused.
    x = xp.astype(images, dtype)
    x *= 1 / maximum
    return x


def flatten(xp: Namespace, images: Array) -> Array:
    """All axes but the first made one, row by row: (N, 28, 28) becomes (N, 784)."""
    return xp.reshape(images, (images.shape[0], math.prod(images.shape[1:])))


def taken_shape(wanted: Shape | None, sample: Shape) -> Shape:
    """The shape in which a network takes a sample, which is the sample's own but for two cases.

    Where the network takes rows, the sample is flattened. Where it takes one axis more, of one
    channel, as convolutions of grey pictures do, the sample is given that axis.

    Parameters
    ----------
    wanted
        What the network takes (`Layer.input_shape`): None for any; an axis of any length is None.
    sample
        The shape of one sample.

    Examples
    --------
    >>> taken_shape((784,), (28, 28)), taken_shape((None, None, 1), (28, 28))
    ((784,), (28, 28, 1))
    """
    if wanted is not None and len(wanted) == 1:
        return (math.prod(sample),)
    if wanted is not None and len(wanted) == len(sample) + 1 and wanted[-1] == 1:
        return (*sample, 1)
    return sample


@dataclass(frozen=True)
class Preparation:
    """How samples become what a network takes: called with a namespace and a batch.

    Integers and Booleans are normalised (`normalize`); floating-point values are taken as they are,
    in `dtype`. Samples are flattened where the network takes rows, and grey pictures (H, W) get
    their channel where it takes (H, W, 1): see `taken_shape`.

    >>> import numpy as np
    >>> Preparation(255, "float32", (4,))(np, np.full((1, 2, 2), 255, dtype="uint8"))
    array([[1., 1., 1., 1.]], dtype=float32)

    Attributes
    ----------
    maximum
        What integers and Booleans are divided by.
    dtype
        The name of the floating-point dtype of the result, the same in every library.
    shape
        The shape of one sample that the network takes, in which None is an axis of any length; None
        for any shape.
    """

    maximum: float
    dtype: str
    shape: Shape | None

    def __call__(self, xp: Namespace, x: Array) -> Array:
        """A batch of shape (B, ...), an array of `xp`, as the network takes it."""
        dtype = getattr(xp, self.dtype)
        if _is_exact(xp.isdtype, x.dtype):
            x = normalize(xp, x, self.maximum, dtype)
        else:
            x = xp.astype(x, dtype, copy=False)
        if self.shape is not None and x.ndim != len(self.shape) + 1:
            sample = tuple(x.shape[1:])
            taken = taken_shape(self.shape, sample)
            if taken != sample:
                x = xp.reshape(x, (x.shape[0], *taken))
        return x


@lru_cache(maxsize=64)
def _is_exact(isdtype: Callable[[DType, Any], bool], dtype: DType) -> bool:
    # Remembered, because some libraries take a microsecond for it, in every step.
    return isdtype(dtype, ("bool", "integral"))
