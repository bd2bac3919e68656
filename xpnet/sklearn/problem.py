"""What is minimised, and by which steps, from the parameters of an estimator."""

from dataclasses import dataclass, replace
from typing import Any

from xpnet.losses import LossFunction
from xpnet.optimizers import SGD, Adam, Momentum, Nesterov, Optimizer
from xpnet.sklearn.objective import Objective


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

    def objective(self, *, consistent: bool = False) -> Objective:
        """The loss as scikit-learn has it; if `consistent`, its value that of its gradient."""
        scale = self.gradient_scale if consistent else self.value_scale
        return Objective(self.loss, scale, self.gradient_scale)


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
    given = {name: getattr(estimator, name) for name in ("schedule", "clip_norm")}
    return replace(optimizer, **{name: value for name, value in given.items() if value is not None})


def rate_mode(estimator: Any) -> str:
    """How scikit-learn changes the learning rate: that is for its own solver `sgd` alone."""
    own = estimator.optimizer is None and estimator.solver == "sgd"
    return estimator.learning_rate if own else "constant"


def check_combination(estimator: Any) -> None:
    """Check that the parameters make sense together.

    Raises
    ------
    ValueError
        If they do not.
    """
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
    if estimator.optimizer is not None and estimator.schedule is not None:
        own = estimator.optimizer.schedule
        if own is not None and own != estimator.schedule:
            raise ValueError(
                f"the optimizer has the schedule {own!r}, and schedule is {estimator.schedule!r}: "
                f"give one of them"
            )
    if estimator.device is not None and estimator.backend == "numpy" and estimator.device != "cpu":
        raise ValueError(
            f"backend='numpy' has no device {estimator.device!r}: take another backend"
        )
