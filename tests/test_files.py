"""Files that are written whole or not at all, and what is left alone around them."""

import errno
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from xpnet.data.idx import read_idx, write_idx
from xpnet.errors import RunError
from xpnet.files import (
    append_line,
    cannot_write,
    check_file,
    remove_temporaries,
    write_atomically,
    writing,
)

pytestmark = pytest.mark.installed

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX: modes, links, descriptors")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def fail(error):
    def function(*args, **kwargs):
        raise error

    return function


@pytest.mark.parametrize("existing", [True, False], ids=["over a file", "a new file"])
@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (os, "fsync", OSError(errno.ENOSPC, "No space left on device")),
        (Path, "replace", OSError(errno.ENOSPC, "No space left on device")),
        (os, "fsync", KeyboardInterrupt()),
    ],
    ids=["fsync", "replace", "interrupted"],
)
def test_a_failure_leaves_the_old_file_and_no_other(
    path, monkeypatch, owner, name, error, existing
):
    if existing:
        path.write_bytes(b"old")
    monkeypatch.setattr(owner, name, fail(error))
    with pytest.raises(type(error)):
        write_atomically(path, b"new" * 1000)
    monkeypatch.undo()
    assert [p.name for p in path.parent.iterdir()] == [path.name] * existing
    assert not existing or path.read_bytes() == b"old"


def test_what_cannot_be_written_is_an_oserror(path):
    with pytest.raises(OSError, match="No such file") as caught:
        write_atomically(path.parent / "missing" / "model.safetensors", b"new")
    assert caught.value.filename == str(path.parent / "missing" / "model.safetensors")
    path.mkdir()
    with pytest.raises(OSError):
        write_atomically(path, b"new")
    assert list(path.parent.iterdir()) == [path]


def test_writing_replaces_the_file_and_leaves_no_other(path):
    for data in (b"first, the longer", b"second", b""):
        write_atomically(str(path), data)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_heeded_and_kept(path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(path, b"new")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_while_writing_leaves_a_whole_file(tmp_path):
    code = """
        import itertools, sys
        from xpnet.files import write_atomically
        for content in itertools.cycle([b"a" * 16_000_000, b"b" * 16_000_000]):
            write_atomically(sys.argv[1], content)
    """
    delays = random.Random(0)
    for number in range(4):
        path = tmp_path / str(number)
        command = [sys.executable, "-c", textwrap.dedent(code), path]
        with subprocess.Popen(command) as process:
            try:
                deadline = time.monotonic() + 60
                while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.002)
                time.sleep(delays.uniform(0, 0.1))
            finally:
                process.kill()
        assert process.returncode == -signal.SIGKILL
        content = path.read_bytes()
        assert len(content) == 16_000_000
        assert content == content[:1] * len(content)


@posix
def test_no_other_thread_sees_another_umask(path, monkeypatch):
    """Files that other threads make meanwhile would have a mode that nobody chose."""
    monkeypatch.setattr(os, "umask", fail(AssertionError("the umask is the process's")))
    write_atomically(path, b"new")


@posix
def test_a_link_is_replaced_and_not_written_through(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    path.symlink_to(elsewhere)
    write_atomically(path, b"new")
    assert not path.is_symlink()
    assert (path.read_bytes(), elsewhere.read_bytes()) == (b"new", b"mine")
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(OSError):
        append_line(path, "more")
    assert elsewhere.read_bytes() == b"mine"


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"new")
    reader.join(10)
    assert found == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


STREAM = """
    from xpnet.files import append_line, write_atomically
    print("head", flush=True)
    write_atomically("/dev/stdout", b"content\\n")
    append_line("/dev/stdout", "line\\n")
    write_atomically("/dev/fd/1", b"end\\n")
    print("foot")
"""


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_a_stream_of_the_process_is_written_to(tmp_path):
    """Also where the shell has opened a file for it: neither replaced nor cut off."""
    command = [sys.executable, "-c", textwrap.dedent(STREAM)]
    expected, there = "head\ncontent\nline\nend\nfoot\n", os.lstat("/dev/stdout")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected
    file = tmp_path / "out.txt"
    for mode, before in (("w", ""), ("a", expected)):
        with file.open(mode) as out:
            subprocess.run(command, stdout=out, check=True)
        assert file.read_text() == before + expected
    assert os.path.samestat(os.lstat("/dev/stdout"), there)


def test_no_name_is_that_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_atomically(".", b"")


