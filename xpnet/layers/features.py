"""What layers share whose features lie along the last axis, with any axes in front of it."""

import math
from dataclasses import dataclass, field

from xpnet.checks import positive_integer
from xpnet.fields import checked_by
from xpnet.initializers import ones, zeros
from xpnet.layers.base import Layer
from xpnet.random import Seed
from xpnet.typing import Array, HostArray, Namespace, Shape


@dataclass(frozen=True)
class FeatureLayer(Layer):
    """A layer that scales and shifts each feature by `scale` and `bias`, along the last axis.

    Parameters
    ----------
    n_features
        The length of the last axis, positive.
    """

    n_features: int = field(metadata=checked_by(positive_integer))

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"scale": (self.n_features,), "bias": (self.n_features,)}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        return {"scale": ones((self.n_features,)), "bias": zeros((self.n_features,))}

    def input_shape(self) -> Shape:
        return (self.n_features,)

    def takes_more_axes(self) -> bool:
        return True

    def output_shape(self, shape: Shape | None) -> Shape | None:
        n, kind = self.n_features, type(self).__name__
        if shape is not None and (not shape or shape[-1] != n):
            raise ValueError(
                f"{kind}({n}) takes samples of shape ({n},), or of more axes of which the last has "
                f"{n}, but is given shape {shape}"
            )
        return shape


def rows_of_features(xp: Namespace, x: Array) -> Array:
    """All axes but the last made one: pictures (B, H, W, C) become rows (B H W, C).

    What is rows already is given back as it is.
    """
    return x if x.ndim == 2 else xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def shaped_like(xp: Namespace, rows: Array, x: Array) -> Array:
    """Rows in the shape of the array that `rows_of_features` made rows of."""
    return rows if x.ndim == 2 else xp.reshape(rows, x.shape)
