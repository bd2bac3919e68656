"""What a loss is: its value and its gradient from the output of a network and the targets."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

from xpnet.checks import as_float, is_one_of, takes_argument
from xpnet.descriptions import build_from_fields, describe_fields
from xpnet.errors import counted, shown
from xpnet.fields import Checked
from xpnet.typing import Array, Namespace

TARGET_KINDS = ("classes", "multilabel", "values")
"""The kinds of targets: a class for each sample, several labels that hold or not, real numbers."""

LossFunction = Callable[..., tuple[Array, Array | None]]
"""A `Loss`, or a plain function with the same signature."""

Example: TypeAlias = tuple["Loss", str, bool]
"""A loss, the form of its targets, and whether the samples are weighted."""


@dataclass(frozen=True)
class Loss(Checked):
    """How far the output of a network is from the targets, and in which direction.

    A loss is a frozen dataclass of hyper-parameters and holds no array, so it can be compared,
    hashed and printed, and is static when a step is compiled. It is called like a function. What a
    hyper-parameter may be stands in the metadata of its field; see `xpnet.fields`.

    Attributes
    ----------
    target_kind
        What the targets are, of the class and not of the instance: `"classes"` (labels or one-hot
        rows), `"multilabel"` (rows of 0 and 1) or `"values"` (real numbers). It decides how targets
        are checked, and what a trained network predicts.

    Notes
    -----
    **Sample weights.** Where `weight` (B,) is given, each sample's loss l_i is multiplied by its
    weight w_i, and the sum is divided by the number of samples: loss = sum(w_i l_i) / B. So a
    sample of weight 2 does what the same sample would do if it stood in the batch twice, a weight
    that is multiplied by a number multiplies the loss, and batches that are taken apart add up.
    The weights of classes work likewise. PyTorch divides by the sum of the weights instead,
    sum(w_i l_i) / sum(w_i); the two are the same where the weights of a batch have a mean of 1.
    """

    name: ClassVar[str]
    """What files and the command line call it, and a ready-made instance in `xpnet.losses`."""

    target_kind: ClassVar[str]

    applies: ClassVar[str | None] = None
    """What is applied to the output within the loss, such as `"the softmax"` where the output is
    logits; None where the output is taken as it is. `fit` then refuses a model that ends in
    probabilities already (`Layer.gives_probabilities`). A plain function may say so as well."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind = getattr(cls, "target_kind", None)
        if kind is not None:
            _check_kind(cls.__name__, kind)

    def __call__(
        self,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        weight: Array | None = None,
        need_grad: bool = True,
    ) -> tuple[Array, Array | None]:
        """The mean loss of a batch, and its gradient.

        Parameters
        ----------
        xp
            The array namespace of all arrays.
        output
            What the network gave, shape (B, C).
        target
            What it should have given.
        weight
            The weight of each sample, shape (B,), in the dtype of the output; all 1 if None.
        need_grad
            Whether the gradient is wanted.

        Returns
        -------
        loss, d_output
            The mean loss, shape (), and its gradient with respect to `output`, of the shape of the
            output, or None if it is not wanted; both in the dtype of the output.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    @classmethod
    def examples(cls) -> Iterator[Example]:
        """Losses of this class, each with the form of its targets and whether with weights.

        On each of them `xpnet conformance` and the tests of xpnet's own losses try the whole
        contract. The forms are `"labels"`, `"one-hot rows"`, `"rows"` of 0 and 1, `"values"` and
        `"counts"`, which are not negative.
        """
        form = {"classes": "labels", "multilabel": "rows"}.get(cls.target_kind, "values")
        yield cls(), form, False
        yield cls(), form, True

    def torch(self) -> str:
        """The loss of each sample in PyTorch: an expression of the tensors `output` and `target`.

        Of shape (B,): before it is multiplied with weights of samples and the mean is taken. `F`
        is `torch.nn.functional`. The target has the shape of the output, or is of integer labels.
        """
        raise NotImplementedError(f"{type(self).__name__} must define torch")

    def loaded(self, asarray: Callable[[Any], Array], n_outputs: int | None) -> LossFunction:
        """The loss for many calls on one device: what is constant in it is brought there once.

        Parameters
        ----------
        asarray
            Makes an array on the device, in the dtype of the run, from a tuple of numbers.
        n_outputs
            The number of outputs of the network; None if it is not known.

        Raises
        ------
        ValueError
            If the loss does not fit so many outputs.
        """
        return self.__call__

    def config(self) -> dict[str, Any]:
        """The hyper-parameters as JSON values, from which `from_config` makes an equal loss."""
        return describe_fields(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Loss":
        """The inverse of `config`."""
        return build_from_fields(cls, config)


class ElementwiseLoss(Loss):
    """A loss that is the mean over samples and outputs of one term for each: a base class.

    A subclass defines `terms`, and gets sample weights, shapes and means from here. The weight of a
    sample multiplies all of its terms: loss = sum(w_i t_ij) / (B C). Targets of shape (B,) are
    taken for an output of shape (B, 1).
    """

    def terms(
        self, xp: Namespace, output: Array, target: Array, *, need_grad: bool, **constants: Array
    ) -> tuple[Array, Array | None]:
        """The terms and their slopes with respect to the output, as new arrays of its shape.

        Parameters
        ----------
        xp
            The array namespace of both arrays.
        output, target
            Of one shape and dtype.
        need_grad
            Whether the slopes are wanted; None in their place if not.
        constants
            What a loss of its own brought to the device in `loaded`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms")

    def __call__(
        self,
        xp: Namespace,
        output: Array,
        target: Array,
        *,
        weight: Array | None = None,
        need_grad: bool = True,
        **constants: Array,
    ) -> tuple[Array, Array | None]:
        if target.ndim == 1 and output.shape[1:] == (1,):
            target = target[:, None]
        if target.shape != output.shape:
            # (B,) and (B, 1) would broadcast to (B, B), and train without a word.
            raise ValueError(
                f"{type(self).__name__}: output of shape {tuple(output.shape)} needs targets of "
                f"the same shape, got {tuple(target.shape)}"
            )
        target = xp.astype(target, output.dtype, copy=False)
        terms, slopes = self.terms(xp, output, target, need_grad=need_grad, **constants)
        if weight is not None:
            column = column_of_weights(xp, type(self).__name__, weight, output)
            terms *= column
            if slopes is not None:
                slopes *= column
        size = math.prod(output.shape)
        loss = xp.sum(terms) / size
        if slopes is not None:
            slopes /= size
        return loss, slopes


