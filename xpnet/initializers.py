"""Initial weights: He, Xavier/Glorot and LeCun, each normal and uniform, and orthogonal ones.

Every initializer has the signature `(rng, fan_in, fan_out) -> weight`, where `weight` is a float64
host array of shape (fan_in, fan_out). Those that take a number are frozen dataclasses, such as
`Normal(0.01)`; a function of your own is an initializer as well. The weight of a convolution is
drawn as such a matrix too, but a number there goes into more outputs than the matrix has columns:
an initializer that depends on how many takes them as `outgoing`. The families differ only in the
variance they ask for; a uniform distribution on (-a, a) has variance a**2 / 3, hence the factor of
three under the root.

References
----------
- He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, https://arxiv.org/abs/1502.01852
- Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
  2010, https://proceedings.mlr.press/v9/glorot10a.html
- LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998,
  http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf
- Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
  linear neural networks", 2013, https://arxiv.org/abs/1312.6120
- Mezzadri, "How to generate random matrices from the classical compact groups", 2007,
  https://arxiv.org/abs/math-ph/0609050
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from xpnet.checks import takes_argument
from xpnet.descriptions import build_from_fields, describe_fields
from xpnet.fields import Checked, number
from xpnet.typing import Generator, HostArray, Shape

Initializer: TypeAlias = Callable[[Generator, int, int], HostArray]


def he_normal(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Normal with standard deviation sqrt(2 / fan_in): keeps the variance through ReLU layers."""
    return _normal(rng, fan_in, fan_out, variance=2 / fan_in)


def he_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(6 / fan_in): the same variance as `he_normal`."""
    return _uniform(rng, fan_in, fan_out, variance=2 / fan_in)


def xavier_normal(
    rng: Generator, fan_in: int, fan_out: int, *, outgoing: int | None = None
) -> HostArray:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)), after Glorot: for tanh.

    `outgoing`, if it is given, is the fan_out of the formula.
    """
    return _normal(rng, fan_in, fan_out, variance=2 / (fan_in + (outgoing or fan_out)))


def xavier_uniform(
    rng: Generator, fan_in: int, fan_out: int, *, outgoing: int | None = None
) -> HostArray:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)): the same variance as `xavier_normal`.

    `outgoing`, if it is given, is the fan_out of the formula.
    """
    return _uniform(rng, fan_in, fan_out, variance=2 / (fan_in + (outgoing or fan_out)))


def lecun_normal(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Normal with standard deviation sqrt(1 / fan_in): keeps the variance of a linear layer."""
    return _normal(rng, fan_in, fan_out, variance=1 / fan_in)


def lecun_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(3 / fan_in): the same variance as `lecun_normal`."""
    return _uniform(rng, fan_in, fan_out, variance=1 / fan_in)


def orthogonal(rng: Generator, fan_in: int, fan_out: int, *, gain: float = 1.0) -> HostArray:
    """Orthonormal rows or columns, whichever are fewer, times `gain`: after Saxe and others.

    For more inputs than outputs Wᵀ W = gain² 1, else W Wᵀ = gain² 1. The signal through a linear
    network keeps its norm exactly, not on average. Uniformly distributed (Haar) among all such
    matrices: W is Q of the decomposition QR of normal numbers, with the signs of its columns
    such that the diagonal of R is positive; without, it would not be uniform (Mezzadri).
    """
    normal = rng.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(normal)
    q *= np.where(np.diag(r) < 0, -gain, gain)
    return np.ascontiguousarray(q if fan_in >= fan_out else q.T)


@dataclass(frozen=True)
class Orthogonal(Checked):
    """`orthogonal` with another gain, positive: sqrt(2) is usual before ReLU."""

    gain: float = field(default=1.0, metadata=number(above=0))

    def __call__(self, rng: Generator, fan_in: int, fan_out: int) -> HostArray:
        return orthogonal(rng, fan_in, fan_out, gain=self.gain)


@dataclass(frozen=True)
class Normal(Checked):
    """Normal with mean 0 and a standard deviation of one's own, positive."""

    standard_deviation: float = field(metadata=number(above=0))

    def __call__(self, rng: Generator, fan_in: int, fan_out: int) -> HostArray:
        return _normal(rng, fan_in, fan_out, variance=self.standard_deviation**2)


