"""The folder of an ensemble: what is to be trained in it, and what it came to."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.errors import RunError
from xpnet.files import write_atomically, writing
from xpnet.network.ensemble import member_folder, member_folders
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import CONFIG, write_config
from xpnet.runs.continuation import is_finished, open_run
from xpnet.runs.folder import FILES, PICTURES, SUMMARY

_OWN = (CONFIG, SUMMARY, *PICTURES)
"""The files that stand beside the folders of the members."""


@dataclass(frozen=True)
class Member:
    """One of the networks of an ensemble, which still is to be trained.

    Attributes
    ----------
    number
        From 1.
    folder
        Its run folder.
    resumes
        Whether there is a run in it that goes on.
    """

    number: int
    folder: Path
    resumes: bool


def begin_members(
    config: RunConfig, name: str, out: Path | None, *, force: bool = False
) -> tuple[Path, list[Member]]:
    """Make the folder of an ensemble, with one for each member; what is to be trained.

    Parameters
    ----------
    config
        The run; each member has that of `RunConfig.of_member`.
    name
        What the folder is called after if none is given: `runs/NAME-1`, or the next that is free.
    out
        The folder.
    force
        Whether a run that is there may be replaced.

    Raises
    ------
    RunError
        If the folder holds a run already, or cannot be written.
    """
    folder = _numbered(Path("runs") / name) if out is None else out
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112
        raise RunError(f"{folder}: there is a file of this name; give another folder")
    there = list(_files_of_runs(folder))
    if there and not force:
        names = ", ".join(str(path.relative_to(folder)) for path in there[:8])
        raise RunError(
            f"{folder}: holds a run already ({names}); give another folder, or --force to replace "
            f"it"
        )
    with writing(folder):
        for file in there:
            file.unlink()
        for old in member_folders(folder):
            if not any(old.iterdir()):
                old.rmdir()
        members = [
            Member(number, member_folder(folder, number), resumes=False)
            for number in range(1, config.members + 1)
        ]
        # All of them at once, so that it is seen how many there are to be.
        for member in members:
            member.folder.mkdir(parents=True, exist_ok=True)
    keep_config(folder, config)
    return folder, members


def keep_config(folder: Path, config: RunConfig) -> None:
    """Write the configuration of an ensemble, in which something may have changed.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    with writing(folder):
        write_atomically(folder / CONFIG, write_config(config).encode())


def unfinished_members(
    folder: Path, config: RunConfig, given: Mapping[str, Any], stop_after: int | None = None
) -> list[Member]:
    """The members of a folder that are not trained to their end, or to `stop_after`.

    Parameters
    ----------
    folder, config
        The folder, and its configuration.
    given
        Options that may change; see `open_run`.
    stop_after
        The number of the epoch that they are to be left after.

    Raises
    ------
    CheckpointError
        If one cannot go on, as where its checkpoint is damaged.
    """
    members = []
    for number in range(1, config.members + 1):
        path = member_folder(folder, number)
        if not any(os.path.lexists(path / name) for name in FILES):
            members.append(Member(number, path, resumes=False))
            continue
        own, saved = open_run(path, given)
        left = saved is not None and stop_after is not None and saved.epoch >= stop_after
        if saved is None or not (left or is_finished(path, own, saved)):
            members.append(Member(number, path, resumes=True))
    return members


def write_members_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json` of an ensemble, whole or not at all.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    with writing(folder):
        text = json.dumps(dict(summary), indent=2) + "\n"
        write_atomically(folder / SUMMARY, text.encode())


def _numbered(stem: Path) -> Path:
    """The first of `STEM-1`, `STEM-2`, ... that is not there, made."""
    for number in itertools.count(1):
        folder = stem.with_name(f"{stem.name}-{number}")
        with writing(folder):
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
        return folder
    raise AssertionError


def _files_of_runs(folder: Path) -> Iterator[Path]:
    """The files of runs that a folder holds, and those of members in it."""
    for place in (folder, *member_folders(folder)):
        yield from (place / name for name in FILES if os.path.lexists(place / name))