def column_of_weights(xp: Namespace, name: str, weight: Array, output: Array) -> Array:
    """The weights of samples (B,) with as many axes as the output, to be multiplied with it.

    Raises
    ------
    ValueError
        If there is not one for each sample of the output.
    """
    n_samples = output.shape[0]
    if weight.shape != (n_samples,):
        raise ValueError(
            f"{name}: {counted(n_samples, 'sample')} need{'s' * (n_samples == 1)} weights of shape "
            f"({n_samples},), got {tuple(weight.shape)}"
        )
    return xp.reshape(weight, (n_samples, *[1] * (output.ndim - 1)))


def target_kind(loss: LossFunction) -> str | None:
    """The kind of targets that a loss is for; None if it is a function that does not say.

    A function may say so in an attribute, `my_loss.target_kind = "values"`. For one that does not,
    `fit` goes by the targets: integers in one axis are classes, all others are values.

    Raises
    ------
    ValueError
        If it says anything but `"classes"`, `"multilabel"` or `"values"`.
    """
    kind: str | None = said_by(loss, "target_kind")
    if kind is not None:
        _check_kind(name_of_loss(loss), kind)
    return kind


def said_by(loss: LossFunction, attribute: str) -> Any:
    """An attribute of a loss, or of the one that a `functools.partial` calls; None if none has it.

    What a partial says itself, in an attribute of its own, goes first.
    """
    for part in _chain(loss):
        found = getattr(part, attribute, None)
        if found is not None or attribute in getattr(part, "__dict__", ()):
            return found
    return None


def name_of_loss(loss: LossFunction) -> str:
    """What a loss is called in a message: the name of the function, or of the class."""
    inner = _chain(loss)[-1]
    name: str = getattr(inner, "__name__", type(inner).__name__)
    return name


def _chain(loss: LossFunction) -> list[Any]:
    """The loss, and what it hands its arguments on to: the function of a partial, or its object."""
    chain: list[Any] = [loss]
    while True:
        inner = getattr(chain[-1], "func", None) if isinstance(chain[-1], partial) else None
        owner = getattr(chain[-1], "__self__", None)
        if inner is None and isinstance(owner, Loss):  # the method of a loss
            inner = owner
        if inner is None:
            return chain
        chain.append(inner)


def accepts_weight(loss: LossFunction) -> bool:
    """Whether a loss can be called with `weight=...`, as sample weights need."""
    return isinstance(loss, Loss) or takes_argument(loss, "weight", unsaid=True)


def fraction(name: str, value: Any) -> float:
    """A label smoothing as a Python number: one from 0 to below 1.

    Raises
    ------
    ValueError
        If it is not.
    """
    number = as_float(value)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, got {shown(value)}")
    return number


def is_weight(value: Any) -> bool:
    """Whether a value is a finite number that is not negative."""
    return 0 <= as_float(value) < math.inf


def _check_kind(name: str, kind: Any) -> None:
    if not is_one_of(TARGET_KINDS, kind):
        raise ValueError(
            f"{name}: target_kind must be one of {', '.join(TARGET_KINDS)}; got {shown(kind)}"
        )
