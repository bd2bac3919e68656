"""Stochastic gradient descent: plain, with momentum, with Nesterov's momentum."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field

from xpnet.checks import true_or_false
from xpnet.fields import checked_by, number
from xpnet.operations import Unmade, subtract_product
from xpnet.optimizers.base import Optimizer
from xpnet.typing import Array, Namespace


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: parameter -= learning_rate * gradient.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    options
        See `Optimizer`.
    """

    name = "sgd"
    learning_rate: float = 0.1

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        if isinstance(gradient, Unmade):
            return self._subtract_while_made(xp, parameter, gradient, rate), slots
        parameter -= rate * gradient
        return parameter, slots

    def _subtract_while_made(
        self, xp: Namespace, parameter: Array, gradient: Unmade, rate: Array
    ) -> Array:
        """The same of a gradient that nobody has made: it is not written to memory."""
        step = gradient.dy * rate
        if gradient.xt is not None:
            return subtract_product(xp, parameter, gradient.xt, step)
        parameter -= xp.sum(step, axis=0)
        return parameter

    @property
    def takes_unmade(self) -> bool:
        kind = type(self)
        own = kind.update is not Optimizer.update or kind.update_one is not SGD.update_one
        asked = self.weight_decay or self.l2 or self.clip_norm or self.clip_value
        return not (own or asked)

    @classmethod
    def examples(cls) -> Iterator[Optimizer]:
        yield cls(0.1)
        yield cls(0.1, weight_decay=0.1, l2=0.2, clip_norm=0.5, ema=0.9)

    def torch(self) -> str:
        return f"torch.optim.SGD(parameters, lr={self.learning_rate!r})"


@dataclass(frozen=True, repr=False)
class Momentum(Optimizer):
    """Gradient descent with momentum m: v = m v + gradient; parameter -= learning_rate * v.

    The learning rate is not part of the velocity, as in torch, unless `rate_inside` is given. That
    makes a difference in the steps after the learning rate has changed, and in no others.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    momentum
        How much of the velocity is left after a step, from 0 to 1.
    rate_inside
        Whether the learning rate is part of the velocity, as in Keras and scikit-learn:
        v = m v + learning_rate * gradient; parameter -= v.
    options
        See `Optimizer`.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5
    """

    name = "momentum"
    learning_rate: float = 0.1
    momentum: float = field(default=0.9, metadata=number(at_least=0, at_most=1))
    _: KW_ONLY
    rate_inside: bool = field(default=False, metadata=checked_by(true_or_false))

    def slots(self) -> dict[str, float]:
        return {"velocity": 0.0}

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        slots["velocity"] *= self.momentum
        if self.rate_inside:
            slots["velocity"] += rate * gradient
            parameter -= slots["velocity"]
            return parameter, slots
        slots["velocity"] += gradient
        parameter -= rate * slots["velocity"]
        return parameter, slots

    def torch(self) -> str | None:
        if self.rate_inside:
            return super().torch()
        return f"torch.optim.SGD(parameters, lr={self.learning_rate!r}, momentum={self.momentum!r})"


@dataclass(frozen=True, repr=False)
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum, a look ahead along the velocity.

    v = m v + gradient; parameter -= learning_rate * (m v + gradient). The form of torch and Keras,
    in which the parameters are those at which the gradient is taken next, and not those before the
    look ahead.

    Parameters
    ----------
    learning_rate, momentum, rate_inside, options
        As in `Momentum`; with `rate_inside`, v = m v + learning_rate * gradient;
        parameter -= m v + learning_rate * gradient.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
    learning", ICML 2013, https://proceedings.mlr.press/v28/sutskever13.html
    """

    name = "nesterov"

    def update_one(
        self,
        xp: Namespace,
        parameter: Array,
        gradient: Array,
        slots: dict[str, Array],
        rate: Array,
    ) -> tuple[Array, dict[str, Array]]:
        if self.rate_inside:
            gradient = rate * gradient
        slots["velocity"] *= self.momentum
        slots["velocity"] += gradient
        step = self.momentum * slots["velocity"]
        step += gradient
        if not self.rate_inside:
            step *= rate
        parameter -= step
        return parameter, slots

    def torch(self) -> str | None:
        plain = super().torch()
        return plain and plain.removesuffix(")") + ", nesterov=True)"
