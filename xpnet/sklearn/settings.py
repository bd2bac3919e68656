"""The parameters of an estimator, whether they make sense together, and its optimizer."""

from dataclasses import dataclass, fields, replace
from typing import Any

from xpnet.callbacks.base import Callback, CallbackList, saves
from xpnet.optimizers import SGD, Adam, Momentum, Nesterov, Optimizer

_OF_OPTIMIZER = ("schedule", "clip_norm")
"""Parameters of an estimator that are options of its optimizer."""


@dataclass(frozen=True)
class Settings:
    """The parameters of an estimator that its solvers go by; `MLPClassifier` says what they are.

    A solver is given these and not the estimator, which it cannot change.
    """

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: float
    batch_norm: bool
    optimizer: Any
    schedule: Any
    callbacks: Any
    clip_norm: float | None
    augment: Any
    scoring: Any

    @classmethod
    def of(cls, estimator: Any) -> "Settings":
        """Those of an estimator as they are now."""
        return cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})


def make_optimizer(settings: Settings) -> Optimizer:
    """The optimizer that was asked for, or that of the solver, with schedule and clipping."""
    rate = float(settings.learning_rate_init)
    optimizer: Optimizer
    if settings.optimizer is not None:
        optimizer = settings.optimizer
    elif settings.solver == "adam":
        optimizer = Adam(rate, settings.beta_1, settings.beta_2, settings.epsilon, epsilon_hat=True)
    elif settings.momentum == 0:
        optimizer = SGD(rate)
    else:
        kind = Nesterov if settings.nesterovs_momentum else Momentum
        optimizer = kind(rate, momentum=settings.momentum, rate_inside=True)
    given = {name: getattr(settings, name) for name in _OF_OPTIMIZER}
    return replace(optimizer, **{name: value for name, value in given.items() if value is not None})


def rate_mode(settings: Any) -> str:
    """How scikit-learn changes the learning rate: that is for its own solver `sgd` alone."""
    own = settings.optimizer is None and settings.solver == "sgd"
    return settings.learning_rate if own else "constant"


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
    stepwise = (
        "optimizer", "schedule", "clip_norm", "callbacks", "augment", "dropout", "batch_norm",
    )  # fmt: skip
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
