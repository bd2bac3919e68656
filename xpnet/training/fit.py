"""Training a network: the arguments, checked, and the parts, put together."""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from xpnet.augment import Augmentation, checked_augmentation, picture_shape
from xpnet.backends import Backend
from xpnet.callbacks.base import Callback, CallbackList
from xpnet.data import Dataset, taken_shape
from xpnet.distributed.group import Group, agreed, ending_all
from xpnet.distributed.reduction import Reduction
from xpnet.dtype_limits import check_numbers
from xpnet.inputs.batches import check_batch_size
from xpnet.inputs.samples import home_backend
from xpnet.inputs.sets import Given, Samples, WeightedSamples, given_samples, load_sets
from xpnet.layers import Layer
from xpnet.layers.container import check_constraints, wanted_shape
from xpnet.layers.frozen import names_given
from xpnet.losses import LossFunction, accepts_weight, softmax_cross_entropy
from xpnet.network.network import Network
from xpnet.network.output import check_loss_fits, check_output
from xpnet.optimizers import SGD, Optimizer
from xpnet.random import Seed
from xpnet.saving.snapshot import Snapshot
from xpnet.streams import log_info
from xpnet.training.averaging import check_average_from
from xpnet.training.interrupts import Interrupts
from xpnet.training.loop import Loop
from xpnet.training.memory import telling_of_memory
from xpnet.training.ranks import open_for_rank, settle_for_ranks
from xpnet.training.rates import start_plateau
from xpnet.training.resume import open_resume, settle_as_before
from xpnet.training.setup import Plan, Setup
from xpnet.training.starting import read_as_by, start_from, warn_of_other_table
from xpnet.training.watched import check_accuracy, check_monitors


