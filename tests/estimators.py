"""What the tests of the estimators share: samples, targets of every kind, quiet calls."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.exceptions import ConvergenceWarning

RNG = np.random.RandomState(0)
X = RNG.normal(size=(120, 6))
LABELS = (X[:, 0] + X[:, 1] > 0.8).astype(int) + (X[:, 2] > 0.5)
VALUES = np.stack([X[:, 0] + X[:, 1] ** 2, np.sin(X[:, 2])], axis=1)
WEIGHTS = RNG.uniform(0, 2, size=120)

TARGETS = {
    "binary": (X[:, 0] + X[:, 1] > 0).astype(int),
    "strings": np.array(["no", "yes"])[(X[:, 0] > 0.3).astype(int)],
    "multiclass": LABELS,
    "multilabel": (X[:, :3] + X[:, 3:] > 0).astype(int),
    "value": VALUES[:, 0],
    "values": VALUES,
    "counts": RNG.poisson(2, size=120).astype(float),
}
"""For `X`, by their kind."""


def skip_before(version, what):
    """Skip where the scikit-learn that is compared with is older, and another in this."""
    installed = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    if installed < version:
        pytest.skip(f"scikit-learn {sklearn.__version__} {what}")


def quietly(function, *args, **kwargs):
    """A call without the warning that it ended before the loss became no smaller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*args, **kwargs)
