"""Pictures in a folder for each class, with or without folders for training and test. Needs Pillow.

They are read in grey, as `xpnet predict` reads one.
"""

import posixpath
from dataclasses import dataclass
from functools import partial

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.forms.build import in_order
from xpnet.data.forms.places import Place
from xpnet.data.forms.roles import PART_OF, words_of
from xpnet.data.forms.sources import Found, depth_of
from xpnet.data.pictures import check_pillow
from xpnet.data.stacking import PictureSource, stack_pictures
from xpnet.errors import DataError, counted, one_line
from xpnet.random import stream

_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".webp", ".tif", ".tiff",
)  # fmt: skip

Classes = dict[str, list[str]]
"""The names of pictures by that of their class."""


@dataclass(frozen=True)
class PictureFolders:
    """The pictures of a data set: the names of their files, by part and class.

    Attributes
    ----------
    base
        The folder that they lie in.
    parts
        Those for `"train"`, and perhaps for `"test"`.
    left_out
        What else is there and is not taken, in words.
    """

    base: str
    parts: dict[str, Classes]
    left_out: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the training set, in the order of their numbers."""
        return in_order(set(self.parts["train"]))


def find_pictures(place: Place, only: str | None) -> Found | None:
    """Pictures in a folder for each class, such as `train/cat/1.png` or `3/a.jpg`."""
    found = None if only else _folders_of(place)
    if found is None:
        return None
    counts = ", ".join(
        f"{sum(map(len, classes.values())):,} {part}" for part, classes in found.parts.items()
    )
    said = f"pictures in a folder for each of {len(found.classes)} classes ({counts})"
    return Found(said, depth_of(found.base) + 1, partial(_read, place, found))


def why_no_pictures(place: Place) -> str:
    """Of a place with pictures that are in no folders for classes, what is wanted; else nothing."""
    if not any(_is_picture(name) for name in place.sizes):
        return ""
    return "; pictures need a folder for each of two or more classes, such as train/cat/1.png"


def _is_picture(name: str) -> bool:
    return name.lower().endswith(_ENDINGS)


def _folders_of(place: Place) -> PictureFolders | None:
    bases: dict[str, dict[str, Classes]] = {}
    for name in filter(_is_picture, place.sizes):
        *above, last = posixpath.dirname(name).split("/")
        if not last or (not above and _part_of(last)):
            continue
        part = _part_of(above[-1]) if above else None
        base = "/".join(above[:-1] if part else above)
        bases.setdefault(base, {}).setdefault(part or "", {}).setdefault(last, []).append(name)
    found = [
        base for base, parts in bases.items() if len(parts.get("train") or parts.get("") or ()) > 1
    ]
    if not found:
        return None
    depth = min(map(depth_of, found))
    base, *others = sorted(base for base in found if depth_of(base) == depth)
    if others:
        raise DataError(
            f"{place.path}: holds pictures of {1 + len(others)} data sets, each with a folder for "
            f"each class ({one_line(', '.join((base, *others)))}): give the folder of one of them"
        )
    parts = bases[base]
    train, test = parts.get("train") or parts.get(""), parts.get("test") or parts.get("validation")
    taken = {"train": train or {}, **({"test": test} if test else {})}
    left = ["the validation set"] if "test" in parts and "validation" in parts else []
    known = {id(classes) for classes in taken.values()} | {id(parts.get("validation"))}
    count = sum(map(_is_picture, place.sizes)) - sum(
        len(names)
        for classes in parts.values()
        if id(classes) in known
        for names in classes.values()
    )
    if count:
        left.append(f"{counted(count, 'picture')} in no folder of a class")
    return PictureFolders(base, taken, tuple(left))


def _part_of(folder: str) -> str | None:
    parts = {PART_OF[word] for word in words_of(folder) if word in PART_OF}
    return parts.pop() if len(parts) == 1 else None


def _read(place: Place, found: PictureFolders, name: str) -> Dataset:
    check_pillow(str(place.path))
    names, splits = found.classes, {}
    notes = [f"left out: {what}" for what in found.left_out]
    size: tuple[int, int] | None = None
    for part, classes in found.parts.items():
        unknown = sorted(set(classes) - set(names))
        if unknown:
            raise DataError(
                f"{place.path}: the {part} set has folders of classes that the training set has "
                f"not: {one_line(', '.join(unknown))}"
            )
        files = [(file, n) for n, one in enumerate(names) for file in classes.get(one, [])]
        # In an order that is drawn once, and not class by class: `--limit` takes the first.
        files = [files[i] for i in stream(0, "order of pictures").permutation(len(files)).tolist()]
        sources = [PictureSource(place.shown(file), partial(place.open, file)) for file, _ in files]
        images, note = stack_pictures(str(place.path), sources, size=size)
        notes += [note] if note else []
        size = images.shape[1], images.shape[2]
        splits[part] = Split(images, np.asarray([number for _, number in files]))
    return Dataset(
        name,
        splits["train"],
        splits.get("test"),
        n_classes=len(names),
        class_names=names,
        notes=tuple(notes),
    )
