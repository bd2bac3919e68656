"""Adam, and Adam with decoupled weight decay."""

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from xpnet.checks import true_or_false
from xpnet.fields import checked_by, number
from xpnet.optimizers.base import Optimizer
from xpnet.typing import Array, Namespace, Params


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """A running mean of the gradients, divided by the root of a running mean of their squares.

    With the bias-corrected means m of the gradients and s of their squares:
    parameter -= learning_rate * m / (sqrt(s) + epsilon). The defaults are the paper's, which are
    torch's too.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    beta1, beta2
        The decay of the mean of gradients and of the mean of squares, from 0 to below 1.
    epsilon
        Keeps the quotient finite; positive, also in the dtype of the training.
    epsilon_hat
        Whether epsilon is added to the root of a mean that is not corrected yet, as in TensorFlow
        and scikit-learn: the form at the end of the paper's section 2, in which its number is
        called so. The first steps are then longer or shorter where gradients are not much larger
        than epsilon.
    options
        See `Optimizer`.

    Notes
    -----
    The paper keeps (1 - beta) times a sum in which the gradient of k steps ago has the weight
    beta**k, and corrects it by 1 - beta**t, which is (1 - beta) times the sum n of all those
    weights. Both factors 1 - beta cancel. So what is kept here is the sums S = beta S + gradient
    and n = beta n + 1, from 0, and the corrected mean is S / n. That needs fewer passes over the
    parameters, no power, and no difference of nearly equal numbers.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015,
    https://arxiv.org/abs/1412.6980
    """

    name = "adam"
    learning_rate: float = 0.001
    beta1: float = field(default=0.9, metadata=number(at_least=0, below=1))
    beta2: float = field(default=0.999, metadata=number(at_least=0, below=1))
    # Where all gradients were 0 the quotient would be 0 / 0.
    epsilon: float = field(default=1e-8, metadata=number(above=0))
    _: KW_ONLY
    epsilon_hat: bool = field(default=False, metadata=checked_by(true_or_false))

    def slots(self) -> dict[str, float]:
        return {"gradient_sum": 0.0, "square_sum": 0.0}

    def numbers(self) -> dict[str, float]:
        return {"gradient_weights": 0.0, "square_weights": 0.0}

    def advance(self, xp: Namespace, numbers: Params, rate: Array) -> dict[str, Any]:
        n1 = self.beta1 * numbers["gradient_weights"] + 1.0
        n2 = self.beta2 * numbers["square_weights"] + 1.0
        # (S1 / n1) / (sqrt(S2 / n2) + epsilon), multiplied by sqrt(n2) above and below.
        root = xp.sqrt(n2)
        return {
            "gradient_weights": n1,
            "square_weights": n2,
            "scale": rate * root / n1,
            "epsilon": self._epsilon_hat() if self.epsilon_hat else self.epsilon * root,
        }

    def _epsilon_hat(self) -> float:
        """What epsilon is to the root of a sum: a mean has the factor 1 - beta2 before it."""
        return self.epsilon / math.sqrt(1 - self.beta2)

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        total, squares = slots["gradient_sum"], slots["square_sum"]
        total *= self.beta1
        total += gradient
        squares *= self.beta2
        squares += gradient * gradient
        root = xp.sqrt(squares)
        root += slots["epsilon"]
        step = total / root
        step *= slots["scale"]
        parameter -= step
        return parameter, {"gradient_sum": total, "square_sum": squares}

    @classmethod
    def examples(cls) -> Iterator[Optimizer]:
        yield cls(0.1, clip_value=0.3)

    def torch(self) -> str | None:
        if self.epsilon_hat:
            return super().torch()
        options = f"betas=({self.beta1!r}, {self.beta2!r}), eps={self.epsilon!r}"
        return f"torch.optim.Adam(parameters, lr={self.learning_rate!r}, {options})"


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay, of 0.01 unless another is given, as in torch.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, epsilon_hat
        As in `Adam`.
    options
        See `Optimizer`. Unlike in torch, biases do not decay: `decayed="all"` is as in torch.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019,
    https://arxiv.org/abs/1711.05101
    """

    name = "adamw"
    _: KW_ONLY
    weight_decay: float = 0.01

    @classmethod
    def examples(cls) -> Iterator[Optimizer]:
        yield cls(0.1)
