"""RMSprop."""

import math
from dataclasses import dataclass, field

from xpnet.fields import number
from xpnet.optimizers.base import Optimizer
from xpnet.typing import Array, Namespace


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """Gradients divided by the root of a running mean of their squares.

    With the running mean s = d s + (1 - d) gradient², from 0:
    parameter -= learning_rate * gradient / (sqrt(s) + epsilon). The defaults are torch's.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    decay
        d, from 0 to below 1 (`alpha` in torch, `rho` in Keras).
    epsilon
        Keeps the quotient finite; positive, also in the dtype of the training.
    options
        See `Optimizer`.

    Notes
    -----
    The sum s / (1 - d) is what is kept, because that takes one pass less over a parameter.

    References
    ----------
    Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf
    """

    name = "rmsprop"
    learning_rate: float = 0.01
    decay: float = field(default=0.99, metadata=number(at_least=0, below=1))
    # Where all gradients were 0 the quotient would be 0 / 0.
    epsilon: float = field(default=1e-8, metadata=number(above=0))

    def slots(self) -> dict[str, float]:
        return {"square_sum": 0.0}

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        slots["square_sum"] *= self.decay
        slots["square_sum"] += gradient * gradient
        # sqrt(s) is sqrt(1 - d) times the root of the sum: the rate is divided by that instead.
        scale = math.sqrt(1 - self.decay)
        root = xp.sqrt(slots["square_sum"])
        root += self.epsilon / scale
        step = gradient / root
        step *= rate / scale
        parameter -= step
        return parameter, slots

    def torch(self) -> str:
        options = f"alpha={self.decay!r}, eps={self.epsilon!r}"
        return f"torch.optim.RMSprop(parameters, lr={self.learning_rate!r}, {options})"
