"""The score for early stopping: the estimator's own, by a scorer, or by the loss."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring, get_scorer_names

from xpnet.backends import Backend
from xpnet.checks import takes_argument
from xpnet.inputs.samples import all_finite
from xpnet.network.evaluation import Evaluation
from xpnet.network.prediction import PREDICTIONS
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.holding import Held
from xpnet.sklearn.outputs import Forwards
from xpnet.sklearn.private import StrOptions, metric_of
from xpnet.sklearn.problem import Problem
from xpnet.sklearn.task import Score

BY_LOSS = "loss"
"""The name of the score that is the loss, made negative."""

ALLOWED: list[Any] = [StrOptions(set(get_scorer_names()) | {BY_LOSS}), callable, None]
"""What may be asked for."""

Scorer = Callable[..., Any]
Become = Callable[[Fitted, Any], Any]


def is_scored(settings: Any) -> bool:
    """Whether a scorer is asked for, which is given an estimator, samples and targets."""
    return bool(settings.early_stopping) and settings.scoring not in (None, BY_LOSS)


def make_scorer(estimator: Any) -> Scorer | None:
    """`scorer(estimator, X, y)` as scikit-learn has it; None where none is asked for.

    Raises
    ------
    ValueError
        If it is a metric of scikit-learn's, which is no scorer.
    """
    if not is_scored(estimator):
        return None
    scorer: Scorer = check_scoring(estimator, scoring=estimator.scoring)
    return scorer


def make_score(estimator: Any, problem: Problem, work: Backend, become: Become) -> Score:
    """How good a network is on a validation set, by what an estimator asks for.

    Parameters
    ----------
    estimator
        Whose parameters say what is asked for, and whose class has a score of its own.
    problem, work
        What the network gives, and where.
    become
        `become(fitted, x)` gives an estimator that has been fitted: it is what a scorer is given.
    """
    scorer, forwards = make_scorer(estimator), Forwards()

    def score(fitted: Fitted, held: Held, found: Evaluation) -> float:
        if estimator.scoring == BY_LOSS:
            return -found.loss
        if scorer is not None:
            # What is predicted is no number either.
            finite = math.isfinite(found.loss)
            return _score_of(scorer, work, fitted, held, become) if finite else math.nan
        forward = forwards.on(work, fitted.model)
        predicted = work.to_numpy(forward(PREDICTIONS[problem.kind], fitted.arrays, held.x))
        if problem.out_activation == "exp":
            predicted = np.exp(predicted)
        if problem.is_single:
            predicted = np.zeros_like(held.target)
        return float(estimator._held_score(held.target, predicted, held.weight))

    return score


def _score_of(scorer: Scorer, work: Backend, fitted: Fitted, held: Held, become: Become) -> float:
    """The score of the network as it is now, not a number where its arrays are none.

    Raises
    ------
    TypeError
        If the scorer gives something else than a real number.
    """
    if not all(all_finite(work, value) for value in fitted.arrays.values()):
        return math.nan
    assert held.scored is not None
    x, y = held.scored
    # Copies: the next step may overwrite the arrays, and a scorer may keep what it is given.
    own = {name: work.asarray(array, copy=True) for name, array in fitted.arrays.items()}
    # The samples have been checked, and have lost their names.
    seen = {name: value for name, value in fitted.seen.items() if name != "feature_names_in_"}
    estimator = become(replace(fitted, arrays=own, seen=seen), x)
    if work.name != "numpy":
        here = type(work).device_of(next(iter(fitted.arrays.values())))
        estimator.backend, estimator.device = work.name, here
    # Of scikit-learn's own, it is the metric that says so.
    weighted = held.weight is not None and takes_argument(
        metric_of(scorer), "sample_weight", unsaid=False
    )
    x = estimator._as_given(x)
    score = scorer(estimator, x, y, **({"sample_weight": held.weight} if weighted else {}))
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        text = repr(score)
        raise TypeError(f"scoring must give a number, got {text:.200}") from error
