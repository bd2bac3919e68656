"""The data sets that are known by name: a row for each.

Sources: Y. LeCun, C. Cortes and C. Burges, http://yann.lecun.com/exdb/mnist/ (MNIST). H. Xiao,
K. Rasul and R. Vollgraf, https://github.com/zalandoresearch/fashion-mnist, MIT licence. T. Clanuwat
et al., https://github.com/rois-codh/kmnist, CC BY-SA 4.0. C. Yadav and L. Bottou,
https://github.com/facebookresearch/qmnist, BSD 3-Clause. G. Cohen, S. Afshar, J. Tapson and A. van
Schaik, https://www.nist.gov/itl/products-and-services/emnist-dataset (EMNIST). The MD5 sums are
those that torchvision has (torchvision/datasets/mnist.py).
"""

import string
from dataclasses import dataclass

import numpy as np

from xpnet.data.idx import idx_header
from xpnet.typing import HostArray

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The files of MNIST, and of those that are published in its form: gzipped, with `.gz`."""

_DIGITS = tuple(string.digits)
_MERGED = (*string.digits, *string.ascii_uppercase, *"abdefghnqrt")
"""EMNIST without those small letters that are written as the capital ones."""
_EMNIST = (
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "58c8d27c78d21e728a6bc7b3cc06412e",
)


@dataclass(frozen=True)
class Known:
    """A data set that is known by its name.

    Attributes
    ----------
    name
        The name.
    class_names
        What its classes are called, in the order of their numbers.
    files
        Its files, images and labels for training and for the test.
    md5
        Of these as they are downloaded, gzipped.
    mirrors
        Where they are downloaded from: the addresses that the names of the files come behind.
    archive
        Where it is published as a part of an archive: its address, and its MD5.
    sha256
        Of the content of the files; empty where it is not known.
    series
        The words that the names of its files begin with.
    folders
        What folders of it are called: in small letters, without what is between the words.
    places
        Folders in which the packages of systems have it.
    first_label
        The number that the labels in its files begin with.
    turned
        Whether each image in its files has rows and columns exchanged.
    """

    name: str
    class_names: tuple[str, ...]
    files: tuple[str, ...] = FILES
    md5: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    archive: tuple[str, str] | None = None
    sha256: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    first_label: int = 0
    turned: bool = False

    def upright(self, images: list[HostArray]) -> list[HostArray]:
        """Its images as one sees them, with rows for rows."""
        if not self.turned:
            return images
        return [np.ascontiguousarray(np.swapaxes(x, 1, 2)) if x.ndim > 2 else x for x in images]

    def from_zero(self, labels: list[HostArray]) -> list[HostArray]:
        """Its labels counted from 0; those that are none stay, to be refused."""
        if not self.first_label:
            return labels
        first = self.first_label
        return [y.astype(np.int64) - first if y.dtype.kind in "ui" else y for y in labels]


def _emnist(kind: str, class_names: tuple[str, ...], *, first_label: int = 0) -> Known:
    name = f"emnist-{kind}"
    return Known(
        name,
        class_names,
        files=tuple(
            f"{name}-{part}-{what}-ubyte"
            for part in ("train", "test")
            for what in ("images-idx3", "labels-idx1")
        ),
        archive=_EMNIST,
        series=("emnist", kind),
        folders=("emnist", f"emnist{kind}"),
        first_label=first_label,
        turned=True,
    )


# fmt: off
KNOWN: dict[str, Known] = {row.name: row for row in (
    Known(
        "mnist", _DIGITS,
        md5=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256=(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        folders=("mnist",), places=("/usr/share/datasets/mnist",),
    ),
    Known(
        "fashion-mnist",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
         "Ankle boot"),
        md5=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        sha256=(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        series=("fashion", "mnist"), folders=("fashionmnist", "fashion"),
        places=("/usr/share/datasets/fashion-mnist",),
    ),
    Known(
        "kmnist", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        md5=(
            "bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        series=("kmnist",), folders=("kmnist", "kuzushijimnist", "kuzushiji"),
    ),
    Known(
        "qmnist", _DIGITS,
        files=(
            "qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
            "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int",
        ),
        md5=(
            "ed72d4157d28c017586c42bc6afe6370", "0058f8dd561b90ffdd0f734c6a30e5e4",
            "1394631089c404de565df7b7aeaf9412", "5b5b05890a5e13444e108efe57b788aa",
        ),
        mirrors=("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        series=("qmnist",), folders=("qmnist",),
    ),
    _emnist("balanced", _MERGED),
    _emnist("letters", tuple(string.ascii_lowercase), first_label=1),
    _emnist("digits", _DIGITS),
    _emnist("byclass", (*string.digits, *string.ascii_uppercase, *string.ascii_lowercase)),
    _emnist("bymerge", _MERGED),
    _emnist("mnist", _DIGITS),
)}
# fmt: on
"""To add one in the form of MNIST's files, write a row. What is not in it is the usual."""


def known_by_files(series: tuple[str, ...], labels: HostArray, images: HostArray) -> Known | None:
    """Which known data set files are, by their names, or by the labels for training.

    Parameters
    ----------
    series
        What their names have in common.
    labels, images
        Those for training. Of a file that is named like one of EMNIST's it is seen from them that
        it is not upright.
    """
    for row in KNOWN.values():
        if row.series and row.series == series and images.ndim == 3:
            return row
    found = digest(labels)
    return next((row for row in KNOWN.values() if row.sha256 and row.sha256[1] == found), None)


def digest(values: HostArray) -> str:
    """The SHA-256 of the IDX file of an array; of labels whatever their dtype is."""
    import hashlib

    if values.ndim == 1 and values.size and values.min() >= 0 and values.max() <= 255:
        values = values.astype(np.uint8)
    if values.dtype != np.uint8:
        return ""
    # The checksums are of whole files: the header is put back in front of the values.
    found = hashlib.sha256(idx_header(values))
    found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()
