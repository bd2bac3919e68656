"""What is minimised, and by which steps, from the parameters of an estimator."""

from dataclasses import dataclass, replace
from typing import Any

from xpnet.callbacks.base import Callback, CallbackList, saves
from xpnet.losses import (
    LossFunction,
    PoissonDeviance,
    binary_cross_entropy,
    mean_squared_error,
    poisson_deviance,
    softmax_cross_entropy,
    target_kind,
)
from xpnet.optimizers import SGD, Adam, Momentum, Nesterov, Optimizer
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.objective import Objective

_OF_OPTIMIZER = ("schedule", "clip_norm")
"""Parameters of an estimator that are options of its optimizer."""


@dataclass(frozen=True)
class Problem:
    """What a network is to give, and how far it is from that.

    Attributes
    ----------
    kind
        That of the targets: `"classes"`, `"multilabel"` or `"values"`; see `xpnet.losses`.
    n_outputs
        How many outputs the network has.
    out_activation
        The function that scikit-learn has at the end of its network, and xpnet in the loss.
    loss
        One of xpnet's, or a function of one's own.
    value_scale, gradient_scale
        See `Objective`.
    """

    kind: str
    n_outputs: int
    out_activation: str
    loss: LossFunction
    value_scale: float = 1.0
    gradient_scale: float = 1.0

    def objective(self, *, consistent: bool = False, divided: bool = True) -> Objective:
        """The loss as scikit-learn has it; if `consistent`, its value that of its gradient.

        Of a set that is measured in parts it is not to be `divided` by the weights of each.
        """
        scale = self.gradient_scale if consistent else self.value_scale
        return Objective(self.loss, scale, self.gradient_scale, divided)


def classification(loss: Any, labels: Labels) -> Problem:
    """What a classifier learns, by its parameter `loss` and the labels that there are.

    Raises
    ------
    ValueError
        If the loss is not for such labels.
    """
    n = labels.n_outputs
    if loss == "log_loss":
        if labels.kind == "multiclass":
            return Problem("classes", n, "softmax", softmax_cross_entropy)
        return Problem("multilabel", n, "logistic", binary_cross_entropy, float(n), float(n))
    several, multiclass = labels.kind == "multilabel", labels.kind == "multiclass"
    kind = target_kind(loss) or ("classes" if multiclass else "multilabel")
    if kind == "values" or (several and kind == "classes"):
        raise ValueError(
            f"loss={loss!r} is for {kind}, and the targets are "
            f"{'several labels' if several else 'classes'}: take "
            f"{'BinaryCrossEntropy()' if several else 'SoftmaxCrossEntropy()'}"
        )
    if kind == "multilabel" and multiclass:
        raise ValueError(
            f"loss={loss!r} tells two classes apart, or says of several labels which hold; for "
            f"{len(labels.classes)} classes take SoftmaxCrossEntropy()"
        )
    if kind == "classes":
        return Problem("classes", max(2, len(labels.classes)), "softmax", loss)
    return Problem("multilabel", n, "logistic", loss)


def regression(loss: Any, n_outputs: int) -> Problem:
    """What a regressor learns, by its parameter `loss`.

    Raises
    ------
    ValueError
        If the loss is not for real numbers.
    """
    if loss == "squared_error":
        return Problem("values", n_outputs, "identity", mean_squared_error, 0.5, 0.5 * n_outputs)
    scale = 1.0
    if loss == "poisson":
        loss, scale = poisson_deviance, float(n_outputs)
    if target_kind(loss) not in ("values", None):
        raise ValueError(
            f"loss={loss!r} is for {target_kind(loss)}, and a regressor gives values: take one "
            f"such as MeanSquaredError()"
        )
    activation = "exp" if isinstance(loss, PoissonDeviance) else "identity"
    return Problem("values", n_outputs, activation, loss, scale, scale)


