"""Pictures in a folder for each class, with or without folders for training and test. Needs Pillow.

They are read in grey, as `xpnet predict` reads one.
"""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from xpnet.data.dataset import Dataset, Split
from xpnet.data.forms.build import in_order
from xpnet.data.forms.places import Place
from xpnet.data.forms.roles import PART_OF, words_of
from xpnet.data.forms.sources import Found, depth_of
from xpnet.data.pictures import open_format
from xpnet.errors import DataError, counted, one_line, reason_of
from xpnet.random import stream
from xpnet.typing import HostArray

if TYPE_CHECKING:
    from PIL.Image import Image

_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".webp", ".tif", ".tiff",
)  # fmt: skip
_LARGEST_SIDE = 64
"""Pictures of several sizes are made no larger than this."""
_MOST_BYTES = 1 << 32

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
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"{place.path}: reading pictures needs Pillow: pip install 'xpnet[image]'"
        ) from error
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
        paths = [file for file, _ in files]
        try:
            images = _images(place, paths, size)
        except _SeveralSizes:
            size, said = _usual_size(place, paths)
            notes.append(said)
            images = _images(place, paths, size)
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


class _SeveralSizes(Exception):  # noqa: N818 - it ends an attempt
    """Pictures differ in size."""


def _usual_size(place: Place, names: list[str]) -> tuple[tuple[int, int], str]:
    """The (height, width) that pictures of several sizes are fitted to, and what to say of it."""
    sizes = []
    for name in names:
        with _opened(place, name) as picture:
            sizes.append(_upright(picture).size[::-1])
    heights, widths = zip(*sizes, strict=True)
    high, wide = float(np.median(heights)), float(np.median(widths))
    factor = min(1.0, _LARGEST_SIDE / max(high, wide))
    usual = max(1, round(factor * high)), max(1, round(factor * wide))
    said = f"pictures of {len({*sizes}):,} sizes are fitted to {usual[0]} x {usual[1]} pixels"
    return usual, said


def _images(place: Place, names: list[str], size: tuple[int, int] | None) -> HostArray:
    """The pictures in a size; if None in that which all have."""
    images: HostArray | None = None
    for row, name in enumerate(names):
        with _opened(place, name) as picture:
            grey = _grey(_upright(picture), picture.format)
            if images is None:
                images = _room(place, len(names), size or (grey.height, grey.width))
            if size is None and grey.size != (images.shape[2], images.shape[1]):
                raise _SeveralSizes
            images[row] = _fitted(grey, (images.shape[1], images.shape[2]))
    assert images is not None  # a class without pictures is none
    return images


def _room(place: Place, count: int, size: tuple[int, int]) -> HostArray:
    total = count * size[0] * size[1]
    if total > _MOST_BYTES:
        raise DataError(
            f"{place.path}: {count:,} pictures of {size[0]} x {size[1]} pixels take {total:,} "
            f"bytes of memory: make them smaller, such as 64 x 64"
        )
    return np.empty((count, *size), dtype=np.uint8)


@contextmanager
def _opened(place: Place, name: str) -> Iterator["Image"]:
    """A picture, not decoded yet; whatever is wrong with it is said with its name."""
    try:
        with place.open(name) as file:
            yield open_format(file)
    except _SeveralSizes:
        raise
    except DataError as error:
        text = str(error)
        raise DataError(
            text if place.shown(name) in text else f"{place.shown(name)}: {text}"
        ) from error
    except MemoryError as error:
        raise DataError(f"{place.shown(name)}: the picture does not fit into memory") from error
    except OSError as error:
        raise DataError(
            f"{place.shown(name)}: cannot be read as a picture ({reason_of(error)})"
        ) from error
    # A decoder that meets what its author did not think of raises anything.
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DataError(f"{place.shown(name)}: cannot be read as a picture ({reason})") from error


def _upright(picture: "Image") -> "Image":
    """A picture turned as its EXIF data say, if it has any."""
    from PIL import ImageOps

    if "exif" not in picture.info and picture.format not in ("TIFF", "MPO"):
        return picture
    return ImageOps.exif_transpose(picture)


def _grey(picture: "Image", kind: str | None) -> "Image":
    """A picture of a format in 8 bits of grey; what is transparent is what the rest is not."""
    from PIL import Image

    if picture.mode == "L":
        return picture
    if picture.mode == "F" or (picture.mode == "I" and kind == "TIFF"):
        raise DataError(f"cannot be read as a picture ({picture.mode}: values without a white)")
    if picture.mode.startswith("I"):  # of 16 bits, which Pillow would cut off at 255
        return Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture.convert("L")
    coloured = picture.convert("RGBA")
    grey, opaque = np.asarray(coloured.convert("L")), np.asarray(coloured)[..., 3]
    seen = grey[opaque > 127]
    ground = 255 if seen.size and seen.mean() < 128 else 0
    paper = Image.new("RGBA", picture.size, (ground, ground, ground, 255))
    return Image.alpha_composite(paper, coloured).convert("L")


def _fitted(grey: "Image", size: tuple[int, int]) -> HostArray:
    """Scaled to lie within (height, width), and padded with what its border mostly is."""
    if grey.size == size[::-1]:
        return np.asarray(grey)
    from PIL import Image

    scale = min(size[0] / grey.height, size[1] / grey.width)
    within = max(1, round(scale * grey.width)), max(1, round(scale * grey.height))
    pixels = np.asarray(grey.resize(within, Image.Resampling.LANCZOS))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fitted = np.full(size, int(np.median(border)), dtype=np.uint8)
    top, left = (size[0] - within[1]) // 2, (size[1] - within[0]) // 2
    fitted[top : top + within[1], left : left + within[0]] = pixels
    return fitted
