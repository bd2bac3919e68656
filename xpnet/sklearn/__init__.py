"""Estimators with scikit-learn's interface, on any array library.

`MLPClassifier` and `MLPRegressor` take the place of the estimators of the same names in
`sklearn.neural_network`: change the import, and all else may stay. `ConvClassifier` is beside them
for pictures. What they have more is in their docstrings, and on the page "scikit-learn" of the
documentation. scikit-learn and SciPy are needed here and nowhere else.
"""

try:
    import sklearn as _sklearn  # noqa: F401 - for the message alone
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "xpnet.sklearn needs scikit-learn, which is not installed: pip install 'xpnet[sklearn]'",
        name="sklearn",
    ) from error

from xpnet.sklearn.classifier import MLPClassifier
from xpnet.sklearn.conv import ConvClassifier
from xpnet.sklearn.regressor import MLPRegressor

__all__ = ["ConvClassifier", "MLPClassifier", "MLPRegressor"]
