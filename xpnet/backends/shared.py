"""Settings of the whole process that several scopes want at once, in threads that overlap."""

import threading
from collections.abc import Callable
from typing import Any


class _Wish:
    """What a scope holds a setting at; None where it does not care."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.value: Any = None
        self.written: Any = None  # what the setting then was: less than was wished for, perhaps


class SharedSetting:
    """A setting that is as it was found when the last scope is left, whatever the order.

    If each scope put back what it had found itself, then of two that overlap the one that was
    entered last and is left last would put back what the other had set. While several hold the
    setting, it is what the last of them wants.

    Parameters
    ----------
    read
        Gives the setting.
    write
        Sets it: to a value that a scope holds, or to one that `read` gave.
    per_thread
        Whether each thread has one of its own, which begins as that of another thread.
    """

    def __init__(
        self, read: Callable[[], Any], write: Callable[[Any], None], *, per_thread: bool = False
    ) -> None:
        self._read, self._write, self._per_thread = read, write, per_thread
        self._lock = threading.RLock()
        self._wishes: list[_Wish] = []
        self._found: Any = None  # before the first of those wishes that have a value

    def held(self, value: Any | None) -> "_Scope":
        """A scope in which the setting has this value; None leaves it as it is."""
        return _Scope(self, value)

    def change(self, value: Any) -> None:
        """From now on the innermost scope of this thread holds this value; nothing outside one."""
        me = threading.get_ident()
        with self._lock:
            wish = next((wish for wish in reversed(self._wishes) if wish.thread == me), None)
            if wish is not None:
                self._set(wish, value)

    def enter(self, wish: _Wish, value: Any | None) -> None:
        """Begin a scope."""
        with self._lock:
            self._wishes.append(wish)
        if value is not None:
            self._set(wish, value)

    def leave(self, wish: _Wish) -> None:
        """End it."""
        with self._lock:
            self._wishes.remove(wish)
            if wish.value is not None:
                self._fall_back(wish)

    def _set(self, wish: _Wish, value: Any) -> None:
        with self._lock:
            if all(other.value is None for other in self._wishes):
                self._found = self._read()
            wish.value = value
            self._write(value)
            wish.written = self._read()

    def _fall_back(self, left: _Wish) -> None:
        """What a scope that is left had set is taken back, unless it has been set anew since."""
        if self._read() != left.written:
            return
        wanted = [
            wish.value
            for wish in self._wishes
            if wish.value is not None and (not self._per_thread or wish.thread == left.thread)
        ]
        self._write(wanted[-1] if wanted else self._found)


class _Scope:
    """What `SharedSetting.held` gives. (A generator would take three times as long.)"""

    def __init__(self, setting: SharedSetting, value: Any | None) -> None:
        self._setting, self._value = setting, value

    def __enter__(self) -> None:
        self._wish = _Wish()
        try:
            self._setting.enter(self._wish, self._value)
        except BaseException:
            self._setting.leave(self._wish)
            raise

    def __exit__(self, *error: object) -> None:
        self._setting.leave(self._wish)