def fit(
    model: Layer,
    data: Dataset | Samples,
    *,
    test: Samples | WeightedSamples | None = None,
    validation: Samples | WeightedSamples | float | None = None,
    sample_weight: Any = None,
    epochs: int = 20,
    batch_size: int = 64,
    optimizer: Optimizer = SGD(),  # noqa: B008 - frozen
    loss: LossFunction = softmax_cross_entropy,
    backend: str | Backend = "auto",
    device: str | None = None,
    dtype: str | None = None,
    seed: Seed = 0,
    callbacks: Iterable[Callback] = (),
    resume: str | os.PathLike[str] | Snapshot | None = None,
    stop_after: int | None = None,
    train_metrics: str = "evaluated",
    drop_last: bool = False,
    augment: Augmentation | Sequence[Augmentation] | None = None,
    average_from: float | None = None,
    start: Network | None = None,
    freeze: Iterable[str] | None = None,
    fresh: Iterable[str] | None = None,
    group: Group | None = None,
    reduction: str = "fast",
    shards: int | None = None,
) -> Network:
    """Train a network.

    Every epoch visits all samples once, in a new random order, in mini-batches; the last batch
    is smaller where the batch size does not divide their number, or left out (`drop_last`).
    `batch_size` at or above that number is full-batch gradient descent. After each epoch the loss
    and the accuracy are measured on the whole training set (unless `train_metrics` says otherwise),
    on the validation set and on the test set.

    Parameters
    ----------
    model
        The layers, such as `Sequential(...)` or `mlp(784, 128, 10)`; its output is the logits.
    data
        A `Dataset`, or a pair `(x, y)`: samples (N, ...) and their targets, arrays of any backend's
        library, data frames of pandas or Polars, sparse matrices of SciPy. Targets are what the
        loss is for: labels (N,) or (N, 1), or one-hot rows (N, C); rows of 0 and 1 (N, C); or
        values (N, C); of a single output the latter two also (N,), and then predictions are (N,).
        Labels are integers from 0, which number the outputs, or text or Booleans, which the network
        then predicts (`Network.classes`). uint8 samples are taken as pixels and divided by 255,
        unless the largest is 1, and so are wider integers that go from 0 to 255 (or 65,535); all
        others are taken as they are. Of a `numpy.memmap` of more than
        256 MiB only the batches are read, and of a sparse matrix that would be larger only they are
        made dense.
    test
        A pair like `data`, or `(x, y, weights)` with weights for the loss alone, to evaluate on
        after each epoch; a `Dataset` brings its own.
    validation
        As `test`, for choices that are made by looking at it, such as `EarlyStopping`; or a
        fraction between 0 and 1 of the training set, which is kept for it and not trained on, drawn
        by the seed. Where the targets are classes, each has its share. A `Dataset` may bring its
        own.
    sample_weight
        What the loss of each training sample is multiplied by: numbers (N,) that are not negative.
        On a batch whose weights are all 0 no step is taken.
    epochs, batch_size
        Positive integers.
    optimizer
        How parameters change, with its learning rate and how that changes; see
        `xpnet.optimizers` and `xpnet.schedules`.
    loss
        What is minimised; see `xpnet.losses`. It also says what kind of targets there are. For a
        plain function that does not say (`target_kind`), integers (N,) are classes, and all other
        targets values.
    backend, device, dtype
        Where and in which precision (float32 if not given); see `open_backend`. `"auto"` stays
        where `x` lives if it is an array of another library than NumPy.
    seed
        A non-negative integer or a `SeedSequence`. One seed gives the same initial weights, the
        same shuffles and the same dropout masks on every backend.
    callbacks
        See `Callback`.
    resume
        Go on with a training that was saved: a file that `Checkpoint` or a run folder wrote, the
        folder that it is in, or what `read_snapshot` gave. The result is that of the training
        without a break, on the same backend to the last bit. All else must be given as before; only
        `epochs` may be another number, if no schedule depends on it.
    stop_after
        The number of the epoch that the training is left after, to go on later. What depends on the
        number of epochs still follows from `epochs`.
    train_metrics
        Where the figures of the training set come from. `"evaluated"`: they are measured on all of
        it after each epoch, as those of the other sets, which takes a forward pass over it.
        `"running"`: the loss is the mean over the samples of the losses that their batches had in
        the epoch, before each step and with dropout, which costs next to nothing; there is no
        accuracy. `"none"`: neither.
    drop_last
        Whether a last batch that is smaller than the others is left out: in each epoch other
        samples are, and figures that are measured are those of all.
    augment
        How the samples of each batch are changed at random, such as `Elastic()` or a list
        `[Elastic(), Affine()]`, one after the other; see `xpnet.augment`. What is measured is
        measured without; the loss of `train_metrics="running"` is that of the changed samples.
    average_from
        The part of the training, from 0 to below 1, after which the parameters at the ends of
        epochs are averaged, each counting the same: 0.75 of 20 epochs takes epochs 16 to 20. The
        network has the means in the end, with the statistics of batch norm measured for them on the
        training set; the history is that of the parameters on their way. None for no averages.
        Izmailov et al., 2018, https://arxiv.org/abs/1803.05407
    start
        A trained network, of any backend and dtype, whose parameters and buffers the training
        begins with; it stays as it is. All must be in the model, by name and shape. Without it
        they are drawn by the seed. A history begins anew. A training that goes on (`resume`) has
        its parameters already, and needs no `start`.
    freeze
        The names of layers that are not trained, such as `("fc1", "block.fc2")` or a generator of
        them: parameters and buffers stay as they are. These layers are as in evaluation: a batch
        norm takes its running statistics, dropout does nothing.
    fresh
        The names of layers that do not begin as those of `start`, such as a new last layer. If
        given, layers of `start` that the model has not are left out.
    group
        The ranks that train together, such as `xpnet.distributed.mpi_group()`; this process alone
        if None. All of them call `fit` with the same arguments. `batch_size` is that of the whole
        batch, of which each rank takes its part, and the result is that of one process: in the last
        digits, or to the bit (`reduction`). Callbacks are told on rank 0 alone, which may stop all.
    reduction
        How the gradients of the parts are added up. `"fast"`: a part for each rank, in the order
        that the engine takes. `"exact"`: so many parts whatever the number of ranks, in one fixed
        order: the same bits for any number of ranks.
    shards
        The number of parts where the reduction is exact: a power of two, 8 if None.

    Returns
    -------
    network
        The trained network, with its `history`.

    Raises
    ------
    BackendUnavailable
        If the backend or device cannot be used.
    DataError
        If samples and targets do not fit each other or the model, or are not finite, missing or
        masked.
    ValueError
        If an option is not allowed, or is 0 or infinite in the dtype; if the loss does not fit the
        outputs of the model, as where it takes logits and the model ends in a softmax; if the
        last batch is too small for a layer (`BatchNorm`), or none is left; or if samples are no
        pictures, and `augment` is for pictures.
    CheckpointError
        If what is to go on cannot be read, or is another training than this one.
    GroupError
        If ranks have not the same network after an epoch, or another one has failed.
    TrainingDiverged
        If the loss is not finite after an epoch.
    OutOfMemory
        If the memory of the device or of the host is used up.
    KeyboardInterrupt
        On Ctrl-C. Where a callback saves the training, the step under way is finished first, and
        the message says what file it can go on from.

    Warns
    -----
    DataWarning
        If samples are probably not in the scale that was meant: uint8 of 0 and 1, floating
        point to 255.

    Examples
    --------
    >>> from xpnet import fit, load_dataset, mlp
    >>> network = fit(mlp(64, 32, 10), load_dataset("digits"), epochs=10, backend="numpy")
    >>> network.history[-1].test_accuracy > 0.9
    True
    """
    ranks = Reduction.of(group, reduction, shards)
    with ExitStack() as stack:
        # The first to be entered is the last to be left: a signal ends the process after all else.
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(ending_all(ranks.group))
        saved = agreed(ranks.group, lambda: open_resume(resume), first_alone=True)

        def check() -> tuple[Given, Setup, Backend]:
            plan = Plan.of(
                epochs=epochs, batch_size=batch_size, seed=seed, stop_after=stop_after,
                train_metrics=train_metrics, drop_last=drop_last,
                average_from=check_average_from(average_from, optimizer),
            )  # fmt: skip
            names = names_given("freeze", freeze), names_given("fresh", fresh)
            given = given_samples(data, test, validation, sample_weight)
            told = _check_options(model, optimizer, loss, callbacks)
            changed = checked_augmentation(augment)
            given = read_as_by(given, start, model, names[1])
            warn_of_other_table(given, start, model, names[1], stacklevel=4)
            _check_weights_are_taken(given, loss)
            check_monitors(told, given, train_metrics)
            plateau = start_plateau(optimizer, given.missing, train_metrics)
            opened = _open(backend, device, dtype, given.train[0], saved, ranks)
            augmentations = () if changed is None else changed.all_parts()
            check_numbers(opened.dtype_name, model, loss, optimizer, *augmentations)
            with telling_of_memory(opened, batch_size):
                begin = start_from(
                    opened, model, optimizer, plan.seed, start,
                    freeze=names[0], fresh=names[1], resumed=saved is not None,
                )  # fmt: skip
            told = told if ranks.group.rank == 0 else CallbackList()
            setup = Setup(model, loss, optimizer, plan, begin, told, plateau, saved, ranks, changed)
            return given, setup, opened

        given, setup, opened = agreed(ranks.group, check)
        stack.enter_context(telling_of_memory(opened, batch_size))
        stack.enter_context(opened.scope())

        def load() -> Loop:
            sets = load_sets(opened, model, given, setup.plan.seed, loss)
            trained = setup.start.model
            shape = taken_shape(wanted_shape(model), tuple(sets.x.shape[1:]))
            check_batch_size(trained, sets.n_samples, batch_size, drop_last=drop_last, shape=shape)
            if setup.augment is not None:
                picture_shape(setup.augment, tuple(sets.x.shape[1:]))
            check_accuracy(setup.callbacks, optimizer, sets.kind)
            return Loop(setup, opened, sets)

        loop = agreed(ranks.group, load)
        loop.run(stack, interrupts)
    return loop.network


