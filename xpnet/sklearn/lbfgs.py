"""The solver `lbfgs`: SciPy's minimiser, with the loss and the gradient of xpnet's layers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize

from xpnet.backends import Backend
from xpnet.inputs.chunks import chunks
from xpnet.inputs.weighted import Weighted, rows_of
from xpnet.layers import Context
from xpnet.model import Sequential
from xpnet.network.evaluation import chunk_rows
from xpnet.network.output import loaded_loss
from xpnet.sklearn.objective import WeightPenalty
from xpnet.sklearn.private import warn_of_optimize_result
from xpnet.sklearn.problem import Problem
from xpnet.streams import heard_or_not, say
from xpnet.training.memory import check_parameters_fit
from xpnet.training.step import penalized
from xpnet.typing import Array, HostArray

Function = Callable[[HostArray], tuple[float, HostArray]]


class FullBatch:
    """The loss of all samples as a function of one flat vector of float64.

    Samples are gone through in parts of bounded memory, and the parts add up.

    Parameters
    ----------
    backend
        Where the samples are, and where the work is done.
    model, problem, alpha
        What is minimised.
    x, y
        Samples and targets on the backend; `y` may be `Weighted`.
    weight
        How much all samples count for: their number, or the sum of their weights.
    """

    def __init__(
        self,
        backend: Backend,
        model: Sequential,
        problem: Problem,
        alpha: float,
        x: Any,
        y: Any,
        weight: float,
    ) -> None:
        self.backend, self.model, self._x, self._y = backend, model, x, y
        self._shapes = model.parameter_shapes()
        check_parameters_fit(backend, self._shapes, 0)
        self._total = weight
        self._penalty = WeightPenalty(alpha)
        self._many = problem.value_scale / problem.gradient_scale
        loss = loaded_loss(backend, model, problem.objective(consistent=True))
        xp = backend.xp

        def part(params: Mapping[str, Array], x: Array, y: Any) -> tuple[Array, dict[str, Array]]:
            output, cache = model.forward(xp, params, x, Context(training=True))
            if isinstance(y, Weighted):
                # The loss divides by the weights of the part: they are multiplied in again.
                counts = xp.sum(y.weight)
                value, d_output = loss(xp, output, y.target, weight=y.weight)
            else:
                counts = x.shape[0]
                value, d_output = loss(xp, output, y)
            _, grads = model.backward(xp, params, cache, d_output * counts, need_dx=False)
            return value * counts, grads

        self._part = backend.compile(part)

    def unpack(self, flat: HostArray) -> dict[str, Array]:
        """The parameters by name, on the backend and in its dtype."""
        params, start = {}, 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            values = flat[start : start + size].reshape(shape)
            params[name] = self.backend.asarray(values.astype(self.backend.dtype_name), copy=True)
            start += size
        return params

    def pack(self, params: Mapping[str, Array]) -> HostArray:
        """The inverse of `unpack`."""
        parts = [self.backend.to_numpy(params[name]).reshape(-1) for name in self._shapes]
        return np.concatenate(parts).astype(np.float64)

    def __call__(self, flat: HostArray) -> tuple[float, HostArray]:
        """The loss with its penalty, and its gradient."""
        backend, xp, x = self.backend, self.backend.xp, self._x
        params = self.unpack(flat)
        total: Any = 0.0
        grads: dict[str, Array] = {}
        for rows in chunks(x.shape[0], chunk_rows(backend, self.model, x)):
            value, own = self._part(params, x[rows, ...], rows_of(self._y, (rows, ...)))
            total = value + total
            grads = {name: grads[name] + own[name] if grads else own[name] for name in own}
        grads = {name: gradient / self._total for name, gradient in grads.items()}
        value, grads = penalized(xp, self._scaled_penalty, params, 1, total / self._total, grads)
        return float(backend.to_numpy(value)), self.pack(grads)

    def _scaled_penalty(self, xp: Any, params: Any, weight: int) -> Any:
        return WeightPenalty(self._penalty.alpha / self._total)(xp, params, weight)

    def reported(self, flat: HostArray, value: float) -> float:
        """The loss as scikit-learn reports it: of several numbers with the mean of the squares."""
        if self._many == 1:
            return value
        squares = sum(
            float(np.sum(np.square(self.backend.to_numpy(array), dtype=np.float64)))
            for array in self.unpack(flat).values()
            if array.ndim == 2
        )
        penalty = 0.5 * self._penalty.alpha * squares / self._total
        return (value - penalty) * self._many + penalty


def minimise(
    estimator: Any,
    function: FullBatch,
    params: Mapping[str, Array],
    after_iteration: Callable[[Mapping[str, Array]], None] | None,
) -> dict[str, Array]:
    """The parameters after L-BFGS; writes `n_iter_` and `loss_` of the estimator."""
    options: dict[str, Any] = {
        "maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol,
    }  # fmt: skip
    callback = None
    if after_iteration is not None or estimator.verbose:

        def callback(intermediate_result: Any) -> None:  # the name is SciPy's
            if estimator.verbose:
                say(f"loss = {intermediate_result.fun:.8f}")
            if after_iteration is not None:
                after_iteration(function.unpack(intermediate_result.x))

    result = minimize(
        function, function.pack(params), method="L-BFGS-B", jac=True, options=options,
        callback=callback,
    )  # fmt: skip
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    with heard_or_not():  # it warns
        warn_of_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = np.float64(function.reported(result.x, float(result.fun)))
    return function.unpack(result.x)
