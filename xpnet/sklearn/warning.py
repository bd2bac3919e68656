"""Warnings of an estimator, which point to the line that calls `fit`."""

import inspect

from xpnet.sklearn.private import CALLS_FIT
from xpnet.streams import warn


def warn_of_call(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of what `fit` or `partial_fit` was called with, or came to.

    Raises
    ------
    Warning
        Where a filter of the program makes an error of it.
    """
    frame, level = inspect.currentframe(), 0
    while frame is not None and _is_between(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warn(message, category, stacklevel=level + 1)


def _is_between(module: str) -> bool:
    return module == CALLS_FIT or module.partition(".")[0] == "xpnet"
