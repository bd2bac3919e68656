"""The epochs of an estimator, in the steps of `fit` and by the rules of scikit-learn."""

import math
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet.backends import Backend
from xpnet.callbacks.base import overrides
from xpnet.history import EpochRecord, History
from xpnet.network.evaluation import Evaluation
from xpnet.network.network import Network
from xpnet.network.state import network_arrays, put, select, trained_params
from xpnet.schedules import Plateau
from xpnet.sklearn.curves import Curves
from xpnet.sklearn.engine import Engine
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.holding import TrainingSet
from xpnet.sklearn.progress import Progress
from xpnet.sklearn.settings import Settings, check_callbacks, rate_mode
from xpnet.sklearn.task import Task
from xpnet.sklearn.told import Copies, Told
from xpnet.sklearn.warning import warn_of_call
from xpnet.streams import say
from xpnet.training.epoch import make_epoch, take_steps
from xpnet.training.interrupts import Interrupts
from xpnet.training.rates import follow_plateau, last_rate, start_plateau
from xpnet.training.step import LOSS_SUM
from xpnet.typing import Array, State

_SMALLEST_RATE = 1e-6
"""An adaptive learning rate that is not above this ends the training, as in scikit-learn."""


class Epochs:
    """The epochs of a call of `fit` or `partial_fit`, under way.

    Parameters
    ----------
    task, settings
        What is asked for.
    engine, samples, begin
        The steps, what they are taken on, and where to begin: the state is consumed.
    before
        What the training goes on from; None where it begins.
    curves
        The figures until now, which are added to.
    best
        For early stopping: the arrays of the network that is the best so far, as copies.
    batch_size
        How many samples make a step.
    """

    def __init__(
        self,
        task: Task,
        settings: Settings,
        engine: Engine,
        samples: TrainingSet,
        begin: Progress,
        before: Fitted | None,
        curves: Curves,
        best: State,
        batch_size: int,
    ) -> None:
        self.task, self.settings, self.engine, self.samples = task, settings, engine, samples
        self.backend = task.work
        self._begin, self._before = begin, before
        self.curves, self._best, self._batch_size = curves, best, batch_size
        self._mode = rate_mode(settings)
        self.state, self.rate = begin.state, begin.rate
        self._plateau_state, self._history = begin.plateau, list(begin.history)
        self.n_iter, self.stopped, self._n_taken = 0, False, 0
        self.t = 0 if before is None else before.t
        self.loss = math.nan if before is None else before.loss

    def run(self) -> Fitted:
        """Train for all epochs, or a single one of `partial_fit`, unless a rule ends it before."""
        samples, before = self.samples, self._before
        if samples.counts is not None and not samples.counts.any():
            # A part whose classes have weight 0: it is as if there had been no call.
            self.n_iter = 0 if before is None else before.n_iter
            self.stopped = before is not None and bool(before.stopped)
            copies = None if before is None else before.callbacks
            return self._fitted({**self.state, **self._best}, self._begin, copies)
        measured = samples.held is not None
        callbacks = check_callbacks(self.settings.callbacks, measured=measured)
        told = Told(callbacks, None if before is None else before.callbacks)
        self._callbacks, self._copies = told.callbacks, told.copies
        self._hooks = self._callbacks.step_hooks()
        plateau = self._start_plateau(["test"] if measured else ["validation", "test"])
        network = self._network()
        with ExitStack() as stack:
            interrupts = stack.enter_context(Interrupts())
            interrupts.watch()
            if self._callbacks:
                network.set_arrays(self.state)
            told.start(
                stack, network, epochs=self._begin.epochs + self._n_epochs(),
                steps=math.ceil(samples.n_samples / self._batch_size),
            )  # fmt: skip
            self._train(network, plateau, interrupts)
            result, progress = self._end(network)
        return self._fitted(result, progress, self._copies)

    def _train(self, network: Network, plateau: Plateau | None, interrupts: Interrupts) -> None:
        incremental = self.task.incremental
        while self.n_iter < self._n_epochs():
            if not self._take_steps(interrupts):
                interrupts.answered = True
                warn_of_call("Training interrupted by user.")
                break
            record = self._finish_epoch()
            if plateau is not None:
                follow_plateau(self.backend, plateau, self.state, record)
                self._plateau_state = plateau.state_dict()
            stop = self._tell(network, record)
            self.stopped = self._is_over() or stop
            if self._best and math.isnan(self.loss):  # without, the arrays are refused
                warn_of_call(
                    f"Stochastic Optimizer: The loss of epoch {record.epoch} is not a number: "
                    f"training ends, and the network is that of the best epoch before.",
                    ConvergenceWarning,
                )
            if self.stopped or incremental or math.isnan(self.loss):
                break
            if self.n_iter == self.settings.max_iter:
                warn_of_call(
                    f"Stochastic Optimizer: Maximum iterations ({self.settings.max_iter}) reached "
                    f"and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                )

    def _n_epochs(self) -> int:
        return 1 if self.task.incremental else self.settings.max_iter

    def _start_plateau(self, missing: list[str]) -> Plateau | None:
        plateau = start_plateau(self.engine.recipe.optimizer, missing)
        if plateau is not None and self._plateau_state:
            plateau.load_state_dict(self._plateau_state)
        return plateau

    # -- an epoch -------------------------------------------------------------------------------

    def _take_steps(self, interrupts: Interrupts) -> bool:
        """The steps of the next epoch; False if Ctrl-C came in between."""
        backend, samples, begin = self.backend, self.samples, self._begin
        epoch = make_epoch(
            begin.epochs + self.n_iter + 1, samples.n_samples, self._batch_size, seed=begin.seed,
            shuffle=self.settings.shuffle, rows=samples.rows, counts=samples.counts,
        )  # fmt: skip
        self._n_taken = len(epoch.order)
        self.state[LOSS_SUM] = backend.asarray(0.0, dtype=backend.dtype)
        steps = take_steps(
            backend, self.task.model, self.engine.run, self.state, samples.x, samples.y, epoch,
            per_call=1 if self._callbacks.want_every_step() else backend.steps_per_call,
        )  # fmt: skip
        for state, count in steps:
            self.state = state
            for hook in self._hooks:
                hook(state, count)
            if interrupts.number is not None:
                return False
        return True

    def _finish_epoch(self) -> EpochRecord:
        """The figures of the epoch, and the count of epochs without a better one."""
        settings, backend, held, state = self.settings, self.backend, self.samples.held, self.state
        self.n_iter += 1
        self.t += self._n_taken
        # NumPy's number, as scikit-learn has it: programs round it by its method.
        self.loss = np.float64(backend.to_numpy(state[LOSS_SUM])) / self._n_taken
        self.curves.loss_curve.append(self.loss)
        if settings.verbose:
            say(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")
        found = None
        if held is not None:
            found = self.engine.evaluate(_arrays(state), held.x, held.y)
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
        settings, curves, held = self.settings, self.curves, self.samples.held
        if not settings.early_stopping:
            curves.count_loss(self.loss, settings.tol)
            return
        assert held is not None
        assert found is not None
        assert self.task.score is not None
        score = self.task.score(self._fitted(self.state, None, self._copies), held, found)
        if settings.verbose:
            say(f"Validation score: {score:f}")
        if curves.count_score(score, settings.tol):
            self._best = network_copy(self.backend, self.state)

    def _is_over(self) -> bool:
        """Whether the training ends here; else the learning rate of the next epoch is set."""
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
        if settings.verbose:
            say(message)
        return over

    def _set_rate(self, rate: float) -> None:
        self.rate = float(rate)
        self.state["learning_rate"] = self.backend.asarray(self.rate, dtype=self.backend.dtype)

    # -- callbacks ------------------------------------------------------------------------------

    def _network(self) -> Network:
        problem = self.task.problem
        params, buffers = network_arrays(self.task.model, self.state)
        return Network(
            self.task.model,
            params,
            self.backend,
            buffers=buffers,
            sample_shape=tuple(self.samples.x.shape[1:]),
            pixel_maximum=1.0,
            target_kind=problem.kind,
            loss=problem.loss,
            input_dtype=self.backend.dtype_name,
            history=History(self._begin.history),
        )

    def _tell(self, network: Network, record: EpochRecord) -> bool:
        if not self._callbacks:
            return False
        network.set_arrays(self.state)
        network.history.append(record)
        return self._callbacks.epoch(network, record)

    # -- what it comes to -----------------------------------------------------------------------

    def _end(self, network: Network) -> tuple[State, Progress]:
        """The result: the best arrays with early stopping, and callbacks may change it.

        It is what a later `fit` goes on from. The next epoch of `partial_fit` goes on from the last
        step, and then the two are apart.
        """
        result, apart = {**self.state, **self._best}, self.task.incremental
        changes = any(overrides(callback, "on_finish") for callback in self._callbacks)
        if changes:
            # Copies: what is written to these must not change the state.
            network.set_arrays(network_copy(self.backend, result))
            self._callbacks.finish(network)
            put(result, "", network.state_arrays())
            put(result, "ema/", network.params)
        progress = replace(
            self._begin,
            state=self.state if apart else result,
            rate=self.rate,
            epochs=self._begin.epochs + self.n_iter,
            scheduled=self._begin.scheduled + self.n_iter,
            plateau=self._plateau_state,
            history=tuple(self._history),
            is_apart=apart and (changes or bool(self._best)),
        )
        return result, progress

    def _fitted(self, state: State, progress: Progress | None, callbacks: Copies | None) -> Fitted:
        return self.task.fitted(
            arrays=_arrays(state), curves=self.curves.copy(), loss=self.loss, n_iter=self.n_iter,
            t=self.t, stopped=self.stopped, callbacks=callbacks, progress=progress,
        )  # fmt: skip


def network_copy(backend: Backend, state: State) -> State:
    """Copies of what makes the network, since the next step may overwrite the arrays."""
    return {
        key: backend.asarray(value, copy=True)
        for key, value in state.items()
        if key.startswith(("param/", "buffer/", "ema/"))
    }


def _arrays(state: State) -> dict[str, Array]:
    """The arrays that the network would have if the training ended with this state."""
    return {**trained_params(state), **select(state, "buffer/")}


_TOO_SMALL = " Learning rate too small. Stopping."
