"""Standard output and standard error, which may be closed, full, or a pipe that nobody reads.

A training has better to do than to end because of that: what it says on the way is lost, and no
more. What a command is asked for is another matter: see `xpnet.cli`.
"""

import sys
import warnings
from contextlib import suppress
from typing import IO, Any


class Forgiving:
    """A stream that can always be written to: what it does not take is lost.

    Parameters
    ----------
    stream
        The stream; None, as `sys.stderr` may be, for one that takes nothing.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._wrapped = stream  # tqdm finds bars on the same terminal by this name

    def write(self, text: str) -> int:
        """Write as much as the stream takes; characters that it has not are escaped."""
        if self._wrapped is not None:
            # ValueError: it was closed. A library's own stream may raise what it likes.
            with suppress(OSError, ValueError):
                self._wrapped.write(_encodable(text, self._wrapped))
        return len(text)

    def flush(self) -> None:
        """Flush it if possible."""
        if self._wrapped is not None:
            with suppress(OSError, ValueError):
                self._wrapped.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(OSError, ValueError):
            return self._wrapped is not None and self._wrapped.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._wrapped == getattr(other, "_wrapped", other))

    __hash__ = None  # type: ignore[assignment]


def can_flush(stream: IO[str] | None) -> bool:
    """Whether a stream takes what has been written to it; None has nothing to take."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return False
    return True


def say(line: str) -> None:
    """Print a line to standard output if that can be."""
    Forgiving(sys.stdout).write(f"{line}\n")


def warn(message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """`warnings.warn`, of which a standard error that was closed makes an error.

    A warning that is an error by the filters of the program is raised.
    """
    with suppress(OSError, ValueError):
        warnings.warn(message, category, stacklevel=stacklevel + 1)


def log(level: str, message: str, *values: object) -> None:
    """Log to `xpnet`, as a method of a logger does; what cannot be written is lost."""
    import logging  # late: it is a twentieth of the time of `import xpnet`

    with suppress(OSError, ValueError):
        getattr(logging.getLogger("xpnet"), level)(message, *values, stacklevel=2)


def _encodable(text: str, stream: IO[str]) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (LookupError, TypeError, UnicodeError):  # no encoding of Python's
        return text