def make_optimizer(estimator: Any) -> Optimizer:
    """The optimizer that was asked for, or that of the solver, with schedule and clipping."""
    rate = float(estimator.learning_rate_init)
    optimizer: Optimizer
    if estimator.optimizer is not None:
        optimizer = estimator.optimizer
    elif estimator.solver == "adam":
        optimizer = Adam(
            rate, estimator.beta_1, estimator.beta_2, estimator.epsilon, epsilon_hat=True
        )
    elif estimator.momentum == 0:
        optimizer = SGD(rate)
    else:
        kind = Nesterov if estimator.nesterovs_momentum else Momentum
        optimizer = kind(rate, momentum=estimator.momentum, rate_inside=True)
    given = {name: getattr(estimator, name) for name in _OF_OPTIMIZER}
    return replace(optimizer, **{name: value for name, value in given.items() if value is not None})


def rate_mode(estimator: Any) -> str:
    """How scikit-learn changes the learning rate: that is for its own solver `sgd` alone."""
    own = estimator.optimizer is None and estimator.solver == "sgd"
    return estimator.learning_rate if own else "constant"


def check_combination(estimator: Any, *, incremental: bool, held: bool) -> None:
    """Check that the parameters make sense together.

    `incremental` is for `partial_fit`; `held` says whether a validation set is given.

    Raises
    ------
    ValueError
        If they do not.
    TypeError
        If the loss is a class.
    """
    loss = estimator.loss
    if isinstance(loss, type):
        raise TypeError(f"loss must be one such as {loss.__name__}(), got the class {loss!r}")
    stepwise = ("optimizer", "schedule", "clip_norm", "callbacks", "dropout", "batch_norm")
    if estimator.solver == "lbfgs":
        given = [name for name in stepwise if getattr(estimator, name)]
        if given:
            raise ValueError(
                f"solver='lbfgs' takes no steps by batches and cannot do with "
                f"{', '.join(given)}: take solver='adam' or 'sgd', or leave "
                f"{'it' if len(given) == 1 else 'them'} out"
            )
    if estimator.schedule is not None and rate_mode(estimator) != "constant":
        raise ValueError(
            f"schedule and learning_rate={estimator.learning_rate!r} both change the learning "
            f"rate: leave one of them out"
        )
    if estimator.optimizer is not None:
        _check_beside_optimizer(estimator)
    if incremental and estimator.early_stopping and not held:
        raise ValueError(
            "partial_fit does not support early_stopping=True without a validation set, since no "
            "part can be kept back from all calls: give partial_fit(..., validation_data=(X, y))"
        )
    if estimator.device is not None and estimator.backend == "numpy" and estimator.device != "cpu":
        raise ValueError(
            f"backend='numpy' has no device {estimator.device!r}: take another backend"
        )


def _check_beside_optimizer(estimator: Any) -> None:
    """Check that nothing is said twice, or to a solver whose place the optimizer takes."""
    optimizer = estimator.optimizer
    for name in _OF_OPTIMIZER:
        own, given = getattr(optimizer, name), getattr(estimator, name)
        if None not in (own, given) and own != given:
            raise ValueError(
                f"the optimizer has {name}={own!r}, and {name} of the estimator is {given!r}: give "
                f"one of them"
            )
    if estimator.learning_rate != "constant":
        raise ValueError(
            f"learning_rate={estimator.learning_rate!r} is for solver='sgd' without optimizer=: "
            f"give a schedule instead, such as xpnet.schedules.Cosine()"
        )


def check_callbacks(callbacks: Any, *, measured: bool) -> CallbackList:
    """The callbacks as a list, checked; `measured` says whether there is a validation set.

    Raises
    ------
    ValueError
        If one saves the training, or watches what is not measured.
    TypeError
        If one is no callback.
    """
    listed = CallbackList(callbacks or ())
    figures = ["train_loss", *(["validation_loss", "validation_accuracy"] if measured else [])]
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be instances of xpnet.Callback, got {callback!r}")
        name, monitor = type(callback).__name__, callback.monitor
        if saves(callback):
            raise ValueError(
                f"{name} saves a training of xpnet.fit, which an estimator has not: leave it out, "
                f"and pickle the estimator"
            )
        if monitor is not None and monitor not in figures:
            raise ValueError(
                f"{name} watches {monitor}, and what is measured is {', '.join(figures)}: let it "
                f"watch one of these, or give validation_data=(X, y)"
            )
    return listed
