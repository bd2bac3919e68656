"""The epochs of an estimator, in the steps of `fit` and by the rules of scikit-learn."""

import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet.callbacks.base import CallbackList
from xpnet.distributed.group import agreed
from xpnet.history import EpochRecord, History
from xpnet.network.evaluation import Evaluation
from xpnet.network.network import Network
from xpnet.network.state import network_arrays, select, trained_params
from xpnet.schedules import Plateau
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.progress import Progress, network_copy
from xpnet.sklearn.settings import check_callbacks, rate_mode
from xpnet.sklearn.setup import Beginning, Setup
from xpnet.sklearn.told import Told
from xpnet.sklearn.warning import warn_of_call
from xpnet.streams import say
from xpnet.training.epoch import make_epoch
from xpnet.training.interrupts import Interrupts
from xpnet.training.ranks import check_same_network, share_arrays
from xpnet.training.rates import follow_plateau, last_rate, start_plateau
from xpnet.training.step import LOSS_SUM
from xpnet.typing import Array, State

_SMALLEST_RATE = 1e-6
"""An adaptive learning rate that is not above this ends the training, as in scikit-learn."""


class Epochs:
    """The epochs of a call of `fit` or `partial_fit`, under way.

    Parameters
    ----------
    setup
        What they go by.
    begin
        Where they begin: its state is consumed, and its figures are added to.

    Attributes
    ----------
    are_over
        Whether none is to follow.
    """

    def __init__(self, setup: Setup, begin: Beginning) -> None:
        self.setup, self.task, self.settings = setup, setup.task, setup.settings
        self.backend, self._mode = setup.task.work, rate_mode(setup.settings)
        self._begin, self.curves, self._best = begin.progress, begin.curves, begin.best
        self.state, self.rate = begin.progress.state, begin.progress.rate
        self._history = list(begin.progress.history)
        self.n_iter, self.stopped, self.are_over, self._n_taken = 0, False, False, 0
        before = setup.before
        self.t = 0 if before is None else before.t
        self.loss = math.nan if before is None else before.loss
        self._group = setup.task.ranks.group
        self._speaks = bool(self.settings.verbose) and self._group.rank == 0
        measured = setup.samples.held is not None
        callbacks = check_callbacks(self.settings.callbacks, measured=measured)
        self._told = Told(
            callbacks if self._group.rank == 0 else CallbackList(),
            None if before is None else before.callbacks,
        )
        self._plateau = self._start_plateau(measured)
        self._interrupts = Interrupts()
        self._group.where = lambda: f"in epoch {begin.progress.epochs + self.n_iter + 1}"

    def start(self, stack: ExitStack) -> None:
        """Begin; what follows is over when the stack is left."""
        stack.enter_context(self._interrupts).watch()
        if not self.task.incremental:  # for one epoch it takes longer than it gains
            stack.enter_context(self.setup.engine.connected())
        self._told.start(
            stack, self._network(), self.state,
            epochs=self._begin.epochs + self.setup.epochs, steps=self.setup.steps,
        )  # fmt: skip

    def take(self) -> None:
        """Train for the next epoch."""
        if not self._take_steps():
            self._interrupts.answered = self.are_over = True
            warn_of_call("Training interrupted by user.")
            return
        record = self._finish_epoch()
        if self._plateau is not None:
            follow_plateau(self.backend, self._plateau, self.state, record)
        if self._group.size > 1:
            arrays = arrays_of_state(self.state)
            check_same_network(self._group, self.backend, arrays, f"after epoch {record.epoch}")
        asked_to = self._group.share(self._told.epoch(self.state, record))
        self.stopped = self._are_enough() or asked_to
        failed = math.isnan(self.loss)
        if self._best and failed:  # without, the arrays are refused
            warn_of_call(
                f"Stochastic Optimizer: The loss of epoch {record.epoch} is not a number: "
                f"training ends, and the network is that of the best epoch before.",
                ConvergenceWarning,
            )
        self.are_over = self.stopped or self.task.incremental or failed
        if not self.are_over and self.n_iter == self.setup.epochs:
            self.are_over = True
            warn_of_call(
                f"Stochastic Optimizer: Maximum iterations ({self.setup.epochs}) reached "
                f"and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _start_plateau(self, measured: bool) -> Plateau | None:
        missing = ["test"] if measured else ["validation", "test"]
        plateau = start_plateau(self.setup.engine.recipe.optimizer, missing)
        if plateau is not None and self._begin.plateau:
            plateau.load_state_dict(self._begin.plateau)
        return plateau

    # -- an epoch -------------------------------------------------------------------------------

    def _take_steps(self) -> bool:
        """The steps of the next epoch; False if Ctrl-C came in between."""
        backend, samples, begin = self.backend, self.setup.samples, self._begin
        epoch = make_epoch(
            begin.epochs + self.n_iter + 1, samples.n_samples, self.setup.batch_size,
            seed=begin.seed, shuffle=self.settings.shuffle,
            rows=samples.rows, counts=samples.counts,
        )  # fmt: skip
        self._n_taken = len(epoch.order)
        self.state[LOSS_SUM] = backend.asarray(0.0, dtype=backend.dtype)
        steps = self.setup.engine.take(
            self.state, samples, epoch,
            per_call=1 if self._told.callbacks.want_every_step() else backend.steps_per_call,
            stop=self._is_interrupted,
        )  # fmt: skip
        for state, count in steps:
            self.state = state
            for hook in self._told.hooks:
                hook(state, count)
            if self.setup.engine.is_asked(self._is_interrupted):
                return False
        return True

    def _is_interrupted(self) -> bool:
        """Whether this rank has been asked to stop."""
        return self._interrupts.number is not None

    def _finish_epoch(self) -> EpochRecord:
        """The figures of the epoch, and the count of epochs without a better one."""
        backend, held, state = self.backend, self.setup.samples.held, self.state
        self.n_iter += 1
        self.t += self._n_taken
        # NumPy's number, as scikit-learn has it: programs round it by its method.
        self.loss = np.float64(backend.to_numpy(state[LOSS_SUM])) / self._n_taken
        self.curves.loss_curve.append(self.loss)
        if self._speaks:
            say(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")
        found = None
        if held is not None:
            found = self.setup.engine.evaluate(arrays_of_state(state), held.x, held.y)
            self.curves.measured().append(found.loss)
        self._count(found)
        single = self.task.problem.is_single  # what the network alone predicts is not looked at
        record = EpochRecord(
            epoch=self._begin.epochs + self.n_iter,
            train_loss=float(self.loss),
            train_accuracy=None,
            test_loss=None,
            test_accuracy=None,
            train_seconds=None,
            eval_seconds=None,
            learning_rate=float(last_rate(backend, state)),
            validation_loss=None if found is None else found.loss,
            validation_accuracy=None if found is None else 1.0 if single else found.accuracy,
        )
        self._history.append(record)
        return record

    def _count(self, found: Evaluation | None) -> None:
        """Count the epochs that brought nothing, by the validation score or the training loss."""
        settings, curves, held = self.settings, self.curves, self.setup.samples.held
        if not settings.early_stopping:
            curves.count_loss(self.loss, settings.tol)
            return
        assert held is not None
        assert found is not None
        assert self.task.score is not None
        make = partial(self.task.score, self._fitted(self.state, None), held, found)
        score = agreed(self._group, make, first_alone=True)
        if self._speaks:
            say(f"Validation score: {score:f}")
        if curves.count_score(score, settings.tol):
            self._best = network_copy(self.backend, self.state)

    def _are_enough(self) -> bool:
        """Whether a rule ends the training; else the learning rate of the next epoch is set."""
        settings = self.settings
        if self._mode == "invscaling":
            self._set_rate(settings.learning_rate_init / (self.t + 1) ** settings.power_t)
        if self.curves.no_improvement <= settings.n_iter_no_change:
            return False
        what = "Validation score" if settings.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={settings.tol:f} for "
            f"{settings.n_iter_no_change} consecutive epochs."
        )
        over = self._mode != "adaptive" or self.rate <= _SMALLEST_RATE
        if over:
            message += " Stopping." if self._mode != "adaptive" else _TOO_SMALL
        else:
            self.curves.no_improvement = 0
            self._set_rate(self.rate / 5)
            message += f" Setting learning rate to {self.rate:f}"
        if self._speaks:
            say(message)
        return over

    def _set_rate(self, rate: float) -> None:
        self.rate = float(rate)
        self.state["learning_rate"] = self.backend.asarray(self.rate, dtype=self.backend.dtype)

    # -- what it comes to -----------------------------------------------------------------------

    def _network(self) -> Network:
        """What callbacks are given."""
        problem = self.task.problem
        params, buffers = network_arrays(self.task.model, self.state)
        return Network(
            self.task.model,
            params,
            self.backend,
            buffers=buffers,
            sample_shape=tuple(self.setup.samples.x.shape[1:]),
            pixel_maximum=1.0,
            target_kind=problem.kind,
            loss=problem.loss,
            input_dtype=self.backend.dtype_name,
            history=History(self._begin.history),
        )

    def end(self) -> Fitted:
        """What they have come to: the best arrays with early stopping, which callbacks may change.

        It is what a later `fit` goes on from. The next epoch of `partial_fit` goes on from the last
        step, and then the two are apart.
        """
        result, apart = {**self.state, **self._best}, self.task.incremental
        changed = self._group.share(self._told.finish(self.backend, result))
        if changed:
            result |= share_arrays(self._group, self.backend, network_copy(self.backend, result))
        progress = replace(
            self._begin,
            state=self.state if apart else result,
            rate=self.rate,
            epochs=self._begin.epochs + self.n_iter,
            scheduled=self._begin.scheduled + self.n_iter,
            plateau={} if self._plateau is None else self._plateau.state_dict(),
            history=tuple(self._history),
            is_apart=apart and (changed or bool(self._best)),
        )
        return self._fitted(result, progress)

    def _fitted(self, state: State, progress: Progress | None) -> Fitted:
        return self.task.fitted(
            arrays=arrays_of_state(state), curves=self.curves.copy(), loss=self.loss,
            n_iter=self.n_iter, t=self.t, stopped=self.stopped, callbacks=self._told.copies,
            progress=progress,
        )  # fmt: skip


def arrays_of_state(state: State) -> dict[str, Array]:
    """The arrays that the network would have if the training ended with this state."""
    return {**trained_params(state), **select(state, "buffer/")}


_TOO_SMALL = " Learning rate too small. Stopping."
