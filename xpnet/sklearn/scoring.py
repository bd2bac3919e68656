"""The score for early stopping by a scorer of scikit-learn's, or one's own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from scipy.sparse import issparse
from sklearn.metrics import check_scoring, get_scorer_names

from xpnet.backends import Backend
from xpnet.inputs.samples import all_finite
from xpnet.sklearn.checking import home_of_array
from xpnet.sklearn.engine import Held
from xpnet.sklearn.private import StrOptions, metric_of
from xpnet.typing import Array, HostArray

BY_LOSS = "loss"
"""The name of the score that is the loss, made negative."""

ALLOWED: list[Any] = [StrOptions(set(get_scorer_names()) | {BY_LOSS}), callable, None]
"""What may be asked for."""

Scorer = Callable[..., Any]


def is_scored(estimator: Any) -> bool:
    """Whether a scorer is asked for, which is given an estimator, samples and targets."""
    return bool(estimator.early_stopping) and estimator.scoring not in (None, BY_LOSS)


def of_rows(
    estimator: Any, x: Any, y: Any, rows: HostArray | None = None
) -> tuple[Any, Any] | None:
    """What the scorer is given: samples on the host, and targets as they came; None without one."""
    if not is_scored(estimator):
        return None
    home = home_of_array(x)
    if rows is not None:
        if home is not None:
            x = home.xp.take(x, home.asarray(rows, dtype=home.index_dtype), axis=0)
        else:
            x = (x.tocsr() if issparse(x) else x)[rows]
        y = y[rows]
    return x if home is None else home.to_numpy(x), y


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


def score_of(
    scorer: Scorer, estimator: Any, work: Backend, arrays: Mapping[str, Array], held: Held
) -> float:
    """The score of the network as it is now, not a number where its arrays are none.

    The scorer is given an estimator that has been fitted, and predicts where the work is done.

    Raises
    ------
    TypeError
        If the scorer gives something else than a real number.
    """
    if not all(all_finite(work, value) for value in arrays.values()):
        return float("nan")
    assert held.scored is not None
    x, y = held.scored
    fitted = object.__new__(type(estimator))
    vars(fitted).update(vars(estimator))
    # The samples have been checked, and have lost their names.
    vars(fitted).pop("feature_names_in_", None)
    if work.name != "numpy":
        here = type(work).device_of(next(iter(arrays.values())))
        fitted.backend, fitted.device = work.name, here
    # Copies: the next step may overwrite the arrays, and a scorer may keep what it is given.
    fitted._give(work, x, {name: work.asarray(own, copy=True) for name, own in arrays.items()})
    weighted = held.weight is not None and _takes_weights(scorer)
    score = scorer(fitted, x, y, **({"sample_weight": held.weight} if weighted else {}))
    try:
        return float(score)
    except (TypeError, ValueError) as error:
        text = repr(score)
        raise TypeError(f"scoring must give a number, got {text:.200}") from error


def _takes_weights(scorer: Scorer) -> bool:
    """Whether it says that it takes `sample_weight`; of scikit-learn's own, whether its metric."""
    function = metric_of(scorer)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)
