"""The errors that xpnet raises on purpose.

Every message says what was given, what is allowed and how to go on. A wrong value for an argument
is a plain `ValueError` or `TypeError`; the classes here are for what a program may want to catch.
What a message repeats of files and arguments goes through `shown` or `one_line`.
"""

import re
import reprlib


class XpnetError(Exception):
    """The base of xpnet's own errors: each says what it says on one line, in `readable` form."""

    def __str__(self) -> str:
        return readable(super().__str__())


class BackendUnavailable(XpnetError, RuntimeError):  # noqa: N818 - the name users read in a traceback
    """A backend or device cannot be used here; the message is one sentence with reason and fix."""


class DataError(XpnetError, ValueError):
    """Data that is missing, corrupt or inconsistent; the message names the file or argument."""


class DataWarning(UserWarning):
    """Data that can be used, but is probably not what was meant; said once in a training."""


class CheckpointError(XpnetError, ValueError):
    """A saved network that cannot be read, or does not fit the model it is loaded into."""


class ExportError(XpnetError, ValueError):
    """A network that a format cannot hold; the message names the layer or array."""


class RunError(XpnetError, OSError):
    """A run folder that cannot be written, or that does not hold what a finished run holds."""


class AddressError(XpnetError, OSError):
    """A host or a port that nothing can be served at; the message names both."""


class GroupError(XpnetError, RuntimeError):
    """Ranks that cannot train together, or of which one has failed; the message names the rank."""


class TrainingDiverged(XpnetError, ArithmeticError):  # noqa: N818 - a state of the training
    """The loss became infinite or not a number."""


class OutOfMemory(XpnetError, MemoryError):  # noqa: N818 - as MemoryError, which it is
    """A training needs more memory than the device, or the host, has."""


LONGEST = 200
"""So many characters of what is not xpnet's own a message repeats at the most."""


def one_line(what: object, most: int = LONGEST) -> str:
    """What an error or another object says, to be quoted in a message.

    On one line, without characters that a terminal would obey (they are written as `\\x1b`), and
    no longer than `most`: the beginning of it and the end.
    """
    return _cut(readable(" ".join(str(what).split())), most)


def shown(value: object, most: int = LONGEST) -> str:
    """A value that was given, as Python writes it, for a message: of any size, and always safe."""
    try:
        # Cut before it is written: of a list of a million numbers nobody wants the text.
        return _cut(readable(_brief.repr(value)), most)
    except Exception:  # whatever the repr of a foreign object raises
        return f"a {type(value).__name__}"


def counted(number: float, what: str, plural: str = "") -> str:
    """So many of something, as in `1 sample`, `2,000 samples`, `3 classes`."""
    several = plural or what + ("es" if what.endswith("s") else "s")
    digits = f"{number:g}" if isinstance(number, float) else f"{number:,}"
    return f"{digits} {what if number == 1 else several}"


def reason_of(error: Exception) -> str:
    """What went wrong with a file, of the system's errors in its words: `No such file`.

    An `OSError` of a library may have a text in the place of the system's number, or nothing.
    """
    return one_line(getattr(error, "strerror", None) or error) or type(error).__name__


def readable(text: str) -> str:
    """Text with all that is not printable written as Python would, so that it is one line.

    What a file or a name holds may be an order to the terminal, a line that looks like one of
    xpnet's own, or half a character that cannot be printed at all.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = LONGEST) -> str:
    """A message with words cut that are longer than `most`, such as a path, and in `readable` form.

    For the last place before a message is printed: xpnet's own words are short.
    """
    return re.sub(rf"\S{{{most + 1},}}", lambda word: _cut(word.group(), most), readable(text))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end - 3]}...{text[len(text) - end :]}"


class _Brief(reprlib.Repr):
    """Like `repr`, but in a bounded time and of any value, also an integer of 10,000 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 6
        self.maxstring = self.maxother = self.maxlong = 2 * LONGEST
        for name in ("dict", "list", "tuple", "set", "frozenset", "deque", "array"):
            setattr(self, f"max{name}", LONGEST // 2)

    def repr_int(self, value: int, level: int) -> str:
        digits = value.bit_length() * 3 // 10
        if digits > LONGEST:  # Python refuses to write those of more than 4,300 digits
            return f"an integer of some {digits:,} digits"
        return repr(value)


_brief = _Brief()
