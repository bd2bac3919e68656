"""What is private in scikit-learn and used here, in this file and nowhere else.

There is nothing public in the place of these. They were read in the versions of `VERSIONS`, and may
be others in the next one: `pyproject.toml` allows these alone. To allow another, read what is named
here in it, run the tests with it, and add it to both.

Two are no imports: `_parameter_constraints` of an estimator, which `BaseEstimator._validate_params`
reads, says what its parameters may be; and `_score_func` is the metric of a scorer.
"""

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _check_y as check_y

__all__ = [
    "CALLS_FIT", "VERSIONS", "Interval", "Options", "StrOptions", "check_sample_weight", "check_y",
    "fit_context", "metric_of",
]  # fmt: skip

VERSIONS = ("1.7", "1.8", "1.9")
"""In which all of this was read, and runs: from the lower bound to the upper one."""

CALLS_FIT = fit_context.__module__
"""The module whose wrapper of `fit` lies between it and the line that calls it."""


def metric_of(scorer: Any) -> Any:
    """The metric that a scorer of scikit-learn's was made of; else the scorer itself."""
    return getattr(scorer, "_score_func", scorer)
