"""Lion."""

from dataclasses import dataclass, field

from xpnet.fields import number
from xpnet.optimizers.base import Optimizer
from xpnet.typing import Array, Namespace


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """The sign of a mean of the gradients: every element moves by the learning rate.

    With m from 0: parameter -= learning_rate * sign(beta1 m + (1 - beta1) gradient), then
    m = beta2 m + (1 - beta2) gradient. The defaults are the paper's. It advises a learning rate
    3 to 10 times smaller than Adam's, and a `weight_decay` larger by as much.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    beta1, beta2
        From 0 to below 1.
    options
        See `Optimizer`.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023,
    https://arxiv.org/abs/2302.06675
    """

    name = "lion"
    learning_rate: float = 0.0001
    beta1: float = field(default=0.9, metadata=number(at_least=0, below=1))
    beta2: float = field(default=0.99, metadata=number(at_least=0, below=1))

    def slots(self) -> dict[str, float]:
        return {"mean": 0.0}

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        direction = self.beta1 * slots["mean"]
        direction += (1 - self.beta1) * gradient
        slots["mean"] *= self.beta2
        slots["mean"] += (1 - self.beta2) * gradient
        parameter -= rate * xp.sign(direction)
        return parameter, slots
