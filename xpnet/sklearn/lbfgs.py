"""The solver `lbfgs`: SciPy's minimiser, with the loss and the gradient of xpnet's layers."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning

from xpnet.inputs.chunks import chunks
from xpnet.inputs.samples import move
from xpnet.inputs.weighted import Weighted, rows_of
from xpnet.layers import Context, Dropout
from xpnet.losses import LossFunction
from xpnet.network.evaluation import chunk_rows
from xpnet.network.output import loaded_loss
from xpnet.network.state import load_array
from xpnet.random import derive
from xpnet.sklearn.checking import load_target
from xpnet.sklearn.curves import Curves
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.objective import WeightPenalty
from xpnet.sklearn.ranks import check_same_training
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.task import Task, draw_seed
from xpnet.sklearn.warning import warn_of_call
from xpnet.streams import say
from xpnet.training.memory import check_parameters_fit
from xpnet.training.step import penalized
from xpnet.typing import Array, HostArray

_Function = Callable[[HostArray], tuple[float, HostArray]]


class FullBatch:
    """The loss of all samples as a function of one flat vector of float64.

    Samples are gone through in parts of bounded memory, and the parts add up. Of several ranks each
    has its share of the samples: what rank 0 calls, the others call too.

    Parameters
    ----------
    task
        The samples, what the network is to give of them, and where the work is done.
    alpha
        The factor of the penalty.
    """

    def __init__(self, task: Task, alpha: float) -> None:
        backend, model, problem, samples = task.work, task.model, task.problem, task.samples
        self.backend, self.model, self._x = backend, model, samples.x
        self._ranks = task.ranks
        self.y: Any = load_target(backend, samples.target, problem.kind)
        self._total = float(samples.x.shape[0])  # how much all samples count for
        if samples.weight is not None:
            self.y = Weighted(self.y, load_array(backend, samples.weight))
            self._total = float(samples.weight.sum(dtype=np.float64))
        self._shapes = model.parameter_shapes()
        check_parameters_fit(backend, self._shapes, 0)
        self._penalty = WeightPenalty(alpha)
        self._many = problem.value_scale / problem.gradient_scale
        self._part = self._compiled(loaded_loss(backend, model, problem.objective(consistent=True)))

    def _compiled(self, loss: LossFunction) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Of some samples, the loss and its gradient, times what they count for."""
        xp, model = self.backend.xp, self.model

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

        return self.backend.compile(part)

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
        backend, ranks, n = self.backend, self._ranks, self._x.shape[0]
        params = self.unpack(flat)
        if ranks.is_whole:
            total, grads = self._sums(params, slice(0, n))
        else:
            parts = [self._packed_sums(params, ranks.rows(part, n)) for part in ranks.own]
            summed = ranks.total(parts)
            total, grads = backend.asarray(summed[0], dtype=backend.dtype), self.unpack(summed[1:])
        grads = {name: gradient / self._total for name, gradient in grads.items()}
        value, grads = penalized(
            backend.xp, self._scaled_penalty, params, 1, total / self._total, grads
        )
        return float(backend.to_numpy(value)), self.pack(grads)

    def _sums(self, params: Mapping[str, Array], part: slice) -> tuple[Any, dict[str, Array]]:
        """The sums of the losses of some samples and of their gradients."""
        x, start = self._x, part.start
        total: Any = 0.0
        grads: dict[str, Array] = {}
        for chunk in chunks(part.stop - start, chunk_rows(self.backend, self.model, x)):
            rows = (slice(start + chunk.start, start + chunk.stop), ...)
            value, own = self._part(params, x[rows], rows_of(self.y, rows))
            total = value + total
            grads = {name: grads[name] + own[name] if grads else own[name] for name in own}
        return total, grads

    def _packed_sums(self, params: Mapping[str, Array], part: slice) -> HostArray:
        """The same as one vector of float64, which is 0 where there are no samples."""
        total, grads = self._sums(params, part)
        if not grads:
            return np.zeros(1 + sum(map(math.prod, self._shapes.values())))
        value = np.asarray(self.backend.to_numpy(total), dtype=np.float64)
        return np.concatenate([value.reshape(1), self.pack(grads)])

    def _scaled_penalty(self, xp: Any, params: Any, weight: int) -> Any:
        return WeightPenalty(self._penalty.alpha / self._total)(xp, params, weight)

    def reported(self, flat: HostArray, value: float) -> float:
        """The loss as scikit-learn reports it: of several numbers with the mean of the squares."""
        if self._many == 1:
            return value
        squares = sum(
            float(np.sum(np.square(self.backend.to_numpy(array), dtype=np.float64)))
            for array in self.unpack(flat).values()
            if array.ndim >= 2
        )
        penalty = 0.5 * self._penalty.alpha * squares / self._total
        return (value - penalty) * self._many + penalty


