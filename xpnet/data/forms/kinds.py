"""What a file is that is no training data, by its first bytes: for messages that help.

Nothing is opened but to look at its beginning. A pickle is never loaded: it may run any program.
"""

import gzip
import re
import zlib
from dataclasses import dataclass

from xpnet.data.forms.places import Place

HEAD = 1 << 12

CONVERT = (
    "save its arrays once, with a program that you trust: numpy.savez('data.npz', x_train=..., "
    "y_train=..., x_test=..., y_test=...)"
)
_AGAIN = "download it again, and look what the address gives in a browser"
_PICKLE = (
    "a pickle, which may run any program when it is opened, and never is: if you know where it "
    f"comes from, open it with pickle.load yourself, and {CONVERT}"
)
_PYTORCH = (
    "a file of PyTorch, which may hold a pickle and is not opened: read it with torch.load(..., "
    f"weights_only=True), and {CONVERT} (a saved network is evaluated, xpnet evaluate, not trained)"
)
_NETWORK = "a saved network and no data to train on: give it to xpnet evaluate, or with --start"
_SHEET = "save its sheet as CSV"
_UNPACK = "unpack it, and give what is in it"


@dataclass(frozen=True)
class Kind:
    """What a file is, and what can be done about it."""

    name: str
    pattern: bytes

    def matches(self, head: bytes) -> bool:
        """Whether a file that begins so is of this kind."""
        return re.match(self.pattern, head, re.DOTALL | re.IGNORECASE) is not None


_KINDS = (
    Kind("an empty file: download or copy it again", rb"\Z"),
    Kind(
        "a Git LFS pointer, which stands in the place of the file: fetch it with git lfs pull",
        rb"version https://git-lfs",
    ),
    Kind(f"an HTML page, saved in the place of the file: {_AGAIN}",
         rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body)"),
    Kind(f"an XML text, such as the error of a server: {_AGAIN}", rb"\s*<(\?xml|Error)"),
    Kind(_PYTORCH, rb"\x80[\x02-\x05]\x8a\x0al\xfc\x9c"),
    Kind(_PICKLE, rb"\x80[\x02-\x05]"),
    Kind(_PICKLE,
         rb"\((dp|lp|ip)\d|c(copy_reg|copyreg|numpy|__builtin__|builtins|torch)[a-z_.]*\n"),
    Kind(f"a file of HDF5, as Keras and others write: read it with h5py, and {CONVERT}",
         rb"\x89HDF\r\n"),
    Kind(f"a file of MATLAB: read it with scipy.io.loadmat, and {CONVERT}", rb"MATLAB 5"),
    Kind(_NETWORK, rb".{8}\{\s*\"(__metadata__|[^\"]+\"\s*:\s*\{\s*\"dtype)"),
    Kind(_NETWORK, rb"\x08[\x01-\x10]\x12.{1,20}(pytorch|xpnet|onnx|skl2onnx)"),
    Kind(_PYTORCH, rb"PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|\.format_version|\.data/)"),
    Kind(f"a workbook of Excel of before 2007, or a document of that time: {_SHEET}",
         rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    Kind(f"a file that was gzipped twice: {_UNPACK}", rb"\x1f\x8b"),
    Kind(f"a 7z archive: {_UNPACK}", rb"7z\xbc\xaf"),
    Kind(f"a RAR archive: {_UNPACK}", rb"Rar!"),
    Kind(f"a file packed by zstd: {_UNPACK}", rb"\x28\xb5\x2f\xfd"),
    Kind(f"a file packed by xz: {_UNPACK}", rb"\xfd7zXZ"),
    Kind(f"a file packed by bzip2: {_UNPACK}", rb"BZh[1-9]"),
    Kind(f"a file packed by compress: {_UNPACK}", rb"\x1f\x9d"),
    Kind("a picture; for a training give a folder with a folder of pictures for each class",
         rb"\x89PNG\r\n|\xff\xd8\xff|GIF8|BM.{4}\0\0|II\*\0|MM\0\*|RIFF.{4}WEBP|P[1-6]\s"),
    Kind("a PDF document", rb"%PDF"),
    Kind("a .npy file of Python objects, which may run any program when it is read, and never is: "
         f"if you know where it comes from, open it with numpy.load(..., allow_pickle=True) "
         f"yourself, and {CONVERT}", rb"\x93NUMPY[^}]*'descr': '\|O"),
    Kind("a .npy file whose name does not say what is in it, or that has no partner: call the "
         "files x_train.npy and y_train.npy, x_test.npy and y_test.npy", rb"\x93NUMPY"),
    Kind("an IDX file whose name does not say what is in it, or that has no partner: call the "
         "files train-images-idx3-ubyte, train-labels-idx1-ubyte and so on",
         rb"\0\0[\x08-\x0e][\0-\x20]"),
    Kind(f"a data base of SQLite: {CONVERT}", rb"SQLite format 3"),
    Kind("a text of JSON, which is no table: write it as CSV, with a row for each sample",
         rb"\s*[\[{]\s*[\"\[{]"),
    Kind("a program", rb"\x7fELF|MZ.{58}|#!"),
)  # fmt: skip
"""The first that matches says what a file is."""

_BY_CONTENT: tuple[tuple[str, str], ...] = (
    (r"(^|/)data\.pkl$", _PYTORCH),
    (r"(^|/)(model|checkpoint)\.safetensors$", f"the folder of a run: {_NETWORK}"),
    (r"^xl/workbook", f"a workbook of Excel: {_SHEET}"),
    (r"^content\.xml$", f"a document of LibreOffice: {_SHEET}"),
    (r"(^|/)model\.weights\.h5$", "a network of Keras and no data to train on"),
)
"""What a folder or an archive is, by the names in it."""


def kind_of(head: bytes) -> str | None:
    """What a file is that begins so, and what can be done; None if that is not known.

    Of one that is gzipped, what is in it.
    """
    if head.startswith(b"\x1f\x8b"):
        return _kind_within(head)
    return next((kind.name for kind in _KINDS if kind.matches(head)), None)


def kind_of_file(place: Place, name: str) -> str | None:
    """As `kind_of`, of a file that is there."""
    with place.open(name) as file:
        return kind_of(file.read(HEAD))


def kind_of_archive(place: Place) -> str | None:
    """What a folder or an archive is that holds no data but belongs to a program."""
    for pattern, kind in _BY_CONTENT:
        if any(re.search(pattern, name) for name in place.sizes):
            return kind
    return None


def is_idx(head: bytes) -> bool:
    """Whether a file that begins so has the form of IDX."""
    return head[:2] == b"\0\0" and len(head) > 3 and 0x08 <= head[2] <= 0x0E and head[3] <= 32


def unzipped_head(head: bytes) -> bytes:
    """The first bytes of what is gzipped in a file that begins so; of others themselves."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b""


def _kind_within(head: bytes) -> str | None:
    inner = unzipped_head(head)
    if not inner:
        empty = head.startswith(gzip.compress(b"")[:3]) and len(head) < 64
        return "a gzipped file that is empty, or damaged: download it again" if empty else None
    found = next((kind.name for kind in _KINDS if kind.matches(inner)), None)
    return None if found is None else f"{found} (gzipped)"
