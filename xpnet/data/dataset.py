"""A labelled data set of images, or of the rows of a table, checked when it is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from xpnet.data.masked import unmasked
from xpnet.errors import DataError, one_line, readable, shown
from xpnet.typing import HostArray, Shape

if TYPE_CHECKING:
    from xpnet.data.tables.preparation import TablePreparation


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in the same order.

    Attributes
    ----------
    images
        Pixels as the source has them, usually uint8, shape (N, height, width). Of a table the
        prepared rows, shape (N, width).
    labels
        Classes, integers, shape (N,); or numbers to predict, floating point.
    """

    images: HostArray
    labels: HostArray

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            value = unmasked(name, getattr(self, name))
            try:
                object.__setattr__(self, name, np.asarray(value))
            except (TypeError, ValueError) as error:
                raise DataError(f"{name} must be host arrays: {error}") from error

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int | None) -> "Split":
        """The first `n` samples; all of them if `n` is None.

        Raises
        ------
        DataError
            If `n` is not positive (a slice would count a negative one from the end).
        """
        if n is not None and n < 1:
            raise DataError(f"the number of samples to take must be at least 1, got {n}")
        return self if n is None else Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set and, usually, a test set.

    Attributes
    ----------
    name
        What it is called, as in `load_dataset(name)`.
    train, test
        The two splits; `test` may be None.
    n_classes
        The number of classes; labels go from 0 to n_classes - 1. It is 0 where labels are numbers
        to predict.
    pixel_maximum
        What integer pixels are divided by to come into [0, 1]; 1 for Boolean ones.
    validation
        A set that is kept for validation; None where there is none.
    table
        How rows of a table become the samples; None for all other data sets.
    class_names
        The names of the classes, in the order of their numbers; None where the numbers are all.
    notes
        What is to be said of how it was read, a sentence each.

    Raises
    ------
    DataError
        If images and labels differ in number, a split is empty, labels are not integers or out
        of range (or, where they are numbers to predict, not finite), or the splits differ in image
        shape.
    """

    name: str
    train: Split
    test: Split | None
    n_classes: int = 10
    pixel_maximum: float = 255.0
    validation: Split | None = None
    table: "TablePreparation | None" = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        maximum = float(self.pixel_maximum)
        if not 0 < maximum < float("inf"):
            raise DataError(
                f"{self.name}: pixel_maximum must be positive and finite, got {maximum:g}"
            )
        if self.train.images.dtype.kind == "b":
            maximum = 1.0
        object.__setattr__(self, "pixel_maximum", maximum)
        names = self.class_names
        if names is not None and (len(names) != self.n_classes or len({*names}) < len(names)):
            raise DataError(
                f"{self.name}: class_names must be one for each of {self.n_classes} classes, each "
                f"another; got {shown(names)}"
            )
        _check(f"{self.name}: training set", self.train, self.n_classes)
        for what, split in (("test", self.test), ("validation", self.validation)):
            if split is not None:
                self._check_like_training(what, split)

    def _check_like_training(self, what: str, split: Split) -> None:
        """Refuse a set of other images than those of the training set."""
        _check(f"{self.name}: {what} set", split, self.n_classes)
        if (self.train.images.dtype.kind in "ui") != (split.images.dtype.kind in "ui"):
            raise DataError(
                f"{self.name}: training images are {self.train.images.dtype}, {what} images "
                f"{split.images.dtype}: integers are divided by pixel_maximum, others are not"
            )
        if split.images.shape[1:] != self.image_shape:
            raise DataError(
                f"{self.name}: training images have shape {self.image_shape}, "
                f"{what} images {split.images.shape[1:]}"
            )

    @property
    def image_shape(self) -> Shape:
        """Height and width of an image."""
        return tuple(self.train.images.shape[1:])

    @property
    def target_kind(self) -> str:
        """What is to be predicted: `"classes"` or `"values"`, as a loss says it."""
        return "classes" if self.n_classes else "values"

    @property
    def n_outputs(self) -> int:
        """So many outputs a network has for it: one for each class, or one for a number."""
        return self.n_classes or 1

    def limited(self, n: int | None) -> Self:
        """The same data set with the first `n` training samples; all of them if `n` is None."""
        return replace(self, train=self.train.first(n))

    def numbered_by(self, names: Sequence[str] | None) -> Self:
        """The same data set with classes numbered in another order, as that of a network.

        Parameters
        ----------
        names
            The names of the classes in that order: at least those that the data set has. If None,
            classes that are called by numbers are numbered so, and all others stay.

        Raises
        ------
        DataError
            If a class of the data set is not among them.
        """
        own = self.class_names
        if names is None and own is not None and all(map(str.isdecimal, own)):
            names = [str(number) for number in range(1 + max(map(int, own)))]
        if own is None or names is None or tuple(names) == own:
            return self
        unknown = [name for name in own if name not in names]
        if unknown:
            raise DataError(
                f"{self.name}: has classes that the network was not trained on: "
                f"{one_line(', '.join(unknown))}; the network knows {one_line(', '.join(names))}"
            )
        places = np.asarray([list(names).index(name) for name in own])
        return replace(
            self,
            train=Split(self.train.images, places[self.train.labels]),
            test=self.test and Split(self.test.images, places[self.test.labels]),
            n_classes=len(names),
            class_names=tuple(names),
        )

    def describe(self) -> str:
        """What it is, on one line."""
        test = 0 if self.test is None else len(self.test)
        counts = f"{self.name}: {len(self.train):,} training and {test:,} test"
        if self.table is not None:
            count = len(self.table.columns)
            predicted = f"{self.n_classes} classes of " if self.n_classes else "values of "
            return (
                f"{counts} rows of {count} column{'s' * (count > 1)}, "
                f"{predicted}{readable(self.table.label.name)}"
            )
        shape = " x ".join(map(str, self.image_shape))
        predicted = f"{self.n_classes} classes" if self.n_classes else "values"
        return f"{counts} images of {shape}, {predicted}"

    def __repr__(self) -> str:
        return f"<Dataset {self.describe()}>"


@dataclass(frozen=True, eq=False, repr=False)
class DatasetWithTest(Dataset):
    """A data set that has a test set, as the digits and MNIST do: for type checkers.

    Attributes
    ----------
    test
        The test set, which is never None.
    """

    test: Split


def check_labels(what: str, labels: HostArray, n_classes: int) -> None:
    """Check integer labels on the host.

    Raises
    ------
    DataError
        If they are not integers, or one is outside 0 to n_classes - 1 (an array library would
        wrap or ignore it without a word).
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{what}: labels must be integers, found {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        wrong = int(np.flatnonzero((labels < 0) | (labels >= n_classes))[0])
        raise DataError(
            f"{what}: labels must be from 0 to {n_classes - 1}, "
            f"found {labels[wrong]} at position {wrong}"
        )


def _check(what: str, split: Split, n_classes: int) -> None:
    if split.images.ndim < 2 or split.labels.ndim != 1:
        raise DataError(
            f"{what}: expected images of shape (N, height, width) and labels of shape (N,), "
            f"found {split.images.shape} and {split.labels.shape}"
        )
    if len(split.images) != len(split.labels):
        raise DataError(f"{what}: {len(split.images)} images but {len(split.labels)} labels")
    if split.images.size == 0:
        raise DataError(f"{what}: there are no images (shape {split.images.shape})")
    if n_classes:
        check_labels(what, split.labels, n_classes)
    elif split.labels.dtype.kind != "f" or not np.isfinite(split.labels).all():
        raise DataError(
            f"{what}: labels that are numbers to predict (n_classes=0) must be finite floating "
            f"point, found {split.labels.dtype}"
        )
