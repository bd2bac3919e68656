"""Training: epochs of shuffled mini-batches, each epoch followed by an evaluation."""

import math
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from xpnet.backends import Backend, backend_of, open_backend
from xpnet.checks import positive_integer
from xpnet.data import Dataset
from xpnet.errors import DataError, TrainingDiverged
from xpnet.layers import Layer
from xpnet.losses import LossFunction, accepts_weight, softmax_cross_entropy
from xpnet.optimizers import SGD, Optimizer
from xpnet.random import Seed, permutation, seed_sequence
from xpnet.training.batches import batches, check_batch_size
from xpnet.training.callbacks import Callback
from xpnet.training.evaluation import Evaluator, make_evaluator
from xpnet.training.history import EpochRecord
from xpnet.training.network import Network
from xpnet.training.rates import follow_plateau, last_rate, start_plateau
from xpnet.training.samples import load_inputs
from xpnet.training.step import initial_state, make_step, select, trained_params
from xpnet.training.targets import kind_of_targets, load_targets, load_weights
from xpnet.training.weighted import Weighted
from xpnet.typing import Array, HostArray

Samples = tuple[Any, Any]


def fit(
    model: Layer,
    data: Dataset | Samples,
    *,
    test: Samples | None = None,
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
) -> Network:
    """Train a network.

    Every epoch visits all samples once, in a new random order, in mini-batches; the last batch
    is smaller where the batch size does not divide their number. `batch_size` at or above that
    number is full-batch gradient descent. After each epoch the loss and the accuracy are measured
    on the whole training set and on the test set.

    Parameters
    ----------
    model
        The layers, such as `Sequential(...)` or `mlp(784, 128, 10)`; its output is the logits.
    data
        A `Dataset`, or a pair `(x, y)`: samples (N, ...) and their targets, arrays of any backend's
        library. Targets are what the loss is for: labels (N,) or one-hot rows (N, C), rows of 0 and
        1 (N, C), or values (N, C); of a single output the latter two also (N,). uint8 samples are
        taken as pixels and divided by 255; all others are taken as they are. Of a `numpy.memmap` of
        more than 256 MiB only the batches are read.
    test
        A pair like `data`, to evaluate on after each epoch; a `Dataset` brings its own.
    sample_weight
        What the loss of each training sample is multiplied by: numbers (N,) that are not negative.
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
        See `xpnet.training.callbacks`.

    Returns
    -------
    network
        The trained network, with its `history`.

    Raises
    ------
    BackendUnavailable
        If the backend or device cannot be used.
    DataError
        If samples and targets do not fit each other or the model, or are not finite.
    ValueError
        If an option is not allowed, or the last batch is too small for a layer (`BatchNorm`).
    TrainingDiverged
        If the loss is not finite after an epoch.

    Examples
    --------
    >>> from xpnet import fit, load_dataset, mlp
    >>> network = fit(mlp(64, 32, 10), load_dataset("digits"), epochs=10, backend="numpy")
    >>> network.history[-1].test_accuracy > 0.9
    True
    """
    epochs = positive_integer("epochs", epochs)
    batch_size = positive_integer("batch_size", batch_size)
    callbacks = _check_options(model, optimizer, loss, callbacks, sample_weight)
    seed = seed_sequence(seed)
    train, test, pixel_maximum = _samples(data, test)
    opened = _open(backend, device, dtype, train[0])
    import logging  # late: it is a twentieth of the time of `import xpnet`

    logger = logging.getLogger("xpnet")
    logger.info("training on %r%s", opened, opened.reason and f": {opened.reason}")

    weights = [s for s in model.parameter_shapes().values() if len(s) == 2]
    with opened.scope(), ExitStack() as stack:
        kind = kind_of_targets(opened, loss, train[1])
        sets = _load_sets(opened, model, train, test, pixel_maximum, kind, sample_weight)
        maximum = sets.pixel_maximum
        n_steps = math.ceil(sets.x.shape[0] / batch_size)
        plateau = start_plateau(optimizer, has_test=sets.test is not None)
        state = initial_state(
            opened, model, optimizer, seed, epochs=epochs, steps_per_epoch=n_steps
        )
        step = make_step(opened, model, loss, optimizer, pixel_maximum=maximum, seed=seed)
        evaluate = make_evaluator(opened, model, loss, pixel_maximum=maximum, kind=kind)
        network = Network(
            model,
            trained_params(state),
            opened,
            sample_shape=tuple(sets.x.shape[1:]),
            pixel_maximum=maximum,
            target_kind=kind,
            loss=loss,
            buffers=select(state, "buffer/"),
        )
        run = opened.repeat(step)
        watchers = [
            c for c in callbacks if getattr(c.on_step, "__func__", None) is not Callback.on_step
        ]
        group = 1 if any(c.every_step for c in watchers) else opened.steps_per_call
        n_samples = sets.x.shape[0]
        check_batch_size(model, n_samples, batch_size)
        # Of a very large batch a part tells as much of the threads.
        rows = min(batch_size, n_samples, 1024)
        largest = (rows, *max(weights, key=math.prod, default=(1, 1)))
        for callback in callbacks:
            # Those that are started are ended, in the reverse order, whatever happens.
            stack.callback(callback.on_end, network)
            callback.on_start(network, epochs=epochs, steps=n_steps)
        for epoch in range(1, epochs + 1):
            started = time.perf_counter()
            # Not bound to a name: the orders of two epochs would be in memory at a time.
            steps = batches(
                opened, sets.x, sets.y, permutation(seed, epoch, n_samples), batch_size, group
            )
            for x, y, rows in steps:
                opened.settle_threads(*largest)
                state = run(state, x, y, rows)
                for callback in watchers:
                    callback.on_step(state, rows.shape[0])
            opened.synchronize(*state.values())
            network.params = trained_params(state)
            network.buffers = select(state, "buffer/")
            rate = _shortest(last_rate(opened, state))
            record = _evaluate(epoch, network, sets, evaluate, started, rate)
            _check_finite(record, n_steps)
            network.history.append(record)
            if plateau is not None:
                follow_plateau(opened, plateau, state, record)
            for callback in callbacks:
                callback.on_epoch(network, record)
    return network


