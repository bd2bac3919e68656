"""An ensemble trained by one command: its members, and then all of them together."""

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnet.backends import Backend
from xpnet.cli.members import Processes
from xpnet.cli.options import as_arguments, usage_errors
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on, verdict
from xpnet.cli.streams import tell
from xpnet.data import Dataset, Split
from xpnet.errors import counted, readable
from xpnet.network import Ensemble, Network, load
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import CONFIG
from xpnet.runs.environment import environment
from xpnet.runs.members import (
    Member,
    begin_members,
    folder_of_members,
    forget_results,
    having,
    keep_config,
    unfinished_members,
    write_members_summary,
)
from xpnet.runs.options import options_of
from xpnet.training.ranks import usable_cores


@dataclass(frozen=True)
class EnsembleRun:
    """The training of an ensemble, as it was asked for.

    Attributes
    ----------
    config, opened, data
        The run, and what it is computed with; opened and loaded here for what comes afterwards, and
        by each member again.
    given
        The options that were given, by the names of `RunConfig`.
    resume
        The folder that goes on, if one does.
    stop_after
        The number of the epoch that members are left after.
    jobs
        How many are trained at a time.
    quiet
        Whether the final summary alone is printed.
    started
        When the command began, by `time.perf_counter`.
    """

    config: RunConfig
    opened: Backend
    data: Dataset
    given: Mapping[str, Any]
    resume: Path | None
    stop_after: int | None
    jobs: int
    quiet: bool
    started: float

    def run(self, out: Path | None, *, force: bool) -> int:
        """Train the members that are not trained, and measure all together; the exit code."""
        folder = self.resume
        if folder is None:
            folder = folder_of_members(self.data.name, out)
        with having(folder):
            return self._run(folder, force)

    def _run(self, folder: Path, force: bool) -> int:
        config = self.config
        if self.resume is None:
            members = begin_members(config, folder, force=force)
        else:
            with usage_errors():
                members = unfinished_members(folder, config, self._changes(), self.stop_after)
            # Not before: what a member cannot go on with would be in the file for good.
            keep_config(folder, config)
            if members:
                forget_results(folder)
        again = f"xpnet train --resume {shlex.quote(str(folder))}"
        if not self.quiet:
            tell(f"members: {self._in_words(members)}")
        ends = Processes(self.jobs, self.quiet).run(
            {member.number: self._arguments(folder, member) for member in members},
            lambda: f"what was trained of the members is saved; go on with: {readable(again)}",
        )
        failed = {number: code for number, code in ends.items() if code}
        if failed:
            number, left = min(failed), config.members - len(failed)
            others = f"; the {'other is' if left == 1 else 'others are'} trained" if left else ""
            tell(
                f"error: {counted(len(failed), 'member')} of {config.members} ended with an error, "
                f"member {number} with exit code {failed[number]}{others}. When the cause is "
                f"mended: {readable(again)}",
                err=True,
            )
            return max(failed[number], 1)
        if self.stop_after is not None and self.stop_after < config.epochs:
            tell(f"stopped after epoch {self.stop_after}; go on with: {readable(again)}")
            return 0
        self._finish(folder)
        return 0

    def _in_words(self, members: Sequence[Member]) -> str:
        config = self.config
        seeds = f"seeds {config.seed} to {config.seed + config.members - 1}"
        left = len(members)
        text = f"{config.members}, {seeds}"
        if left < config.members:
            text += f", of which {left or 'none'} {'is' if left == 1 else 'are'} to be trained"
        return text if left < 2 else f"{text}, {min(self.jobs, left)} at a time"

    def _changes(self) -> dict[str, Any]:
        """The options that were given and may change in a run that goes on."""
        options = options_of(type(self.config))
        return {name: value for name, value in self.given.items() if options[name].may_change}

    def _arguments(self, folder: Path, member: Member) -> list[str]:
        """How the run of a member is begun, or goes on."""
        if member.resumes:
            words = ["train", "--resume", str(member.folder), *as_arguments(self._changes())]
        else:
            own = self.config.of_member(member.number)
            names = ("members", "seed", "split_seed", "threads")
            options = {name: getattr(own, name) for name in names}
            changed = options | self._changes()
            if options["threads"] is None and self.opened.product_threads() is not None:
                # The last digits depend on it, and are not to depend on the number of jobs.
                changed = {"threads": 1} | {k: v for k, v in changed.items() if v is not None}
            words = ["train", "--config", str(folder / CONFIG), "--out", str(member.folder)]
            words += as_arguments({k: v for k, v in changed.items() if v is not None})
        if self.stop_after is not None:
            words += ["--stop-after", str(self.stop_after)]
        return [*words, "--member"]

    def _finish(self, folder: Path) -> None:
        """The ensemble measured, its pictures drawn, and the last line."""
        network = load(folder, backend=self.opened, dtype=self.opened.dtype_name)
        assert isinstance(network, Ensemble)
        which, split = judged_on(self.data)
        counts = count_confusions(network, split)
        each = [_figures(member, split) for member in network.members]
        seeds = range(self.config.seed, self.config.seed + len(each))
        summary = {
            "configuration": self.config.to_dict(),
            "parameters": sum(map(math.prod, network.model.parameter_shapes().values())),
            **environment(self.opened),
            "members": [
                {"folder": f"member-{i}", "seed": seed, which: figures}
                for i, (seed, figures) in enumerate(zip(seeds, each, strict=True), start=1)
            ],
            "ensemble": {which: _figures(network, split)},
            "confusion_matrix": {
                "split": which,
                "counts": None if counts is None else counts.tolist(),
            },
        }

        def write_summary(**more: Any) -> float:
            seconds = time.perf_counter() - self.started
            write_members_summary(folder, {**summary, "total_seconds": seconds, **more})
            return seconds

        # Before the pictures, which may fail: and again, with their time.
        write_summary(pending="pictures")
        draw_pictures(folder, network, self.data, counts)
        seconds = write_summary()
        tell(
            f"ensemble of {len(each)}: {which} {verdict(network, split, counts)}"
            f"{_of_members(each)} in {seconds:.1f} s; run folder: {readable(str(folder))}"
        )


def jobs_of(asked: int | None, config: RunConfig, opened: Backend) -> int:
    """How many members are trained at a time: as were asked for, or as there are cores for.

    Where the number of threads is not ours to say, as on a GPU, it is one.
    """
    if asked is not None:
        return min(asked, config.members)
    if opened.product_threads() is None:
        return 1
    return max(1, min(config.members, usable_cores() // (config.threads or 1)))


def _figures(network: Network, split: Split) -> dict[str, Any]:
    found = network.evaluate(split.images, split.labels)
    return {"loss": found.loss, "accuracy": found.accuracy, "errors": found.errors}


def _of_members(figures: Sequence[Mapping[str, Any]]) -> str:
    """Between which accuracies those of the members are; nothing where there are none."""
    accuracies = [100 * one["accuracy"] for one in figures if one["accuracy"] is not None]
    if not accuracies:
        return ""
    return f", members {min(accuracies):.2f} to {max(accuracies):.2f} %,"
