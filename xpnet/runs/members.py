"""The folder of an ensemble: what is to be trained in it, and what it came to."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.errors import RunError, counted, one_line
from xpnet.files import remove_temporaries, write_atomically, writing
from xpnet.network.ensemble import member_folder, member_folders, member_number
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import CONFIG, write_config
from xpnet.runs.continuation import is_finished, open_run
from xpnet.runs.folder import FILES, MODEL, PICTURES, SUMMARY
from xpnet.saving.folder_lock import LOCK, FolderLock

_RESULTS = (SUMMARY, *PICTURES)
"""What stands beside the folders of the members when all of them are trained."""


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


def folder_of_members(name: str, out: Path | None) -> Path:
    """The folder of a new ensemble, which is made if it is not there.

    Parameters
    ----------
    name
        What it is called after if none is given: `runs/NAME-1`, or the next that is free.
    out
        The folder.

    Raises
    ------
    RunError
        If it cannot be made.
    """
    if out is None:
        return _numbered(Path("runs") / name)
    if os.path.lexists(out) and not os.path.isdir(out):  # noqa: PTH112
        raise RunError(f"{out}: there is a file of this name; give another folder")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    return out


@contextmanager
def having(*folders: Path) -> Iterator[None]:
    """A scope in which no other training writes to the folders.

    Raises
    ------
    RunError
        If another training has one of them.
    """
    with ExitStack() as stack:
        for folder in folders:
            with writing(folder):
                stack.callback(FolderLock(folder).release)
        yield


def begin_members(config: RunConfig, folder: Path, *, force: bool = False) -> list[Member]:
    """Make the folders of the members of an ensemble; what is to be trained.

    Parameters
    ----------
    config
        The run; each member has that of `RunConfig.of_member`.
    folder
        That of the ensemble, which the caller has to itself (see `having`).
    force
        Whether a run that is there may be replaced.

    Raises
    ------
    RunError
        If the folder holds a run already, another training has one of its members, or it cannot be
        written. Then nothing was removed.
    """
    there = list(_files_of_runs(folder))
    if there and not force:
        names = ", ".join(str(path.relative_to(folder)) for path in there[:8])
        raise RunError(
            f"{folder}: holds a run already ({names}); give another folder, or --force to replace "
            f"it"
        )
    old = member_folders(folder)
    surplus = [path for path in old if member_number(path) > config.members]
    # All of them before the first file is removed: a member may be training on its own.
    with having(*old), writing(folder):
        _check_emptied(surplus, config.members)
        for file in there:
            file.unlink()
    with writing(folder):
        # After the locks, whose files stand in these folders.
        for path in surplus:
            path.rmdir()
        members = [
            Member(number, member_folder(folder, number), resumes=False)
            for number in range(1, config.members + 1)
        ]
        # All of them at once, so that it is seen how many there are to be.
        for member in members:
            member.folder.mkdir(parents=True, exist_ok=True)
    keep_config(folder, config)
    return members


def keep_config(folder: Path, config: RunConfig) -> None:
    """Write the configuration of an ensemble, in which something may have changed.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    with writing(folder):
        write_atomically(folder / CONFIG, write_config(config).encode())


def forget_results(folder: Path) -> None:
    """Remove what an ensemble came to, whose members are trained on.

    Raises
    ------
    RunError
        If it cannot be removed.
    """
    with writing(folder):
        for name in _RESULTS:
            (folder / name).unlink(missing_ok=True)


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
    OptionError
        If it cannot with one of the options.
    RunError
        If there is the folder of a member more.
    """
    more = [path for path in member_folders(folder) if member_number(path) > config.members]
    if more:  # which would be seen when all are trained
        raise RunError(
            f"{more[0]}: by its {CONFIG} this ensemble has {counted(config.members, 'member')}: "
            f"move the folder to another place"
        )
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


def first_trained(folder: Path) -> Path | None:
    """The run folder of the first member that has a network; None if none has."""
    return next((path for path in member_folders(folder) if os.path.lexists(path / MODEL)), None)


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


def _check_emptied(folders: Sequence[Path], members: int) -> None:
    """Check, before files are removed, that nothing but a run is in folders that have to go."""
    for folder in folders:
        remove_temporaries(folder, FILES)
        names = sorted({path.name for path in folder.iterdir()} - {*FILES, LOCK})
        if names:
            raise RunError(
                f"{folder}: holds what is no file of a run ({one_line(', '.join(names[:8]))}), and "
                f"would be taken for a member beside the {members:,} that are asked for: move the "
                f"folder to another place, or give another --out"
            )


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
