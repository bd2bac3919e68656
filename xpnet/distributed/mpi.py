"""Ranks as processes of MPI, by mpi4py."""

import atexit
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from xpnet.backends.base import Status
from xpnet.distributed.group import Group
from xpnet.distributed.launch import launched_size, launcher
from xpnet.errors import GroupError, one_line, shown
from xpnet.streams import Forgiving, log_warning
from xpnet.typing import HostArray

TIMEOUT = 600.0
"""Seconds that a rank waits for the others before it ends all."""

GRACE = 3.0
"""Seconds that a rank which has failed has to end by itself, while the others wait for it."""

_HEAD_START = 0.5
"""Seconds by which rank 0, which knows what was saved, ends all sooner than the others would."""

_UNTIL_READ = 0.3
"""Seconds between what a rank says last and the end of all: mpiexec drops what it has not read."""

STUCK = 75
"""The status that all end with where one has waited in vain: that of a failure for the moment."""

_FINALIZED = "the program has called MPI.Finalize, after which no group can be used"

_group: "MpiGroup | None" = None
"""That of this process, once it was asked for."""


def mpi_group(*, timeout: float = TIMEOUT) -> Group:
    """The processes that MPI has started with this one, for `fit(..., group=)`.

    Start the program by `mpiexec -n 4 python my_training.py`, or `srun`. Alone, it is a group of
    one. A process has one group: a later call gives the same, with the timeout of that call.

    Parameters
    ----------
    timeout
        How many seconds a rank waits for the others in one step before it ends all, with what is
        known. Longer than the longest work that one rank does while others wait, such as saving.

    Raises
    ------
    ValueError
        If the timeout is not positive.
    GroupError
        If mpi4py is missing, or is that of another MPI than has started the processes, so that each
        would train by itself; or if the program has called `MPI.Finalize`.
    """
    global _group
    check_timeout(timeout)
    launched = launched_size()
    by = launcher()
    try:
        from mpi4py import MPI, run
    except (ImportError, RuntimeError) as error:  # the latter where there is no MPI
        alone = f", and {by} has started {launched} processes" if launched else ""
        raise GroupError(
            f"mpi4py cannot be imported ({one_line(error)}){alone}: pip install 'xpnet[mpi]'"
        ) from error
    if MPI.Is_finalized():
        raise GroupError(_FINALIZED)
    if _group is not None:
        _group.timeout = timeout
        return _group
    if not MPI.Is_initialized():  # after `probe_mpi`
        MPI.Init()
    size = MPI.COMM_WORLD.Get_size()
    if launched is not None and launched != size:
        raise GroupError(
            f"{by} has started {launched} processes, but the MPI of mpi4py "
            f"({_library(MPI)}) says that there {'is' if size == 1 else 'are'} {size}: take the "
            f"mpiexec of that MPI (python -m mpi4py --mpi-library names it), or install mpi4py for "
            f"this one"
        )
    _group = MpiGroup(MPI, run.set_abort_status, timeout)
    return _group