def solve(task: Task, settings: Settings, before: Fitted | None) -> Fitted:
    """Minimise the loss of all samples.

    Parameters
    ----------
    task, settings
        What is asked for.
    before
        What it goes on from; None where it begins.

    Raises
    ------
    ValueError
        If there is a dropout among the activations.
    """
    if any(isinstance(layer, Dropout) for layer in task.structure.between):
        raise ValueError(
            "solver='lbfgs' takes no steps by batches and cannot do with Dropout among the "
            "activations: take solver='adam' or 'sgd', or leave it out"
        )
    curves = task.curves(settings, before)
    function = FullBatch(task, float(settings.alpha))
    params = _initial(task, settings, before)
    check_same_training(task, task.samples.x, function.y, params)
    start, measure = function.pack(params), _measuring(task, function, curves)
    result = _by_all_ranks(
        function, task, curves, lambda asked: _minimised(asked, settings, start, measure)
    )
    if result.status != 0:
        _warn_of_result(result, settings.max_iter)
    last = None if before is None else before.progress
    return task.fitted(
        arrays=function.unpack(result.x),
        curves=curves,
        loss=np.float64(function.reported(result.x, float(result.fun))),
        n_iter=min(result.nit, settings.max_iter),
        t=0 if before is None else before.t,
        # What another solver came to is no longer what it would go on from.
        progress=None if last is None else last.counts(),
    )


def _initial(task: Task, settings: Settings, before: Fitted | None) -> dict[str, Array]:
    """The parameters to begin with."""
    work, model = task.work, task.model
    if before is not None:
        return {name: move(work, value) for name, value in before.arrays.items()}
    seed = draw_seed(settings, task.ranks)
    host = model.init(derive(seed, "initialization"))
    host |= task.structure.initial_biases(seed)
    return {name: load_array(work, value) for name, value in host.items()}


def _measuring(
    task: Task, function: FullBatch, curves: Curves
) -> Callable[[HostArray], None] | None:
    """What adds the loss on the validation set to its curve, where there is one."""
    held = task.held
    if held is None:
        return None
    evaluate = task.problem.evaluator(task.work, task.model)
    curve = curves.measured()
    return lambda flat: curve.append(evaluate(function.unpack(flat), held.x, held.y).loss)


def _by_all_ranks(
    function: FullBatch, task: Task, curves: Curves, minimise: Callable[[_Function], Any]
) -> Any:
    """What rank 0 comes to by `minimise(function)`, for which all compute their parts.

    So no rank goes another way because of its last digits. The curve is that of rank 0 as well.
    """
    group = task.ranks.group
    if group.size == 1:
        return minimise(function)

    def asked(flat: HostArray) -> tuple[float, HostArray]:
        return function(group.share(flat))

    found = None
    if group.rank == 0:
        result = minimise(asked)
        group.share(None)  # there is nothing more to compute
        kept = {name: result[name] for name in ("x", "fun", "nit", "status", "message")}
        found = OptimizeResult(kept), curves.validation_loss_curve
    else:
        while (flat := group.share(None)) is not None:
            function(flat)
    result, curves.validation_loss_curve = group.share(found)
    return result


def _minimised(
    function: _Function,
    settings: Settings,
    start: HostArray,
    after_iteration: Callable[[HostArray], None] | None,
) -> Any:
    """What SciPy's minimiser gives."""
    options: dict[str, Any] = {
        "maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol,
    }  # fmt: skip
    callback = None
    if after_iteration is not None or settings.verbose:

        def callback(intermediate_result: Any) -> None:  # the name is SciPy's
            if settings.verbose:
                say(f"loss = {intermediate_result.fun:.8f}")
            if after_iteration is not None:
                after_iteration(intermediate_result.x)

    return minimize(
        function, start, method="L-BFGS-B", jac=True, options=options, callback=callback
    )


def _warn_of_result(result: Any, max_iter: int) -> None:
    """Warn in the words of scikit-learn, whose own warning points to the line that it stands in."""
    n_iter = min(result.nit, max_iter)
    more = (
        f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        if n_iter == max_iter
        else ""
    )
    warn_of_call(
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n"
        f"{result.message}\n{more}\nYou might also want to scale the data as shown in:\n"
        f"    https://scikit-learn.org/stable/modules/preprocessing.html",
        ConvergenceWarning,
    )
