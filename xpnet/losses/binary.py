"""Binary cross-entropy, for labels that hold or not, each by itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from array_api_compat import device

from xpnet.errors import counted, shown
from xpnet.fields import checked_by
from xpnet.losses.base import ElementwiseLoss, Example, LossFunction, fraction, is_weight
from xpnet.typing import Array, Namespace


def _positive_weight(name: str, value: Any) -> float | tuple[float, ...]:
    several = isinstance(value, tuple | list)
    weights = tuple(value) if several else (value,)
    if not weights or not all(is_weight(w) and w > 0 for w in weights):
        raise ValueError(
            f"{name} must be a positive number or one for each output, got {shown(value)}"
        )
    floats = tuple(map(float, weights))
    return floats if several else floats[0]


@dataclass(frozen=True)
class BinaryCrossEntropy(ElementwiseLoss):
    """Cross-entropy of independent labels, from logits: mean of -y log s - (1 - y) log(1 - s).

    Here s = 1 / (1 + exp(-z)) is the logistic function of the logit z, and y the target. The mean
    is over samples and outputs. The network has no `Sigmoid` at its end: logarithm and logistic
    function are taken together, as max(z, 0) - z y + log(1 + exp(-abs(z))), in which nothing
    overflows. The gradient is (s - y) / (B C).

    Parameters
    ----------
    label_smoothing
        The targets are drawn towards 1/2: y (1 - e) + e / 2; from 0 (not at all) to below 1.
    positive_weight
        What the loss of a label that holds is multiplied by, -p y log s - (1 - y) log(1 - s): one
        number, or one for each output. Above 1 where labels that hold are rare and must not be
        missed; N_negative / N_positive gives both sides the same weight.

    Notes
    -----
    Targets: shape (B, C), of 0 and 1, or probabilities in between; for one output also (B,), so a
    network with a single logit tells two classes apart.

    Raises
    ------
    ValueError
        If `label_smoothing` is not in that range, or `positive_weight` not positive; when called,
        if the shapes do not fit.

    References
    ----------
    As PyTorch's BCEWithLogitsLoss, https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
    """

    label_smoothing: float = field(default=0.0, metadata=checked_by(fraction))
    positive_weight: float | tuple[float, ...] | None = field(
        default=None, metadata=checked_by(_positive_weight, in_dtype=True, optional=True)
    )

    name = "binary_cross_entropy"
    target_kind: ClassVar[str] = "multilabel"
    applies: ClassVar[str | None] = "the logistic function"

    def loaded(self, asarray: Callable[[Any], Array], n_outputs: int | None) -> LossFunction:
        if not isinstance(self.positive_weight, tuple):
            return self.__call__
        if n_outputs is not None:
            self._check_outputs(n_outputs)
        return partial(self.__call__, positive_weight=asarray(self.positive_weight))

    def terms(
        self,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        need_grad: bool,
        positive_weight: Array | None = None,
        **constants: Array,
    ) -> tuple[Array, Array | None]:
        y = target
        if self.label_smoothing:
            y = (1 - self.label_smoothing) * y + self.label_smoothing / 2
        e = xp.exp(-xp.abs(output))
        softplus = xp.log(1 + e)  # of -abs(z), which is at most log 2
        weight = self._weight(xp, output, positive_weight)
        if weight is None:
            softplus += xp.maximum(output, 0.0)
            softplus -= output * y
            terms = softplus
        else:
            softplus += xp.maximum(-output, 0.0)
            both = 1 + (weight - 1) * y
            terms = (1 - y) * output + both * softplus
        if not need_grad:
            return terms, None
        small = e / (1 + e)
        slopes = xp.where(output < 0, small, 1 - small)
        if weight is None:
            slopes -= y
        else:
            slopes *= both
            slopes -= weight * y
        return terms, slopes

    def _weight(self, xp: Namespace, output: Array, loaded: Array | None) -> Array | float | None:
        if loaded is not None or not isinstance(self.positive_weight, tuple):
            return self.positive_weight if loaded is None else loaded
        self._check_outputs(output.shape[-1])
        return xp.asarray(list(self.positive_weight), dtype=output.dtype, device=device(output))

    def _check_outputs(self, n_outputs: int) -> None:
        given = self.positive_weight
        if isinstance(given, tuple) and len(given) != n_outputs:
            raise ValueError(
                f"BinaryCrossEntropy: positive_weight has {counted(len(given), 'number')}, the "
                f"network {counted(n_outputs, 'output')}; give one number, or one for each output"
            )

    @classmethod
    def examples(cls) -> Iterator[Example]:
        yield cls(), "rows", False
        yield cls(), "rows", True
        yield cls(0.1, positive_weight=2.0), "rows", False
        yield cls(positive_weight=(1, 2, 3, 0.5)), "rows", True

    def torch(self) -> str:
        target, options = "target", 'reduction="none"'
        if self.label_smoothing:
            target = f"target * {1 - self.label_smoothing!r} + {self.label_smoothing / 2!r}"
        if self.positive_weight is not None:
            options += f", pos_weight=output.new_tensor({self.positive_weight!r})"
        return f"F.binary_cross_entropy_with_logits(output, {target}, {options}).mean(1)"


binary_cross_entropy = BinaryCrossEntropy()
