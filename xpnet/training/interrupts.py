"""Ctrl-C and SIGTERM during a training: remembered until the step under way is finished."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """A context in which, from `watch` on, the first Ctrl-C or SIGTERM is remembered, and no more.

    A second one does what the first would have done. The handlers of before are put back when the
    context is left; a SIGTERM that came is then sent again, so that the process ends by it.

    Signals reach the main thread alone, so elsewhere nothing is done, and a signal that the process
    ignores stays ignored.

    Attributes
    ----------
    number
        The signal that came; None if there was none.
    answered
        Whether the training was left because of it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.answered = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        return self

    def watch(self) -> None:
        """From now on signals are remembered."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = before
                    signal.signal(number, self._remember)

    def __exit__(self, *_: object) -> None:
        self._put_back()
        # Ctrl-C has been answered by the loop, unless it came when that was over.
        if self.number is not None and (self.number != signal.SIGINT or not self.answered):
            signal.raise_signal(self.number)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            return
        self._put_back()
        self.number = None
        signal.raise_signal(number)

    def _put_back(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
