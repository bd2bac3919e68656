"""How processes are started together: what a launcher has said to this one, and starting one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from xpnet.errors import GroupError, counted

_SIZES = {
    "PMI_SIZE": "mpiexec",
    "OMPI_COMM_WORLD_SIZE": "mpiexec of Open MPI",
    "SLURM_STEP_NUM_TASKS": "srun",
}
"""The variable in which each launcher says how many processes it has started."""

_RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_size(environment: Mapping[str, str] | None = None) -> int | None:
    """How many processes the launcher of this one has started; None if there is no launcher."""
    return next(_numbers(_SIZES, environment), None)


def launched_rank(environment: Mapping[str, str] | None = None) -> int:
    """The number that the launcher has given to this process; 0 without one."""
    return next(_numbers(_RANKS, environment), 0)


def _numbers(names: Iterable[str], environment: Mapping[str, str] | None) -> Iterator[int]:
    """What some variables say, where they are whole numbers."""
    environment = os.environ if environment is None else environment
    said = (environment[name] for name in names if name in environment)
    return (int(number) for number in said if number.isdecimal())


def launcher() -> str:
    """What started this process, in a word or two; empty if it was no launcher."""
    return next((who for name, who in _SIZES.items() if name in os.environ), "")


def find_mpiexec() -> str:
    """The program that starts processes of MPI: beside this Python, or else on the path.

    Raises
    ------
    GroupError
        If there is none.
    """
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpiexec")
    if found is None:
        raise GroupError(
            "there is no mpiexec, which starts several processes, neither beside this Python nor "
            "on the path: pip install 'xpnet[mpi]'"
        )
    return found


def this_program() -> list[str]:
    """The words that start `xpnet` in another process."""
    # The program `xpnet` finds no modules in the current folder, and neither should the others.
    safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    return [sys.executable, *safe, "-m", "xpnet"]


def start_ranks(ranks: int, arguments: Sequence[str]) -> int:
    """Run `xpnet ARGUMENTS` on so many ranks, in the place of this process where that can be.

    Returns
    -------
    status
        What they ended with, where this process has waited for them: on Windows.

    Raises
    ------
    GroupError
        If there is no `mpiexec`, or it cannot be started.
    """
    command = [find_mpiexec(), "-n", str(ranks), *this_program(), *arguments]
    # Open MPI refuses more ranks than cores unless it is told.
    environment = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_rmaps_base_oversubscribe": "true",  # before version 5
        **os.environ,
    }
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        if os.name == "nt":
            return subprocess.run(command, env=environment, check=False).returncode
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise GroupError(
            f"{command[0]} cannot start {counted(ranks, 'rank')}: {error.strerror or error}"
        ) from error
