"""The samples of a training: what is trained on, and the sets that it is judged by."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.data import Dataset, Framing, TablePreparation
from xpnet.data.splitting import split_rows
from xpnet.errors import DataError
from xpnet.inputs.containers import plain
from xpnet.inputs.framed import framing_of
from xpnet.inputs.labels import fitting_names, learn_classes
from xpnet.inputs.samples import load_inputs
from xpnet.inputs.scale import find_pixel_maximum
from xpnet.inputs.targets import counting_samples, kind_of_targets, load_targets, load_weights
from xpnet.inputs.validation import Rows, check_fraction, classes_of, some_rows
from xpnet.inputs.weighted import Weighted
from xpnet.layers import Layer
from xpnet.losses import LossFunction
from xpnet.random import Seed
from xpnet.typing import Array, HostArray, Shape

Samples = tuple[Any, Any]
WeightedSamples = tuple[Any, Any, Any]


@dataclass(frozen=True)
class Given:
    """The samples as `fit` is given them, not yet moved or looked at.

    Attributes
    ----------
    train
        A pair (x, y).
    test
        A pair, or with weights (x, y, sample_weight), or None.
    validation
        As `test`, or the fraction of the training set to be kept for it.
    sample_weight
        The weights of the training samples, or None.
    pixel_maximum
        What pixels are divided by, as far as it is known.
    classes
        What labels that are text or Booleans are numbered by, if not by themselves.
    class_names
        What classes that are numbers are called, if they have names.
    dataset
        The data set that they are of, if they were given so.
    """

    train: Samples
    test: Samples | WeightedSamples | None
    validation: Samples | WeightedSamples | float | None
    sample_weight: Any
    pixel_maximum: float | None
    classes: HostArray | None = None
    class_names: tuple[str, ...] | None = None
    dataset: Dataset | None = None

    @property
    def missing(self) -> list[str]:
        """Which of the sets for validation and test there are not."""
        return [name for name in ("validation", "test") if getattr(self, name) is None]

    @property
    def weighted(self) -> str:
        """How the first weights of samples were given; "" where there are none."""
        if self.sample_weight is not None:
            return "sample_weight"
        for name in ("validation", "test"):
            pair = getattr(self, name)
            if isinstance(pair, tuple | list) and _weight_of(pair) is not None:
                return f"{name}=(x, y, weights)"
        return ""


@dataclass(frozen=True)
class Sets:
    """The samples on the backend, checked.

    Attributes
    ----------
    x, y
        The arrays that batches are taken from.
    rows
        The row numbers in them that are trained on; None for all.
    train
        The training set as it is evaluated.
    validation, test
        The others, None where there are none.
    kind
        The kind of the targets.
    pixel_maximum
        What integer samples are divided by.
    counts
        Whether the weight of each row is not 0; None where none is.
    classes
        What the labels are, where they are text or Booleans.
    class_names
        What classes that are numbers are called, if they have names.
    target_shape
        The shape of the target of one sample, as it was given.
    framing
        How the figures lie in the samples, where these are pictures.
    table
        How the rows were prepared, where the samples are those of a table.
    """

    x: Array
    y: Array
    rows: HostArray | None
    train: tuple[Array, Array]
    validation: tuple[Array, Array] | None
    test: tuple[Array, Array] | None
    kind: str
    pixel_maximum: float
    classes: HostArray | None
    target_shape: Shape
    counts: HostArray | None = None
    framing: Framing | None = None
    table: TablePreparation | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def n_samples(self) -> int:
        """How many samples are trained on."""
        return int(self.train[0].shape[0])


def given_samples(
    data: Dataset | Samples,
    test: Samples | WeightedSamples | None,
    validation: Samples | WeightedSamples | float | None,
    sample_weight: Any,
) -> Given:
    """Tell apart the ways in which samples are given.

    Raises
    ------
    DataError
        If what should be a pair (or have weights as a third) is none.
    ValueError
        If the fraction is not between 0 and 1.
    """
    pairs: dict[str, Any] = {} if test is None else {"test": test}
    if isinstance(validation, tuple | list):
        pairs["validation"] = validation
    elif validation is not None:
        validation = check_fraction(validation)
    maximum = names = dataset = None
    if isinstance(data, Dataset):
        dataset = data
        maximum, names = data.pixel_maximum, data.class_names
        if test is None and data.test is not None:
            pairs["test"] = (data.test.images, data.test.labels)
        if validation is None and data.validation is not None:
            validation = (data.validation.images, data.validation.labels)
            pairs["validation"] = validation
        data = (data.train.images, data.train.labels)
    pairs["data"] = data
    for name, pair in pairs.items():
        also, sizes = ("or a Dataset", (2,)) if name == "data" else ("or (x, y, weights)", (2, 3))
        if not (isinstance(pair, tuple | list) and len(pair) in sizes):
            raise DataError(
                f"{name} must be a pair (x, y) {also}, got {_describe(pair)}{_hint(pair)}"
            )
        if len(pair) == 2 and _are_sets(pair):
            raise DataError(f"{name} must be a pair (x, y), got a pair of pairs{_hint(pair)}")
    return Given(
        (data[0], data[1]),
        pairs.get("test"),
        validation,
        sample_weight,
        maximum,
        class_names=names,
        dataset=dataset,
    )


def _describe(pair: Any) -> str:
    kind = type(pair).__name__
    return f"{kind} of {len(pair)}" if isinstance(pair, tuple | list) else kind


def _hint(sets: Any) -> str:
    """How to give what was given as several sets at once."""
    if not isinstance(sets, tuple | list):
        return ""
    if not all(_is_pair(part) for part in sets):
        return ": give fit(model, (x, y), sample_weight=weights)" if len(sets) == 3 else ""
    if len(sets) == 3:
        return ": give fit(model, (x, y), validation=(x_validation, y_validation), test=(x, y))"
    return ": give fit(model, (x, y), test=(x_test, y_test))" if len(sets) == 2 else ""


def _weight_of(pair: tuple[Any, ...] | list[Any]) -> Any:
    return pair[2] if len(pair) == 3 else None


def _is_pair(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) == 2


def _are_sets(pair: Any) -> bool:
    """Whether a pair is ((x, y), (x_test, y_test)), and not two samples with two targets."""
    if not all(map(_is_pair, pair)):
        return False
    try:
        shapes = [[np.shape(part) for part in one] for one in pair]
    except ValueError:  # lists of unequal length
        return False
    # Two samples are alike, and so are two targets, which have fewer axes.
    unlike = all(first != second for first, second in shapes)
    return unlike or all(len(shape) > 1 for one in shapes for shape in one)


def load_sets(backend: Backend, model: Layer, given: Given, seed: Seed, loss: LossFunction) -> Sets:
    """Bring the samples to the backend, check them, and split off the validation set.

    Raises
    ------
    DataError
        If they do not fit the model or each other.
    """
    x = load_inputs(backend, "training set", given.train[0], model)
    called = "training set: targets"
    labels = plain(called, given.train[1], labels=True)
    kind = kind_of_targets(backend, loss, labels, called)
    output = model.output_shape(model.input_shape())
    classes = learn_classes("training set", backend, labels, kind, output, given.classes)
    y = targets = load_targets(backend, "training set", labels, x, model, kind, classes)
    # A warning is shown at the line that calls `fit`.
    maximum = find_pixel_maximum(backend, x, given.pixel_maximum, stacklevel=5)
    counts = None
    if given.sample_weight is not None:
        y = Weighted(targets, load_weights(backend, "training set", given.sample_weight, x))
        counts = counting_samples(backend, y.weight)
    rows, train, validation = None, (x, y), None
    if isinstance(given.validation, float):
        groups = classes_of(backend, targets) if kind == "classes" else None
        rows, kept = split_rows(groups, x.shape[0], given.validation, seed)
        if counts is not None and not (counts[rows].any() and counts[kept].any()):
            raise DataError(
                "training set: of the samples that are kept for validation, or of those that are "
                "left, all have weight 0; give validation=(x, y), or another fraction or seed"
            )
        train, validation = [(Rows(backend, x, r), some_rows(backend, y, r)) for r in (rows, kept)]
    elif given.validation is not None:
        validation = _load_pair(
            backend, model, "validation set", given.validation, x, kind, classes, maximum
        )
    test = given.test and _load_pair(
        backend, model, "test set", given.test, x, kind, classes, maximum
    )
    shape = () if targets.ndim == 1 else tuple(np.shape(labels)[1:])
    table = None if given.dataset is None else given.dataset.table
    names = None if classes is not None else fitting_names(given.class_names, kind, output)
    return Sets(
        x, y, rows, train, validation, test, kind, maximum, classes, shape, counts,
        framing=given.dataset.framing if given.dataset else framing_of(backend, x, maximum),
        table=table, class_names=names,
    )  # fmt: skip


def _load_pair(
    backend: Backend,
    model: Layer,
    what: str,
    pair: Samples | WeightedSamples,
    train_x: Array,
    kind: str,
    classes: HostArray | None,
    maximum: float,
) -> tuple[Array, Array]:
    x = load_inputs(backend, what, pair[0], model)
    uint8, isdtype = backend.xp.uint8, backend.xp.isdtype
    exact = [isdtype(part.dtype, ("bool", "integral")) for part in (train_x, x)]
    # Booleans and integers are divided by the same number, or not at all.
    either = (train_x.dtype == uint8) != (x.dtype == uint8) or (exact[0] and maximum != 1)
    if either and not all(exact):
        raise DataError(
            f"the training set has dtype {train_x.dtype}, the {what} {x.dtype}: integers that are "
            f"pixels are divided, other numbers are not; give both in the same way"
        )
    y = load_targets(backend, what, pair[1], x, model, kind, classes)
    weight = _weight_of(pair)
    return x, y if weight is None else Weighted(y, load_weights(backend, what, weight, x))
