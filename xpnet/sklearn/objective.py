"""What scikit-learn minimises, made of xpnet's losses and a penalty."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpnet.losses import Loss, LossFunction
from xpnet.typing import Array, Namespace, Params


@dataclass(frozen=True)
class Objective(Loss):
    """A loss with the factors and the weights of samples as scikit-learn has them.

    scikit-learn sums over the outputs where xpnet takes the mean, so value and gradient are
    multiplied by numbers. They may be two: of several real numbers scikit-learn reports the mean of
    the squared errors and follows the gradient of their sum. And it divides by the sum of the
    weights of a batch, sum(w_i l_i) / sum(w_i), where xpnet divides by the number of samples.

    Parameters
    ----------
    loss
        One of xpnet's, or a function of one's own.
    value_scale, gradient_scale
        What its value and its gradient are multiplied by.
    divided
        Whether it is divided by the sum of the weights of a batch. If not, by the number of samples
        as in xpnet: for parts of a set whose weights have a mean of 1.
    """

    loss: LossFunction
    value_scale: float = 1.0
    gradient_scale: float = 1.0
    divided: bool = True

    def __call__(
        self,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        weight: Array | None = None,
        need_grad: bool = True,
    ) -> tuple[Array, Array | None]:
        return self._scaled(self.loss, xp, output, target, weight=weight, need_grad=need_grad)

    def loaded(self, asarray: Callable[[Any], Array], n_outputs: int | None) -> LossFunction:
        if not isinstance(self.loss, Loss):
            return self.__call__
        return partial(self._scaled, self.loss.loaded(asarray, n_outputs))

    def _scaled(
        self,
        loss: LossFunction,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        weight: Array | None = None,
        need_grad: bool = True,
    ) -> tuple[Array, Array | None]:
        options: dict[str, Any] = {} if need_grad else {"need_grad": False}
        if weight is not None:
            if self.divided:
                # The quotients first: the inverse of a tiny sum would be infinite.
                weight = weight / _divisor(xp, xp.sum(weight)) * weight.shape[0]
            options["weight"] = weight
        value, d_output = loss(xp, output, target, **options)
        if self.value_scale != 1:
            value = value * self.value_scale
        if self.gradient_scale != 1 and d_output is not None:
            d_output = d_output * self.gradient_scale
        return value, d_output


@dataclass(frozen=True)
class WeightPenalty:
    """alpha / 2 times the sum of the squares of all weights, divided by the weight of the batch.

    Weights are the parameters of two axes or more: those of dense layers, and kernels.
    Its gradient is alpha times a weight, divided likewise. Biases, and the scales of batch norm,
    have none. A batch of weight 0 has no penalty.
    """

    alpha: float

    def __call__(
        self, xp: Namespace, params: Params, weight: Array | int
    ) -> tuple[Array, dict[str, Array]]:
        weights = {name: value for name, value in params.items() if value.ndim >= 2}
        if isinstance(weight, int):
            scale: Any = self.alpha / weight
        else:
            scale = self.alpha / _divisor(xp, weight)
            scale = xp.where(weight == 0, xp.zeros_like(scale), scale)
        flat = [xp.reshape(value, (-1,)) for value in weights.values()]
        squares = sum(xp.matmul(value, value) for value in flat)
        return 0.5 * scale * squares, {name: scale * value for name, value in weights.items()}


def _divisor(xp: Namespace, total: Array) -> Array:
    """The sum of weights, or 1 where it is 0: then there is nothing to be divided."""
    return xp.where(total == 0, xp.ones_like(total), total)
