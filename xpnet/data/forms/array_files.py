"""Data sets in files of one array each, IDX or `.npy`; and in `.npz`, which are archives of these.

The files are known by their names (`roles`), in which capital letters, what is between the words,
`.gz` and the `(1)` of a second copy do not matter. Each may lie in a folder of its own name.
"""

import posixpath
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from xpnet.data.dataset import Dataset
from xpnet.data.forms.build import build
from xpnet.data.forms.kinds import HEAD, is_idx, kind_of, unzipped_head
from xpnet.data.forms.places import Place, Zip, plain_stream
from xpnet.data.forms.roles import COPY, PART_OF, Role, role_of, words_of
from xpnet.data.forms.sources import Found, Parts, Source, depth_of, pair_up
from xpnet.data.idx import read_idx, read_idx_stream
from xpnet.data.npy import read_npy, read_npy_stream
from xpnet.errors import DataError, one_line
from xpnet.typing import HostArray

_IDX = re.compile(r"(^|[^a-z])(idx\d?|ubyte)([^a-z]|$)")
_SHOWN = 4


def idx_sources(place: Place) -> list[Source]:
    """The IDX files of a place that are named like training data."""
    return _file_sources(place, _is_idx_name, _read_idx)


def npy_sources(place: Place) -> list[Source]:
    """The `.npy` files of a place that are named like training data."""
    return _file_sources(place, lambda name: _ending(name) == ".npy", _read_npy)


def npz_sources(place: Place, only: str | None = None) -> list[Source]:
    """The arrays in the `.npz` files of a place that are named like training data.

    In a file of one array its own name counts, as in `kmnist-train-imgs.npz`; and the name of the
    file says which part it is where the names of the arrays do not.
    """
    sources = []
    for name in place.sizes:
        if _ending(name) == ".npz" and only in (None, name):
            sources += _of_npz(place, name)
    return sources


def kinds_at(place: Place, depth: int) -> list[str]:
    """Of which kinds files of one array each lie so deep, whether or not they are complete."""
    kinds = {"IDX files": idx_sources, ".npy files": npy_sources}
    return [
        kind
        for kind, sources in kinds.items()
        if any(depth_of(s.group[0]) == depth and s.role.part for s in sources(place))
    ]


def find_idx(place: Place, only: str | None) -> Found | None:
    """IDX files, such as MNIST's four."""
    return _found("IDX files", idx_sources(place), place, only, convert=False)


def find_npy(place: Place, only: str | None) -> Found | None:
    """`.npy` files, such as `x_train.npy` and `y_train.npy`."""
    return _found(".npy files", npy_sources(place), place, only)


def find_npz(place: Place, only: str | None) -> Found | None:
    """A `.npz` file, with such as `x_train`, `y_train`, `x_test` and `y_test`."""
    return _found("arrays of .npz", npz_sources(place, only), place, None)


def _found(
    what: str, sources: Sequence[Source], place: Place, only: str | None, *, convert: bool = True
) -> Found | None:
    sets = pair_up(sources, None if only is None else place.shown(only))
    if not sets:
        return None
    first = sets[0]
    level, plain = depth_of(first.folder), not first.series
    alike = [p for p in sets if depth_of(p.folder) == level and (not p.series) == plain]
    if len(alike) > 1:
        names = [p.folder or "-".join(p.series) or "." for p in alike]
        if len({*names}) < len(names):
            names = [f"{p.folder} ({'-'.join(p.series)})" for p in alike]
        known = ""
        if any(p.series[:1] == ("emnist",) for p in alike):
            known = ", or its name, such as emnist-letters with --data-dir and this folder"
        raise DataError(
            f"{place.path}: holds {len(alike)} data sets ({one_line(', '.join(names))}): give the "
            f"folder of one of them{known}"
        )
    said = f"{what}: {_listed([source.shown for source in first.sources], place.path)}"
    return Found(said, level, partial(_build, first, convert))


def _build(parts: Parts, convert: bool, name: str) -> Dataset:
    return build(name, parts, convert=convert)


def _listed(shown: list[str], path: Path) -> str:
    """The names of some files, without the folder that all are in."""
    names = [name.removeprefix(f"{path}").lstrip("/\\: ") or name for name in shown]
    files = {name.partition(": ")[0] for name in names}
    if len(files) == 1 and len(names) > 1:  # arrays of one file
        names = [names[0], *(name.partition(": ")[2] for name in names[1:])]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name, 80) for name in names[:_SHOWN]) + more


