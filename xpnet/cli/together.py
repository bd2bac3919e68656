"""Several runs on a command line, whose networks answer together."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpnet.data import DATASETS
from xpnet.errors import RunError, one_line
from xpnet.network import Ensemble, Network, load
from xpnet.network.ensemble import member_folders
from xpnet.runs.folder import FILES


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether something that is named is the folder of a run, or the file of a network."""
    text = os.fspath(path)
    if text in DATASETS:
        return False
    if os.path.isdir(text):  # noqa: PTH112 - silent about names that cannot be
        there = any(os.path.lexists(Path(text) / name) for name in FILES)
        return there or bool(member_folders(text))
    return text.lower().endswith(".safetensors")


def load_together(runs: Sequence[Path], **options: Any) -> Network:
    """The network of a run, or the `Ensemble` of those of several, by `load`.

    Raises
    ------
    RunError
        If they cannot answer together; the message says what differs.
    """
    first = load(runs[0], **options)
    if len(runs) == 1:
        return first
    place: dict[str, Any] = {"backend": first.backend, "dtype": first.backend.dtype_name}
    try:
        return Ensemble([first, *(load(run, **place) for run in runs[1:])])
    except ValueError as error:
        names = ", ".join(map(str, runs))
        raise RunError(f"{names}: {one_line(error)}") from error


def members_of(runs: Sequence[Path], network: Network) -> list[tuple[str, Network]]:
    """The members of an ensemble, each with its name; none of another network."""
    if not isinstance(network, Ensemble):
        return []
    names = [str(run) for run in runs]
    if len(runs) == 1:
        names = [f"member {i}" for i in range(1, len(network.members) + 1)]
    return list(zip(names, network.members, strict=True))
