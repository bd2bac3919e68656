"""A group of ranks that train one network together: what each must be able to do."""

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self, TypeVar

from xpnet.errors import GroupError, counted
from xpnet.streams import log_warning
from xpnet.typing import HostArray

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


_SPIN = 0.005
"""So many seconds are waited for a device without a pause; most steps take less."""


class Group:
    """Ranks that train one network; this one, of a process by itself, and the base of all kinds.

    All ranks call `sum`, `gather` and `share` in the same order, each with its own value, and wait
    in them for one another.

    Attributes
    ----------
    rank, size
        The number of this rank, from 0, and how many there are.
    local_rank, local_size
        The same among the ranks on this machine, by which a GPU is chosen and cores are shared.
    processes
        The IDs of the processes of all ranks, by which the operating system and MPI name them;
        empty where they are none.
    engine
        What carries values from rank to rank, as a person would name it.
    where
        Gives, in a few words, where the training is: for the message of a rank that waits in vain.
    since_sum
        When the first sum on a device was begun that this rank has not waited for, by
        `time.monotonic`; None if there is none.
    error
        The error that all ranks have raised at the same place, where there is one: then none waits
        for another.

    Notes
    -----
    A copy of a group is the group itself. What is unpickled of one is None: another process is no
    rank of it.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    processes: tuple[int, ...] = ()
    engine: str = "one process"
    where: Callable[[], str] | None = None
    error: BaseException | None = None
    since_sum: float | None = None

    def sum(self, buffer: HostArray) -> None:
        """The sum over all ranks, in place, in a C-ordered host array.

        All ranks have the same shape and dtype, and get the same bits. In which order is added is
        the engine's choice.
        """

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order, on each of them. What can be pickled."""
        return [value]

    def share(self, value: Any) -> Any:
        """The value of rank 0, on all ranks."""
        return value

    def waiting(self) -> AbstractContextManager[Any]:
        """A scope in which this rank waits for the others, which should not take too long."""
        return nullcontext()

    def check(self) -> None:
        """While this rank waits in another way than by this group: whether it may go on so.

        Raises
        ------
        GroupError
            If the group has ended, and the others will not come.
        """

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until all sums on the device are done, for which the others are needed.

        Raises
        ------
        GroupError
            As `check`.
        """
        with self.waiting():
            started = time.monotonic()
            while not done():
                self.check()
                if time.monotonic() - started > _SPIN:
                    time.sleep(_SPIN / 10)
        self.since_sum = None

    def abort(self, status: int = 1, reason: str = "") -> None:
        """End the work of all ranks, since this one cannot go on.

        Parameters
        ----------
        status
            What the processes end with.
        reason
            Why, for the other ranks where they can be told.
        """

    def rest(self) -> None:
        """Wait until all ranks have come to their end, and leave the cores to those that work."""

    @property
    def name(self) -> str:
        """This rank as a message names it: `rank 1 of 4`, from 0."""
        return f"rank {self.rank} of {self.size}"

    def __repr__(self) -> str:
        return f"<{self.name}, {self.engine}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # A handle, which means nothing in another process.
        return _no_group, ()


def _no_group() -> None:
    """What a group is when it is unpickled."""


ALONE = Group()
"""A process by itself."""


def agreed(group: Group, do: Callable[[], T], *, first_alone: bool = False) -> T:
    """What `do()` gives on this rank, if it has failed on no rank; else its error, on every rank.

    So what is wrong on one rank, such as a file that only it cannot read, leaves no other waiting.

    Parameters
    ----------
    group
        The ranks; all of them call this.
    do
        What is tried.
    first_alone
        Whether rank 0 does it for all, and the others get what it gave.

    Raises
    ------
    Exception
        What `do` has raised. Where it was not the same on all ranks, the message of the first one
        that failed, which it names.
    """
    if group.size == 1:
        return do()
    result: Any = None
    error: Exception | None = None
    if group.rank == 0 or not first_alone:
        try:
            result = do()
        except Exception as raised:
            error = raised
    failures = group.gather(error and (_sent_class(error), str(error)))
    if not any(failures):
        return group.share(result) if first_alone else result
    first = next(rank for rank, failure in enumerate(failures) if failure)
    if error is None or (
        (first > 0 or group.rank > 0) and failures.count(failures[0]) < group.size
    ):
        kind, text = failures[first]
        cause, error = error, _again(kind, f"{text} (on rank {first} of {group.size})")
        error.__cause__ = cause
    raise on_all_ranks(group, error)


def on_all_ranks(group: Group, error: E) -> E:
    """The error, which every rank raises at this place: so none has to be ended because of it."""
    if group.size > 1:  # `ALONE` would keep all that the error holds
        group.error = error
    return error


@contextmanager
def ending_all(group: Group) -> Iterator[None]:
    """A scope in which an error of one rank ends the others too, which would wait for it."""
    try:
        yield
    except BaseException as error:
        agreed_on = group.error is not None and group.error in (error, error.__cause__)
        if group.size > 1 and not agreed_on:
            status = 130 if isinstance(error, KeyboardInterrupt) else 1
            if isinstance(error, SystemExit):  # which Python says nothing of
                # With 0 the others would be waited for, and nothing would have failed.
                status = error.code if isinstance(error.code, int) and error.code else status
                log_warning("%s has ended by sys.exit(%s)", group.name, error.code)
            group.abort(status, f"{group.name} has failed: {error or type(error).__name__}")
            error.add_note(f"on {group.name}")
        raise
    finally:
        group.where = group.since_sum = None


def _sent_class(error: Exception) -> type[Exception]:
    """The class of an error, or where others would not find it, the first of its bases that is."""
    for kind in type(error).__mro__:
        try:
            pickle.dumps(kind)
        except Exception:
            continue
        return kind
    return Exception


def _again(kind: type[Exception], text: str) -> Exception:
    """The error of another rank: of its class where that is made of a text."""
    try:
        error = kind(text)
    except Exception:
        return GroupError(f"{kind.__name__}: {text}")
    return error if text in str(error) else GroupError(f"{kind.__name__}: {text}")


def check_same(group: Group, what: str, value: Any, fix: str) -> None:
    """Check that all ranks have the same value.

    Raises
    ------
    GroupError
        On all ranks, naming the first that has another than rank 0.
    """
    values = group.gather(value)
    others = [rank for rank, other in enumerate(values) if other != values[0]]
    if others:
        ranks = counted(len(others), "rank")
        message = (
            f"{what} of rank {others[0]} {'is' if len(others) == 1 else 'and others are'} not "
            f"that of rank 0 ({ranks} of {group.size} with another): {fix}"
        )
        raise on_all_ranks(group, GroupError(message))
