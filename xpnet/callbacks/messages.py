"""Warnings of xpnet on a terminal that a progress bar is drawn on."""

import logging
from contextlib import suppress
from typing import IO, Any


class AboveTheBar(logging.Handler):
    """Writes what is logged above the progress bars, which it would tear apart otherwise.

    Parameters
    ----------
    file
        The stream that the bars are drawn on.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(logging.WARNING)
        self._file: IO[str] = file

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with suppress(Exception):  # of a stream that is closed or full
            tqdm.write(self.format(record), file=self._file)


def watch_warnings(file: Any) -> AboveTheBar | None:
    """Have xpnet's warnings written above the bars on `file`, until `unwatch_warnings`.

    Only where nobody has said what is to become of them, so that Python would write them to
    standard error. Else, also where another bar sees to it already, None, and nothing is done.
    """
    logger = logging.getLogger("xpnet")
    if logger.hasHandlers():
        return None
    handler = AboveTheBar(file)
    logger.addHandler(handler)
    return handler


def unwatch_warnings(handler: AboveTheBar | None) -> None:
    """Take back what `watch_warnings` did."""
    if handler is not None:
        logging.getLogger("xpnet").removeHandler(handler)
