"""Standard output and standard error, which may be closed, full, or a pipe that nobody reads.

A training has better to do than to end because of that: what it says on the way is lost, and no
more. What a command is asked for is another matter: see `xpnet.cli`.

So all that a training says goes by way of this module: lines (`say`, `Forgiving`), warnings
(`warn`) and what is logged (`log_warning`, `log_info`), since Python's own functions raise where
standard error was closed. What a stream raises is not only an `OSError`: it may be any object that
the program has put there.
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
            with suppress(Exception):
                self._wrapped.write(_encodable(text, self._wrapped))
        return len(text)

    def flush(self) -> None:
        """Flush it if possible."""
        if self._wrapped is not None:
            with suppress(Exception):
                self._wrapped.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(Exception):
            return self._wrapped is not None and bool(self._wrapped.isatty())
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
        return not getattr(stream, "closed", False)  # some can be flushed then
    except Exception:
        return False


def say(line: str) -> None:
    """Print a line to standard output if that can be."""
    Forgiving(sys.stdout).write(f"{line}\n")


def warn(message: str, category: type[Warning] = UserWarning, *, stacklevel: int = 1) -> None:
    """`warnings.warn`, which is lost where it cannot be shown.

    Raises
    ------
    Warning
        Where a filter of the program makes an error of it.
    """
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except Warning:
        raise
    except Exception:  # of sys.stderr, or of what the program shows warnings with
        pass


def log_warning(message: str, *values: object) -> None:
    """Log a warning of xpnet; where there is nobody to hear it, Python says it on standard error.

    Parameters
    ----------
    message, values
        As for `logging.Logger.warning`.
    """
    _log("WARNING", message, *values)


def log_info(message: str, *values: object) -> None:
    """Log what only those want to know who have asked for it; as `log_warning`."""
    _log("INFO", message, *values)


def _log(level: str, message: str, *values: object) -> None:
    import logging  # late: it is a twentieth of the time of `import xpnet`

    # A handler whose stream is closed tells of that on standard error, which may be closed.
    with suppress(Exception):
        number = logging.getLevelName(level)
        logging.getLogger("xpnet").log(number, message, *values, stacklevel=3)


def _encodable(text: str, stream: IO[str]) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (LookupError, TypeError, UnicodeError):  # no encoding of Python's
        return text
