"""Arrays by their roles, wherever they lie: which of them belong together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.forms.roles import Role
from xpnet.errors import DataError, one_line
from xpnet.typing import HostArray

Group = tuple[str, tuple[str, ...]]
"""A folder, and the words that names in it have in common."""

_SAID = {"train": "training set", "test": "test set", "validation": "validation set"}


@dataclass(frozen=True)
class Source:
    """An array that can be read.

    Attributes
    ----------
    role
        What it is for.
    shown
        What it is called in messages.
    group
        Those of one group belong together.
    rank
        Of two with the same role the one with the smaller rank is taken.
    read
        Reads it; may raise `DataError`.
    """

    role: Role
    shown: str
    group: Group
    rank: tuple[int | str, ...]
    read: Callable[[], HostArray]


@dataclass(frozen=True)
class Found:
    """Training data that were found in a place.

    Attributes
    ----------
    what
        The form in a few words, such as `"IDX files"`, and the names of the files.
    depth
        How many folders below the place they lie.
    read
        Reads them; called with a name for the data set, and of a table with its options.
    is_table
        Whether they are a table.
    """

    what: str
    depth: int
    read: Callable[..., Dataset]
    is_table: bool = False


@dataclass(frozen=True)
class Parts:
    """The sources of a data set: samples and labels of each of its parts.

    Attributes
    ----------
    series
        What their names have in common.
    folder
        Where they lie.
    train, test
        Pairs of sources; `test` may be None.
    left_out
        What else was there and is not taken, in words.
    """

    series: tuple[str, ...]
    folder: str
    train: tuple[Source, Source]
    test: tuple[Source, Source] | None
    left_out: str = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that are read."""
        return (*self.train, *(self.test or ()))


def pair_up(sources: Sequence[Source], wanted: str | None = None) -> list[Parts]:
    """The data sets that sources make, those that lie least deep first.

    Parameters
    ----------
    sources
        All that there are.
    wanted
        A source that has to be among those of the data set, by what it is called.

    Raises
    ------
    DataError
        If of a set for the test there are only samples or only labels.
    """
    groups: dict[Group, dict[tuple[str, str], list[Source]]] = {}
    for source in sources:
        key = (source.role.part, source.role.kind)
        groups.setdefault(source.group, {}).setdefault(key, []).append(source)
    found = []
    for group, roles in groups.items():
        if wanted is not None and not any(
            source.shown == wanted for each in roles.values() for source in each
        ):
            continue
        best = {key: min(each, key=lambda s: s.rank) for key, each in roles.items()}
        parts = _parts(group, best)
        if parts is not None:
            found.append(parts)
    return sorted(found, key=lambda parts: (depth_of(parts.folder), bool(parts.series)))


def depth_of(folder: str) -> int:
    """How many folders below the place a folder is."""
    return folder.count("/") + 1 if folder else 0


def _parts(group: Group, best: dict[tuple[str, str], Source]) -> Parts | None:
    pairs: dict[str, tuple[Source, Source]] = {}
    for part in ("train", "", "test", "validation"):
        both = [best[part, kind] for kind in "xy" if (part, kind) in best]
        if len(both) == 2:
            pairs[part] = (both[0], both[1])
        elif both and part == "test" and "train" in pairs:
            names = "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
            if ".np" in both[0].shown:
                names = "test-images.npy and test-labels.npy"
            raise DataError(
                f"{both[0].shown}: a test set needs both {names}, or what else they are called; "
                f"found only one of them: add the other, or take this one away"
            )
    train = pairs.pop("train", None) or pairs.pop("", None)
    if train is None:
        return None
    test = pairs.pop("test", None) or pairs.pop("validation", None)
    left = ", ".join(_SAID.get(part, "samples of no part") for part in pairs)
    return Parts(group[1], group[0], train, test, left)


def numbered(what: str, labels: HostArray, names: tuple[str, ...] | None) -> HostArray:
    """Labels that are text as the numbers of their names.

    Raises
    ------
    DataError
        If one is not among the names.
    """
    texts = labels.astype(str)
    known = list(names or ())
    unknown = sorted({*np.unique(texts).tolist()} - {*known})
    if unknown:
        raise DataError(
            f"{what}: found classes that the training set has not: {one_line(', '.join(unknown))}"
        )
    order = np.argsort(known)
    places = order[np.searchsorted(np.asarray(known)[order], texts)]
    return np.asarray(places, dtype=np.int64)
