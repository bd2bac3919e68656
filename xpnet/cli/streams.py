"""What the commands print, and what becomes of it where the output is closed or full.

What is said beside the work never ends it (`tell`). What a command is asked for has to arrive: if
not, the exit code says so (`show`), as with other programs. Neither sends an order to the terminal,
whatever names and files hold.
"""

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import click

from xpnet.errors import readable, shortened
from xpnet.streams import Forgiving, can_flush


def tell(line: str, *, err: bool = False) -> None:
    """Say something about the work, if anybody can hear it."""
    stream = Forgiving(sys.stderr if err else sys.stdout)
    click.echo(_safe(line), file=stream)  # type: ignore[arg-type]


def show(result: object) -> None:
    """Print what the command is asked for.

    Raises
    ------
    OSError
        If standard output is closed or does not take it.
    """
    if sys.stdout is None or getattr(sys.stdout, "closed", False):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    click.echo(_safe(result))


def _safe(text: object) -> str:
    """The lines of a text, each with nothing in it that a terminal obeys."""
    return "\n".join(map(readable, str(text).split("\n")))


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """A scope in which warnings are shown as the other messages are, and not with a line of source.

    For a process that is ours: all of its threads show them so. Filters stay as they are.
    """
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = f"Warning: {shortened(' '.join(str(message).split()))}"
        if "tqdm" in sys.modules:  # a bar may be drawn
            sys.modules["tqdm"].tqdm.write(text, file=Forgiving(file or sys.stderr))
        else:
            Forgiving(file or sys.stderr).write(f"{text}\n")

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = before


def occupy_descriptors() -> None:
    """Open the null device for each of descriptors 0, 1 and 2 that is closed.

    Else they would be given to the next files that are opened, such as a checkpoint, and what a
    library or a program that is started writes to its standard error would be written into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is this one


@contextmanager
def some_standard_error() -> Iterator[None]:
    """A scope in which there is one, if only the null device: libraries take that for granted.

    NumPy 2.0 cannot be imported without.
    """
    if sys.stderr is not None:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as null:
        sys.stderr = null
        try:
            yield
        finally:
            sys.stderr = None


def drop_what_cannot_be_written() -> None:
    """Before the process ends: else Python tries once more, complains, and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        if not can_flush(stream):
            with suppress(Exception):  # it may be any object
                number = stream.fileno()
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)
