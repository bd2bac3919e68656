"""The command that trains a network: a new one, or one whose training goes on."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from xpnet.augment import augmentations_from, picture_shape
from xpnet.backends import Backend
from xpnet.callbacks import ProgressBar
from xpnet.cli.ensembles import EnsembleRun, jobs_of
from xpnet.cli.help import SectionedCommand, SectionedOption
from xpnet.cli.members import leave_when_asked
from xpnet.cli.options import (
    describe_backend,
    given_options,
    open_with_options,
    placed,
    run_options,
    usage_errors,
)
from xpnet.cli.pictures import count_confusions, draw_pictures, judged_on, verdict
from xpnet.cli.ranks import describe_ranks, join_ranks, rank_options
from xpnet.cli.streams import tell
from xpnet.cli.types import FILE
from xpnet.data import DATASETS, Dataset, TablePreparation, load_dataset
from xpnet.distributed.group import Group, agreed, ending_all
from xpnet.distributed.reduction import Reduction
from xpnet.errors import counted, one_line, readable
from xpnet.network import Ensemble, Network, load
from xpnet.optimizers import SGD
from xpnet.runs.config import RunConfig
from xpnet.runs.config_file import read_config, read_options
from xpnet.runs.continuation import is_finished, open_run, still_there, what_next
from xpnet.runs.folder import NumberedRunFolder, RunFolder
from xpnet.runs.members import first_trained
from xpnet.runs.options import OptionError, Section
from xpnet.saving import Snapshot

_LONGEST_NOTE = 500

_F = TypeVar("_F", bound=Callable[..., Any])


def _folder_option(*names: str, **options: Any) -> Callable[[_F], _F]:
    return click.option(*names, cls=SectionedOption, section=Section.RUN_FOLDER, **options)


@click.command(cls=SectionedCommand)
@click.argument("dataset", required=False)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Take options from this TOML file; those that are given here win.",
)
@run_options()
@_folder_option("--out", type=FILE, help="Run folder to write.  [default: "
                "runs/DATASET-NUMBER]")  # fmt: skip
@_folder_option("--force", is_flag=True, help="Replace a run that is in the folder already.")
@_folder_option(
    "--stop-after",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after N epochs, to go on later; what follows from --epochs stays as it is.",
)
@_folder_option("--resume", type=FILE, metavar="RUN", help="Go on with this run.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", cls=SectionedOption,
    section=Section.ENSEMBLES,
    help="With --members: train so many at a time.  [default: as there are cores]",
)  # fmt: skip
@click.option("--member", is_flag=True, hidden=True)
@rank_options
@click.option("--quiet", is_flag=True, help="Print the final summary only.")
def train(
    dataset: str | None,
    config_file: Path | None,
    out: Path | None,
    force: bool,
    stop_after: int | None,
    resume: Path | None,
    jobs: int | None,
    member: bool,
    quiet: bool,
    ranks: int | None,
    timeout: float,
    **options: Any,
) -> None:
    """Train a network on DATASET: digits (the default, embedded), mnist, fashion-mnist and
    others by name; or the path of a table, of a folder of pictures for each class, of IDX, .npy or
    .npz files, or of an archive of these.

    Writes a run folder: the history, a summary, the network, what it takes to go on with or to
    repeat the run, and pictures.
    """
    started = time.perf_counter()
    if member:
        leave_when_asked()
    group = join_ranks(ranks, timeout)
    asked = _Asked(given_options(dataset, options), config_file, out, force, stop_after, resume)
    with ending_all(group), ExitStack() as stack:
        config, saved, finished = agreed(group, asked.read, first_alone=True)
        if finished:
            if group.rank == 0:
                tell(f"nothing is left to do: {finished}")
            return
        config, opened, data = agreed(group, lambda: asked.prepare(config, saved, group))
        if config.members > 1:
            run = _of_members(config, opened, data, asked, group, jobs, quiet, started)
            raise SystemExit(run.run(out, force=force))
        if jobs is not None:
            raise click.UsageError("--jobs is for --members: leave it out")
        folder: RunFolder | None = None  # which rank 0 alone has

        def open_folder() -> None:
            nonlocal folder
            folder = _open_folder(config, data, resume, out, force)
            if not (quiet or member):
                _describe(config, opened, data, saved, group)
                if resume is not None and saved is None:
                    tell("begins anew: it was ended before its first checkpoint")
            stack.enter_context(folder)

        agreed(group, open_folder, first_alone=True)
        callbacks = [] if folder is None else [folder, *([] if quiet else [ProgressBar()])]
        try:
            with usage_errors():
                network = config.fit(
                    data, opened, tuple(callbacks), resume=saved, stop_after=stop_after, group=group
                )
        except KeyboardInterrupt as error:
            error.args = error.args or _where_saved(folder)
            raise
        if folder is not None:
            taken = None if quiet or member else opened
            _finish(config, folder, network, data, started, group, taken=taken)
        group.rest()


@dataclass(frozen=True)
class _Asked:
    """What was asked for: the options of a run that were given, and what becomes of its folder."""

    given: Mapping[str, Any]
    config_file: Path | None
    out: Path | None
    force: bool
    stop_after: int | None
    resume: Path | None

    def read(self) -> tuple[RunConfig, Snapshot | None, str]:
        """The run, what it goes on from, and what is to be said where nothing is left of it."""
        if self.resume is None:
            with usage_errors():
                return placed(read_options(self.given, self.config_file)), None, ""
        others = self.config_file or self.out or self.force
        config, saved = _resumed(self.resume, self.given, self.stop_after, others)
        if saved is None or not is_finished(self.resume, config, saved):
            return config, saved, ""
        return config, saved, what_next(self.resume, config, saved)

    def prepare(
        self, config: RunConfig, saved: Snapshot | None, group: Group
    ) -> tuple[RunConfig, Backend, Dataset]:
        """The run as it is on this machine, its backend and its data."""
        opened = open_with_options(
            config.backend, config.device, config.dtype,
            threads=config.threads, steps=config.steps, tf32=config.tf32, group=group,
        )  # fmt: skip
        config = replace(config, backend=opened.name)
        # Of a run that goes on elsewhere the folder may be gone: one that is given now is there.
        data_dir = config.data_dir if self.resume is None else still_there(config.data_dir)
        table = _table_of_start(config, self._with_network(config, saved))
        options = config.table_options()
        data = load_dataset(config.dataset, data_dir=data_dir, table=table, **options)
        if self.resume is None:
            config = _fitting_optimizer(config, data, self.given, self.config_file)
        with usage_errors():
            config.fit_options(data.target_kind)  # what does not go with the data
            config.build_model(data)
        with usage_errors("--augment"):
            if config.augment is not None:
                picture_shape(augmentations_from(config.augment), data.image_shape)
        with usage_errors("--shards"):
            Reduction.of(group, config.reduction, config.shards)
        return config, opened, data

    def _with_network(self, config: RunConfig, saved: Snapshot | None) -> Path | None:
        """The run that goes on, or one of its members, if it has a network; None if none has."""
        if self.resume is None:
            return None
        if config.members > 1:
            return first_trained(self.resume)
        return None if saved is None else self.resume


def _of_members(
    config: RunConfig, opened: Backend, data: Dataset, asked: _Asked, group: Group,
    jobs: int | None, quiet: bool, started: float,
) -> EnsembleRun:  # fmt: skip
    """The training of an ensemble, described on the terminal."""
    if group.size > 1:
        raise click.UsageError("--members trains each in a process of its own: leave out --ranks")
    with usage_errors():
        config.of_member(config.members)
    if not quiet:
        _describe(config, opened, data, None, group)
    return EnsembleRun(
        config, opened, data, asked.given, asked.resume, asked.stop_after,
        jobs_of(jobs, config, opened), quiet, started,
    )  # fmt: skip


def _table_of_start(config: RunConfig, run: Path | None) -> TablePreparation | None:
    """How the network that a training begins with had its table prepared: its weights are for that.

    None where the first layer begins anew. That of a run that goes on is in its own network, since
    the other need not be there any more.
    """
    if config.start is None:
        return None
    network = load(config.start if run is None else run)
    first = next(iter(network.model.parameter_shapes()), "").rpartition(".")[0]
    return None if first in (config.fresh or ()) else network.table


def _fitting_optimizer(
    config: RunConfig, data: Dataset, given: Mapping[str, Any], config_file: Path | None
) -> RunConfig:
    """Adam where numbers are predicted, if nothing was said of the optimizer.

    The squared error has no bound, and with the length of steps that suits the cross-entropy of
    classes plain SGD may diverge.
    """
    options = given if config_file is None else {**read_config(config_file), **given}
    if data.target_kind == "classes" or "optimizer" in options:
        return config
    try:
        adam = RunConfig(**{**options, "optimizer": "adam"})
    except OptionError:  # an option that Adam has not
        return config
    return replace(placed(adam), backend=config.backend)


def _resumed(
    run: Path, given: Mapping[str, Any], stop_after: int | None, others: Any
) -> tuple[RunConfig, Snapshot | None]:
    """A run that goes on: its configuration, and where it is; None where it begins anew."""
    if others:
        raise click.UsageError(
            "--resume goes on in the folder of the run, with its options: leave out --config, "
            "--out and --force"
        )
    with usage_errors():
        config, snapshot = open_run(run, given)
    done = 0 if snapshot is None else snapshot.epoch
    if stop_after is not None and stop_after <= done:
        raise click.BadParameter(
            f"{counted(done, 'epoch')} {'is' if done == 1 else 'are'} done already: give a "
            f"larger number than {stop_after}",
            param_hint="'--stop-after'",
        )
    return config, snapshot


def _open_folder(
    config: RunConfig, data: Dataset, resume: Path | None, out: Path | None, force: bool
) -> RunFolder:
    """The run folder; nothing is written yet."""
    try:
        with usage_errors():
            if resume is not None:
                return RunFolder(resume, resume=True, config=config)
            if out is not None:
                return RunFolder(out, force=force, config=config)
            return NumberedRunFolder(data.name, config=config)
    except ImportError as error:
        raise click.BadParameter(str(error), param_hint="'--tensorboard'") from error


def _describe(
    config: RunConfig, opened: Backend, data: Dataset, saved: Snapshot | None, group: Group
) -> None:
    tell(f"backend: {describe_backend(opened, steps=True)}")
    reduction = Reduction.of(group, config.reduction, config.shards)
    if not reduction.is_whole:
        tell(f"ranks:   {describe_ranks(reduction, config.batch_size)}")
    found, *notes = data.notes or ("",)
    if config.dataset not in DATASETS:  # of a path: what it is taken for
        tell(f"data:    {one_line(found, _LONGEST_NOTE)}")
    tell(f"data:    {readable(data.limited(config.limit).describe())}")
    for note in notes:
        tell(f"         {one_line(note, _LONGEST_NOTE)}")
    tell(f"model:   {config.describe(data)}")
    if config.start is not None or config.freeze:
        begins = "as drawn by the seed" if config.start is None else f"as {one_line(config.start)}"
        frozen = f", frozen: {one_line(', '.join(config.freeze))}" if config.freeze else ""
        tell(f"begins:  {begins}{frozen}")
    optimizer = config.build_optimizer()
    if optimizer != SGD(optimizer.learning_rate):
        tell(f"steps:   {optimizer!r}")
    if saved is not None:
        within = f" and step {saved.step} of the next" if saved.step else ""
        tell(f"goes on: after epoch {saved.epoch} of {config.epochs}{within}")


def _where_saved(folder: RunFolder | None) -> tuple[str, ...]:
    """Of a training that was interrupted at once, with no word on what is left of it."""
    if folder is None or folder.saved_to is None:
        return ()
    return (f"what was trained before is in {folder.saved_to}, for {folder.resume_with}",)


def _finish(
    config: RunConfig, folder: RunFolder, network: Network, data: Dataset, started: float,
    group: Group, *, taken: Backend | None,
) -> None:  # fmt: skip
    """The summary, the pictures and the last line; with `taken`, how its steps were taken."""
    if taken is not None:
        tell(f"taken:   {taken.taken_steps()}")
    if not folder.finished:
        tell(
            f"stopped after epoch {len(network.history)} of {config.epochs}; "
            f"go on with: {readable(folder.resume_with)}"
        )
        return
    together = ""
    if isinstance(network, Ensemble):
        folder.save_network(network)
        together = f"ensemble of {len(network.members)}: "
    which, split = judged_on(data)
    counts = count_confusions(network, split)

    def write_summary(pending: str | None = None) -> float:
        seconds = time.perf_counter() - started
        folder.write_summary(
            network, config.to_dict(), counts, which, total_seconds=seconds, pending=pending,
            group=group,
        )  # fmt: skip
        return seconds

    # Before the pictures, which may fail: and again, with their time.
    write_summary("pictures")
    draw_pictures(folder.path, network, data, counts)
    seconds = write_summary()
    epochs = len(network.history)
    best = f", of which {folder.best_epoch} was the best," if config.patience else ""
    tell(
        f"{together}{which} {verdict(network, split, counts)} after "
        f"{counted(epochs, 'epoch')}{best} in {seconds:.1f} s; run folder: "
        f"{readable(str(folder.path))}"
    )
