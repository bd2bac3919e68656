"""What the commands print, and what becomes of it where the output is closed or full.

What is said beside the work never ends it (`tell`). What a command is asked for has to arrive: if
not, the exit code says so (`show`), as with other programs.
"""

import errno
import os
import sys
from contextlib import suppress

import click

from xpnet.streams import Forgiving, can_flush


def tell(line: str, *, err: bool = False) -> None:
    """Say something about the work, if anybody can hear it."""
    stream = Forgiving(sys.stderr if err else sys.stdout)
    click.echo(line, file=stream)  # type: ignore[arg-type]


def show(result: object) -> None:
    """Print what the command is asked for.

    Raises
    ------
    OSError
        If standard output is closed or does not take it.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    click.echo(result)


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


def drop_what_cannot_be_written() -> None:
    """Before the process ends: else Python tries once more, complains, and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        if not can_flush(stream):
            with suppress(OSError, ValueError):
                number = stream.fileno()
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, number)
                os.close(null)
