"""Where files lie: in a folder, or in an archive, which is read without being unpacked to a disk.

An archive is not believed: a name that leads out of it, or what unpacks to far more than its size,
is refused; links and devices in it are passed over. Of a compressed tar the content goes to a file
without a name, which the system removes with the process.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from xpnet.errors import DataError, one_line, reason_of

_DEEPEST = 4
"""Folders within folders that are looked into: a library's root, its parts, the classes."""
_MOST_FILES = 1_000_000
_SMALL_UNPACKED = 256 * 2**20
_USUAL_EXPANSION = 64
"""Pictures come to a tenth; what is packed more densely, and is large, fills the memory."""
_CHUNK = 1 << 20
_LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir")
_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_UNPACKING = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError,
    KeyError, RuntimeError, NotImplementedError, OverflowError, IndexError, OSError,
)  # fmt: skip
_UNPACKERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class Place:
    """Files by their names in it.

    Attributes
    ----------
    path
        The folder, file or archive.
    sizes
        The bytes of each file by its name, which has `/` between folders; sorted.
    """

    def __init__(self, path: Path, sizes: Mapping[str, int]) -> None:
        self.path = path
        self.sizes = dict(sorted(sizes.items()))

    def open(self, name: str) -> IO[bytes]:
        """A file, from its beginning, in which one can seek.

        Raises
        ------
        DataError
            If it cannot be read.
        """
        raise NotImplementedError

    def file(self, name: str) -> Path | None:
        """The file on the disk; None where it lies in an archive."""
        return None

    def shown(self, name: str) -> str:
        """A file, for messages."""
        return f"{self.path}/{name}"

    def close(self) -> None:
        """Let go of what is open."""


class Folder(Place):
    """A folder, with the folders in it down to some depth; or one file, as if alone in it."""

    def __init__(self, path: Path, *, only: str | None = None, deepest: int = _DEEPEST) -> None:
        if only is None:
            super().__init__(path, _listed(path, deepest))
        else:
            super().__init__(path, {only: _size(path / only)})

    def open(self, name: str) -> IO[bytes]:
        try:
            return (self.path / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.shown(name)}: cannot be read ({reason_of(error)})") from error

    def file(self, name: str) -> Path | None:
        return self.path / name

    def shown(self, name: str) -> str:
        return str(self.path / name)


class Zip(Place):
    """A zip archive: a file, or one that is open, and called as `path` says."""

    def __init__(self, path: Path, file: IO[bytes] | None = None) -> None:
        with _damage(path):
            self._file = zipfile.ZipFile(path if file is None else file)
        try:
            self._look(path, _size(path) if file is None else file.seek(0, 2))
        except BaseException:
            self._file.close()
            raise

    def _look(self, path: Path, size: int) -> None:
        entries = [info for info in self._file.infolist() if not info.is_dir()]
        total = sum(info.file_size for info in entries)
        _check_expansion(path, total, size)
        if any(info.flag_bits & 1 for info in entries):
            raise DataError(f"{path}: the archive is encrypted: unpack it, and give its folder")
        self._entries = {_safe(path, info.filename): info for info in entries}
        Place.__init__(self, path, {n: i.file_size for n, i in self._entries.items() if _wanted(n)})

    def open(self, name: str) -> IO[bytes]:
        with _damage(self.shown(name)), self._file.open(self._entries[name]) as file:
            return io.BytesIO(file.read(self.sizes[name]))

    def close(self) -> None:
        self._file.close()


class Tar(Place):
    """A tar archive, plain or compressed."""

    def __init__(self, path: Path) -> None:
        with _damage(path):
            self._content = _plain(path)
        try:
            with _damage(path):
                self._file = tarfile.open(fileobj=self._content, mode="r:")  # noqa: SIM115
                members = [m for m in self._file if m.isreg() and not m.issparse()]
            self._members = {_safe(path, member.name): member for member in members}
        except BaseException:
            self._content.close()
            raise
        super().__init__(path, {n: m.size for n, m in self._members.items() if _wanted(n)})

    def open(self, name: str) -> IO[bytes]:
        with _damage(self.shown(name)):
            file = self._file.extractfile(self._members[name])
            return io.BytesIO() if file is None else file

    def close(self) -> None:
        self._file.close()
        self._content.close()


