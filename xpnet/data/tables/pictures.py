"""Data sets of pictures from tables: of pixels in columns, or of encoded pictures."""

import math
from dataclasses import dataclass, replace

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.picture_shape import PictureShape
from xpnet.data.splitting import split_rows
from xpnet.data.tables.arrow import table_of
from xpnet.data.tables.columns import Column, Table, number_column
from xpnet.data.tables.encoded import decode_pictures, encoded_column, read_encoded
from xpnet.data.tables.files import TableFile
from xpnet.data.tables.names import listed
from xpnet.data.tables.pixels import (
    Layout,
    class_names,
    class_numbers,
    find_layout,
    label_place,
    pixel_maximum,
    pixels_of,
    read_pixels,
)
from xpnet.errors import DataError, counted, readable
from xpnet.typing import HostArray, Shape


@dataclass(frozen=True, eq=False)
class PictureTable:
    """The pictures of a table.

    Attributes
    ----------
    images
        uint8, shape (N, height, width), or what else a row is.
    label
        The name of the column of labels, or its number from 1; None where there is none.
    labels
        That column.
    names
        The names of the classes, where the file has them.
    note
        What is to be said of the size of the pictures, if anything is.
    """

    images: HostArray
    label: str | None
    labels: Column | None
    names: tuple[str, ...] | None = None
    note: str = ""


def picture_dataset(
    name: str,
    file: TableFile,
    label: str | None,
    test: TableFile | None,
    *,
    fraction: float | None,
) -> Dataset | None:
    """A data set of the pictures in a table; None if it is a table of other things.

    Parameters
    ----------
    name
        What the data set is called.
    file, test
        The table, and that for the test, of which nothing is taken if it has no labels.
    label
        The name of the column of labels, if it was given.
    fraction
        The part of the rows that is kept for the test where there is no table for it.

    Raises
    ------
    DataError
        If it has no labels, or those of the test are others.
    """
    found = read_pictures(file, label)
    if found is None:
        return None
    found, notes = _labelled(str(file.path), found)
    if found.labels is None or found.label is None:
        raise DataError(
            f"{file.path}: a table of pictures of {found.images.shape[1:]} without a column of "
            f"labels: it can be predicted, but nothing can be learnt from it"
        )
    names = found.names or class_names(found.labels)
    numbers = class_numbers(str(file.path), found.label, found.labels, names)
    train, tested = Split(found.images, numbers), None
    notes += [found.note] if found.note else []
    if label is None:
        notes.append(f"label: {'' if file.named else 'column '}{readable(found.label)}")
    if test is not None:
        tested, said = _test_split(test, found, names)
        notes += [f"test: {sentence}" for sentence in said]
        if tested is None:
            notes.append("the test table has no labels, so nothing is tested by it")
    if tested is None and fraction:
        rows = split_rows(numbers, len(numbers), fraction, 0, purpose="test")
        train, tested = (Split(found.images[r], numbers[r]) for r in rows)
        notes.append(f"{len(tested):,} of {len(numbers):,} rows are kept for the test")
    return Dataset(
        name,
        train,
        tested,
        n_classes=max(int(numbers.max()) + 1, len(names or ())),
        pixel_maximum=pixel_maximum(found.images),
        class_names=names,
        notes=tuple(notes),
    )


def _labelled(what: str, table: PictureTable) -> tuple[PictureTable, list[str]]:
    """The pictures that have a label, and what is to be said of the others."""
    missing = None if table.labels is None else table.labels.missing
    if table.labels is None or missing is None or not missing.any():
        return table, []
    if missing.all():
        raise DataError(f"{what}: the label {readable(str(table.label))} is missing in all rows")
    kept = replace(table, images=table.images[~missing], labels=table.labels.rows(~missing))
    count = counted(int(missing.sum()), "row")
    return kept, [f"left out, without the label {readable(str(table.label))}: {count}"]


def _test_split(
    file: TableFile, train: PictureTable, names: tuple[str, ...] | None
) -> tuple[Split | None, list[str]]:
    """The test set, and what to say of it; None where it has no labels, as in a competition."""
    found = read_pictures(file, train.label, like=train)
    if found is None or found.images.shape[1:] != train.images.shape[1:]:
        raise DataError(
            f"{file.path}: expected pictures as in the table for training, of "
            f"{train.images.shape[1:]}, found {'none' if found is None else found.images.shape[1:]}"
        )
    found, said = _labelled(str(file.path), found)
    if found.labels is None:
        return None, []
    numbers = class_numbers(str(file.path), str(found.label), found.labels, names)
    return Split(found.images, numbers), said


