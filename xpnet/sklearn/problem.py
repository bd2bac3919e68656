"""What is minimised, by the parameter `loss` of an estimator and its targets."""

from dataclasses import dataclass, field
from typing import Any

from xpnet.backends import Backend
from xpnet.distributed.group import ALONE, Group
from xpnet.layers import Sequential
from xpnet.losses import (
    LossFunction,
    PoissonDeviance,
    binary_cross_entropy,
    mean_squared_error,
    poisson_deviance,
    softmax_cross_entropy,
    target_kind,
)
from xpnet.network.evaluation import Evaluator, make_evaluator
from xpnet.purity import is_pure
from xpnet.sklearn.encoding import Labels
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
    labels
        What the outputs of a classifier stand for.
    """

    kind: str
    n_outputs: int
    out_activation: str
    loss: LossFunction
    value_scale: float = 1.0
    gradient_scale: float = 1.0
    labels: Labels | None = field(default=None, compare=False)

    @property
    def is_single(self) -> bool:
        """Whether there is a single class, which is predicted whatever the network gives."""
        return self.labels is not None and self.labels.is_single

    def evaluator(self, work: Backend, model: Sequential, group: Group = ALONE) -> Evaluator:
        """What measures a network on a set, which it takes in parts, some on each rank."""
        loss = self.objective(divided=False)
        return make_evaluator(
            work, model, loss, kind=self.kind, group=group, pure=is_pure(model, self.loss)
        )

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
            return Problem("classes", n, "softmax", softmax_cross_entropy, labels=labels)
        scale = float(n)
        return Problem(
            "multilabel", n, "logistic", binary_cross_entropy, scale, scale, labels=labels
        )
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
        return Problem("classes", max(2, len(labels.classes)), "softmax", loss, labels=labels)
    return Problem("multilabel", n, "logistic", loss, labels=labels)


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
