"""What a network of a file cannot be asked, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet.errors import RunError, XpnetError, one_line


@contextmanager
def asked(run: Path) -> Iterator[None]:
    """A scope in which what cannot be asked, such as classes of one that gives values, is said.

    Raises
    ------
    RunError
        In the place of what a network raises that is none of xpnet's own errors.
    """
    try:
        yield
    except XpnetError:
        raise
    except (ValueError, TypeError, IndexError) as error:
        raise RunError(f"{run}: the network cannot be asked this: {one_line(error)}") from error