@dataclass(frozen=True)
class _Sets:
    """The samples: training set, test set if there is one, scale of pixels."""

    x: Array
    y: Array
    test: tuple[Array, Array] | None
    pixel_maximum: float


def _load_sets(
    backend: Backend,
    model: Layer,
    train: Samples,
    test: Samples | None,
    pixel_maximum: float | None,
    kind: str,
    sample_weight: Any,
) -> _Sets:
    x = load_inputs(backend, "training set", train[0], model)
    y = load_targets(backend, "training set", train[1], x, model, kind)
    if sample_weight is not None:
        y = Weighted(y, load_weights(backend, "training set", sample_weight, x))
    pixels = x.dtype == backend.xp.uint8
    if pixel_maximum is None:
        pixel_maximum = 255.0 if pixels else 1.0
    if test is None:
        return _Sets(x, y, None, pixel_maximum)
    test_x = load_inputs(backend, "test set", test[0], model)
    if pixels != (test_x.dtype == backend.xp.uint8):
        raise DataError(
            f"the training set has dtype {x.dtype}, the test set {test_x.dtype}: uint8 is taken as "
            f"pixels and divided, other dtypes are not; give both in the same way"
        )
    test_y = load_targets(backend, "test set", test[1], test_x, model, kind)
    return _Sets(x, y, (test_x, test_y), pixel_maximum)


def _evaluate(
    epoch: int,
    network: Network,
    sets: _Sets,
    evaluate: Evaluator,
    started: float,
    learning_rate: float,
) -> EpochRecord:
    trained = time.perf_counter()
    on_train = evaluate(network.arrays, sets.x, sets.y)
    on_test = None if sets.test is None else evaluate(network.arrays, *sets.test)
    return EpochRecord(
        epoch=epoch,
        train_loss=on_train.loss,
        train_accuracy=on_train.accuracy,
        test_loss=None if on_test is None else on_test.loss,
        test_accuracy=None if on_test is None else on_test.accuracy,
        train_seconds=trained - started,
        eval_seconds=time.perf_counter() - trained,
        learning_rate=learning_rate,
    )


def _check_options(
    model: Any, optimizer: Any, loss: Any, callbacks: Iterable[Callback], sample_weight: Any
) -> list[Callback]:
    if not isinstance(model, Layer):
        raise TypeError(f"model must be a layer such as Sequential(...) or mlp(...), got {model!r}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one such as SGD(0.1), got {optimizer!r}")
    if not callable(loss):
        raise TypeError(f"loss must be a function such as softmax_cross_entropy, got {loss!r}")
    if isinstance(loss, type):
        raise TypeError(f"loss must be one such as {loss.__name__}(), got the class {loss!r}")
    if sample_weight is not None and not accepts_weight(loss):
        raise TypeError(
            f"sample_weight needs a loss that takes weight=..., and {loss!r} does not: give it the "
            f"signature loss(xp, output, target, *, weight=None, need_grad=True)"
        )
    if isinstance(callbacks, Callback):
        raise TypeError(f"callbacks must be a list of them, got {callbacks!r} itself")
    listed = list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be instances of Callback, got {callback!r}")
    return listed


def _samples(
    data: Dataset | Samples, test: Samples | None
) -> tuple[Samples, Samples | None, float | None]:
    """Training samples, test samples, and what pixels are divided by, as far as it is known."""
    if isinstance(data, Dataset):
        train = (data.train.images, data.train.labels)
        if test is None and data.test is not None:
            test = (data.test.images, data.test.labels)
        return train, test, data.pixel_maximum
    pairs = {"data": data} if test is None else {"data": data, "test": test}
    for name, pair in pairs.items():
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise DataError(f"{name} must be a pair (x, y) or a Dataset, got {type(pair).__name__}")
    return (data[0], data[1]), test, None


def _open(backend: str | Backend, device: str | None, dtype: str | None, x: Any) -> Backend:
    if backend == "auto" and device is None:
        try:
            source = backend_of(x, dtype or "float32")
        except TypeError:
            pass
        else:
            if source.name != "numpy":
                source.reason = "the training samples live there"
                return source
    return open_backend(backend, device, dtype)


def _shortest(x: HostArray) -> float:
    """The number as its dtype prints it: 0.1 in float32, and not 0.10000000149."""
    return float(str(x[()]))


def _check_finite(record: EpochRecord, n_steps: int) -> None:
    if math.isfinite(record.train_loss):
        return
    last = record.epoch * n_steps
    raise TrainingDiverged(
        f"the training loss became {record.train_loss} in epoch {record.epoch} "
        f"(steps {last - n_steps + 1} to {last}) with learning rate {record.learning_rate:g}: "
        f"most often the learning rate is too high; try a tenth of it"
    )
