"""One seed, one run: train the same network on several backends and compare, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from xpnet.backends import Backend, open_backend
from xpnet.callbacks import Callback
from xpnet.data import Dataset
from xpnet.errors import counted, one_line
from xpnet.history import EpochRecord
from xpnet.inputs.samples import place
from xpnet.layers import Layer
from xpnet.losses import softmax_cross_entropy
from xpnet.network import Network
from xpnet.parity.gradients import (
    Arrays,
    largest_difference,
    step_gradients,
    takes_maxima,
)
from xpnet.random import derive
from xpnet.training import fit
from xpnet.typing import HostArray, State

_FIRST_STEPS = 100
_CERTAIN = 5
"""In so few steps no run has drifted: what an update made of a gradient shows in the next loss."""


@dataclass(frozen=True)
class Tolerances:
    """How far two backends may be apart.

    Attributes
    ----------
    first_steps_loss
        Relative difference of the batch loss in each of the first 100 steps.
    loss
        Relative difference of the training and the test loss: after every epoch in float64, after
        the last in float32.
    errors_in_10000
        Difference in the number of errors in 10,000 samples, where the loss is compared; of other
        numbers of samples the same fraction, rounded up.
    predictions
        Whether every prediction must be the same, after every epoch.
    gradients
        Relative difference of the gradients of single steps, at the same parameters. Where it is
        given, they are what counts, and whole runs are shown only.
    """

    first_steps_loss: float
    loss: float
    errors_in_10000: float
    predictions: bool
    gradients: float | None = None


TOLERANCES = {
    "float64": Tolerances(1e-9, 1e-9, 0, predictions=True),
    "float32": Tolerances(1e-4, 1e-2, 25, predictions=False),
}
"""The promise, by dtype. In float32 runs drift apart: a rounding decides whether a ReLU is on."""

_OF_MAXIMA = replace(TOLERANCES["float32"], gradients=1e-3)
"""The promise in float32 for networks with max pooling, whose runs part within a hundred steps."""


@dataclass(frozen=True)
class ParityRow:
    """One epoch on one backend, and its distance to the first backend.

    Attributes
    ----------
    backend, epoch
        Which.
    train_loss, test_loss
        Mean losses after the epoch; the latter None without a test set.
    accuracy, errors, count
        On the test set, or on the training set without one.
    relative_loss_difference
        The larger of those of the two losses.
    error_count_difference
        How many errors more or fewer.
    prediction_differences
        How many samples are predicted otherwise.
    seconds
        Time of the training steps.
    """

    backend: str
    epoch: int
    train_loss: float
    test_loss: float | None
    accuracy: float
    errors: int
    count: int
    relative_loss_difference: float
    error_count_difference: int
    prediction_differences: int
    seconds: float


@dataclass(frozen=True)
class ParityReport:
    """What `compare_backends` found; `print` shows it as a table, `holds` is the verdict."""

    backends: tuple[str, ...]
    dtype: str
    tolerances: Tolerances
    rows: tuple[ParityRow, ...]
    first_steps_differences: dict[str, float]
    failures: tuple[str, ...]
    gradient_differences: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all backends gave the same run, or the same steps, within the tolerances."""
        return not self.failures

    @property
    def max_relative_loss_difference(self) -> float:
        """Over all backends and epochs."""
        return max(row.relative_loss_difference for row in self.rows)

    @property
    def max_error_count_difference(self) -> int:
        """Over all backends and epochs."""
        return max(row.error_count_difference for row in self.rows)

    def of(self, backend: str) -> list[ParityRow]:
        """The epochs of one backend."""
        return [row for row in self.rows if row.backend == backend]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "holds": self.holds,
            "failures": list(self.failures),
            "dtype": self.dtype,
            "backends": {
                name: {
                    "first_steps_relative_loss_difference": self.first_steps_differences[name],
                    "gradient_difference": self.gradient_differences.get(name),
                    "epochs": [asdict(row) for row in self.of(name)],
                }
                for name in self.backends
            },
            "max_relative_loss_difference": self.max_relative_loss_difference,
            "max_error_count_difference": self.max_error_count_difference,
            "tolerances": asdict(self.tolerances),
        }

    def __str__(self) -> str:
        width = max(map(len, self.backends))
        lines = [
            f"{'epoch':>5}  {'backend':<{width}}  {'train loss':>18}  {'accuracy':>9}  "
            f"{'errors':>6}  {'rel. loss diff.':>15}  {'errors diff.':>12}  {'seconds':>7}"
        ]
        for row in sorted(self.rows, key=lambda row: row.epoch):
            lines.append(
                f"{row.epoch:>5}  {row.backend:<{width}}  {row.train_loss:>18.15f}  "
                f"{100 * row.accuracy:>7.2f} %  {row.errors:>6}  "
                f"{row.relative_loss_difference:>15.1e}  {row.error_count_difference:>12}  "
                f"{row.seconds:>7.2f}"
            )
        for name in self.backends[1:]:
            lines.append(
                f"{name}: relative difference of the batch loss in the first {_FIRST_STEPS} steps "
                f"at most {self.first_steps_differences[name]:.1e}"
            )
            if name in self.gradient_differences:
                lines.append(
                    f"{name}: relative difference of the gradients of single steps, at the "
                    f"parameters of {self.backends[0]}, at most "
                    f"{self.gradient_differences[name]:.1e}"
                )
        lines += [f"FAILS: {failure}" for failure in self.failures]
        if self.holds:
            lines.append(f"holds in {self.dtype}: {self._what_holds()}")
        return "\n".join(lines)

    def _what_holds(self) -> str:
        names, allowed = ", ".join(self.backends), self.tolerances
        if allowed.gradients is not None:
            return (
                f"the same steps on {names} (gradients within {allowed.gradients:g}); whole runs "
                f"of a network with max pooling drift apart in {self.dtype}, and do not count"
            )
        return (
            f"the same run on {names} (relative loss within {allowed.loss:g}, "
            f"errors within {allowed.errors_in_10000:g} in 10,000)"
        )


