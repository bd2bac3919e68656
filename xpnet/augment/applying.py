"""Augmentation as a part of the training step: the batch as pictures, and the targets as rows."""

import math
from collections.abc import Callable
from typing import Any

from array_api_compat import device

from xpnet.augment.base import Augmentation, Random
from xpnet.augment.composing import Compose
from xpnet.losses import one_hot
from xpnet.random import Seed, derive
from xpnet.typing import Array, DType, Namespace, Shape


def picture_shape(augmentation: Augmentation, sample: Shape) -> Shape:
    """How an augmentation is given samples of a shape: as pictures (H, W, C), or in one row.

    Raises
    ------
    ValueError
        If it needs pictures, and there are none.
    """
    given = augmentation.shape if isinstance(augmentation, Compose) else None
    size = math.prod(sample)
    if given is not None:
        if math.prod(given) != size:
            raise ValueError(
                f"Compose: shape {given} is of {math.prod(given)} numbers, and samples of shape "
                f"{sample} have {size}"
            )
        sample = given
    shape = (*sample, 1) if len(sample) == 2 else sample
    augmentation.check_shape(shape)
    first = len(shape) == 3 and shape[0] in (1, 3) and shape[1] > 1 and shape[2] > 4
    if first and augmentation.takes_pictures:
        raise ValueError(
            f"augmentation takes pictures with their colours last, and samples have shape "
            f"{sample}: move the axis, as by np.moveaxis(x, 1, -1)"
        )
    return shape if len(shape) == 3 else (size,)


def checked_augmentation(given: Any) -> Augmentation | None:
    """What `fit` and others are given as `augment`: an augmentation, or a list of them, or None.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if given is None:
        return None
    if isinstance(given, list | tuple):
        return Compose(tuple(given))
    if isinstance(given, type) or not isinstance(given, Augmentation):
        raise TypeError(
            f"augment must be an augmentation such as xpnet.augment.Elastic(), or a list of them, "
            f"got {given!r}"
        )
    return given


class Augmenter:
    """What makes a batch of a step another one.

    Parameters
    ----------
    augmentation
        What is done.
    sample_shape
        The shape of a sample in the data set.
    seed
        The seed of the run.
    dtype
        The name of the floating-point dtype.
    asarray
        Brings an array to the device as it is; now, since steps may be recorded there later.
    index_dtype
        The dtype of indices there.
    n_classes
        How many classes labels are of; None where integers are no labels.

    Attributes
    ----------
    neighbours
        How many rows a batch must have in front; see `Augmentation.neighbours`.

    Raises
    ------
    ValueError
        If samples of that shape cannot be augmented so.
    """

    def __init__(
        self,
        augmentation: Augmentation,
        sample_shape: Shape,
        *,
        seed: Seed,
        dtype: str,
        asarray: Callable[[Any], Array],
        index_dtype: DType,
        n_classes: int | None,
    ) -> None:
        # By itself one has the numbers that it has in a list.
        whole = augmentation if isinstance(augmentation, Compose) else Compose((augmentation,))
        self.neighbours = whole.neighbours
        self._whole, self._seed = whole, derive(seed, "augmentation")
        self._shape = picture_shape(whole, sample_shape)
        self._index, self._n_classes = index_dtype, n_classes
        constants = whole.constants(self._shape, dtype)
        self._constants = {name: asarray(x) for name, x in constants.items()}

    def with_neighbours(self, xp: Namespace, rows: Array) -> Array:
        """The rows of a whole batch, with those in front of it that are the last ones again."""
        if not self.neighbours:
            return rows
        count = rows.shape[0]
        return xp.take(rows, self._numbers(xp, rows, count, count, 0, self._index), axis=0)

    def __call__(
        self,
        xp: Namespace,
        x: Array,
        target: Array,
        weight: Array | None,
        *,
        step: Array,
        count: Array | int,
        first_row: Array | int,
    ) -> tuple[Array, Array, Array | None]:
        """The changed batch, its targets, and the weights of its samples.

        Parameters
        ----------
        xp, x, target, weight
            The batch as the network takes it, in floating point, and what belongs to it; with
            `neighbours` more rows in front, which what is given back has no more.
        step
            The number of the step.
        count, first_row
            How many rows the whole batch has, and which of them is the first one here (behind the
            neighbours).
        """
        n = x.shape[0]
        random = Random(
            seed=self._seed,
            step=step,
            rows=self._numbers(xp, x, n - self.neighbours, count, first_row, xp.int32),
            dtype=x.dtype,
            index_dtype=self._index,
            constants=self._constants,
        )
        pictures = xp.reshape(x, (n, *self._shape))
        if self._whole.changes_targets:
            pictures, target, weight = self._mixed(xp, pictures, target, weight, random)
        else:
            pictures, target = self._whole.apply(xp, pictures, target, random)
        return xp.reshape(pictures, (n - self.neighbours, *x.shape[1:])), target, weight

    def _mixed(
        self, xp: Namespace, x: Array, target: Array, weight: Array | None, random: Random
    ) -> tuple[Array, Array, Array | None]:
        """With targets in floating point, and the weights among them: they are mixed alike.

        Of samples with weights w the mixed one counts for f w + (1 - f) w', and its target is the
        mean of both, so weighted: the loss is f w l + (1 - f) w' l', as it would be of the two.
        """
        labels = xp.isdtype(target.dtype, "integral") and target.ndim == 1
        if labels and self._n_classes is not None:
            target = one_hot(xp, target, self._n_classes, x.dtype)
        target = xp.astype(target, x.dtype, copy=False)
        flat = target.ndim == 1
        rows = target[:, None] if flat else target
        if weight is None:
            x, rows = self._whole.apply(xp, x, rows, random)
            return x, (rows[:, 0] if flat else rows), None
        column = weight[:, None]
        x, rows = self._whole.apply(xp, x, xp.concat([rows * column, column], axis=1), random)
        weight = rows[:, -1]
        divisor = xp.where(rows[:, -1:] > 0, rows[:, -1:], xp.ones_like(rows[:, -1:]))
        rows = rows[:, :-1] / divisor
        return x, (rows[:, 0] if flat else rows), weight

    def _numbers(
        self, xp: Namespace, like: Array, n: int, count: Any, first_row: Any, dtype: Any
    ) -> Array:
        """The numbers of rows in the whole batch, with those of the neighbours in front."""
        k = self.neighbours
        numbers = xp.arange(k + n, dtype=dtype, device=device(like)) + (first_row - k)
        numbers = xp.astype(numbers, dtype, copy=False)
        if not k:
            return numbers
        whole = xp.zeros_like(numbers) + (
            count if isinstance(count, int) else xp.astype(count, dtype)
        )
        return xp.remainder(numbers, whole)
