"""Dropout."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet.checks import finite_number
from xpnet.fields import checked_by
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.random import dropped_fraction
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


def _rate(name: str, value: Any) -> float:
    rate = finite_number(name, value, at_least=0, below=1)
    problem = rate_problem(rate)
    if problem:
        raise ValueError(f"{name} {problem}")
    return rate


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
        2**-16, and the scale with it. One that is not 0 must not be rounded to 0 or 1.

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

    rate: float = field(default=0.5, metadata=checked_by(_rate))

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

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(0.5), (6, 5)
        yield cls(0.2), (3, 2, 4)
        yield cls(0), (2, 3)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return x  # it is nothing in evaluation

    def torch(self, place: TorchPlace) -> str:
        return f"nn.Dropout({self.rate!r})"


def rate_problem(rate: float) -> str:
    """What is wrong with a rate from 0 to below 1, to be read after its name; mostly nothing."""
    dropped = dropped_fraction(rate)
    if rate and dropped in (0, 1):
        what = "everything" if dropped else "nothing"
        return (
            f"is drawn as a multiple of 2**-16, of which {rate!r} is nearest to {dropped:g}, which "
            f"drops {what}: it must be 0, or from 2**-16 to 1 - 2**-16"
        )
    return ""