def compare_backends(
    model: Layer,
    data: Dataset,
    backends: Sequence[str | Backend],
    *,
    dtype: str = "float64",
    tolerances: Tolerances | None = None,
    **options: Any,
) -> ParityReport:
    """Train the same network on each backend and compare each with the first.

    Parameters
    ----------
    model, data
        What is trained, on what.
    backends
        Names, or opened backends of this dtype; at least two.
    dtype
        `"float64"`, in which runs agree to rounding, or `"float32"`, in which they drift apart.
    tolerances
        What is allowed; `TOLERANCES[dtype]` if None, but for a network with max pooling in float32,
        whose runs drift apart: there the gradients of single steps count, within 1e-3.
    options
        Further options of `fit`, such as `epochs` and `seed`.

    Raises
    ------
    BackendUnavailable
        If one of the backends cannot be used; found before any training.
    ValueError
        If there are fewer than two backends, or one twice.
    Exception
        What the training on the first backend raises. What it raises on another one is a failure
        in the report.

    Examples
    --------
    >>> from xpnet import load_dataset, mlp
    >>> from xpnet.parity import compare_backends
    >>> data = load_dataset("digits").limited(200)
    >>> report = compare_backends(mlp(64, 10), data, ["numpy", "array_api_strict"], epochs=1)
    >>> assert report.holds, report
    """
    opened = [open_backend(backend, None, dtype) for backend in backends]
    names = tuple(backend.name for backend in opened)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"give at least two different backends to compare, got {', '.join(names)}")
    if options.get("train_metrics") == "none":
        raise ValueError("training losses are compared: train_metrics must not be 'none'")
    if tolerances is None:
        drifts = dtype == "float32" and takes_maxima(model)
        tolerances = _OF_MAXIMA if drifts else TOLERANCES[dtype]
    reference = _train(model, data, opened[0], options, keep=tolerances.gradients is not None)
    runs, failures, gradients = {names[0]: reference}, [], {}
    expected = _gradients(model, data, opened[0], options, reference.points)
    for backend in opened[1:]:
        try:
            run = _train(model, data, backend, options)
            found = _gradients(model, data, backend, options, reference.points)
            runs[backend.name] = run
            if found:
                gradients[backend.name] = largest_difference(found, expected)
        except (
            Exception
        ) as error:  # whatever a library raises: the others are compared all the same
            reason = one_line(error)
            failures.append(f"{backend.name}: {type(error).__name__}: {reason[:300]}")
    rows = tuple(row for name, run in runs.items() for row in _rows(name, run, reference))
    first_steps = {
        name: _relative(run.first_losses, reference.first_losses) for name, run in runs.items()
    }
    failures += _step_failures(gradients, tolerances)
    if tolerances.gradients is not None:
        failures += _first_failures(runs, reference, tolerances.gradients)
    else:
        failures += _failures(tuple(runs)[1:], rows, first_steps, tolerances)
    return ParityReport(
        tuple(runs), dtype, tolerances, rows, first_steps, tuple(failures), gradients
    )


class _Watch(Callback):
    """Keeps the batch losses of the first steps, the predictions after each epoch, and where it is
    asked for, the parameters then."""

    def __init__(self, backend: Backend, data: Dataset, *, keep: bool = False) -> None:
        self.backend, self.keep = backend, keep
        self.points: list[Arrays] = []
        self.split = data.train if data.test is None else data.test
        self.device_images = place(backend, self.split.images)
        self.records: list[EpochRecord] = []
        self.predictions: list[HostArray] = []
        self.first_losses: list[float] = []

    def on_step(self, state: State, count: int) -> None:
        if len(self.first_losses) < _FIRST_STEPS:
            self.first_losses.append(float(self.backend.to_numpy(state["loss"])))

    def on_epoch(self, network: Network, record: EpochRecord) -> None:
        self.records.append(record)
        self.predictions.append(self.backend.to_numpy(network.predict(self.device_images)))
        if self.keep:
            to_numpy = self.backend.to_numpy
            self.points.append({n: np.array(to_numpy(a)) for n, a in network.arrays.items()})


