"""matplotlib, found and imported for pictures that are written to files."""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from xpnet.errors import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VARIABLE = "MPLBACKEND"


def figure_class() -> "type[Figure]":
    """`matplotlib.figure.Figure`.

    Figures that are written to files need none of the backends that `MPLBACKEND` may name: where it
    names one that is not there, as in a process that a notebook has started, it is passed over.

    Raises
    ------
    ImportError
        If matplotlib is not installed, or cannot be imported; the message says what to install.
    """
    try:
        if "matplotlib" not in sys.modules:
            _import_matplotlib()
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise  # it is there, and what it needs is not
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'xpnet[plot]'", name="matplotlib"
        ) from error
    return Figure


def _import_matplotlib() -> None:
    """Import it without the variable, which may end the import, and do what it says afterwards."""
    named = os.environ.pop(_VARIABLE, None)
    try:
        import matplotlib
    except ImportError:
        raise
    except Exception as error:  # of whatever is wrong with its settings
        raise ImportError(f"matplotlib cannot be imported: {one_line(error)}") from error
    finally:
        if named is not None:
            os.environ[_VARIABLE] = named
    if named:
        with suppress(ValueError):  # it is not there
            matplotlib.rcParams["backend"] = named