@dataclass(frozen=True)
class Uniform(Checked):
    """Uniform on ±limit, positive."""

    limit: float = field(metadata=number(above=0))

    def __call__(self, rng: Generator, fan_in: int, fan_out: int) -> HostArray:
        return _uniform(rng, fan_in, fan_out, variance=self.limit**2 / 3)


def zeros(shape: Shape) -> HostArray:
    """Float64 zeros: the initial biases."""
    return np.zeros(shape)


def ones(shape: Shape) -> HostArray:
    """Float64 ones: the initial scales after a normalisation."""
    return np.ones(shape)


def constant(value: float, shape: Shape) -> HostArray:
    """Float64 numbers that are all the same: to be read only, and taking no memory of any shape."""
    return np.broadcast_to(np.float64(value), shape)


def draw_kernels(
    initializer: Initializer, rng: Generator, shape: Shape, groups: int = 1
) -> HostArray:
    """The weight of a convolution: for each group a matrix from its columns to its outputs.

    So many numbers come into an output as a kernel has pixels, times the channels of a group:
    `fan_in`, the rows of the matrix. But a number goes into the pixels of a kernel times the
    outputs of a group, which is more than the columns of the matrix: an initializer that takes
    `outgoing` is told. Orthogonal matrices have orthonormal rows or columns, whichever are fewer,
    as in a dense layer.

    Parameters
    ----------
    initializer
        One of these, or one of your own, which is asked for a matrix (fan_in, outputs of a group).
    rng
        Where its numbers come from.
    shape
        The kernel, the channels of a group, and all outputs.
    groups
        How many groups there are.
    """
    *kernel, channels, n_out = shape
    pixels, outputs = math.prod(kernel), n_out // groups
    draw: Callable[..., HostArray] = initializer
    if takes_argument(initializer, "outgoing", unsaid=False):
        draw = partial(draw, outgoing=pixels * outputs)
    parts = [np.asarray(draw(rng, pixels * channels, outputs)) for _ in range(groups)]
    return np.concatenate(parts, axis=1).reshape(shape)


def _normal(rng: Generator, fan_in: int, fan_out: int, *, variance: float) -> HostArray:
    return math.sqrt(variance) * rng.standard_normal((fan_in, fan_out))


def _uniform(rng: Generator, fan_in: int, fan_out: int, *, variance: float) -> HostArray:
    limit = math.sqrt(3 * variance)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


INITIALIZERS: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        he_normal,
        he_uniform,
        xavier_normal,
        xavier_uniform,
        lecun_normal,
        lecun_uniform,
        orthogonal,
    )
}
"""The initializers that need no number, by name, for the command line and for saved networks."""

FAMILIES: dict[str, type[Any]] = {
    family.__name__: family for family in (Orthogonal, Normal, Uniform)
}
"""The initializers that take a number, by name, for saved networks."""


def describe_initializer(initializer: Initializer) -> str | dict[str, Any]:
    """An initializer as JSON values, from which `build_initializer` makes an equal one."""
    kind = type(initializer)
    if FAMILIES.get(kind.__name__) is kind:
        return {"initializer": kind.__name__, **describe_fields(initializer)}
    return getattr(initializer, "__name__", "custom")


def build_initializer(description: str | dict[str, Any]) -> Initializer:
    """The inverse of `describe_initializer`; `he_normal` for one that is not xpnet's.

    One of the user's own is not needed any more once there are weights.

    Raises
    ------
    ValueError
        If its number is not allowed.
    """
    if isinstance(description, str):
        return INITIALIZERS.get(description, he_normal)
    family, number = description["initializer"], dict(description)
    del number["initializer"]
    return build_from_fields(FAMILIES[family], number) if family in FAMILIES else he_normal
