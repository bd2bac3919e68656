"""Functions that a namespace has of its own for what is written here in the standard's."""

from typing import Any

from xpnet.typing import Array, Namespace


def own(xp: Namespace, name: str, *args: Any) -> Array | None:
    """What a namespace's own function of a name gives; None where there is none, or it leaves the
    work to the standard's functions."""
    function = getattr(xp, name, None)
    found: Array | None = None if function is None else function(*args)
    return found