def _train(
    model: Layer, data: Dataset, backend: Backend, options: dict[str, Any], *, keep: bool = False
) -> _Watch:
    """A run, with the parameters that it began with and that it had after each epoch."""
    watch = _Watch(backend, data, keep=keep)
    if keep:
        seed = derive(options.get("seed", 0), "initialization")
        watch.points.append({**model.init(seed), **model.buffers()})
    fit(model, data, backend=backend, callbacks=[watch], **options)
    return watch


def _gradients(
    model: Layer, data: Dataset, backend: Backend, options: dict[str, Any], points: list[Arrays]
) -> list[dict[str, HostArray]]:
    """The gradients of a step from each of these points, of a training with these options."""
    if not points:
        return []
    return step_gradients(
        backend,
        model,
        data,
        points,
        loss=options.get("loss", softmax_cross_entropy),
        batch_size=min(options.get("batch_size", 64), len(data.train)),
        seed=options.get("seed", 0),
    )


def _rows(name: str, run: _Watch, reference: _Watch) -> list[ParityRow]:
    rows = []
    labels = run.split.labels
    for record, other, predicted, other_predicted in zip(
        run.records, reference.records, run.predictions, reference.predictions, strict=True
    ):
        errors = int((predicted != labels).sum())
        assert record.train_loss is not None and other.train_loss is not None  # noqa: PT018
        losses = [(record.train_loss, other.train_loss)]
        if record.test_loss is not None and other.test_loss is not None:
            losses.append((record.test_loss, other.test_loss))
        rows.append(
            ParityRow(
                backend=name,
                epoch=record.epoch,
                train_loss=record.train_loss,
                test_loss=record.test_loss,
                accuracy=1 - errors / len(labels),
                errors=errors,
                count=len(labels),
                relative_loss_difference=max(_relative([a], [b]) for a, b in losses),
                error_count_difference=abs(errors - int((other_predicted != labels).sum())),
                prediction_differences=int((predicted != other_predicted).sum()),
                seconds=record.train_seconds or 0.0,
            )
        )
    return rows


def _relative(values: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative difference; infinite where one is not a number."""
    a, b = np.asarray(values), np.asarray(expected)
    difference = np.abs(a - b) / np.maximum(np.abs(b), np.finfo(np.float64).tiny)
    return float(np.max(np.where(np.isfinite(difference), difference, np.inf)))


def _step_failures(gradients: dict[str, float], tolerances: Tolerances) -> list[str]:
    allowed = math.inf if tolerances.gradients is None else tolerances.gradients
    return [
        f"{name}: the gradients of a single step differ by {difference:.1e}, allowed is {allowed:g}"
        for name, difference in gradients.items()
        if difference > allowed
    ]


def _first_failures(runs: Mapping[str, _Watch], reference: _Watch, allowed: float) -> list[str]:
    """Of runs that drift apart: the first steps, with what they make of gradients; and losses that
    are no numbers on some backends alone."""
    failures = []
    finite = _finite(reference)
    for name, run in runs.items():
        found = _relative(run.first_losses[:_CERTAIN], reference.first_losses[:_CERTAIN])
        if found > allowed:
            failures.append(
                f"{name}: the batch loss of one of the first {_CERTAIN} steps differs by "
                f"{found:.1e}, allowed is {allowed:g}"
            )
        if _finite(run) != finite:
            failures.append(f"{name}: a loss is no finite number, or alone is one")
    return failures


def _finite(run: _Watch) -> list[bool]:
    return [math.isfinite(record.train_loss or 0.0) for record in run.records]


def _failures(
    names: Sequence[str],
    rows: Sequence[ParityRow],
    first_steps: dict[str, float],
    tolerances: Tolerances,
) -> list[str]:
    failures = [
        f"{name}: the batch loss of one of the first {_FIRST_STEPS} steps differs by "
        f"{first_steps[name]:.1e}, allowed is {tolerances.first_steps_loss:g}"
        for name in names
        if first_steps[name] > tolerances.first_steps_loss
    ]
    last = max(row.epoch for row in rows)
    for row in rows:
        if row.backend not in names or not (tolerances.predictions or row.epoch == last):
            continue
        where = f"{row.backend}, epoch {row.epoch}"
        if row.relative_loss_difference > tolerances.loss:
            failures.append(
                f"{where}: the loss differs by {row.relative_loss_difference:.1e}, "
                f"allowed is {tolerances.loss:g}"
            )
        allowed = math.ceil(tolerances.errors_in_10000 * row.count / 10_000)
        if row.error_count_difference > allowed:
            failures.append(
                f"{where}: {counted(row.error_count_difference, 'error')} more or fewer in "
                f"{row.count:,}, allowed are {allowed}"
            )
        if tolerances.predictions and row.prediction_differences:
            differ = "differs" if row.prediction_differences == 1 else "differ"
            failures.append(
                f"{where}: {counted(row.prediction_differences, 'prediction')} {differ}"
            )
    return failures
