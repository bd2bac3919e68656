"""Bringing together what a call of `fit` or `partial_fit` needs, for either kind of solver."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from xpnet.backends import Backend
from xpnet.inputs.batches import check_batch_size
from xpnet.inputs.samples import Streamed, move
from xpnet.inputs.validation import Rows, some_rows
from xpnet.inputs.weighted import Weighted
from xpnet.layers import Dropout
from xpnet.network.evaluation import make_evaluator
from xpnet.network.state import load_array
from xpnet.optimizers import Optimizer
from xpnet.random import derive
from xpnet.schedules import Schedule
from xpnet.sklearn.architecture import (
    activations,
    arrays_of,
    build_model,
    initial_biases,
    layer_sizes,
)
from xpnet.sklearn.engine import Engine, Held, Progress, Recipe, Sets, network_copy
from xpnet.sklearn.holding import rows_held
from xpnet.sklearn.lbfgs import FullBatch, minimise
from xpnet.sklearn.problem import Problem, make_optimizer
from xpnet.sklearn.scoring import of_rows
from xpnet.sklearn.training import Training
from xpnet.sklearn.warning import warn_of_call
from xpnet.training.rates import SCHEDULE_START
from xpnet.training.step import initial_state
from xpnet.typing import Array, HostArray, State

_MOST_STEPS = np.iinfo(np.int32).max
_CURVES = (
    "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
    "validation_loss_curve_", "_judged_by",
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What an estimator is given, checked: `x` on the backend, `target` and weights on the host.

    `weight` is what samples count for in the training, with their classes, `own_weight` without.
    `first` says whether the training begins, `incremental` whether it is one of `partial_fit`;
    `pair` are the samples where they were, and the targets as they were given.
    """

    x: Any
    target: HostArray
    weight: HostArray | None
    own_weight: HostArray | None
    held: Held | None
    first: bool
    incremental: bool
    pair: tuple[Any, Any]


