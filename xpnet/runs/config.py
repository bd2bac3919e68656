"""The configuration of a run: what the command line asks for, as one checked value."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, MISSING, asdict, dataclass, fields
from typing import Any

from xpnet.backends import Backend
from xpnet.callbacks.base import Callback
from xpnet.callbacks.early_stopping import EarlyStopping
from xpnet.data import Dataset
from xpnet.dtype_limits import problem_in
from xpnet.errors import one_line, shown
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS
from xpnet.losses import SoftmaxCrossEntropy
from xpnet.model import Sequential, mlp
from xpnet.network.loading import load
from xpnet.network.network import Network
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.runs.options import OptionError, check_option
from xpnet.saving.snapshot import Snapshot
from xpnet.schedules import SCHEDULES, ReduceOnPlateau, Schedule
from xpnet.suggestions import did_you_mean
from xpnet.training.fit import fit

_OF_OPTIMIZERS = {
    name: name
    for name in (
        "learning_rate", "momentum", "weight_decay", "l2", "clip_norm", "clip_value", "ema"
    )
}  # fmt: skip
_OF_SCHEDULES = {
    "warmup": "warmup",
    **{f"schedule_{name}": name for name in ("every", "factor", "final", "patience")},
}


@dataclass(frozen=True)
class RunConfig:
    """A multi-layer perceptron, what it is trained on, how and where.

    An option of the optimizer or of the schedule that is None becomes the default of the one that
    is chosen; it stays None where that has no such option.

    Parameters
    ----------
    dataset
        The name of the data set, or the folder it was read from.
    limit
        Train on the first `limit` samples only; on all if None.
    validation
        The fraction of the training set that is kept for validation; none if None.
    hidden
        The numbers of features of the hidden layers; none for softmax regression.
    activation, batch_norm, dropout, init
        As in `mlp`; names from `xpnet.layers.ACTIVATIONS` and `xpnet.initializers.INITIALIZERS`.
    epochs, batch_size, drop_last, seed
        As in `fit`.
    label_smoothing
        As in `SoftmaxCrossEntropy`.
    train_metrics
        As in `fit`.
    optimizer
        A name from `xpnet.optimizers.OPTIMIZERS`.
    learning_rate, momentum, weight_decay, l2, clip_norm, clip_value, ema
        Its options.
    schedule
        A name from `xpnet.schedules.SCHEDULES`. That of `"plateau"` follows the loss on the
        validation set, or where there is none on the training set.
    warmup, schedule_every, schedule_factor, schedule_final, schedule_patience
        Its options `warmup`, `every`, `factor`, `final` and `patience`.
    patience
        After how many epochs without a better loss on the validation set the training ends, and the
        network has the best parameters; after none if None.
    start
        The file of a network, or a run folder, that the training begins with; none if None.
    freeze, fresh
        As in `fit`: names of layers, which `mlp` calls `fc1`, `bn1`, `fc2`, ...
    backend, device, dtype, tf32, threads, steps
        As in `open_backend`.
    data_dir
        Where to look for data files first.
    checkpoint_every
        After how many epochs the training is saved.
    tensorboard
        Whether logs for TensorBoard are written.

    Raises
    ------
    OptionError
        If a value is not allowed, or does not go with the others; the message says what is.
    """

    dataset: str = "digits"
    _: KW_ONLY
    limit: int | None = None
    validation: float | None = None
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    batch_norm: bool = False
    dropout: float = 0.0
    init: str = "he_normal"
    epochs: int = 20
    batch_size: int = 64
    drop_last: bool = False
    seed: int = 0
    label_smoothing: float = 0.0
    train_metrics: str = "evaluated"
    optimizer: str = "sgd"
    learning_rate: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    l2: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    ema: float | None = None
    schedule: str = "constant"
    warmup: float | None = None
    schedule_every: int | None = None
    schedule_factor: float | None = None
    schedule_final: float | None = None
    schedule_patience: int | None = None
    patience: int | None = None
    start: str | None = None
    freeze: tuple[str, ...] | None = None
    fresh: tuple[str, ...] | None = None
    backend: str = "auto"
    device: str | None = None
    dtype: str = "float32"
    tf32: bool = False
    threads: int | None = None
    steps: str | None = None
    data_dir: str | None = None
    checkpoint_every: int = 1
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                object.__setattr__(self, field.name, check_option(field.name, value))
        self._complete("optimizer", OPTIMIZERS, _OF_OPTIMIZERS)
        self._complete("schedule", SCHEDULES, _OF_SCHEDULES)
        for name in Optimizer.nonzero:
            problem = problem_in(self.dtype, getattr(self, name) or 0.0)
            if problem:
                raise OptionError(name, problem)
        if self.clip_norm is not None and self.clip_value is not None:
            raise OptionError("clip_value", "cannot be given together with clip_norm: give one")
        if self.schedule == "plateau" and not (self.schedule_factor or 0) < 1:
            raise OptionError(
                "schedule_factor",
                f"must be below 1 for the schedule plateau, got {shown(self.schedule_factor)}",
            )
        if (self.warmup or 0) >= self.epochs:
            raise OptionError(
                "warmup",
                f"must be below the number of epochs, {self.epochs}; got {shown(self.warmup)}",
            )
        measured = self.train_metrics != "none" or self.validation is not None
        if self.schedule == "plateau" and not measured:
            raise OptionError(
                "train_metrics",
                "none leaves the schedule plateau nothing to follow: give validation as well, such "
                "as 0.1, or take running",
            )
        if self.patience is not None and self.validation is None:
            raise OptionError(
                "patience", "needs a validation set: give validation as well, such as 0.1"
            )

        if self.fresh is not None and self.start is None:
            raise OptionError("fresh", "needs a network to begin with: give start as well")

    def _complete(
        self, choice: str, classes: Mapping[str, type], options: Mapping[str, str]
    ) -> None:
        """Give the options of the class that is chosen its defaults, and refuse those of others."""
        known = {
            word: {field.name: field.default for field in fields(kind)}
            for word, kind in classes.items()
        }
        word = getattr(self, choice)
        for option, name in options.items():
            given = getattr(self, option)
            if name in known[word]:
                default = known[word][name]
                if given is None and default is MISSING:
                    raise OptionError(option, f"must be given for the {choice} {word}")
                if given is None:
                    object.__setattr__(self, option, default)
            elif given is not None:
                others = ", ".join(other for other in known if name in known[other])
                raise OptionError(
                    option, f"means nothing for the {choice} {word}: it is for {others}"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`; what is not there has its default.

        Raises
        ------
        OptionError
            If there is no such option, or a value is not allowed.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                near = did_you_mean(name, names)
                raise OptionError(
                    one_line(name), f"is no option of a run; there are {', '.join(names)}{near}"
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        values = asdict(self)
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    # -- what it stands for ---------------------------------------------------------------------

    def model(self, data: Dataset) -> Sequential:
        """The network for a data set: its pixels in, its classes out."""
        return mlp(
            math.prod(data.image_shape),
            *self.hidden,
            data.n_classes,
            activation=ACTIVATIONS[self.activation](),
            dropout=self.dropout,
            init_weight=INITIALIZERS[self.init],
            batch_norm=self.batch_norm,
        )

    def build_schedule(self) -> Schedule | ReduceOnPlateau | None:
        """How the learning rate changes; None where it does not."""
        if self.schedule == "constant" and not self.warmup:
            return None
        options = self._given(_OF_SCHEDULES)
        if self.schedule == "plateau":
            options["monitor"] = "train_loss" if self.validation is None else "validation_loss"
        return SCHEDULES[self.schedule](**options)

    def build_optimizer(self) -> Optimizer:
        """The optimizer, with its schedule."""
        options = self._given(_OF_OPTIMIZERS)
        return OPTIMIZERS[self.optimizer](**options, schedule=self.build_schedule())

    def _given(self, options: Mapping[str, str]) -> dict[str, Any]:
        values = {name: getattr(self, option) for option, name in options.items()}
        return {name: value for name, value in values.items() if value is not None}

    def early_stopping(self) -> EarlyStopping | None:
        """What ends the training early, if anything does: one for each training."""
        return None if self.patience is None else EarlyStopping(patience=self.patience)

    def fit(
        self,
        data: Dataset,
        backend: Backend,
        callbacks: tuple[Callback, ...] = (),
        *,
        resume: Snapshot | None = None,
        stop_after: int | None = None,
    ) -> Network:
        """Train on a data set; see `xpnet.fit`. What goes on needs no file of `start` any more.

        Raises
        ------
        CheckpointError
            If that file cannot be read.
        """
        stopping = self.early_stopping()
        start = None if self.start is None or resume is not None else load(self.start)
        return fit(
            self.model(data),
            data.limited(self.limit),
            backend=backend,
            callbacks=callbacks if stopping is None else (stopping, *callbacks),
            resume=resume,
            stop_after=stop_after,
            start=start,
            freeze=self.freeze,
            fresh=self.fresh,
            **self.fit_options(),
        )

    def fit_options(self) -> dict[str, Any]:
        """The options of `fit` that the configuration determines, but for callbacks."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "optimizer": self.build_optimizer(),
            "loss": SoftmaxCrossEntropy(self.label_smoothing),
            "validation": self.validation,
            "seed": self.seed,
            "train_metrics": self.train_metrics,
        }

    def describe(self, data: Dataset) -> str:
        """The network in a few words, such as `784-128-10, relu, 101,770 parameters`."""
        sizes = (math.prod(data.image_shape), *self.hidden, data.n_classes)
        words = ["-".join(map(str, sizes))]
        if self.hidden:
            words += ["batch norm"] * self.batch_norm + [self.activation]
            words += [f"dropout {self.dropout:g}"] * bool(self.dropout)
        return f"{', '.join(words)}, {self.model(data).parameter_count:,} parameters"
