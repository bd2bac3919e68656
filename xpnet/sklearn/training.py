"""The epochs of an estimator, in the steps of `fit` and by the rules of scikit-learn."""

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet.callbacks.base import overrides
from xpnet.history import EpochRecord, History
from xpnet.network.evaluation import Evaluation
from xpnet.network.network import Network
from xpnet.network.prediction import PREDICTIONS, outputs_in_chunks
from xpnet.network.state import put, select, trained_params
from xpnet.sklearn.engine import Engine, Progress, Sets, network_copy
from xpnet.sklearn.problem import check_callbacks, rate_mode
from xpnet.sklearn.scoring import BY_LOSS, make_scorer, score_of
from xpnet.sklearn.told import Told
from xpnet.sklearn.warning import warn_of_call
from xpnet.streams import say
from xpnet.training.epoch import make_epoch, take_steps
from xpnet.training.interrupts import Interrupts
from xpnet.training.rates import follow_plateau, last_rate, start_plateau
from xpnet.training.step import LOSS_SUM
from xpnet.typing import Array, State

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
    best
        For early stopping: the arrays of the network that is the best so far, as copies.
    """

    def __init__(
        self,
        estimator: Any,
        engine: Engine,
        sets: Sets,
        progress: Progress,
        best: State,
    ) -> None:
        self.estimator, self.engine, self.sets = estimator, engine, sets
        self.progress, self._best = progress, best
        self.backend = engine.backend
        self._mode = rate_mode(estimator)
        self._scorer = make_scorer(estimator)
        self._result: State = {}

    def run(self, first: bool, *, incremental: bool, batch_size: int) -> None:
        """Train for all epochs, or a single one if `incremental`, unless a rule ends it before.

        `first` says whether nothing was fitted before that this goes on from.
        """
        est, sets, progress = self.estimator, self.sets, self.progress
        if sets.counts is not None and not sets.counts.any():
            # A part whose classes have weight 0: it is as if there had been no call.
            est.loss_, est.stopped_ = (
                getattr(est, "loss_", math.nan),
                getattr(est, "stopped_", False),
            )
            self._result = {**progress.state, **self._best}
            return
        self._batch_size = batch_size
        measured = sets.held is not None
        told = Told(est, check_callbacks(est.callbacks, measured=measured), first=first)
        self._callbacks = told.callbacks
        epochs = 1 if incremental else est.max_iter
        missing = ["test"] if measured else ["validation", "test"]
        plateau = start_plateau(self.engine.recipe.optimizer, missing)
        if plateau is not None and progress.plateau:
            plateau.load_state_dict(progress.plateau)
        network = self._network()
        self._hooks = self._callbacks.step_hooks()
        with ExitStack() as stack:
            interrupts = stack.enter_context(Interrupts())
            interrupts.watch()
            steps = math.ceil(sets.n_samples / batch_size)
            if self._callbacks:
                network.set_arrays(progress.state)
            told.start(stack, network, epochs=progress.epochs + epochs, steps=steps)
            est.n_iter_, est.stopped_ = 0, False
            while est.n_iter_ < epochs:
                if not self._take_steps(interrupts):
                    interrupts.answered = True
                    warn_of_call("Training interrupted by user.")
                    break
                record = self._finish_epoch()
                if plateau is not None:
                    follow_plateau(self.backend, plateau, progress.state, record)
                    progress.plateau = plateau.state_dict()
                stop = self._tell(network, record)
                est.stopped_ = self._is_over() or stop
                if self._best and math.isnan(est.loss_):  # without, the arrays are refused
                    warn_of_call(
                        f"Stochastic Optimizer: The loss of epoch {record.epoch} is not a number: "
                        f"training ends, and the network is that of the best epoch before.",
                        ConvergenceWarning,
                    )
                if est.stopped_ or incremental or math.isnan(est.loss_):
                    break
                if est.n_iter_ == est.max_iter:
                    warn_of_call(
                        f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) reached and "
                        f"the optimization hasn't converged yet.",
                        ConvergenceWarning,
                    )
            self._end(network, apart=incremental)

    # -- an epoch -------------------------------------------------------------------------------

    def _take_steps(self, interrupts: Interrupts) -> bool:
        """The steps of the next epoch; False if Ctrl-C came in between."""
        backend, sets, progress = self.backend, self.sets, self.progress
        epoch = make_epoch(
            progress.epochs + 1, sets.n_samples, self._batch_size, seed=progress.seed,
            shuffle=self.estimator.shuffle, rows=sets.rows, counts=sets.counts,
        )  # fmt: skip
        self._n_taken = len(epoch.order)
        progress.state[LOSS_SUM] = backend.asarray(0.0, dtype=backend.dtype)
        steps = take_steps(
            backend, self.engine.recipe.model, self.engine.run, progress.state, sets.x, sets.y,
            epoch,
            per_call=1 if self._callbacks.want_every_step() else backend.steps_per_call,
        )  # fmt: skip
        for progress.state, count in steps:
            for hook in self._hooks:
                hook(progress.state, count)
            if interrupts.number is not None:
                return False
        return True

    def _finish_epoch(self) -> EpochRecord:
        """The figures of the epoch, and the count of epochs without a better one."""
        est, backend, sets = self.estimator, self.backend, self.sets
        progress, state = self.progress, self.progress.state
        progress.epochs += 1
        progress.scheduled += 1
        est.n_iter_ += 1
        est.t_ += self._n_taken
        # NumPy's number, as scikit-learn has it: programs round it by its method.
        est.loss_ = np.float64(backend.to_numpy(state[LOSS_SUM])) / self._n_taken
        est.loss_curve_.append(est.loss_)
        if est.verbose:
            say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        found = None
        if sets.held is not None:
            found = self.engine.evaluate(_arrays(state), sets.held.x, sets.held.y)
            est.validation_loss_curve_.append(found.loss)
        self._count(found)
        record = EpochRecord(
            epoch=progress.epochs,
            train_loss=float(est.loss_),
            train_accuracy=None,
            test_loss=None,
            test_accuracy=None,
            train_seconds=None,
            eval_seconds=None,
            learning_rate=float(last_rate(backend, state)),
            validation_loss=None if found is None else found.loss,
            validation_accuracy=None if found is None else est._known_accuracy(found.accuracy),
        )
        progress.history += (record,)
        return record

    def _count(self, found: Evaluation | None) -> None:
        """Count the epochs that brought nothing, by the validation score or the training loss."""
        est = self.estimator
        if est.early_stopping:
            score = self._validation_score(found)
            est.validation_scores_.append(score)
            if est.verbose:
                say(f"Validation score: {score:f}")
            worse = not score >= est.best_validation_score_ + est.tol  # also what is no number
            if score > est.best_validation_score_:
                est.best_validation_score_ = score
                self._best = network_copy(self.backend, self.progress.state)
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
        """The arrays of the network that was trained."""
        return _arrays(self._result)

    def _validation_score(self, found: Evaluation | None) -> float:
        est, held, recipe = self.estimator, self.sets.held, self.engine.recipe
        assert held is not None
        assert found is not None
        backend, arrays = self.backend, _arrays(self.progress.state)
        if est.scoring == BY_LOSS:
            return -found.loss
        if self._scorer is not None:
            if not math.isfinite(found.loss):  # what is predicted is not either
                return math.nan
            return score_of(self._scorer, est, backend, arrays, held)
        head = PREDICTIONS[recipe.problem.kind]
        parts = outputs_in_chunks(backend, recipe.model, arrays, held.x, pixel_maximum=1.0)
        predicted = [backend.to_numpy(head(backend.xp, output)) for _, output in parts]
        score: float = est._held_score(held.target, np.concatenate(predicted), held.weight)
        return score

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
            history=History(self.progress.history),
        )

    def _tell(self, network: Network, record: EpochRecord) -> bool:
        if not self._callbacks:
            return False
        network.set_arrays(self.progress.state)
        network.history.append(record)
        return self._callbacks.epoch(network, record)

    def _end(self, network: Network, *, apart: bool) -> None:
        """The result: the best arrays with early stopping, and callbacks may change it.

        It is what a later `fit` goes on from. If `apart`, the state stays that of the last step,
        which the next epoch of `partial_fit` goes on from.
        """
        progress = self.progress
        self._result = {**progress.state, **self._best}
        changes = any(overrides(callback, "on_finish") for callback in self._callbacks)
        if changes:
            # Copies: what is written to these must not change the state.
            network.set_arrays(network_copy(self.backend, self._result))
            self._callbacks.finish(network)
            put(self._result, "", network.state_arrays())
            put(self._result, "ema/", network.params)
        if not apart:
            progress.state = self._result
        progress.is_apart = apart and (changes or bool(self._best))


def _arrays(state: State) -> dict[str, Array]:
    """The arrays that the network would have if the training ended with this state."""
    return {**trained_params(state), **select(state, "buffer/")}


_TOO_SMALL = " Learning rate too small. Stopping."
