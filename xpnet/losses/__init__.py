"""Losses: `loss(xp, output, target, *, weight=None, need_grad=True) -> (loss, d_output)`.

`loss` is the mean over the samples as an array without axes; `d_output` is its gradient with
respect to the network's output, of the output's shape, or None where it was not asked for. The
losses here are descriptions, frozen and hashable, each with a ready-made instance under the name of
a function. A plain function of your own with this signature is a loss like these.
"""

from typing import Any

from xpnet.descriptions import named_classes
from xpnet.errors import shown

# In the order in which messages list them.
# isort: off
from xpnet.losses.cross_entropy import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from xpnet.losses.cross_entropy import softmax_cross_entropy as softmax_cross_entropy
from xpnet.losses.binary import BinaryCrossEntropy as BinaryCrossEntropy
from xpnet.losses.binary import binary_cross_entropy as binary_cross_entropy
from xpnet.losses.regression import MeanSquaredError as MeanSquaredError
from xpnet.losses.regression import mean_squared_error as mean_squared_error
from xpnet.losses.regression import MeanAbsoluteError as MeanAbsoluteError
from xpnet.losses.regression import mean_absolute_error as mean_absolute_error
from xpnet.losses.regression import Huber as Huber
from xpnet.losses.regression import huber as huber
from xpnet.losses.regression import PoissonDeviance as PoissonDeviance
from xpnet.losses.regression import poisson_deviance as poisson_deviance

# isort: on
from xpnet.losses.base import TARGET_KINDS as TARGET_KINDS
from xpnet.losses.base import ElementwiseLoss as ElementwiseLoss
from xpnet.losses.base import Loss as Loss
from xpnet.losses.base import LossFunction as LossFunction
from xpnet.losses.base import accepts_weight as accepts_weight
from xpnet.losses.base import target_kind as target_kind
from xpnet.losses.cross_entropy import balanced_class_weight as balanced_class_weight
from xpnet.losses.cross_entropy import one_hot as one_hot

LOSSES: dict[str, type[Loss]] = named_classes(globals(), Loss)
"""The losses by the name that the command line and saved networks give them."""

DEFAULT_LOSSES: dict[str, Loss] = {
    "classes": softmax_cross_entropy,
    "multilabel": binary_cross_entropy,
    "values": mean_squared_error,
}
"""The usual loss for each kind of targets."""


def describe_loss(loss: LossFunction) -> dict[str, Any] | None:
    """One of xpnet's losses as JSON values, for `build_loss`; None if it is another."""
    if isinstance(loss, Loss) and type(loss) in LOSSES.values():
        return {"loss": loss.name, "options": loss.config()}
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
