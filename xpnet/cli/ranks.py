"""Commands on several ranks: started, joined, and speaking with one voice."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from xpnet.cli import GROUP, TYPED
from xpnet.cli.help import SectionedOption
from xpnet.cli.options import usage_errors
from xpnet.cli.streams import tell
from xpnet.distributed import Group, mpi_group
from xpnet.distributed.group import ALONE
from xpnet.distributed.launch import launched_size, launcher, start_ranks
from xpnet.distributed.mpi import TIMEOUT, check_timeout, probe_mpi
from xpnet.distributed.reduction import Reduction
from xpnet.errors import GroupError, counted
from xpnet.runs.options import Section
from xpnet.training.ranks import usable_cores

_F = TypeVar("_F", bound=Callable[..., Any])

_MOST_RANKS = 1 << 20
_MOST_NAMED = 16


def join_ranks(ranks: int | None, timeout: float) -> Group:
    """The group that this process is one of; or as many ranks are started in its place.

    Raises
    ------
    GroupError
        If they cannot be started, or mpi4py is missing or of another MPI.
    UsageError
        If a launcher has started another number, or the timeout is none.
    """
    context = click.get_current_context()
    with usage_errors("--timeout"):
        check_timeout(timeout)
    launched = launched_size()
    if launched is None and (ranks or 1) > 1:
        _check_before_start(ranks or 1)
        context.exit(start_ranks(ranks or 1, context.meta[TYPED]))
    if launched is None or (launched == 1 and ranks in (None, 1)):
        return ALONE
    if ranks not in (None, launched):
        raise click.UsageError(
            f"--ranks {ranks} does not go with {launcher()}, which has started "
            f"{counted(launched, 'process')}: leave it out, or start xpnet without {launcher()}"
        )
    context.meta[GROUP] = group = mpi_group(timeout=timeout)
    return group


def _check_before_start(ranks: int) -> None:
    """Say here, once, what each of the ranks would find out by itself."""
    status = probe_mpi()
    if not status.usable:
        raise GroupError(f"no ranks can be started: {status.reason}")
    cores = usable_cores()
    if ranks > cores:
        tell(
            f"Warning: {ranks} ranks share {counted(cores, 'core')}, and so wait for one another: "
            f"fewer are faster",
            err=True,
        )


def describe_ranks(reduction: Reduction, batch_size: int) -> str:
    """Which ranks there are, and what each of them computes, in a line."""
    group = reduction.group
    rows = reduction.rows(reduction.own[0], batch_size)
    parts = counted(len(reduction.own), "part")
    each = f"each {parts} of {rows.stop - rows.start} of a batch's {counted(batch_size, 'sample')}"
    how = "added up exactly" if reduction.shards else "added up by the engine"
    # What MPI says of a rank that was killed is the ID of its process.
    named = group.processes if group.size <= _MOST_NAMED else ()
    known = ", processes " * bool(named) + ", ".join(map(str, named))
    return f"{counted(group.size, 'rank')}, {group.engine}{known}: {each}; {how}"


def rank_options(function: _F) -> _F:
    """The options `--ranks` and `--timeout` for a command: how it is started."""
    own: dict[str, Any] = {"cls": SectionedOption, "section": Section.RANKS}
    timeout = click.option(
        "--timeout", type=click.FloatRange(0, min_open=True), default=TIMEOUT, metavar="SECONDS",
        show_default=True, help="How long a rank waits for the others before it ends all.", **own,
    )  # fmt: skip
    ranks = click.option(
        "--ranks", type=click.IntRange(1, _MOST_RANKS), metavar="N",
        help="Start N processes, by mpiexec; or start them yourself, by mpiexec or srun.", **own,
    )  # fmt: skip
    return ranks(timeout(function))
