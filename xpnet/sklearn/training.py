"""The epochs of an estimator, in the steps of `fit` and by the rules of scikit-learn."""

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet.random import permutation
from xpnet.sklearn.engine import Engine, Progress, Sets
from xpnet.sklearn.problem import check_callbacks, rate_mode
from xpnet.streams import say
from xpnet.training.batches import VARYING_GROUP, batches, counting
from xpnet.training.history import EpochRecord
from xpnet.training.interrupts import Interrupts
from xpnet.training.network import Network
from xpnet.training.prediction import PREDICTIONS, outputs_in_chunks
from xpnet.training.rates import follow_plateau, last_rate, start_plateau
from xpnet.training.step import LOSS_SUM, put, select, trained_params
from xpnet.typing import Array, HostArray, State

_SMALLEST_RATE = 1e-6
"""An adaptive learning rate that is not above this ends the training, as in scikit-learn."""


class Training:
    """A call of `fit` or `partial_fit`: it writes the attributes of the estimator.

    Parameters
    ----------
    estimator
        Whose parameters are the rules.
    engine, sets, progress
        The steps, the samples, and where to begin.
    score
        `score(target, predicted, weight)`, of host arrays, for early stopping.
    """

    def __init__(
        self,
        estimator: Any,
        engine: Engine,
        sets: Sets,
        progress: Progress,
        score: Callable[[HostArray, HostArray, HostArray | None], float],
    ) -> None:
        self.estimator, self.engine, self.sets = estimator, engine, sets
        self.progress, self._score = progress, score
        self.backend = engine.backend
        self._mode = rate_mode(estimator)
        self._best: State = {}

    def run(self, *, incremental: bool, batch_size: int) -> None:
        """Train for all epochs, or a single one if `incremental`, unless a rule ends it before."""
        est, sets, recipe = self.estimator, self.sets, self.engine.recipe
        if sets.counts is not None and not sets.counts.any():
            # A part whose classes have weight 0: it is as if there had been no call.
            est.n_iter_, est.loss_ = 0, getattr(est, "loss_", math.nan)
            return
        self._batch_size = batch_size
        self._callbacks = check_callbacks(est.callbacks, measured=sets.measured)
        epochs = 1 if incremental else est.max_iter
        missing = ["test"] if sets.measured else ["validation", "test"]
        plateau = start_plateau(recipe.optimizer, missing)
        network = self._network()
        self._hooks = self._callbacks.step_hooks()
        with ExitStack() as stack:
            interrupts = stack.enter_context(Interrupts())
            interrupts.watch()
            steps = math.ceil(sets.n_samples / batch_size)
            self._callbacks.start(stack, network, epochs=epochs, steps=steps)
            est.n_iter_ = 0
            if est.early_stopping:
                self._keep_best()
            while est.n_iter_ < epochs:
                if not self._take_steps(interrupts):
                    interrupts.answered = True
                    warnings.warn("Training interrupted by user.", stacklevel=6)
                    break
                record = self._finish_epoch(bool(plateau or self._callbacks))
                if plateau is not None and record is not None:
                    follow_plateau(self.backend, plateau, self.progress.state, record)
                stop = self._tell(network, record)
                if self._is_over() or stop or incremental or math.isnan(est.loss_):
                    break
                if est.n_iter_ == est.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) reached and "
                        f"the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=6,  # the line that calls fit
                    )
            if est.early_stopping:
                put(self.progress.state, "", self._best)
            self._end(network)

    # -- an epoch -------------------------------------------------------------------------------

    def _take_steps(self, interrupts: Interrupts) -> bool:
        """The steps of the next epoch; False if Ctrl-C came in between."""
        backend, sets, progress = self.backend, self.sets, self.progress
        per_call = 1 if self._callbacks.want_every_step() else backend.steps_per_call
        n = sets.n_samples
        order = np.arange(n)
        if self.estimator.shuffle:
            order = permutation(progress.seed, progress.epochs + 1, n)
        order = order if sets.rows is None else sets.rows[order]
        order = counting(order, self._batch_size, sets.counts)
        self._n_taken = len(order)
        if self._n_taken < n:
            per_call = min(per_call, VARYING_GROUP)
        shapes = self.engine.recipe.model.parameter_shapes().values()
        widest = max((s for s in shapes if len(s) == 2), key=math.prod)
        progress.state[LOSS_SUM] = backend.asarray(0.0, dtype=backend.dtype)
        for x, y, rows in batches(backend, sets.x, sets.y, order, self._batch_size, per_call):
            backend.settle_threads(min(self._batch_size, 1024), *widest)
            progress.state = self.engine.run(progress.state, x, y, rows)
            for hook in self._hooks:
                hook(progress.state, rows.shape[0])
            if interrupts.number is not None:
                return False
        return True

    def _finish_epoch(self, recorded: bool) -> EpochRecord | None:
        """The figures of the epoch, and the count of epochs without a better one."""
        est, backend, sets = self.estimator, self.backend, self.sets
        state = self.progress.state
        self.progress.epochs += 1
        est.n_iter_ += 1
        est.t_ += self._n_taken
        # NumPy's number, as scikit-learn has it: programs round it by its method.
        est.loss_ = np.float64(backend.to_numpy(state[LOSS_SUM])) / self._n_taken
        est.loss_curve_.append(est.loss_)
        self._count_left_out()
        if est.verbose:
            say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        found = None
        if sets.measured and sets.held is not None:
            found = self.engine.evaluate(self.arrays(), sets.held.x, sets.held.y)
            est.validation_loss_curve_.append(found.loss)
        self._count()
        if not recorded:
            return None
        return EpochRecord(
            epoch=est.n_iter_,
            train_loss=float(est.loss_),
            train_accuracy=None,
            test_loss=None,
            test_accuracy=None,
            train_seconds=None,
            eval_seconds=None,
            learning_rate=float(last_rate(backend, state)),
            validation_loss=None if found is None else found.loss,
            validation_accuracy=None if found is None else found.accuracy,
        )

    def _count_left_out(self) -> None:
        """Count the steps that were left out as well, for a schedule that goes by their number."""
        state, size = self.progress.state, self._batch_size
        left_out = math.ceil(self.sets.n_samples / size) - math.ceil(self._n_taken / size)
        if left_out and "schedule" in state:
            state["step"] = state["step"] + left_out

    def _count(self) -> None:
        """Count the epochs that brought nothing, by the validation score or the training loss."""
        est = self.estimator
        if est.early_stopping:
            score = self._validation_score()
            est.validation_scores_.append(score)
            if est.verbose:
                say(f"Validation score: {score:f}")
            worse = score < est.best_validation_score_ + est.tol
            if score > est.best_validation_score_:
                est.best_validation_score_ = score
                self._keep_best()
        else:
            worse = est.loss_ > est.best_loss_ - est.tol
            if est.loss_ < est.best_loss_:
                est.best_loss_ = est.loss_
        est._no_improvement_count = est._no_improvement_count + 1 if worse else 0

    def _is_over(self) -> bool:
        """Whether the training ends here; else the learning rate of the next epoch is set."""
        est = self.estimator
        if self._mode == "invscaling":
            self._set_rate(est.learning_rate_init / (est.t_ + 1) ** est.power_t)
        if est._no_improvement_count <= est.n_iter_no_change:
            return False
        what = "Validation score" if est.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={est.tol:f} for {est.n_iter_no_change} "
            f"consecutive epochs."
        )
        over = self._mode != "adaptive" or self.progress.rate <= _SMALLEST_RATE
        if over:
            message += " Stopping." if self._mode != "adaptive" else _TOO_SMALL
        else:
            est._no_improvement_count = 0
            self._set_rate(self.progress.rate / 5)
            message += f" Setting learning rate to {self.progress.rate:f}"
        if est.verbose:
            say(message)
        return over

    def _set_rate(self, rate: float) -> None:
        self.progress.rate = float(rate)
        self.progress.state["learning_rate"] = self.backend.asarray(
            self.progress.rate, dtype=self.backend.dtype
        )

    # -- arrays and figures ---------------------------------------------------------------------

    def arrays(self) -> dict[str, Array]:
        """The arrays that the network would have if the training ended here."""
        state = self.progress.state
        return {**trained_params(state), **select(state, "buffer/")}

    def _keep_best(self) -> None:
        """Copies, since the next step may overwrite these."""
        self._best = {
            key: self.backend.asarray(value, copy=True)
            for key, value in self.progress.state.items()
            if key.startswith(("param/", "buffer/", "ema/"))
        }

    def _validation_score(self) -> float:
        held, recipe = self.sets.held, self.engine.recipe
        assert held is not None
        backend, head = self.backend, PREDICTIONS[recipe.problem.kind]
        parts = outputs_in_chunks(backend, recipe.model, self.arrays(), held.x, pixel_maximum=1.0)
        predicted = [backend.to_numpy(head(backend.xp, output)) for _, output in parts]
        return self._score(held.target, np.concatenate(predicted), held.weight)

    # -- callbacks ------------------------------------------------------------------------------

    def _network(self) -> Network:
        recipe = self.engine.recipe
        return Network(
            recipe.model,
            {},
            self.backend,
            sample_shape=tuple(self.sets.x.shape[1:]),
            pixel_maximum=1.0,
            target_kind=recipe.problem.kind,
            loss=recipe.problem.loss,
            input_dtype=self.backend.dtype_name,
        )

    def _tell(self, network: Network, record: EpochRecord | None) -> bool:
        if not self._callbacks or record is None:
            return False
        network.set_arrays(self.progress.state)
        network.history.append(record)
        return self._callbacks.epoch(network, record)

    def _end(self, network: Network) -> None:
        """Let the callbacks have the network, which they may change."""
        if not self._callbacks:
            return
        network.set_arrays(self.progress.state)
        self._callbacks.finish(network)
        put(self.progress.state, "", network.state_arrays())


_TOO_SMALL = " Learning rate too small. Stopping."
