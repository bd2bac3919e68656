"""Optimizers: how gradients change parameters.

An optimizer is a frozen dataclass of hyper-parameters with two methods. `init` makes the arrays
that it keeps between steps; `update` makes one step. The learning rate reaches `update` as an
array, because a compiled step would freeze a Python number.
"""

from dataclasses import dataclass

from xpnet.typing import Array, Grads, Namespace, Params


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: parameter -= learning_rate * gradient.

    Parameters
    ----------
    learning_rate
        The step length, positive and finite.
    """

    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        is_number = isinstance(self.learning_rate, int | float)
        if not is_number or not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"SGD: learning_rate must be positive and finite, got {self.learning_rate!r}"
            )

    def init(self, xp: Namespace, params: Params) -> dict[str, Array]:
        """The arrays kept between steps, by name: plain SGD keeps none."""
        return {}

    def update(
        self,
        xp: Namespace,
        params: dict[str, Array],
        grads: Grads,
        slots: dict[str, Array],
        learning_rate: Array,
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Consumes `params` and `slots`: one step, in place where the library writes in place.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        params, grads
            Parameters and their gradients, with the same names and shapes.
        slots
            What `init` or the last `update` returned.
        learning_rate
            The step length, shape ().

        Returns
        -------
        params, slots
            The updated arrays; those given must not be used again.
        """
        for name, gradient in grads.items():
            params[name] -= learning_rate * gradient
        return params, slots
