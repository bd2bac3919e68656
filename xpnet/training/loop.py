"""The epochs of a training: steps, evaluation, and what callbacks want, in their order."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.callbacks.base import overrides, saves
from xpnet.distributed.group import check_same, on_all_ranks
from xpnet.errors import CheckpointError, TrainingDiverged, one_line
from xpnet.history import EpochRecord, History
from xpnet.inputs.samples import dtype_name
from xpnet.inputs.sets import Sets
from xpnet.network.evaluation import Evaluator, make_evaluator
from xpnet.network.network import Network
from xpnet.network.state import network_arrays
from xpnet.purity import is_pure
from xpnet.saving.snapshot import Snapshot
from xpnet.saving.tensors import WRONG_VALUES
from xpnet.training.averaging import EpochAverage, batch_statistics
from xpnet.training.epoch import make_epoch, take_steps
from xpnet.training.interrupts import Interrupts
from xpnet.training.ranks import check_same_network, share_arrays
from xpnet.training.rates import follow_plateau, last_rate
from xpnet.training.resume import (
    check_place,
    check_same_training,
    describe_training,
    keepers,
    load_state,
)
from xpnet.training.setup import Setup
from xpnet.training.step import LOSS_SUM, initial_state, make_step
from xpnet.training.summed import SummedSteps
from xpnet.typing import HostArray, State


class Loop:
    """A training under way, from its start or from a snapshot.

    Attributes
    ----------
    state
        All that a step changes.
    epoch, step
        How many epochs are finished, and how many steps of the next one have been taken.
    """

    def __init__(self, setup: Setup, backend: Backend, sets: Sets) -> None:
        self.setup, self.plan, self.callbacks = setup, setup.plan, setup.callbacks
        self.backend, self.sets = backend, sets
        self._planned = setup.plan.steps(sets.n_samples)
        self._n_steps = self._planned  # of the next epoch, but for those that are left out
        self._training = self._describe()
        self._average: EpochAverage | None = None
        self.state = self._first_state()
        self.network = self._network()
        self.epoch, self.step = 0, 0
        self._seconds = 0.0  # of the steps of an epoch that had been begun before a break
        self._started = 0.0
        self._stopped = False
        self._interrupts: Interrupts | None = None
        self._steps_per_call = self._allowed_per_call()
        self._group = setup.reduction.group
        self._summed = None if setup.reduction.is_whole else self._summed_steps()
        self._first_not_finite = ""  # the step, where the loss of a part was not finite
        self._group.where = self._at

    def _describe(self) -> dict[str, Any]:
        """What the training is, where that is saved or compared with what was."""
        saved = self.setup.saved
        group = self.setup.reduction.group
        if saved is None and group.size == 1 and not any(map(saves, self.callbacks)):
            return {}
        training = describe_training(self.backend, self.setup, self.sets)
        if saved is not None:
            kept: Collection[str] = keepers(self.callbacks, self.setup.plateau)
            if group.rank > 0:
                kept = saved.callbacks  # those that keep them are with rank 0
            check_same_training(saved, training, self.setup.model, kept)
            left_out = self.sets.counts is not None
            check_place(saved, self.plan.epochs, self._planned, left_out=left_out)
        return training

    def _first_state(self) -> State:
        """The state before the first step, or that of the snapshot."""
        setup, plan = self.setup, self.plan
        state = initial_state(
            self.backend, setup.start.model, setup.optimizer, plan.seed,
            epochs=plan.epochs, steps_per_epoch=self._planned,
            sum_losses=plan.train_metrics == "running", arrays=setup.start.arrays,
        )  # fmt: skip
        average = None if plan.average_from is None else EpochAverage(self.backend, state, plan)
        self._average = average
        if setup.saved is None:
            return state
        if average is None:
            return load_state(self.backend, setup.saved, state)
        return average.taken_from(
            load_state(self.backend, setup.saved, {**state, **average.in_snapshot()})
        )

    def _network(self) -> Network:
        """The network as it is before the next step; it is given the arrays of each epoch."""
        setup, sets = self.setup, self.sets
        params, buffers = network_arrays(setup.model, self.state)
        return Network(
            setup.model,
            params,
            self.backend,
            buffers=buffers,
            history=None if setup.saved is None else History(setup.saved.records),
            sample_shape=tuple(sets.x.shape[1:]),
            pixel_maximum=sets.pixel_maximum,
            framing=sets.framing,
            table=sets.table,
            input_dtype=dtype_name(sets.x),
            target_kind=sets.kind,
            target_shape=sets.target_shape,
            classes=sets.classes,
            class_names=sets.class_names,
            loss=setup.loss,
        )

    def _allowed_per_call(self) -> int:
        """How many steps are taken in one call."""
        saved = self.setup.saved
        if self.callbacks.want_every_step():
            return 1
        if saved is not None and saved.backend == self.backend.name:
            return saved.steps_per_call  # a compiler may give other last digits to other groups
        return self.backend.steps_per_call

    def run(self, stack: ExitStack, interrupts: Interrupts) -> None:
        """Train until the last epoch is finished, or something ends the training before.

        The callbacks are told, and have ended with the stack. Signals are waited for where one of
        them wants that.
        """
        plan, saved = self.plan, self.setup.saved
        self.callbacks.start(stack, self.network, epochs=plan.epochs, steps=self._planned)
        if saved is not None:
            self._go_on_from(saved)
        group = self._group
        check_same(group, "the training", self._training, "give all ranks the same arguments")
        if group.share(any(overrides(callback, "on_interrupt") for callback in self.callbacks)):
            self._interrupts = interrupts
            interrupts.watch()
        if self._summed is not None:
            stack.enter_context(self._summed.connected())
        take, evaluate, after_steps = self._steps(), self._evaluator(), self._hooks()
        self._save_where_wanted()
        while self.epoch < plan.last_epoch and not self._stopped:
            self._take_steps(take, after_steps)
            self._finish_epoch(evaluate)
        if self._stopped or self.epoch >= plan.epochs:
            self._take_average()
            self.callbacks.finish(self.network)
            for arrays in (self.network.params, self.network.buffers):
                arrays.update(share_arrays(group, self.backend, arrays))

    def _steps(self) -> Callable[..., Iterator[tuple[State, int]]]:
        """What takes the steps of an epoch: `take(state, x, y, epoch, skip=)`."""
        if self._summed is not None:
            return partial(self._summed.take, stop=self._is_interrupted)
        setup = self.setup
        step = make_step(
            self.backend, setup.start.model, setup.loss, setup.optimizer, **self._step_options()
        )
        pure = is_pure(setup.model, setup.loss, setup.optimizer, setup.augment)
        run = self.backend.repeat(step, pure=pure)
        return partial(
            take_steps, self.backend, self.network.model, run, per_call=self._steps_per_call
        )

    def _summed_steps(self) -> SummedSteps:
        setup = self.setup
        return SummedSteps(
            self.backend, setup.reduction, setup.start.model, setup.loss, setup.optimizer,
            **self._step_options(),
        )  # fmt: skip

    def _step_options(self) -> dict[str, Any]:
        return {
            "pixel_maximum": self.sets.pixel_maximum,
            "seed": self.plan.seed,
            "sum_losses": self.plan.train_metrics == "running",
            "augment": self.setup.augment,
            "sample_shape": tuple(self.sets.x.shape[1:]),
        }

    def _is_interrupted(self) -> bool:
        """Whether this rank has been asked to stop."""
        return self._interrupts is not None and self._interrupts.number is not None

    def _evaluator(self) -> Evaluator:
        maximum, kind = self.sets.pixel_maximum, self.sets.kind
        return make_evaluator(
            self.backend,
            self.setup.model,
            self.setup.loss,
            pixel_maximum=maximum,
            kind=kind,
            group=self._group,
        )

    def _go_on_from(self, snapshot: Snapshot) -> None:
        self.epoch, self.step = snapshot.epoch, snapshot.step
        self._seconds, self._stopped = snapshot.seconds, snapshot.stopped
        self._started = time.perf_counter() - self._seconds
        for name, keeper in keepers(self.callbacks, self.setup.plateau).items():
            if name in snapshot.callbacks:
                try:
                    keeper.load_state_dict(dict(snapshot.callbacks[name]))
                except CheckpointError:
                    raise
                except WRONG_VALUES as error:
                    raise CheckpointError(
                        f"resume: what {name} kept cannot be taken back: {one_line(error)}"
                    ) from error

    def _hooks(self) -> list[Callable[[State, int], None]]:
        """What is done after each call that takes steps."""
        hooks = self.callbacks.step_hooks()
        if self._summed is not None or any(map(saves, self.callbacks)):
            hooks.append(self._count_and_save)
        return hooks

    def _take_steps(
        self,
        take: Callable[..., Iterator[tuple[State, int]]],
        after_steps: list[Callable[[State, int], None]],
    ) -> None:
        """The steps of the next epoch, or those of them that have not been taken yet."""
        sets, plan, state = self.sets, self.plan, self.state
        self._started = time.perf_counter() - self._seconds
        epoch = make_epoch(
            self.epoch + 1, sets.n_samples, plan.batch_size, seed=plan.seed,
            visited=plan.visited(sets.n_samples), rows=sets.rows, counts=sets.counts,
        )  # fmt: skip
        self._n_steps = epoch.n_steps
        steps = take(state, sets.x, sets.y, epoch, skip=self.step)
        for state, count in steps:
            for hook in after_steps:
                hook(state, count)
        self.backend.synchronize(*state.values())
        self.state = state

    def _count_and_save(self, state: State, count: int) -> None:
        self.step += count
        summed = self._summed
        ago = None if summed is None else summed.not_finite_ago
        if ago is not None and not self._first_not_finite:
            self._first_not_finite = f"step {self.step - ago} of epoch {self.epoch + 1}"
        if self.step == self._n_steps:
            return  # the end of the epoch, which has its own place
        self.state = state
        self._save_where_wanted()
        asked = self._is_interrupted() if summed is None else summed.asked_to_stop > 0
        self._leave_if(asked)

    def _finish_epoch(self, evaluate: Evaluator) -> None:
        """All that happens between the last step of an epoch and the first of the next, in order.

        The figures are measured and checked, the schedule and callbacks are told of them, and only
        then is the training saved: with what all of them have kept.
        """
        self.network.set_arrays(self.state)
        record = self._evaluate(evaluate)
        self._check_finite(record)
        self.network.history.append(record)
        if self._average is not None:
            self._average.follow(self.state, self.epoch + 1)
        self.epoch, self.step, self._seconds = self.epoch + 1, 0, 0.0
        if self.setup.plateau is not None:
            follow_plateau(self.backend, self.setup.plateau, self.state, record)
        self._stopped = self._group.share(self.callbacks.epoch(self.network, record))
        self._save_where_wanted()
        self._leave_if(self._compare_ranks())

    def _take_average(self) -> None:
        """At the end: the network has the means of the parameters, where any were made."""
        if self._average is None or not self._average.counted(self.epoch):
            return
        network, model = self.network, self.setup.start.model
        network.params |= self._average.arrays
        network.buffers |= batch_statistics(
            self.backend, model, network.arrays, self.sets, self.plan
        )

    def _evaluate(self, evaluate: Evaluator) -> EpochRecord:
        trained = time.perf_counter()
        arrays, sets = self.network.arrays, self.sets
        figures: dict[str, float | None] = {}
        on_train = sets.train if self.plan.train_metrics == "evaluated" else None
        for name, pair in (
            ("train", on_train), ("test", sets.test), ("validation", sets.validation),
        ):  # fmt: skip
            found = None if pair is None else evaluate(arrays, *pair)
            figures[f"{name}_loss"] = None if found is None else found.loss
            figures[f"{name}_accuracy"] = None if found is None else found.accuracy
        if self.plan.train_metrics == "running":
            total = float(self.backend.to_numpy(self.state[LOSS_SUM]))
            figures["train_loss"] = total / self.plan.visited(self.sets.n_samples)
            self.state[LOSS_SUM] = self.backend.asarray(0.0, dtype=self.backend.dtype)
        return EpochRecord(
            epoch=self.epoch + 1,
            train_seconds=trained - self._started,
            eval_seconds=time.perf_counter() - trained,
            learning_rate=_shortest(last_rate(self.backend, self.state)),
            **figures,
        )

    def _check_finite(self, record: EpochRecord) -> None:
        """Check the training loss; where the network was not evaluated with it, the network too."""
        backend, loss = self.backend, record.train_loss
        if loss is None:
            loss = float(backend.to_numpy(self.state["loss"]))
        if not math.isfinite(loss):  # which is the same on all ranks
            raise self._all_diverged(f"the training loss became {loss}")
        if self.plan.train_metrics == "evaluated":
            return
        # A loss is that before its step: what the last step has done is in no loss yet.
        bad = (
            name
            for name, value in self.network.arrays.items()
            if not bool(backend.to_numpy(backend.xp.all(backend.xp.isfinite(value))))
        )
        # Of all ranks, since it is not known yet whether they have the same.
        name = next(filter(None, self._group.gather(next(bad, None))), None)
        if name is not None:
            raise self._all_diverged(f"{name} became infinite or not a number")

    def _all_diverged(self, what: str) -> TrainingDiverged:
        """The error that all ranks raise after an epoch, with the words of rank 0, which knows what
        was saved."""
        text = self._group.share(str(self._diverged(what, self._planned)))
        return on_all_ranks(self._group, TrainingDiverged(text))

    def _diverged(self, what: str, step: int) -> TrainingDiverged:
        """The error for numbers that are not finite after so many steps of the next epoch."""
        before = self.epoch * self._planned
        rate = _shortest(last_rate(self.backend, self.state))
        steps = f"steps {before + 1} to {before + step}" if step > 1 else f"step {before + 1}"
        first = self._first_not_finite and f", first in {self._first_not_finite}"
        return TrainingDiverged(
            f"{what} in epoch {self.epoch + 1} ({steps}{first}) with "
            f"learning rate {rate:g}: most often the learning rate is too high; try a tenth of it"
            f"{self._where_saved()}"
        )

    # -- saving ---------------------------------------------------------------------------------

    def _save_where_wanted(self) -> None:
        last = self.step == 0 and (self._stopped or self.epoch >= self.plan.last_epoch)
        wanting = [
            callback
            for callback in self.callbacks
            if callback.wants_snapshot(self.epoch, self.step, last=last)
        ]
        if wanting:
            snapshot = self._snapshot()
            for callback in wanting:
                callback.on_snapshot(snapshot)

    def _compare_ranks(self) -> bool:
        """After an epoch: whether a rank has been asked to stop.

        Raises
        ------
        GroupError
            If the parameters are not the same on all ranks.
        """
        group = self._group
        check_same_network(
            group, self.backend, self.network.arrays, f"after epoch {self.epoch}",
            self._where_saved(),
        )  # fmt: skip
        return any(group.gather(self._is_interrupted()))

    def _leave_if(self, asked: bool) -> None:
        """Leave the training, after all that has to be saved, where a rank was asked to stop."""
        if self._interrupts is None or not asked:
            return
        self._interrupts.answered = True
        snapshot = self._snapshot()
        for callback in self.callbacks:
            callback.on_interrupt(snapshot)
        within = f"after step {self.step} of {self._n_steps} in epoch {self.epoch + 1}"
        where = within if self.step else f"after epoch {self.epoch}"
        saving = next((callback for callback in self.callbacks if callback.saved_to), None)
        how = f", for {saving.resume_with}" if saving else ""
        text = f"{where} of {self.plan.epochs}{self._where_saved()}{how}"
        # Shared: a rank that ends by a signal would end rank 0 before it has saved.
        raise on_all_ranks(self._group, KeyboardInterrupt(self._group.share(text)))

    def _at(self) -> str:
        """Where the training is, for a rank that waits in vain."""
        return (
            f"after step {self.step} of {self._n_steps} in epoch {self.epoch + 1}"
            f"{self._where_saved()}"
        )

    def _where_saved(self) -> str:
        files = [callback.saved_to for callback in self.callbacks if callback.saved_to]
        return f"; what was trained before is in {files[0]}" if files else ""

    def _snapshot(self) -> Snapshot:
        backend, named = self.backend, keepers(self.callbacks, self.setup.plateau)
        states = {name: keeper.state_dict() for name, keeper in named.items()}
        # This waits for the steps that are under way. Copies: the next step may overwrite these.
        average = {} if self._average is None else self._average.in_snapshot()
        kept = {**self.state, **average}
        arrays = {name: np.array(backend.to_numpy(value)) for name, value in kept.items()}
        snapshot = Snapshot(
            arrays,
            self._training,
            tuple(self.network.history),
            epoch=self.epoch,
            step=self.step,
            epochs=self.plan.epochs,
            stopped=self._stopped,
            seconds=time.perf_counter() - self._started if self.step else 0.0,
            backend=backend.name,
            threads=backend.product_threads(),
            steps_per_call=self._steps_per_call,
            callbacks={name: state for name, state in states.items() if state},
        )
        # Before the end of an epoch nobody has looked yet, and what is saved must be good. Where it
        # is rank 0 alone that saves, the others do not know, and have to be ended.
        name = snapshot.not_finite()
        if name is not None:
            raise self._diverged(f"{name} became infinite or not a number", self.step)
        return snapshot


def _shortest(x: HostArray) -> float:
    """The number as its dtype prints it: 0.1 in float32, and not 0.10000000149."""
    return float(str(x[()]))