@posix
@pytest.mark.parametrize("name", ["x" * 250, "数" * 83], ids=["ascii", "three bytes each"])
def test_a_name_as_long_as_can_be(tmp_path, name):
    write_atomically(tmp_path / name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


def test_only_what_was_begun_by_this_very_program_is_removed(tmp_path, monkeypatch):
    names = ("config.toml", "checkpoint.safetensors")
    monkeypatch.setattr(Path, "replace", fail(KeyboardInterrupt()))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    for name in names:
        with pytest.raises(KeyboardInterrupt):
            write_atomically(tmp_path / name, b"half")
    monkeypatch.undo()
    begun = sorted(tmp_path.iterdir())
    assert len(begun) == 2
    mine = [
        ".config.toml.swp", ".config.toml.swo", ".checkpoint.safetensors.backup",
        ".checkpoint.safetensors.original", ".checkpoint.safetensors.a1b2c3d4",
        ".checkpoint.safetensors.0123456789abcdef", begun[0].name[1:], f"{begun[0].name}~",
        begun[0].name.replace("config", "other").replace("checkpoint", "other"),
    ]  # fmt: skip
    for name in mine:
        (tmp_path / name).touch()
    folder = tmp_path / f".config.toml.{'0' * 16}.xpnet-part"
    folder.mkdir()
    kept = {folder.name, *mine}
    if os.name == "posix":
        link = tmp_path / f".config.toml.{'1' * 16}.xpnet-part"
        link.symlink_to(tmp_path / mine[0])
        kept.add(link.name)
    remove_temporaries(tmp_path, names)
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("written", [0, 5])
def test_a_line_is_appended_whole_or_not_at_all(path, monkeypatch, written):
    """A disk that takes a part of it and then no more."""
    import io

    append_line(path, "first\n")
    real, calls = io.FileIO.write, []

    class Full(io.FileIO):
        def write(self, content):
            calls.append(len(content))
            if len(calls) > 1 or not written:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, content[:written])

    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode, buffering: Full(descriptor, mode))
    with pytest.raises(OSError, match="No space"):
        append_line(path, "the second\n")
    monkeypatch.undo()
    assert calls
    assert path.read_bytes() == b"first\n"
    append_line(path, "third\n")
    assert path.read_bytes() == b"first\nthird\n"


def test_an_idx_file_is_whole_too(tmp_path, monkeypatch):
    path = tmp_path / "x-idx1-ubyte"
    write_idx(path, np.arange(5, dtype=np.uint8))
    monkeypatch.setattr(os, "fsync", fail(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_idx(path, np.arange(9, dtype=np.uint8))
    assert read_idx(path).tolist() == [0, 1, 2, 3, 4]


@posix
def test_no_file_is_a_standard_stream(tmp_path):
    """Of a process without them: what it prints must not land in a file that it writes."""
    code = """
        import os, sys
        from xpnet.files import append_line, open_new
        from pathlib import Path
        os.close(0), os.close(1), os.close(2)
        number = open_new(Path(sys.argv[1], "new"))
        try:
            os.write(1, b"printed")
        except OSError:
            pass
        os._exit(number)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), tmp_path], check=False)
    assert 2 < done.returncode < 20
    assert (tmp_path / "new").read_bytes() == b""


# -- what is said of a file that cannot be written ------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a.png: cannot be written: No space lef",
        ),
        (OSError(errno.EACCES, "Permission denied", "run/b"), "run/b: cannot be written: Permissi"),
        (OSError(errno.EXDEV, "Cross", ".a.part", None, "a"), "a: cannot be written: Cross"),
        (
            OSError(errno.EIO, "Input/output error", b"b"),
            "b: cannot be written: Input/output error",
        ),
        (OSError(errno.EBADF, "Bad file", 3), "a.png: cannot be written: Bad file"),
        (OSError("the text of a library"), "a.png: cannot be written: the text of a library"),
        (OSError(), "a.png: cannot be written: OSError"),
        (OSError(5, "two\nlines \x1b[31m"), r"a.png: cannot be written: two lines \x1b[31m"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_sentence_says_which_file_cannot_be_written_and_why(error, said):
    found = cannot_write(Path("a.png"), error)
    assert isinstance(found, RunError)
    assert str(found).startswith(said)


def test_the_sentence_is_short_and_safe_whatever_the_name():
    long = str(cannot_write("x" * 3000, OSError(errno.ENAMETOOLONG, "File name too long")))
    assert len(long) < 300
    assert long.endswith("x: cannot be written: File name too long")
    strange = str(cannot_write("a\x1b[2J\nb\udcff", OSError(errno.EACCES, "Permission denied")))
    assert strange == r"a\x1b[2J b\udcff: cannot be written: Permission denied"


def test_a_scope_in_which_files_are_written():
    with writing("a"):
        pass
    said = "b: cannot be written: Input/output error"
    with pytest.raises(RunError, match=said) as info, writing("a"):
        raise OSError(errno.EIO, "Input/output error", "b")
    assert isinstance(info.value.__cause__, OSError)
    for error in (RunError("it holds a run"), ValueError("odd"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as info, writing("a"):
            raise error
        assert info.value is error


# -- files to read --------------------------------------------------------------------------------


def test_what_is_no_file_is_found_out_before_it_is_read(tmp_path):
    file = tmp_path / "file"
    file.touch()
    check_file(file)
    check_file(str(file))
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path / "missing")
    with pytest.raises(OSError, match="it is a folder"):
        check_file(tmp_path)
    with pytest.raises(ValueError, match="null"):
        check_file("a\0b")


@posix
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe or a device"):
        check_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="it is a pipe or a device"):
        check_file("/dev/zero")


def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "file").touch(mode=0o200)
    if os.access(tmp_path / "file", os.R_OK):
        pytest.skip("this user (root?) may read every file")
    with pytest.raises(PermissionError):
        check_file(tmp_path / "file")
