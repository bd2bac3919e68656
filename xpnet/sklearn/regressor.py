"""A regressor with scikit-learn's interface."""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from xpnet.errors import counted
from xpnet.network.prediction import output_itself
from xpnet.sklearn.base import BaseMLP
from xpnet.sklearn.checking import hosted, validation_set
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.private import StrOptions, fit_context
from xpnet.sklearn.problem import Problem, regression
from xpnet.typing import Array, HostArray, Namespace


def _exponential(xp: Namespace, output: Array) -> Array:
    return xp.exp(output)


class MLPRegressor(RegressorMixin, BaseMLP):
    """Dense layers that give real numbers, with the interface of scikit-learn's `MLPRegressor`.

    Parameters, attributes and results are those of `sklearn.neural_network.MLPRegressor` of version
    1.9, up to the random numbers. Samples may be arrays of NumPy, CuPy, torch or JAX: predictions
    and fitted arrays are of the same library, on the same device. `MLPClassifier` says more of the
    parameters, which it has as well.

    Parameters
    ----------
    loss
        `"squared_error"`, half of it; `"poisson"`, half of the deviance of a Poisson distribution,
        for targets that are not negative, with the exponential function at the end of the network;
        a loss of `xpnet.losses` for values, such as `Huber()`; or a function of one's own, see
        `MLPClassifier`: its targets are rows (N, outputs), also of a single value.
    hidden_layer_sizes
        The number of outputs of each hidden layer; a single number for a single one.
    activation
        After each hidden layer, or a list with one for each; see `MLPClassifier`.
    solver
        `"adam"`, `"sgd"`, or `"lbfgs"`, which takes all samples at once.
    alpha
        The strength of the L2 penalty on weights.
    batch_size
        How many samples make a step; `"auto"` is 200, or all if there are fewer.
    learning_rate
        For `solver="sgd"`: `"constant"`, `"invscaling"` or `"adaptive"`.
    learning_rate_init, power_t
        The learning rate at the beginning, and the exponent of `"invscaling"`.
    max_iter
        The most epochs, or iterations of `"lbfgs"`.
    shuffle
        Whether each epoch takes the samples in a new order.
    random_state
        None, an integer or a `RandomState`.
    tol, n_iter_no_change
        Training ends when for more than `n_iter_no_change` epochs nothing has become better by
        `tol`.
    verbose
        Whether to print the loss of each epoch.
    warm_start
        Whether `fit` goes on from what is fitted.
    momentum, nesterovs_momentum
        For `solver="sgd"`: how much of a step is left in the next, and whether to look ahead.
    early_stopping, validation_fraction
        Whether this part of the samples, any, is kept, and training ends by R² on it.
    beta_1, beta_2, epsilon
        For `solver="adam"`: the decay of its two means, and what keeps its quotient finite.
    max_fun
        The most evaluations of the loss by `"lbfgs"`.
    backend, device, dtype
        Where the work is done, and in which precision; if None, as the samples are.
    dropout, batch_norm
        The part of hidden outputs that is left out in training; whether there is batch norm.
    optimizer, schedule, clip_norm, augment
        One of `xpnet.optimizers` in the place of `solver`, one of `xpnet.schedules`, the largest
        norm of all gradients together, and how samples are changed, see `MLPClassifier`.
    callbacks
        A list of `xpnet.Callback`, of which copies are told, see `MLPClassifier`.
    compile
        Whether steps may be recorded and replayed, or are called one by one.
    scoring
        What early stopping goes by, if not R²: `"loss"`, or a scorer; see `MLPClassifier`.
    group, reduction, shards
        The ranks that train together, and how what they compute is added up; see `MLPClassifier`.

    Attributes
    ----------
    loss_, best_loss_, loss_curve_, validation_loss_curve_
        As in `MLPClassifier`. Of several outputs the squared error is their mean, while its
        gradient is that of their sum, as in scikit-learn.
    validation_scores_, best_validation_score_
        With early stopping: R², or what `scoring` gives, after each epoch, and the best.
    stopped_, callbacks_, coefs_, intercepts_, batch_norm_, n_iter_, t_, n_layers_, n_outputs_, \
out_activation_, n_features_in_, feature_names_in_
        As in `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from xpnet.sklearn import MLPRegressor
    >>> X, y = make_regression(100, 5, random_state=0)
    >>> model = MLPRegressor(hidden_layer_sizes=20, solver="lbfgs", random_state=0)
    >>> round(model.fit(X, y / 100).score(X, y / 100), 2)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"}), callable],
    }
    _numeric = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        optimizer: Any = None,
        schedule: Any = None,
        callbacks: Any = None,
        clip_norm: float | None = None,
        augment: Any = None,
        compile: bool = True,
        scoring: Any = None,
        group: Any = None,
        reduction: str = "fast",
        shards: int | None = None,
    ) -> None:
        self._keep(locals())

    # -- training -------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPRegressor":
        """Train on samples and their values.

        Parameters
        ----------
        X
            Samples (N, features): an array of any library, a data frame, or a sparse matrix.
        y
            Real numbers, (N,) or (N, outputs).
        sample_weight
            What each sample counts for, (N,): a batch whose weights are all 0 is left out.
        validation_data
            A pair like (X, y), to measure the loss on after each epoch, or (X, y, sample_weight).
            With early stopping it is used in the place of a part of the samples.
        X_val, y_val, sample_weight_val
            The same under the names of scikit-learn's `HistGradientBoosting` estimators: a pipeline
            with `transform_input=["X_val"]` does with X_val what it does with X.

        Returns
        -------
        self
        """
        held = partial(validation_set, validation_data, X_val, y_val, sample_weight_val)
        self._fit(X, y, sample_weight, held, incremental=False)
        return self

    @available_if(lambda self: self._check_solver())  # type: ignore[untyped-decorator]
    @fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> "MLPRegressor":
        """Train for one epoch on these samples.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        validation_data
            As in `fit`. With early stopping it is needed, and should be the same in all calls.

        Returns
        -------
        self
        """
        held = partial(validation_set, validation_data)
        self._fit(X, y, sample_weight, held, incremental=True)
        return self

    def _learn(self, y: Any, known: Labels | None, *, incremental: bool) -> Problem:
        return regression(self.loss, 1 if y.ndim == 1 else y.shape[1])

    def _encode(self, y: Any, problem: Problem) -> HostArray:
        rows = np.asarray(y, dtype=np.float64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.shape[1] != problem.n_outputs:
            raise ValueError(
                f"y has {counted(rows.shape[1], 'output')}, but {problem.n_outputs} "
                f"{'was' if problem.n_outputs == 1 else 'were'} expected"
            )
        if problem.out_activation == "exp" and np.any(rows < 0):
            raise ValueError(f"loss={self.loss!r} needs targets that are not negative")
        return rows

    def _held_score(
        self, target: HostArray, predicted: HostArray, weight: HostArray | None
    ) -> float:
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(target, predicted, sample_weight=weight))

    # -- prediction -----------------------------------------------------------------------------

    def predict(self, X: Any) -> Any:
        """The value of each sample, (N,), or its values, (N, outputs)."""
        return self._predict(X, "predict")

    def _predict(self, X: Any, method: str) -> Any:
        exponential = getattr(self, "out_activation_", "identity") == "exp"
        home, values = self._outputs(X, _exponential if exponential else output_itself, method)
        return home.xp.reshape(values, (-1,)) if values.shape[1] == 1 else values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² on samples with known values."""
        predicted = hosted(self._predict(X, "score"))
        return float(r2_score(hosted(y), predicted, sample_weight=hosted(sample_weight)))
