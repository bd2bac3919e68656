"""What is kept of a training, in files that are written whole and checked."""

from xpnet.saving.snapshot import Snapshot, read_snapshot

__all__ = [
    "Snapshot",
    "read_snapshot",
]