def looks_like_pixels(file: TableFile, label: str | None) -> bool:
    """Whether the first rows of a table are pixels, whatever the others are."""
    return find_layout(file.names, file.first_rows(), label, named=file.named) is not None


def read_pictures(
    file: TableFile, label: str | None, like: PictureTable | None = None
) -> PictureTable | None:
    """The pictures of a table; None if it is a table of other things.

    Parameters
    ----------
    file
        The table.
    label
        The column of labels, if it was named.
    like
        Pictures of which these are more, perhaps without labels.

    Raises
    ------
    DataError
        If it cannot be read, or there is no such column.
    """
    if file.frame is not None and encoded_column(file.frame) is not None:
        label = None if like is not None and label not in file.frame.column_names else label
        shape = None if like is None else like.images.shape[1:]
        encoded = read_encoded(str(file.path), file.frame, label, shape)
        name = encoded.label
        column = None if name is None else table_of(file.frame.select([name]), name)[name]
        return PictureTable(encoded.images, name, column, encoded.names, encoded.note)
    names, named, rows = file.names, file.named, file.first_rows()
    if like is not None:
        unlabelled = label not in names if named else len(names) == like.images[0].size
        label = None if unlabelled else label
        if unlabelled and len(names) != like.images[0].size:
            return None
    layout = find_layout(names, rows, label, named=named, labelled=like is None)
    if layout is None:
        return None
    values = None if file.dialect is None else read_pixels(file.path, file.dialect)
    if values is not None:
        place = label_place(values, layout)
        labels = None if place is None else number_column(values[:, place])
        images = values if place is None else _without_column(values, place)
    else:
        table = file.table()
        place = _place_in(table, layout)
        labels = None if place is None else table[names[place]]
        pixels = pixels_of(table, [name for i, name in enumerate(names) if i != place])
        if pixels is None:
            return None
        images = pixels
    label = None if place is None else (names[place] if named else str(place + 1))
    return PictureTable(images.reshape(-1, *layout.shape), label, labels)


def read_unlabelled(file: TableFile, shape: Shape | None) -> HostArray:
    """The pictures of a table for a network that takes such, without their labels if there are any.

    Encoded ones are fitted to the size of those that it takes.

    Parameters
    ----------
    file
        The table.
    shape
        The shape of one picture.

    Raises
    ------
    DataError
        If it is not a table of such pictures.
    """
    if shape is not None and file.frame is not None and encoded_column(file.frame) is not None:
        pictures = PictureShape.of(shape)
        wanted = (*pictures.size, 3) if pictures.in_colour else pictures.size
        return pictures.samples(decode_pictures(str(file.path), file.frame, wanted)[0])
    size = math.prod(shape or ())
    found = None
    if shape is not None:
        labelled = len(file.names) != size
        like = None if labelled else PictureTable(np.empty((1, *shape), np.uint8), None, None)
        found = read_pictures(file, None, like)
    if shape is None or found is None or math.prod(found.images.shape[1:]) != size:
        sizes = "not known" if shape is None else " x ".join(map(str, shape))
        raise DataError(
            f"{file.path}: expected a table of pictures ({sizes}): a column for each pixel, whole "
            f"numbers from 0 to 255, or one of encoded pictures; found {listed(file.names)}"
        )
    return found.images.reshape(-1, *shape)


def _place_in(table: Table, layout: Layout) -> int | None:
    """The column of the label of a table that is not of small whole numbers alone."""
    if not layout.either:
        return layout.label
    kinds = [column.kind for column in table.values()]
    return len(kinds) - 1 if kinds[-1] == "text" else 0


def _without_column(values: HostArray, place: int) -> HostArray:
    """Consumes `values`: moved up within its memory, since a copy would be as large again."""
    width = values.shape[1] - 1
    flat = values.reshape(-1)
    for i, row in enumerate(values):
        flat[i * width : i * width + place] = row[:place]
        flat[i * width + place : (i + 1) * width] = row[place + 1 :]
    return flat[: len(values) * width].reshape(len(values), width)