def is_zip(head: bytes) -> bool:
    """Whether a file that begins so is a zip archive; an `.npz` file is one too."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def is_tar(path: Path, head: bytes) -> bool:
    """Whether a file that begins so is a tar archive, which may be compressed."""
    if _unpacker(head) is None:
        return head[257:262] == b"ustar"
    if path.name.lower().endswith(_TARS):  # also if it is damaged, which is said then
        return True
    try:
        with _unpacker(head)(path) as file:
            return bool(file.read(512)[257:262] == b"ustar")
    except (EOFError, OSError, zlib.error, lzma.LZMAError, ValueError):
        return False


def plain_stream(place: Place, name: str) -> IO[bytes]:
    """A file of a place, unpacked if it is gzipped.

    Raises
    ------
    DataError
        If it cannot be read, is damaged, or unpacks to far more than its size.
    """
    file = place.open(name)
    head = file.read(2)
    file.seek(0)
    if head != b"\x1f\x8b":
        return file
    most = max(_SMALL_UNPACKED, _USUAL_EXPANSION * place.sizes[name])
    with file, _damage(place.shown(name)), gzip.open(file) as unzipped:
        content = unzipped.read(most + 1)
    if len(content) > most:
        _check_expansion(place.shown(name), most + 1, place.sizes[name])
    return io.BytesIO(content)


def _plain(path: Path) -> IO[bytes]:
    """The content of a tar archive, unpacked."""
    with path.open("rb") as file:
        head = file.read(8)
    unpack = _unpacker(head)
    if unpack is None:
        return path.open("rb")
    content, most = tempfile.TemporaryFile(), max(_SMALL_UNPACKED, _USUAL_EXPANSION * _size(path))  # noqa: SIM115
    try:
        with unpack(path) as packed:
            while piece := packed.read(_CHUNK):
                content.write(piece)
                if content.tell() > most:
                    _check_expansion(path, most + 1, _size(path))
        content.seek(0)
    except BaseException:
        content.close()
        raise
    return cast(IO[bytes], content)


def _unpacker(head: bytes) -> Any:
    return next((opener for magic, opener in _UNPACKERS.items() if head.startswith(magic)), None)


def _check_expansion(path: Path | str, unpacked: int, size: int) -> None:
    if unpacked > max(_SMALL_UNPACKED, _USUAL_EXPANSION * size):
        raise DataError(
            f"{path}: its {size:,} bytes unpack to {unpacked:,} or more, over {_USUAL_EXPANSION} "
            f"times as many: it is damaged, or made to fill the memory; if that is right, unpack "
            f"it first"
        )


@contextmanager
def _damage(path: Path | str) -> Iterator[None]:
    """Whatever a library raises of an archive says that it is damaged."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error
    except _UNPACKING as error:
        raise DataError(
            f"{path}: is damaged or cut off ({one_line(error) or type(error).__name__}): download "
            f"or copy it again"
        ) from error


def _safe(path: Path, name: str) -> str:
    """The name of a file in an archive, if it leads to nothing outside."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or re.match("[A-Za-z]:", name) or "\0" in name:
        raise DataError(
            f"{path}: has a file {one_line(name)!r}, a name that leads out of the archive: it was "
            f"made to do harm, and is not read"
        )
    return "/".join(parts)


def _wanted(name: str) -> bool:
    """Whether it is no litter of a system, nor hidden."""
    return not any(part.startswith(".") or part in _LITTER for part in name.split("/"))


def _listed(path: Path, deepest: int) -> dict[str, int]:
    """The files in a folder and in those in it, breadth first."""
    sizes: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    level = [""]
    for depth in range(deepest + 1):
        deeper: list[str] = []
        for folder in level:
            try:
                with os.scandir(path / folder) as entries:
                    for entry in entries:
                        name = f"{folder}{entry.name}"
                        if not _wanted(name):
                            continue
                        if entry.is_dir():
                            status = entry.stat()
                            if (status.st_dev, status.st_ino) not in seen or os.name == "nt":
                                seen.add((status.st_dev, status.st_ino))
                                deeper.append(f"{name}/")
                        elif entry.is_file():
                            sizes[name] = entry.stat().st_size
                    if len(sizes) > _MOST_FILES:
                        raise DataError(
                            f"{path}: holds more than {_MOST_FILES:,} files: give the folder of "
                            f"the data set itself"
                        )
            except DataError:
                raise
            except OSError as error:
                if depth == 0:
                    raise DataError(
                        f"{path}: a folder that cannot be read ({reason_of(error)})"
                    ) from error
        level = deeper
    return sizes


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error
