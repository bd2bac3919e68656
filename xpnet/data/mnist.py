"""MNIST, and any folder of files named like MNIST's.

Source of MNIST: Y. LeCun, C. Cortes and C. Burges, http://yann.lecun.com/exdb/mnist/.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset, DatasetWithTest, Split
from xpnet.data.idx import idx_header, read_idx
from xpnet.data.npy import read_npy
from xpnet.errors import DataError, counted, one_line, reason_of
from xpnet.streams import can_flush
from xpnet.typing import HostArray

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
TRAIN_ARRAYS = ("train-images.npy", "train-labels.npy")
TEST_ARRAYS = ("test-images.npy", "test-labels.npy")

_MOST_SPARSE = 1 << 16  # so many classes there may be also where most have no sample
_PER_SEEN = 2  # and so many for each that has one: a packed file may have a hundred million labels

# SHA-256 of the decompressed files.
_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# MD5 of the files as the mirrors serve them.
_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = True
) -> DatasetWithTest:
    """The 60,000 training and 10,000 test images of MNIST, 28 x 28 pixels from 0 to 255.

    The four IDX files, plain or gzipped, are looked for in `data_dir`, then in the folder that
    the environment variable `XPNET_DATA_DIR` names, then in the user's cache; in each of them
    directly and in its folder `mnist`. If they are nowhere they are downloaded into the cache.

    Parameters
    ----------
    data_dir
        Where to look first: a folder that is there. A leading `~` is the user's home, here and in
        the variable.
    download
        Whether to download what is not there.

    Raises
    ------
    DataError
        If `data_dir` is no folder, which is found out before anything is downloaded; if the files
        are not there and cannot be downloaded, or their content is not MNIST's (checked by
        SHA-256).
    """
    searched = _folders(data_dir)
    paths = find_files(searched, TRAIN_FILES + TEST_FILES)
    if paths is None:
        if not download:
            raise DataError(_not_found(searched, "downloading is switched off"))
        paths = _download(searched)
    arrays = [_verified(path) for path in paths]
    return DatasetWithTest("mnist", Split(*arrays[:2]), Split(*arrays[2:]), n_classes=10)


def load_folder(folder: str | os.PathLike[str]) -> Dataset:
    """A data set from a folder of IDX files with MNIST's file names, or of `.npy` files.

    Parameters
    ----------
    folder
        Holds `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or with `.gz`, and
        where there is a test set `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`. Or
        `train-images.npy` and `train-labels.npy`, and `test-images.npy` and `test-labels.npy`.

    Returns
    -------
    data
        Named after the folder. The number of classes is the largest training label plus one.
        Integer pixels are divided by the largest number of their dtype (255 for uint8). Images of
        more than 256 MiB that are not gzipped stay in their file: training reads them batch by
        batch.

    Raises
    ------
    DataError
        If a file is missing or corrupt, or images and labels do not belong together.
    """
    folder = Path(os.path.expanduser(folder))  # noqa: PTH111 - it raises where there is no home
    train, test = _folder_files(folder)
    train_split = _read_split(train)
    test_split = None if test is None else _read_split(test)
    labels, pixels = train_split.labels, train_split.images.dtype
    n_classes = _count_classes(train[1], labels)
    maximum = float(np.iinfo(pixels).max) if pixels.kind in "ui" else 1.0
    name = folder.resolve().name
    try:
        return Dataset(name, train_split, test_split, n_classes=n_classes, pixel_maximum=maximum)
    except DataError as error:
        read = ", ".join(map(str, (*train, *(test or ()))))
        raise DataError(f"{error} (read from {read})") from None


def _count_classes(path: Path, labels: HostArray) -> int:
    """The largest label plus one; a network has an output for each."""
    n_classes = int(labels.max(initial=0)) + 1 if labels.dtype.kind in "ui" else 1
    if n_classes > _MOST_SPARSE:
        seen = np.unique(labels).size
        if n_classes > max(_MOST_SPARSE, _PER_SEEN * seen):
            raise DataError(
                f"{path}: a label is {n_classes - 1}, among {counted(labels.size, 'label')}, of "
                f"which {seen} differ{'s' * (seen == 1)}: number the classes from 0, for a network "
                "has an output for each"
            )
    return n_classes


def _folder_files(folder: Path) -> tuple[list[Path], list[Path] | None]:
    """Images and labels of the training set, and of the test set if there is one."""
    layouts = [(TRAIN_FILES, TEST_FILES), (TRAIN_ARRAYS, TEST_ARRAYS)]
    found = [layout for layout in layouts if _has_any(folder, layout[0] + layout[1])]
    if len(found) == 2:
        raise DataError(f"{folder}: found IDX files and .npy files: leave one kind of them there")
    train_names, test_names = found[0] if found else layouts[0]
    train = find_files([folder], train_names)
    if train is None:
        raise DataError(
            f"{folder}: expected the IDX files {' and '.join(TRAIN_FILES)} (plain or .gz), or "
            f"{' and '.join(TRAIN_ARRAYS)}, found {_listing(folder)}"
        )
    test = find_files([folder], test_names)
    if test is None and _has_any(folder, test_names):
        raise DataError(
            f"{folder}: a test set needs both {' and '.join(test_names)}, found only one of them"
        )
    return train, test


def _has_any(folder: Path, names: Sequence[str]) -> bool:
    return any(find_files([folder], [name]) for name in names)


def _read_split(paths: Sequence[Path]) -> Split:
    images, labels = (read_npy(p) if ".npy" in p.suffixes else read_idx(p) for p in paths)
    if images.dtype.kind in "ui" and images.dtype.itemsize == 8:
        raise DataError(
            f"{paths[0]}: pixels of {images.dtype} would be divided by {np.iinfo(images.dtype).max}"
            f": write them as uint8, or as float32 from 0 to 1"
        )
    # Labels are always in memory: they are looked through.
    return Split(images, np.array(labels, dtype=labels.dtype.newbyteorder("=")))


def find_files(folders: Sequence[Path], names: Sequence[str]) -> list[Path] | None:
    """The files of these names, plain or `.gz`, from the first folder that has them all."""
    for folder in folders:
        # NOTE: Path.is_file raises where a folder may not be entered; os.path.isfile says False.
        paths = [
            next((p for p in (folder / name, folder / f"{name}.gz") if os.path.isfile(p)), None)  # noqa: PTH113
            for name in names
        ]
        found = [path for path in paths if path is not None]
        if len(found) == len(names):
            return found
    return None


def _folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    places = [data_dir, os.environ.get("XPNET_DATA_DIR"), cache_folder()]
    # A shell leaves the ~ of --data-dir=~/data, and of quoted text, as it is.
    roots = [Path(os.path.expanduser(place)) for place in places if place]  # noqa: PTH111
    if data_dir and not os.path.isdir(roots[0]):  # noqa: PTH112
        found = "a file" if os.path.exists(roots[0]) else "no such folder"  # noqa: PTH110
        raise DataError(f"data_dir: {roots[0]}: expected a folder, found {found}")
    return [folder for root in roots for folder in (root, root / "mnist")]


def cache_folder() -> Path:
    """The user's cache folder for downloaded data, as the operating system has it."""
    import pooch

    return Path(pooch.os_cache("xpnet"))


def _download(searched: list[Path]) -> list[Path]:
    import pooch

    if not can_flush(sys.stderr):  # what pooch tells there would be an error of each mirror
        for handler in pooch.get_logger().handlers:
            handler.setLevel("CRITICAL")
    target = cache_folder() / "mnist"
    paths = []
    for name in TRAIN_FILES + TEST_FILES:
        problems = []
        for mirror in _MIRRORS:
            try:
                path = pooch.retrieve(
                    mirror + f"{name}.gz",
                    known_hash=f"md5:{_MD5[f'{name}.gz']}",
                    fname=f"{name}.gz",
                    path=target,
                )
            except (OSError, ValueError) as error:  # no network, full disk; wrong checksum
                problems.append(f"{mirror}: {one_line(error)}")
            else:
                paths.append(Path(path))
                break
        else:
            raise DataError(_not_found(searched, "downloading failed: " + "; ".join(problems)))
    return paths


def _not_found(searched: list[Path], why: str) -> str:
    files = ", ".join(TRAIN_FILES + TEST_FILES)
    return (
        f"MNIST is not here and {why}. Searched: {', '.join(map(str, searched))}. "
        f"Wanted: {files} (plain or .gz). "
        f"Put the files there, or name their folder with --data-dir or XPNET_DATA_DIR; "
        f"or go on with the embedded data set: digits"
    )


def _verified(path: Path) -> HostArray:
    import hashlib

    values = read_idx(path)
    name = path.name.removesuffix(".gz")
    # The checksums are of whole files: the header is put back in front of the values.
    digest = hashlib.sha256(idx_header(values))
    digest.update(np.ascontiguousarray(values).data)
    found = digest.hexdigest()
    if found != _SHA256[name]:
        raise DataError(
            f"{path}: the content is not MNIST's: expected SHA-256 {_SHA256[name]}, "
            f"found {found}; for another data set give its folder as the data set"
        )
    return values


def _listing(folder: Path) -> str:
    try:
        names = sorted(one_line(path.name) for path in folder.iterdir())
    except FileNotFoundError:
        return "no such folder"
    except NotADirectoryError:
        return "a file"
    except OSError as error:
        return f"a folder that cannot be read ({reason_of(error)})"
    more = "" if len(names) <= 8 else f" and {len(names) - 8} more"
    return (", ".join(names[:8]) + more) or "an empty folder"