def _check_weights_are_taken(given: Given, loss: LossFunction) -> None:
    if given.weighted and not accepts_weight(loss):
        raise TypeError(
            f"{given.weighted} needs a loss that takes weight=..., and {loss!r} does not: give it "
            f"the signature loss(xp, output, target, *, weight=None, need_grad=True)"
        )


def _check_options(
    model: Any, optimizer: Any, loss: Any, callbacks: Iterable[Callback]
) -> CallbackList:
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer such as Sequential(...) or mlp(...), got {model!r}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one such as SGD(0.1), got {optimizer!r}")
    if not callable(loss):
        raise TypeError(f"loss must be a function such as softmax_cross_entropy, got {loss!r}")
    if isinstance(loss, type):
        raise TypeError(f"loss must be one such as {loss.__name__}(), got the class {loss!r}")
    check_constraints(model)
    check_output(model, loss)
    check_loss_fits(model, loss)
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks must be a list of them, got {callbacks!r} itself")
    listed = CallbackList(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be instances of Callback, got {callback!r}")
    return listed


def _open(
    backend: str | Backend, device: str | None, dtype: str | None, x: Any, saved: Snapshot | None,
    ranks: Reduction,
) -> Backend:  # fmt: skip
    opened = home_backend(backend, device, dtype, x)
    opened = opened or open_for_rank(ranks.group, backend, device, dtype)
    settle_for_ranks(opened, ranks)
    reason = opened.reason and f": {opened.reason}"
    log_info("training on %r%s", opened, reason)
    if saved is not None:
        settle_as_before(opened, saved)
    return opened
