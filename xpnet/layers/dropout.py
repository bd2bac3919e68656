"""Dropout."""

import math
from dataclasses import dataclass

from xpnet.checks import as_float
from xpnet.errors import shown
from xpnet.layers.base import Context, Layer
from xpnet.random import dropped_fraction
from xpnet.typing import Array, Cache, Grads, Namespace, Params


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout: in training each element is zero with probability `rate`, else scaled up.

    What is kept is divided by the probability of keeping, so that the expected output is the
    input, and evaluation and prediction leave their input as it is. The gradient passes where the
    input did, with the same scale.

    Parameters
    ----------
    rate
        The probability of dropping, from 0 (the identity) to below 1; rounded to a multiple of
        2**-16, and the scale with it.

    Notes
    -----
    The mask is a function of the run's seed, the layer's name, the step, the row and the column
    (`xpnet.random.keep_mask`): the same bits on every array library, and for a part of a batch
    that part of the batch's mask.

    Raises
    ------
    ValueError
        If the rate is not in that range; in training, if the context has no seed.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent
    neural networks from overfitting", 2014, https://jmlr.org/papers/v15/srivastava14a.html
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= as_float(self.rate) < math.inf or not dropped_fraction(self.rate) < 1:
            raise ValueError(f"Dropout: rate must be from 0 to below 1, got {shown(self.rate)}")

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        if not ctx.training or self.rate == 0:
            return x, ()
        scale = xp.astype(ctx.keep_mask(xp, x, self.rate), x.dtype)
        scale /= 1 - dropped_fraction(self.rate)
        return x * scale, (scale,)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if not need_dx:
            return None, {}
        return (dy * cache[0] if cache else dy), {}
