"""Losses: `loss(xp, output, target, *, weight=None, need_grad=True) -> (loss, d_output)`.

`loss` is the mean over the samples as an array without axes; `d_output` is its gradient with
respect to the network's output, of the output's shape, or None where it was not asked for. The
losses here are descriptions, frozen and hashable, each with a ready-made instance under the name of
a function. A plain function of your own with this signature is a loss like these.
"""

from typing import Any

from xpnet.errors import shown
from xpnet.losses.base import (
    TARGET_KINDS,
    ElementwiseLoss,
    Loss,
    LossFunction,
    accepts_weight,
    target_kind,
)
from xpnet.losses.binary import BinaryCrossEntropy, binary_cross_entropy
from xpnet.losses.cross_entropy import (
    SoftmaxCrossEntropy,
    balanced_class_weight,
    one_hot,
    softmax_cross_entropy,
)
from xpnet.losses.regression import (
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    PoissonDeviance,
    huber,
    mean_absolute_error,
    mean_squared_error,
    poisson_deviance,
)

LOSSES: dict[str, type[Loss]] = {
    "softmax_cross_entropy": SoftmaxCrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "mean_squared_error": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "poisson_deviance": PoissonDeviance,
}
"""The losses by the name that the command line and saved networks give them."""

DEFAULT_LOSSES: dict[str, Loss] = {
    "classes": softmax_cross_entropy,
    "multilabel": binary_cross_entropy,
    "values": mean_squared_error,
}
"""The usual loss for each kind of targets."""


def describe_loss(loss: LossFunction) -> dict[str, Any] | None:
    """One of xpnet's losses as JSON values, for `build_loss`; None if it is another."""
    if isinstance(loss, Loss):
        for name, known in LOSSES.items():
            if type(loss) is known:
                return {"loss": name, "options": loss.config()}
    return None


def build_loss(description: dict[str, Any]) -> Loss:
    """The inverse of `describe_loss`.

    Raises
    ------
    ValueError
        If there is no such loss, or its options are not allowed.
    """
    name = description["loss"]
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {shown(name)}")
    return LOSSES[name].from_config(description["options"])


__all__ = [
    "DEFAULT_LOSSES",
    "LOSSES",
    "TARGET_KINDS",
    "BinaryCrossEntropy",
    "ElementwiseLoss",
    "Huber",
    "Loss",
    "LossFunction",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "PoissonDeviance",
    "SoftmaxCrossEntropy",
    "accepts_weight",
    "balanced_class_weight",
    "binary_cross_entropy",
    "build_loss",
    "describe_loss",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
    "one_hot",
    "poisson_deviance",
    "softmax_cross_entropy",
    "target_kind",
]
