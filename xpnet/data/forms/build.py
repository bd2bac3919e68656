"""A data set from the arrays that were found."""

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.forms.pixels import labels_of, pictures_of, scaled
from xpnet.data.forms.sources import Parts, Source, numbered
from xpnet.data.known import Known, known_by_files
from xpnet.errors import DataError, counted, one_line
from xpnet.typing import HostArray

_MOST_SPARSE = 1 << 16  # so many classes there may be also where most have no sample
_PER_SEEN = 2  # and so many for each that has one: a packed file may have a hundred million labels


def build(name: str, parts: Parts, *, convert: bool = True, known: Known | None = None) -> Dataset:
    """Read the arrays and put them together.

    Parameters
    ----------
    name
        What the data set is called.
    parts
        What is read.
    convert
        Whether labels may be in another form than integers: text, floating point, one-hot rows.
    known
        Which of the known data sets it is; found out if None.

    Raises
    ------
    DataError
        If a file is damaged, or samples and labels do not belong together.
    """
    images, labels = [], []
    for pair in (parts.train, *([parts.test] if parts.test else [])):
        images.append(pictures_of(_pixels(pair[0])))
        labels.append(_labels(pair[1].read(), convert))
    where = parts.train[1].shown
    names: tuple[str, ...] | None = None
    if labels[0].dtype.kind in "USb":
        names, labels = _named(parts, labels)
    known = known or known_by_files(parts.series, labels[0], images[0])
    if known is not None:
        images, labels = known.upright(images), known.from_zero(labels)
    images, maximum, notes = scaled(parts.train[0].shown, images)
    n_classes = _count_classes(where, labels[0]) if names is None else len(names)
    if known is not None and n_classes <= len(known.class_names):
        names, n_classes = known.class_names, len(known.class_names)
    if parts.left_out:
        notes = (*notes, f"left out: the {parts.left_out}")
    splits = [Split(x, y) for x, y in zip(images, labels, strict=True)]
    test = splits[1] if len(splits) > 1 else None
    try:
        return Dataset(
            name,
            splits[0],
            test,
            n_classes=n_classes,
            pixel_maximum=maximum,
            class_names=names,
            notes=notes,
        )
    except DataError as error:
        read = ", ".join(source.shown for source in parts.sources)
        raise DataError(f"{error} (read from {read})") from None


def _pixels(source: Source) -> HostArray:
    array = source.read()
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{source.shown}: samples are numbers, such as uint8 or float32; found text "
            f"({one_line(array.dtype)})"
        )
    return array


def _labels(array: HostArray, convert: bool) -> HostArray:
    if convert or (array.ndim == 2 and array.dtype.kind in "iu"):
        return labels_of(array)
    return np.array(array, dtype=array.dtype.newbyteorder("="))


def _named(parts: Parts, labels: list[HostArray]) -> tuple[tuple[str, ...], list[HostArray]]:
    """The names that labels are, sorted, and the labels as their numbers."""
    if any(part.ndim != 1 for part in labels):
        raise DataError(
            f"{parts.train[1].shown}: labels that are text must have the shape (N,), found "
            f"{one_line(labels[0].shape)}"
        )
    names = in_order({str(name) for name in np.unique(labels[0].astype(str)).tolist()})
    shown = [pair[1].shown for pair in (parts.train, parts.test) if pair is not None]
    return names, [numbered(what, part, names) for what, part in zip(shown, labels, strict=True)]


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names of classes in the order of their numbers: those that are numbers by their size."""
    if all(name.isascii() and name.isdecimal() and len(name) < 10 for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _count_classes(where: str, labels: HostArray) -> int:
    """The largest label plus one; a network has an output for each."""
    n_classes = int(labels.max(initial=0)) + 1 if labels.dtype.kind in "ui" else 1
    if n_classes > _MOST_SPARSE:
        seen = np.unique(labels).size
        if n_classes > max(_MOST_SPARSE, _PER_SEEN * seen):
            raise DataError(
                f"{where}: a label is {n_classes - 1}, among {counted(labels.size, 'label')}, of "
                f"which {seen} differ{'s' * (seen == 1)}: number the classes from 0, for a network "
                "has an output for each"
            )
    return n_classes