def check_timeout(timeout: float) -> None:
    """Check how many seconds a rank is to wait.

    Raises
    ------
    ValueError
        If it is no positive number; infinity is one.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {shown(timeout)}")


def probe_mpi() -> Status:
    """Whether processes of MPI can be trained on, of which MPI; without starting it."""
    try:
        import mpi4py

        version = str(mpi4py.__version__)
        mpi4py.rc.initialize = False  # from here on the program may do so itself
        from mpi4py import MPI

        return Status(usable=True, version=version, device=_library(MPI))
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "mpi4py"
        why = "is not installed" if missing else f"cannot be imported: {one_line(error)}"
        return Status(usable=False, reason=f"mpi4py {why}: pip install 'xpnet[mpi]'")
    except RuntimeError as error:
        why = f"mpi4py finds no MPI ({one_line(error)})"
        return Status(usable=False, reason=f"{why}: pip install 'xpnet[mpi]'")


class MpiGroup(Group):
    """The processes of MPI's world. Values travel by way of the host: an MPI from a wheel must
    never be given memory of a device.

    A process that ends while others wait for it would be waited for in vain: what a program does
    between two calls of `fit` may fail on one rank alone, or call `sys.exit`. So each says at its
    end how many messages it has taken part in: to rank 0, which says its own to all. Who waits in a
    later one ends all.
    """

    def __init__(self, mpi: Any, set_abort_status: Any, timeout: float) -> None:
        self._mpi, self._world = mpi, mpi.COMM_WORLD
        self._set_abort_status = set_abort_status
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        here = self._world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = here.Get_rank(), here.Get_size()
        here.Barrier()
        if self.local_rank == 0:
            _forget_shared_memory()
        here.Free()
        self.processes = tuple(self._world.allgather(os.getpid()))
        self.engine = f"MPI ({_library(mpi)})"
        self.timeout = timeout
        self._since: float | None = None
        self._failed: tuple[float, int, str] | None = None  # when, the status, why
        self._n_messages = 0  # that this rank has begun to take part in
        self._has_left: dict[int, int] = {}  # ranks that have ended, and of how many they were
        self._at_end = self._world.Dup()
        self._leaving = threading.Lock()
        self._may_from_threads = mpi.Query_thread() == mpi.THREAD_MULTIPLE
        # MPI deletes what is kept here first of all when the program itself ends MPI.
        key = mpi.Comm.Create_keyval(delete_fn=lambda *_: self._before_finalize())
        mpi.COMM_SELF.Set_attr(key, self)
        if self.size > 1:
            atexit.register(self._leave)
            threading.Thread(target=self._watch, daemon=True).start()

    def sum(self, buffer: HostArray) -> None:
        with self._message():
            self._world.Allreduce(self._mpi.IN_PLACE, buffer)

    def gather(self, value: Any) -> list[Any]:
        with self._message():
            values: list[Any] = self._world.allgather(value)
        return values

    def share(self, value: Any) -> Any:
        with self._message():
            return self._world.bcast(value if self.rank == 0 else None)

    @contextmanager
    def _message(self) -> Iterator[None]:
        with self.waiting():
            self._n_messages += 1
            yield

    def abort(self, status: int = 1, reason: str = "") -> None:
        """When this process ends, MPI ends the others as well. It has `GRACE` seconds for that: a
        thread, or a program that has caught the error, may keep it."""
        if self.size > 1 and self.rank not in self._has_left:
            self._set_abort_status(SystemExit(status))
            new = (time.monotonic(), status, reason or f"{self.name} has failed")
            when, _, first = self._failed or new
            self._failed = (when, status, first)

    def rest(self) -> None:
        request = self._world.Ibarrier()
        while not request.Test():
            time.sleep(0.01)  # MPI's own waiting takes a core

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if self._failed is not None:
            raise GroupError(f"the group of {self.size} ranks has ended: {self._failed[2]}")
        if self.rank in self._has_left:
            raise GroupError(_FINALIZED)
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _watch(self) -> None:
        """In a thread: end all where this rank has waited too long, or has failed and is alive."""
        while (failed := self._failed) is None:
            begun = [since for since in (self._since, self.since_sum) if since is not None]
            patience = self.timeout + (_HEAD_START if self.rank else 0)
            left = min(begun, default=time.monotonic()) + patience - time.monotonic()
            if left <= 0:
                where = f" {self.where()}" if self.where else ""
                log_warning(
                    "%s has waited %g s for the others%s: one of them is stuck, or needs longer "
                    "(--timeout, mpi_group(timeout=)); all are ended",
                    self.name, self.timeout, where,
                )  # fmt: skip
                self._end_all(STUCK)
            gone = self._gone()
            if gone is not None and self._since is not None:
                log_warning(
                    "rank %d of %d has ended, and %s waits for it: all are ended",
                    gone, self.size, self.name,
                )  # fmt: skip
                self._end_all(1)
            time.sleep(min(max(left, 0.05), 0.5))
        time.sleep(max(failed[0] + GRACE - time.monotonic(), 0))
        _, status, reason = self._failed or failed
        log_warning("%s, and has not ended within %g s: all are ended", reason, GRACE)
        self._end_all(status)

    def _gone(self) -> int | None:
        """A rank that has ended without a message in which this rank is now, or was."""
        if not self._may_from_threads:
            return None
        with self._leaving:  # no call of MPI when this process has begun to end
            status = self._mpi.Status()
            while self._has_left.get(self.rank) is None and self._at_end.iprobe(status=status):
                rank = status.Get_source()
                self._has_left[rank] = self._at_end.recv(source=rank)
        early = (rank for rank, n in self._has_left.items() if n < self._n_messages)
        return next(early, None)

    def _leave(self) -> None:
        """When this process ends: end the others with it, or say that it is not there any more."""
        if self.rank in self._has_left:
            return
        gone = self._gone()
        error: BaseException | None = getattr(sys, "last_value", None)  # of an end by an error
        if self._failed is not None or self.size == 1:
            pass  # all end with the status that was set then
        elif error is not None and (
            self.error is None or self.error not in (error, error.__cause__)
        ):
            log_warning("%s has failed, and all are ended", self.name)
            self.abort(130 if isinstance(error, KeyboardInterrupt) else 1)
        elif gone is not None:  # which a third one may wait for
            log_warning("rank %d of %d has ended too early: all are ended", gone, self.size)
            self.abort(1)
        else:
            for rank in range(1, self.size) if self.rank == 0 else (0,):
                self._at_end.isend(self._n_messages, rank)
        with self._leaving:
            self._has_left[self.rank] = self._n_messages
        if self._failed is not None:
            Forgiving(sys.stdout).flush()
            time.sleep(_UNTIL_READ)

    def _before_finalize(self) -> None:
        """When the program itself ends MPI: as `_leave`, but what has failed ends all at once.

        `MPI.Finalize` would wait for the others, and they for this rank.
        """
        if self._failed is not None:
            log_warning("%s, and has called MPI.Finalize: all are ended", self._failed[2])
        else:
            self._leave()
        if self._failed is not None:
            self._end_all(self._failed[1])

    def _end_all(self, status: int) -> NoReturn:
        time.sleep(_UNTIL_READ)
        if self._may_from_threads and not self._mpi.Is_finalized():
            self._world.Abort(status)
        os._exit(status)


def _forget_shared_memory() -> None:
    """Take the name from the memory that the processes of MPICH on a machine share.

    All of them have it by now. Its name would be left in /dev/shm, and the memory with it, whenever
    they do not end in an orderly way.
    """
    with suppress(OSError):  # where there is no /proc
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for name in set(re.findall(r"/dev/shm/mpich_shm_\w+$", maps, re.MULTILINE)):
            Path(name).unlink(missing_ok=True)


def _library(mpi: Any) -> str:
    name, version = mpi.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"