class Fitting:
    """A call of `fit` or `partial_fit`.

    Parameters
    ----------
    estimator
        Whose parameters are looked at, and whose attributes are written.
    work
        Where the work is done.
    problem, given
        What is to be learnt, and from what.
    """

    def __init__(self, estimator: Any, work: Backend, problem: Problem, given: Given) -> None:
        self.estimator, self.work, self.problem, self.given = estimator, work, problem, given
        sizes = layer_sizes(given.x.shape[1], estimator.hidden_layer_sizes, problem.n_outputs)
        if given.first:
            self._begin()
        else:
            self._check_goes_on(sizes)
            if vars(estimator).get("_judged_by") != self._judged_by():
                self._begin_curves()
        estimator.n_outputs_, estimator.n_layers_ = problem.n_outputs, len(sizes)
        estimator.out_activation_ = problem.out_activation
        options = {"dropout": estimator.dropout, "batch_norm": estimator.batch_norm}
        self._activations = activations(estimator.activation, len(sizes) - 2)
        estimator._model = build_model(sizes, self._activations, **options)
        self._begins_as = estimator._model
        if not given.first:
            self._begins_as = build_model(sizes, self._activations, **options, drawn=False)
        early = estimator.early_stopping and estimator.solver != "lbfgs"
        holds = given.held is not None or early
        if holds and not hasattr(estimator, "validation_loss_curve_"):
            estimator.validation_loss_curve_ = []

    def _begin(self) -> None:
        """Forget what was fitted before, and set the attributes of a training that begins."""
        est = self.estimator
        est.n_iter_, est.t_ = 0, 0
        for name in ("coefs_", "intercepts_", "batch_norm_"):
            vars(est).pop(name, None)
        self._begin_curves()

    def _check_goes_on(self, sizes: list[int]) -> None:
        """Check that what was fitted is the network that there is to be."""
        est, again = self.estimator, "give what was given before, or fit with warm_start=False"
        fitted = [est.coefs_[0].shape[0], *(weight.shape[1] for weight in est.coefs_)]
        if fitted[-1] != sizes[-1]:
            raise ValueError(
                f"the targets and the loss need {sizes[-1]} outputs, and what was fitted has "
                f"{fitted[-1]}: {again}"
            )
        if fitted != sizes:
            raise ValueError(
                f"hidden_layer_sizes={est.hidden_layer_sizes!r}, and what was fitted has hidden "
                f"layers of {fitted[1:-1]}: {again}"
            )
        if est.batch_norm != hasattr(est, "batch_norm_"):
            raise ValueError(
                f"batch_norm={est.batch_norm}, and what was fitted has "
                f"{'none' if est.batch_norm else 'one'}: {again}"
            )

    def _begin_curves(self) -> None:
        est, early = self.estimator, self.estimator.early_stopping
        est._no_improvement_count = 0
        for name in _CURVES:
            vars(est).pop(name, None)
        est._judged_by = self._judged_by()
        if est.solver == "lbfgs":
            return
        est.loss_curve_ = []
        est.best_loss_ = None if early else math.inf
        est.validation_scores_ = [] if early else None
        est.best_validation_score_ = -math.inf if early else None

    def _judged_by(self) -> list[Any]:
        """What the epochs are compared by: of other scores the best says nothing.

        Nor does that of epochs before a solver without any has come to another network.
        """
        if self.estimator.solver == "lbfgs":
            return ["lbfgs"]
        early = self.estimator.early_stopping
        return [early, self.estimator.scoring if early else None]

    def _draw_seed(self) -> int:
        return int(check_random_state(self.estimator.random_state).randint(_MOST_STEPS))

    # -- step by step ---------------------------------------------------------------------------

    def stochastic(self) -> dict[str, Array]:
        """Train by mini-batches; the arrays of the network by name."""
        est, work, given = self.estimator, self.work, self.given
        before: Progress | None = None if given.first else vars(est).get("_progress")
        # Schedule and arrays of the optimizer are those of a `fit`, and of what goes on from it.
        goes_on = before if given.incremental else None
        seed = self._draw_seed() if goes_on is None else goes_on.seed
        optimizer = make_optimizer(est)
        recipe = Recipe(est._model, self.problem, optimizer, float(est.alpha), seed, est.compile)
        engine: Engine | None = vars(est).get("_engine")
        if not given.incremental or engine is None or (engine.recipe, engine.backend) != (
            recipe, work,
        ):  # fmt: skip
            engine = Engine(recipe, work)
        sets = self._sets(seed)
        batch_size = self._batch_size(sets.n_samples)
        check_batch_size(est._model, sets.n_samples, batch_size)
        steps = math.ceil(sets.n_samples / batch_size)
        state = initial_state(
            work, self._begins_as, optimizer, seed, epochs=est.max_iter, steps_per_epoch=steps
        )
        if given.first:
            biases = initial_biases(est._model, self._activations, seed)
            state |= {f"param/{name}": load_array(work, value) for name, value in biases.items()}
        else:
            state |= self._fitted(state)
        scored = est.early_stopping and est.best_validation_score_ > -math.inf
        best = network_copy(work, state) if scored else {}
        progress = self._progress(state, seed, optimizer, before)
        if isinstance(optimizer.schedule, Schedule):
            self._place_schedule(progress, steps)
        training = Training(est, engine, sets, progress, best)
        try:
            training.run(given.first, incremental=given.incremental, batch_size=batch_size)
        finally:
            engine.forget_samples()
        # The steps are kept for the next partial_fit alone.
        est._progress, est._engine = progress, engine if given.incremental else None
        return training.arrays()

    def _progress(
        self, state: State, seed: int, optimizer: Optimizer, before: Progress | None
    ) -> Progress:
        """Consumes `state`: where the training begins, with what is left of the calls before."""
        progress = Progress(state, seed, float(optimizer.learning_rate), optimizer)
        if before is None:
            return progress
        progress.epochs, progress.history = before.epochs, before.history
        kept = before.kept_for(optimizer)
        if self.given.incremental:
            progress.scheduled, progress.is_apart = before.scheduled, before.is_apart
            if before.optimizer == optimizer:
                progress.rate, progress.plateau = before.rate, before.plateau
        else:
            kept = {key: value for key, value in kept.items() if key == "step"}
        state |= {key: self._like(state[key], x) for key, x in kept.items() if key in state}
        return progress

    def _place_schedule(self, progress: Progress, steps: int) -> None:
        """Let the schedule begin with the next step; for `partial_fit`, with the next epoch."""
        state, table = progress.state, progress.state["schedule"]
        state[SCHEDULE_START] = self.work.asarray(state["step"], copy=True)
        if self.given.incremental:
            # The parts may be of different sizes: each epoch has its steps of a run of such parts.
            begin = min(progress.scheduled * steps, table.shape[0] - 1)
            state["schedule"] = self.work.asarray(table[begin : begin + steps], copy=True)

    def _fitted(self, state: State) -> State:
        """The entries of a state that the fitted arrays are, as copies."""
        kinds = ("param/", "buffer/", "ema/")
        return {
            kind + name: self._like(state[kind + name], value)
            for name, value in arrays_of(self.estimator).items()
            for kind in kinds
            if kind + name in state
        }

    def _like(self, entry: Array, value: Array) -> Array:
        """A copy of an array where an entry of the state is, and in its dtype."""
        return self.work.asarray(move(self.work, value), dtype=entry.dtype, copy=True)

    def _batch_size(self, n_samples: int) -> int:
        given = self.estimator.batch_size
        if given == "auto":
            return min(200, n_samples)
        if given > n_samples:
            warn_of_call(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            )
        return min(int(given), n_samples)

    def _sets(self, seed: int) -> Sets:
        """What is trained on, and what is kept for early stopping."""
        work, given = self.work, self.given
        x, weight, n = given.x, given.weight, given.x.shape[0]
        if isinstance(x, Streamed):
            # What goes with streamed samples is taken in parts as well.
            dtype = "int64" if self.problem.kind == "classes" else work.dtype_name
            target: Any = Streamed(work, given.target.astype(dtype))
        else:
            target = load_target(work, given.target, self.problem)
        y, counts = target, None
        if weight is not None:
            streamed = isinstance(x, Streamed)
            y = Weighted(target, Streamed(work, weight) if streamed else load_array(work, weight))
            counts = None if weight.all() else weight != 0
        if given.held is not None or not self.estimator.early_stopping:
            return Sets(x, y, n, None, given.held, counts)
        rows, kept = rows_held(self.estimator, self.problem, given.target, seed)
        own = None if given.own_weight is None else given.own_weight[kept]
        _check_counts("left to train on", None if counts is None else counts[rows])
        _check_counts("kept for early stopping", own)
        held = Held.weighted(
            work, Rows(work, x, kept), some_rows(work, target, kept), given.target[kept], own,
            of_rows(self.estimator, *given.pair, kept),
        )  # fmt: skip
        return Sets(x, y, len(rows), rows, held, counts)

    # -- all samples at once --------------------------------------------------------------------

    def lbfgs(self) -> dict[str, Array]:
        """Minimise the loss of all samples; the arrays of the network by name."""
        est, work, problem, given = self.estimator, self.work, self.problem, self.given
        if any(isinstance(layer, Dropout) for layer in self._activations):
            raise ValueError(
                "solver='lbfgs' takes no steps by batches and cannot do with Dropout among the "
                "activations: take solver='adam' or 'sgd', or leave it out"
            )
        y, total = load_target(work, given.target, problem), float(given.x.shape[0])
        if given.weight is not None:
            y = Weighted(y, load_array(work, given.weight))
            total = float(given.weight.sum(dtype=np.float64))
        function = FullBatch(work, est._model, problem, float(est.alpha), given.x, y, total)
        if given.first:
            seed = self._draw_seed()
            host = est._model.init(derive(seed, "initialization"))
            host |= initial_biases(est._model, self._activations, seed)
            params = {name: load_array(work, value) for name, value in host.items()}
        else:
            params = {name: move(work, value) for name, value in arrays_of(est).items()}
        # What another solver came to is no longer what it would go on from.
        before: Progress | None = vars(est).pop("_progress", None)
        if before is not None and not given.first:
            est._progress = before.counts()
        for name in ("callbacks_", "stopped_"):
            vars(est).pop(name, None)
        return minimise(est, function, params, self._measured())

    def _measured(self) -> Callable[[Any], None] | None:
        """What adds the loss on the validation set to its curve, where there is one."""
        held, work, problem = self.given.held, self.work, self.problem
        if held is None:
            return None
        evaluate = make_evaluator(
            work, self.estimator._model, problem.objective(divided=False), pixel_maximum=1.0,
            kind=problem.kind,
        )  # fmt: skip
        curve = self.estimator.validation_loss_curve_
        return lambda params: curve.append(evaluate(params, held.x, held.y).loss)


def _check_counts(what: str, weight: HostArray | None) -> None:
    if weight is not None and not weight.any():
        raise ValueError(
            f"the samples {what} have weight 0, all of them: give more samples that count, or "
            f"another validation_fraction"
        )


def load_target(work: Backend, target: HostArray, problem: Problem) -> Array:
    """Targets on the backend: integer labels in its index dtype, all others in its dtype."""
    if problem.kind == "classes":
        return work.asarray(target, dtype=work.index_dtype, copy=True)
    return load_array(work, target)
