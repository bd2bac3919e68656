"""The text of a TOML file: read, and of what is wrong in it the line, the column and the rule."""

import codecs
import re
from typing import Any

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before those of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)

_VALUES = (
    'a value is a number, true, false, a text in quotes such as "adam", or a list such as [8, 4]'
)
_RULES = (
    ("Unescaped", "in double quotes \\ begins an escape: write paths in single quotes, or with /"),
    ("'\\'", "in double quotes \\ begins an escape: write paths in single quotes, or with /"),
    ("hex value", "in double quotes \\ begins an escape: write paths in single quotes, or with /"),
    ("Cannot overwrite", "each key stands once"),
    ("twice", "each key stands once"),
    ("Invalid value", _VALUES),
    ("array", "a list ends with ], and its values are separated by commas"),
    ("string", "a text ends with the quote that it begins with, on the same line"),
    ("character '\\n'", "a text ends with the quote that it begins with, on the same line"),
    ('Expected "\'"', "a text ends with the quote that it begins with, on the same line"),
    ("newline or end", f"a line holds one KEY = VALUE, and {_VALUES}"),
)
"""Words of tomllib's messages, and the rule that says how it is right."""

_MOST_TRIED = 5

_MOST_DOTS = 100
"""In a line: no option has any in its name, and tomllib takes the square of their number, or more.
"""


def decode(content: bytes) -> str:
    """The text in the bytes of a TOML file, which is UTF-8, with or without a byte-order mark.

    Raises
    ------
    ValueError
        If it is of another encoding; the message says which, or the line and column.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            raise ValueError(f"it is in {encoding}, and TOML is in UTF-8: save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:
        at = place(content[: content.index(b"\0")].decode("utf-8", "replace"))
        raise ValueError(f"there is a null byte{at}, as in UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        at = place(content[: error.start].decode("utf-8"))
        byte = content[error.start]
        raise ValueError(f"byte 0x{byte:02x} is not UTF-8{at}: save it as UTF-8") from error


def parse(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises
    ------
    ValueError
        If it is no TOML; the message has the line, the column and the rule.
    """
    import tomllib  # late, as all that `import xpnet` has no need of

    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > _MOST_DOTS and not line.lstrip().startswith("#"):
            raise ValueError(
                f"there are more than {_MOST_DOTS} dots (at line {number}): the name of an option "
                f"has none"
            )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = str(error).replace(" (at end of document)", place(text))
        rules = (rule for words, rule in _RULES if words in problem)
        raise ValueError(f"{problem}: {next(rules, 'each line is KEY = VALUE')}") from error
    except RecursionError as error:
        raise ValueError("lists are nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python reads
        digits = re.search(r"[0-9][0-9_]{999,}", text)
        at = place(text[: digits.start()]) if digits else ""
        raise ValueError(f"a number is too long{at}") from error


def place(before: str) -> str:
    """Where the text goes on after `before`, as tomllib writes it."""
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f" (at line {line}, column {column})"


def place_of(key: str, text: str) -> str:
    """Where a key of the top level stands in a TOML text; empty where it is not found."""
    # No two of its parts match the same blanks: that would take the square of their number.
    beginning = rf"^[ \t]*(?:\[[ \t]*)?(?=[\"']?{re.escape(key)}[\"']?[ \t]*[=.\]])"
    for found, _ in zip(
        re.finditer(beginning, text, re.MULTILINE), range(_MOST_TRIED), strict=False
    ):
        try:
            known = parse(text[: found.start()])
        except ValueError:
            continue  # it is within a text of several lines
        if key not in known:
            return place(text[: found.end()])
    return ""
