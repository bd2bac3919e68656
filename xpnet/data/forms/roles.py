"""What the name of a file or an array says: samples or labels, for training or for the test."""

import re
from dataclasses import dataclass

_PARTS = {
    "train": ("train", "training", "trn", "tr"),
    "test": ("test", "testing", "t10k", "tst", "te"),
    "validation": ("val", "valid", "validation", "dev"),
}
_KINDS = {
    "x": ("x", "image", "images", "img", "imgs", "pictures", "pixels", "features", "samples"),
    "y": ("y", "label", "labels", "target", "targets", "classes"),
}
_WEAK = {"data": "x", "inputs": "x"}
"""Words that say so only where no other word does: `train_data_labels`."""
_FORMS = re.compile(r"idx\d*|ubyte|int|uint8|byte|npy|npz|gz|bin|array|arrays")
COPY = re.compile(
    r"\s*\(\d+\)|\s+\d+(?=\.|$)|[\s_-]+copy\b(\s*\d+)?|(?<=\.gz)\.\d+$", re.IGNORECASE
)
"""What browsers and systems add to the name of a second copy: `(1)`, ` 2`, ` - Copy`, `.gz.1`."""
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")

PART_OF = {word: part for part, words in _PARTS.items() for word in words}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}


@dataclass(frozen=True)
class Role:
    """What a file or an array is for.

    Attributes
    ----------
    part
        `"train"`, `"test"` or `"validation"`; `""` where the name does not say.
    kind
        `"x"` for samples, `"y"` for labels.
    series
        The other words of the name, such as `("emnist", "letters")`: those that belong together
        have them in common.
    """

    part: str
    kind: str
    series: tuple[str, ...] = ()


def role_of(name: str) -> Role | None:
    """The role that a name stands for; None if it is no such name.

    Capital letters, and what is between the words, do not matter.

    >>> role_of("train-images.idx3-ubyte (1).gz")
    Role(part='train', kind='x', series=())
    >>> role_of("EMNIST-letters-test-labels-idx1-ubyte")
    Role(part='test', kind='y', series=('emnist', 'letters'))
    >>> role_of("xTrain"), role_of("README.md")
    (Role(part='train', kind='x', series=()), None)
    """
    parts: list[str] = []
    kinds: list[str] = []
    weak: list[str] = []
    series: list[str] = []
    for word in words_of(name):
        if word in PART_OF:
            parts.append(PART_OF[word])
        elif word in _KIND_OF:
            kinds.append(_KIND_OF[word])
        elif word in _WEAK:
            weak.append(_WEAK[word])
        elif not _FORMS.fullmatch(word):
            series.append(word)
    kinds = kinds or weak[:1]
    if len(kinds) != 1 or len(parts) > 1:
        return None
    return Role(parts[0] if parts else "", kinds[0], tuple(series))


def words_of(name: str) -> list[str]:
    """The words of a name in small letters; `xtrain` are two."""
    words = []
    for word in re.split(r"[^a-z0-9]+", _HUMP.sub(" ", COPY.sub("", name)).casefold()):
        found = re.fullmatch(r"([xy])(\w+)|(\w+)([xy])", word)
        pair = [part for part in found.groups() if part] if found else []
        if any(part in PART_OF for part in pair):
            words += pair
        elif word:
            words.append(word)
    return words
