"""What somebody may have meant who wrote a name that is not known."""

from collections.abc import Iterable


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A question for the end of a message, after a semicolon; empty if no name is near.

    Parameters
    ----------
    given
        What was given; only a text can be near to anything.
    known
        The names that are allowed.

    Examples
    --------
    >>> "there is no optimizer 'adamm'" + did_you_mean("adamm", ["sgd", "adam", "lion"])
    "there is no optimizer 'adamm'; did you mean 'adam'?"
    """
    import difflib  # late, as all that `import xpnet` has no need of

    # Of a text of megabytes no name is near, and the comparison would take its time.
    if not isinstance(given, str) or not 0 < len(given) <= 80:
        return ""
    names = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(given), names, n=1)
    return f"; did you mean {names[near[0]]!r}?" if near else ""


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")
