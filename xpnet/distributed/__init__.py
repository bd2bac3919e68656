"""One training on several ranks: processes that MPI has started, or threads to try it out.

`Group` is what a rank must be able to do. `mpi_group` gives the processes of MPI, `threads` ranks
within this process; `launch.py` has what starts processes, or was started.
"""

from xpnet.distributed.group import Group
from xpnet.distributed.mpi import MpiGroup, mpi_group
from xpnet.distributed.threads import Threads, threads

__all__ = ["Group", "MpiGroup", "Threads", "mpi_group", "threads"]