def _file_sources(
    place: Place,
    accepts: Callable[[str], bool],
    read: Callable[[Place, str], HostArray],
) -> list[Source]:
    sources = []
    for name in place.sizes:
        base = posixpath.basename(name)
        role = role_of(base) if accepts(base) else None
        if role is not None:
            group = _folder_of(name), role.series
            sources.append(
                Source(role, place.shown(name), group, _rank(name), partial(read, place, name))
            )
    return sources


def _folder_of(name: str) -> str:
    """The folder of a file; the one above where that is named like a file itself."""
    folder, base = posixpath.dirname(name), posixpath.basename(posixpath.dirname(name))
    role = role_of(base)
    named = role is not None and (_IDX.search(base.lower()) or base.lower().endswith(".npy"))
    return posixpath.dirname(folder) if named else folder


def _rank(name: str) -> tuple[int | str, ...]:
    """The usual one first: not in a folder of its own, no second copy, not gzipped, with dashes."""
    base = posixpath.basename(name)
    copy = COPY.search(base) is not None
    return name.count("/"), copy, base.lower().endswith(".gz"), "-idx" not in base.lower(), name


def _ending(name: str) -> str:
    return Path(COPY.sub("", name.lower()).removesuffix(".gz")).suffix


def _is_idx_name(name: str) -> bool:
    ending = _ending(name)
    return ending in ("", ".idx", ".bin") or _IDX.search(ending) is not None


def _check_kind(place: Place, name: str, expected: str) -> None:
    """Refuse what is something else than its name says, if it can be said what."""
    with place.open(name) as file:
        head = file.read(HEAD)
    inner = unzipped_head(head)
    kind = None if is_idx(inner) or inner.startswith(b"\x93NUMPY") else kind_of(head)
    if kind is not None:
        raise DataError(f"{place.shown(name)}: expected {expected}, found {kind}")


def _read_idx(place: Place, name: str) -> HostArray:
    _check_kind(place, name, "an IDX file, plain or gzipped")
    path = place.file(name)
    if path is not None:
        return read_idx(path)
    with place.open(name) as file:
        return read_idx_stream(place.shown(name), file, place.sizes[name])


def _read_npy(place: Place, name: str) -> HostArray:
    _check_kind(place, name, "a .npy file of numbers")
    path = place.file(name)
    if path is not None and not name.lower().endswith(".gz"):
        with path.open("rb") as file:
            texts = _holds_text(file.read(128))
        if not texts:
            return read_npy(path)
    with plain_stream(place, name) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return read_npy_stream(place.shown(name), file, size, texts=True)


def _holds_text(head: bytes) -> bool:
    """Whether the header of a `.npy` file says that it holds text, as labels may be."""
    return re.search(rb"'descr': '[<>|=]?[US]\d", head) is not None


def _of_npz(place: Place, name: str) -> list[Source]:
    _check_kind(place, name, "a .npz file of arrays")
    path = place.file(name)
    if path is None or name.lower().endswith(".gz"):
        inner: Place = Zip(Path(place.shown(name)), plain_stream(place, name))
    else:
        inner = Zip(path)
    keys = [key for key in inner.sizes if key.endswith(".npy")]
    roles = {key: role_of(key.removesuffix(".npy")) for key in keys}
    file_role, stem = role_of(posixpath.basename(name)), posixpath.basename(name)[:-4]
    if len(keys) == 1 and file_role is not None:
        roles = {keys[0]: file_role}
    elif [key.removesuffix(".npy") for key in keys] in _UNNAMED:
        order = [Role(part, kind) for part in ("train", "test") for kind in "xy"]
        roles = dict(zip(keys, order, strict=False))
    part = next((PART_OF[word] for word in words_of(stem) if word in PART_OF), "")
    series = tuple(w for w in words_of(stem) if w not in PART_OF) if part else (stem.casefold(),)
    sources = []
    for key, role in roles.items():
        if role is None:
            continue
        if len(keys) == 1 and file_role is not None:
            group = posixpath.dirname(name), role.series
        else:
            role = Role(role.part or part, role.kind, role.series)
            group = posixpath.dirname(name), series + role.series
        shown = f"{place.shown(name)}: {key.removesuffix('.npy')}"
        rank = (name.endswith(".gz"), "data" in key, key)
        sources.append(Source(role, shown, group, rank, partial(_read_npy, inner, key)))
    return sources


_UNNAMED = (["arr_0", "arr_1"], ["arr_0", "arr_1", "arr_2", "arr_3"])
"""What `numpy.savez` calls arrays that were given no names: taken for x, y, x_test and y_test."""
