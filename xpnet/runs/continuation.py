"""A run of the command line that is there: what it was begun with, and what may change."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpnet.errors import CheckpointError, RunError, counted, reason_of, shown
from xpnet.files import check_file
from xpnet.network.ensemble import member_folders
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import CONFIG, read_config
from xpnet.runs.folder import SUMMARY, only_begun
from xpnet.runs.options import OptionError, options_of
from xpnet.saving.snapshot import CHECKPOINT, Snapshot, read_snapshot
from xpnet.saving.tensors import WRONG_VALUES
from xpnet.schedules import Schedule


def open_run(
    path: str | os.PathLike[str], given: Mapping[str, Any]
) -> tuple[RunConfig, Snapshot | None]:
    """The configuration of a run, and what it goes on from.

    That is None for a run that was killed before its first checkpoint, which begins anew; and for
    the members of an ensemble, each of which has a run folder of its own.

    Parameters
    ----------
    path
        The run folder.
    given
        Options by the names of `RunConfig`. Those that may change (`Option.may_change`) take the
        place of what was; all others must be what they were. Where another backend is given,
        device, threads and steps are not kept.

    Raises
    ------
    CheckpointError
        If there is no run that could go on, or it was not begun by the command line.
    OptionError
        If an option differs that must not; the message has all of them.
    """
    begun = only_begun(path) or is_of_members(path)
    if begun and os.path.lexists(Path(path) / CONFIG):
        try:
            config = RunConfig(**read_config(Path(path) / CONFIG))
        except OptionError as error:
            raise CheckpointError(error.problem) from error
        return _changed(config, given, 0), None
    snapshot = read_snapshot(path)
    if snapshot.configuration is None:
        raise CheckpointError(
            f"{path}: this training was begun in Python: go on with fit(..., resume=), and what it "
            f"was begun with"
        )
    try:
        config = RunConfig.from_dict(snapshot.configuration)
    except OptionError as error:
        raise CheckpointError(f"{path}: the configuration is not that of a run: {error}") from error
    return _changed(config, given, snapshot.epoch), snapshot


def is_of_members(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is that of an ensemble whose members were trained there."""
    return bool(member_folders(path)) and not os.path.lexists(Path(path) / CHECKPOINT)


def _changed(config: RunConfig, given: Mapping[str, Any], finished: int) -> RunConfig:
    """The configuration with those options that may change."""
    _check_same(config, given)
    options = options_of(type(config))
    new = {name: value for name, value in given.items() if options[name].may_change}
    _check_epochs(config, new.get("epochs", config.epochs), finished)
    if new.get("backend", config.backend) != config.backend:
        new = {"device": None, "threads": None, "steps": None, **new}
    return replace(config, **new)


def is_finished(path: str | os.PathLike[str], config: RunConfig, snapshot: Snapshot) -> bool:
    """Whether a run has come to its end, and its folder has all that is written then.

    Pictures that are missing, since matplotlib was, are left to `xpnet plot`; not those that a kill
    or a full disk has left out.
    """
    trained = snapshot.stopped or snapshot.epoch >= config.epochs
    summary = Path(path) / SUMMARY
    return trained and os.path.lexists(summary) and not _is_pending(summary)


def _is_pending(summary: Path) -> bool:
    """Whether the summary says that something still is to be done."""
    try:
        return summary.is_file() and "pending" in json.loads(summary.read_bytes())
    except (OSError, *WRONG_VALUES):
        return False  # it is not what xpnet wrote


def what_next(path: str | os.PathLike[str], config: RunConfig, snapshot: Snapshot) -> str:
    """Of a run that is finished: what it is, and how its network can be trained on."""
    run = shlex.quote(str(path))
    epochs = counted(snapshot.epoch, "epoch")
    if not snapshot.stopped and not _follows_from_epochs(config):
        more = f"xpnet train --resume {run} --epochs {2 * snapshot.epoch}"
        return f"{path} has its {epochs}. To train on, give more: {more}"
    why = f"was ended early after {epochs}"
    if not snapshot.stopped:
        why = f"has the {epochs} that the learning rate follows from"
    anew = " --fresh ''" if config.fresh else ""
    begin = f"xpnet train --config {shlex.quote(str(Path(path) / CONFIG))} --start {run}{anew}"
    return f"{path} {why}. To train on, begin a run with its network: {begin}"


def _check_same(config: RunConfig, given: Mapping[str, Any]) -> None:
    options = options_of(type(config))
    differing = {
        name: f"{name} was {shown(getattr(config, name))} and is {shown(value)}"
        for name, value in given.items()
        if not options[name].may_change and value != getattr(config, name)
    }
    if differing:
        raise OptionError(
            next(iter(differing)),
            f"cannot change in a run that goes on: {'; '.join(differing.values())}. Leave out what "
            f"differs, or begin another run",
        )


def _follows_from_epochs(config: RunConfig) -> bool:
    """Whether what was done of a run would have been other with another number of epochs."""
    return isinstance(config.build_schedule(), Schedule) or config.average_from is not None


def _check_epochs(config: RunConfig, epochs: int, finished: int) -> None:
    if epochs != config.epochs and _follows_from_epochs(config):
        what = "schedule follows" if config.average_from is None else "averages follow"
        raise OptionError(
            "epochs", f"must stay {config.epochs}, which the {what} from; got {epochs}"
        )
    if epochs < finished:
        raise OptionError("epochs", f"must be at least {finished}, which are done; got {epochs}")


def still_there(folder: str | None) -> str | None:
    """Where a run found its data, if it has not been moved to where there is no such folder."""
    return folder if folder is not None and os.path.isdir(folder) else None  # noqa: PTH112


def trained_on(path: str | os.PathLike[str]) -> RunConfig:
    """The configuration of a run, finished or not: its data set, and where its files were found.

    The folder that they were found in is left out if it is not there.

    Raises
    ------
    RunError
        If the folder has no configuration, or it is damaged.
    """
    file = Path(path) / CONFIG
    if not os.path.lexists(file):  # unlike Path's methods it is silent about names that cannot be
        raise RunError(
            f"{path}: not the folder of a run: no {CONFIG} (to evaluate a network without one, "
            f"name the data set)"
        )
    try:
        check_file(file)  # read_config would wait for a pipe, as that of a shell's <(...)
        config = RunConfig(**read_config(file))
    except OptionError as error:
        raise RunError(f"{error.problem}") from error
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {reason_of(error)}") from error
    return replace(config, data_dir=still_there(config.data_dir))
