"""Columns by their names."""

from collections import Counter
from collections.abc import Sequence

from xpnet.errors import DataError, shown
from xpnet.suggestions import did_you_mean

_SHOWN = 12


def column_number(names: Sequence[str], label: str, *, header: bool = True) -> int:
    """The place of a column in a table, from 0.

    Parameters
    ----------
    names
        The names of all columns.
    label
        The name of one; of a table without names its number from 1, or -1 for the last.
    header
        Whether the table has names.

    Raises
    ------
    DataError
        If there is no such column.
    """
    label = str(label)  # of a frame names may be numbers, and of a table without names they are
    if label in names:
        return list(names).index(label)
    same = [i for i, name in enumerate(names) if name.casefold() == label.strip().casefold()]
    if len(same) == 1:
        return same[0]
    if not header:
        number = int(label) if label.lstrip("-").isdecimal() and len(label) < 8 else 0
        if 0 < abs(number) <= len(names):
            return number - 1 if number > 0 else len(names) + number
        raise DataError(
            f"label: this table has no names: give the number of the column, from 1 to "
            f"{len(names)}, or -1 for the last; got {shown(label)}"
        )
    raise DataError(
        f"label: there is no column {shown(label)}; there are {listed(names)}"
        f"{did_you_mean(label, names)}"
    )


def numbered(place: int) -> str:
    """What a column is called that has no name, by its place from 0: `column 1` and so on."""
    return f"column {place + 1}"


def refuse_twice(what: str, names: Sequence[str]) -> None:
    """Refuse a table of which two columns have one name.

    Raises
    ------
    DataError
        If there are such.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{what}: columns are known by their names, and of these there are several: "
            f"{listed(twice)}; give each a name of its own"
        )


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message, which are cut where there are many."""
    some = ", ".join(shown(name, 60) for name in names[:_SHOWN])
    return some if len(names) <= _SHOWN else f"{some} and {len(names) - _SHOWN:,} more"
