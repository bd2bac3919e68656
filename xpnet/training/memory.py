"""Memory that is used up, or would be, and what to do then.

Where the system gives out more memory than it has, who asks for too much is not told, but killed
later. So what is known to be too much is refused before it is asked for.
"""

import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from xpnet.backends import Backend
from xpnet.errors import OutOfMemory, XpnetError, one_line
from xpnet.typing import Shape

_DRAWN = 8
"""Bytes of a parameter when it is drawn: float64, on the host, whatever the dtype of the run."""

_LITTLE = 1 << 28
"""So many bytes are taken without a look at what is left."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container says how much memory it has."""


@contextmanager
def telling_of_memory(backend: Backend, batch_size: int) -> Iterator[None]:
    """Turn the library's error for memory that is used up into one that says what to do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, XpnetError) or not backend.out_of_memory(error):
            raise
        what = one_line(error, 300) or type(error).__name__
        narrower = "dtype='float32', " if backend.dtype_name == "float64" else ""
        raise OutOfMemory(
            f"not enough memory on {backend.device_name()}: {what}. Take a smaller batch_size "
            f"(it is {batch_size}), {narrower}or smaller layers; or, if it is the samples, leave "
            f"them in their file: of a numpy.memmap of more than 256 MiB only batches are read"
        ) from error


def check_parameters_fit(backend: Backend, shapes: Mapping[str, Shape], kept: int) -> None:
    """Check that there is memory for the parameters of a model, before any is taken.

    What is counted is the least that they take: as they are drawn and, where the arrays are
    NumPy's, in the dtype of the run; and then once more for each of the `kept` arrays of an
    optimizer and its averages.

    Raises
    ------
    OutOfMemory
        If there is less.
    """
    count, size = sum(map(math.prod, shapes.values())), np.dtype(backend.dtype_name).itemsize
    on_host = size if backend.name == "numpy" else 0
    largest = max(shapes.items(), key=lambda item: math.prod(item[1]), default=("", ()))
    check_room(
        count * max(_DRAWN + on_host, on_host * (1 + kept)),
        f"the {count:,} parameters of the model (the most in {largest[0]}, of shape "
        f"{one_line(largest[1], 60)}) take at least",
        "take smaller layers",
    )


def check_room(needed: int, what: str, how: str) -> None:
    """Check that so many bytes of main memory can be had.

    Raises
    ------
    OutOfMemory
        If not. `what` is what takes them, with the verb, and `how` says what to do.
    """
    if needed <= _LITTLE:
        return
    available = available_memory() or sys.maxsize
    if needed > available:
        raise OutOfMemory(
            f"not enough memory: {what} {_gibibytes(needed)}, and {_gibibytes(available)} are left "
            f"on this machine: {how}"
        )


def available_memory() -> int | None:
    """The most bytes of main memory that can still be had, with what can be swapped out.

    That of a container is no more than its limit. Where the system does not say what is left, it is
    all that the machine has; None where it does not say that either.
    """
    found = []
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        kilobytes = dict(re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE))
        if "MemAvailable" in kilobytes:
            found.append(1024 * (int(kilobytes["MemAvailable"]) + int(kilobytes["SwapFree"])))
    if not found and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # without a limit it says "max"
            found.append(int(Path(limit).read_text(encoding="ascii")))
    return min((number for number in found if number > 0), default=None)


def _gibibytes(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"
