"""Initial weights: He, Xavier/Glorot and LeCun, each normal and uniform.

Every initializer has the signature `(rng, fan_in, fan_out) -> weight`, where `weight` is a float64
host array of shape (fan_in, fan_out). The families differ only in the variance they ask for; a
uniform distribution on (-a, a) has variance a**2 / 3, hence the factor of three under the root.

References
----------
- He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, https://arxiv.org/abs/1502.01852
- Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
  2010, https://proceedings.mlr.press/v9/glorot10a.html
- LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998,
  http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from xpnet.typing import Generator, HostArray, Shape

Initializer: TypeAlias = Callable[[Generator, int, int], HostArray]


def he_normal(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Normal with standard deviation sqrt(2 / fan_in): keeps the variance through ReLU layers."""
    return _normal(rng, fan_in, fan_out, variance=2 / fan_in)


def he_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(6 / fan_in): the same variance as `he_normal`."""
    return _uniform(rng, fan_in, fan_out, variance=2 / fan_in)


def xavier_normal(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)), after Glorot: for tanh."""
    return _normal(rng, fan_in, fan_out, variance=2 / (fan_in + fan_out))


def xavier_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)): the same variance as `xavier_normal`."""
    return _uniform(rng, fan_in, fan_out, variance=2 / (fan_in + fan_out))


def lecun_normal(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Normal with standard deviation sqrt(1 / fan_in): keeps the variance of a linear layer."""
    return _normal(rng, fan_in, fan_out, variance=1 / fan_in)


def lecun_uniform(rng: Generator, fan_in: int, fan_out: int) -> HostArray:
    """Uniform on ±sqrt(3 / fan_in): the same variance as `lecun_normal`."""
    return _uniform(rng, fan_in, fan_out, variance=1 / fan_in)


def zeros(shape: Shape) -> HostArray:
    """Float64 zeros: the initial biases."""
    return np.zeros(shape)


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
    )
}
"""The initializers by name, for the command line and for saved networks."""
