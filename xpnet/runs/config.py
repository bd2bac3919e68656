"""The configuration of a run: what the command line asks for, as one checked value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import Any

from xpnet.augment import AUGMENTATIONS, augmentations_from
from xpnet.backends import BACKENDS, DTYPES, Backend
from xpnet.backends.steps import STEPS
from xpnet.callbacks.base import Callback
from xpnet.callbacks.early_stopping import EarlyStopping
from xpnet.callbacks.snapshots import SnapshotEnsemble
from xpnet.checks import MOST_THREADS
from xpnet.data import DATASETS, Dataset
from xpnet.distributed.group import Group
from xpnet.distributed.reduction import REDUCTIONS
from xpnet.errors import counted, one_line
from xpnet.fields import range_of
from xpnet.history import UNMEASURED
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS, Sequential
from xpnet.layers.dropout import rate_problem
from xpnet.losses import LossFunction, SoftmaxCrossEntropy, mean_squared_error
from xpnet.models import MODELS, POOLINGS, build_model, model_options
from xpnet.network.loading import load
from xpnet.network.network import Network
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.runs.choices import augmentation_problem, completed, default_of_model
from xpnet.runs.consistency import OFF, check_together, of_cycles
from xpnet.runs.options import OptionError, Section, option, options_of, with_parameters
from xpnet.saving.snapshot import Snapshot
from xpnet.schedules import SCHEDULES, Cosine, ReduceOnPlateau, Schedule, Step
from xpnet.schedules.base import WarmedUp
from xpnet.suggestions import did_you_mean
from xpnet.training.fit import fit

LARGEST_SEED = 2**128 - 1
"""As much as a SeedSequence draws itself."""


@with_parameters
@dataclass(frozen=True)
class RunConfig:
    """A network by name, what it is trained on, how and where.

    Each option of a run is a field: to add one, see `option`. They are those of `xpnet train`, and
    explained in its words; lists are tuples here, and what is on or off is True or False. What
    they mean is said in full by `xpnet.models`, `fit`, `open_backend`, `SoftmaxCrossEntropy`, and
    the classes in `xpnet.optimizers.OPTIMIZERS` and `xpnet.schedules.SCHEDULES`.

    An option of the model, the optimizer or the schedule that is None becomes the default of the
    one that is chosen; it stays None where that has no such option. `epochs`, `batch_size`,
    `optimizer` and `schedule`, and the options of the latter two, become first of all what
    `xpnet.models.training_options` has for the model. The schedule `"plateau"`
    follows the loss on the validation set, or where there is none on the training set.

    Raises
    ------
    OptionError
        If a value is not allowed, or does not go with the others; the message says what is.
    """

    # What each is called, of which type; its default, and what it means; what it may be.
    # fmt: off
    dataset: str = option(
        "digits", "Name of the data set, or the path that it is read from.", section=None
    )
    _: KW_ONLY
    limit: int | None = option(
        None, "Train on the first N samples only.",
        section=Section.DATA, at_least=1,
    )
    label: str | None = option(
        None, "Of a table: the column that is to be predicted.",
        section=Section.DATA, metavar="NAME",
    )
    test: str | None = option(
        None, "Of a table: another table to test on.",
        section=Section.DATA, path="file", metavar="TABLE",
    )
    test_fraction: float | None = option(
        None, "Of a table without another to test on: the fraction that is kept for the test, "
        "{range}; a fifth if not given, and of pixels nothing.",
        section=Section.DATA, at_least=0, below=1,
    )
    target_kind: str | None = option(
        None, "Of a table: whether the label is classes or values, if that is in doubt.",
        section=Section.DATA, choices=("classes", "values"),
    )
    validation: float | None = option(
        None, "Fraction of the training set that is kept for validation, {range}.",
        section=Section.DATA, above=0, below=1,
    )
    split_seed: int | None = option(
        None, "Of a table: the seed that rows are kept for validation by; --seed if not given.",
        section=Section.DATA, at_least=0, at_most=LARGEST_SEED,
    )
    model: str = option(
        "mlp", "Kind of network: dense layers, or one with convolutions, for pictures.",
        section=Section.NETWORK, choices=MODELS,
    )
    hidden: tuple[int, ...] | None = option(
        None, "With mlp: sizes of the hidden layers, separated by commas.",
        section=Section.NETWORK, of="model",
    )
    activation: str = option(
        "relu", "Function after each hidden layer.",
        section=Section.NETWORK, choices=ACTIVATIONS,
    )
    pooling: str | None = option(
        None, "With lenet5 and small_cnn: what is taken of four neighbouring pixels.",
        section=Section.NETWORK, choices=POOLINGS, of="model",
    )
    batch_norm: bool = option(
        False, "With mlp: batch norm before each activation.", section=Section.NETWORK
    )
    dropout: float = option(
        0.0, "Fraction of a hidden layer's output that is dropped in training, {range}; not with "
        "resnet8.",
        section=Section.NETWORK, at_least=0, below=1, problem=rate_problem,
    )
    init: str = option(
        "he_normal", "How the initial weights are drawn.",
        section=Section.NETWORK, choices=INITIALIZERS,
    )
    epochs: int = option(
        20, "How often to go through the training set.",
        section=Section.TRAINING, at_least=1, may_change=True, by_model=True,
    )
    batch_size: int = option(
        64, "Samples in each step; as many as there are for full-batch gradient descent.",
        section=Section.TRAINING, at_least=1, by_model=True,
    )
    drop_last: bool = option(
        False, "Leave out a last batch that is smaller.", section=Section.TRAINING
    )
    seed: int = option(
        0, "Same seed, same run.",
        section=Section.TRAINING,
        at_least=0, at_most=LARGEST_SEED,
    )
    label_smoothing: float = option(
        0.0, "Part of each target that is spread over all classes, {range}.",
        section=Section.TRAINING, at_least=0, below=1,
    )
    augment: tuple[str, ...] | None = option(
        None, "How pictures are changed at random in training, separated by commas, one after the "
        f"other: {', '.join(AUGMENTATIONS)}; with numbers such as affine:rotation=15:scale=0.1.",
        section=Section.TRAINING, names="augmentations, such as elastic",
        metavar="NAME[:NUMBER=X...],...", problem=augmentation_problem,
    )
    train_metrics: str = option(
        "evaluated", "Figures of the training set: measured after each epoch; running, the mean "
        "loss of the epoch's batches, which is faster; or none.",
        section=Section.TRAINING, choices=UNMEASURED,
    )
    optimizer: str = option(
        "sgd", "How gradients change the parameters.",
        section=Section.OPTIMIZER, choices=OPTIMIZERS, by_model=True,
    )
    learning_rate: float | None = option(
        None, "Length of the steps, {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "learning_rate"),
    )
    # The classes take 1 as well, as scikit-learn does: a velocity of which nothing is lost.
    momentum: float | None = option(
        None, "With momentum and nesterov: {range}.",
        section=Section.OPTIMIZER, of="optimizer", at_least=0, below=1,
    )
    weight_decay: float | None = option(
        None, "Decoupled weight decay, {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "weight_decay"),
    )
    l2: float | None = option(
        None, "Penalty in the gradient, {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "l2"),
    )
    clip_norm: float | None = option(
        None, "Largest norm of all gradients together, {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "clip_norm"),
    )
    clip_value: float | None = option(
        None, "Largest element of a gradient, {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "clip_value"),
    )
    ema: float | None = option(
        None, "Decay of averages of the parameters, which the network then has; {range}.",
        section=Section.OPTIMIZER, of="optimizer", **range_of(Optimizer, "ema"),
    )
    schedule: str = option(
        "constant", "How the learning rate changes.",
        section=Section.SCHEDULE, choices=SCHEDULES, by_model=True,
    )
    warmup: float | None = option(
        None, "Epochs in which it rises at first, fractions too; not with one-cycle or plateau.",
        section=Section.SCHEDULE, of="schedule", **range_of(WarmedUp, "warmup"),
    )
    schedule_every: int | None = option(
        None, "With step, which needs it: the epochs after which it falls, again and again.",
        section=Section.SCHEDULE, of="schedule", at_least=1,
    )
    schedule_factor: float | None = option(
        None, "With step, plateau, and exponential, which needs it: what it is multiplied by, "
        "{range}.",
        section=Section.SCHEDULE, of="schedule", **range_of(Step, "factor"),
    )
    schedule_final: float | None = option(
        None, "With cosine and polynomial: the part of it that is left at the end, {range}.",
        section=Section.SCHEDULE, of="schedule", **range_of(Cosine, "final"),
    )
    schedule_cycles: int | None = option(
        None, "With cosine: how often it falls, from the full rate each time.",
        section=Section.SCHEDULE, of="schedule", at_least=1,
    )
    schedule_patience: int | None = option(
        None, "With plateau: epochs without a better loss that are let pass.",
        section=Section.SCHEDULE, of="schedule", at_least=0,
    )
    patience: int | None = option(
        None, "End after so many epochs without a better loss on the validation set, with the "
        "best parameters.",
        section=Section.EARLY_STOPPING, at_least=1,
    )
    start: str | None = option(
        None, "Begin with this network instead of random numbers: a run folder or a file.",
        section=Section.FINE_TUNING, path="file", metavar="RUN",
    )
    freeze: tuple[str, ...] | None = option(
        None, "Layers that are not trained, separated by commas, such as fc1,bn1.",
        section=Section.FINE_TUNING,
    )
    fresh: tuple[str, ...] | None = option(
        None, "With --start: layers that begin anew all the same, such as the last one.",
        section=Section.FINE_TUNING,
    )
    average_from: float | None = option(
        None, "Average the parameters at the ends of the epochs after this part of the training, "
        "{range}, such as 0.75.",
        section=Section.ENSEMBLES, at_least=0, below=1,
    )
    snapshots: int | None = option(
        None, "Keep the network at the end of each of N cycles of the schedule cosine, which is "
        "taken; they answer together.",
        section=Section.ENSEMBLES, at_least=1, at_most=10_000,
    )
    members: int = option(
        1, "Train so many networks, of the seeds from --seed on, which answer together.",
        section=Section.ENSEMBLES, at_least=1, at_most=10_000,
    )
    backend: str = option(
        "auto", "Array library; auto takes CuPy where a CUDA GPU is usable, else NumPy.",
        section=Section.COMPUTING, choices=("auto", *BACKENDS), may_change=True,
    )
    device: str | None = option(
        None, "Device of the library, such as cpu or cuda:1.",
        section=Section.COMPUTING, may_change=True,
    )
    dtype: str = option(
        "float32", "Precision of weights and activations.",
        section=Section.COMPUTING, choices=DTYPES,
    )
    tf32: bool = option(
        False, "Multiply float32 in TF32: faster on recent GPUs, and coarser.",
        section=Section.COMPUTING,
    )
    threads: int | None = option(
        None, "Threads of the CPU for NumPy or torch; all, or one on a busy machine, if not given.",
        section=Section.COMPUTING, at_least=1, at_most=MOST_THREADS, may_change=True,
    )
    steps: str | None = option(
        None, "How steps are taken: with NumPy compiled (if not given), recorded or called, of "
        "the same bits; with CuPy recorded or called.",
        section=Section.COMPUTING, choices=STEPS, may_change=True,
    )
    reduction: str = option(
        "fast", "How gradients of several ranks are added up: in the order that is fastest, or "
        "exact, the same bits for any number of ranks.",
        section=Section.RANKS, choices=REDUCTIONS,
    )
    shards: int | None = option(
        None, "With exact: the parts of a batch, a power of two; 8 if not given.",
        section=Section.RANKS, at_least=1,
    )
    data_dir: str | None = option(
        None, "Where to look for data files first; then in $XPNET_DATA_DIR and the user's cache.",
        section=Section.DATA, path="folder", may_change=True,
    )
    checkpoint_every: int = option(
        1, "Epochs after which the training is saved.",
        section=Section.RUN_FOLDER, at_least=1, may_change=True,
    )
    tensorboard: bool = option(
        False, "Write logs for TensorBoard.",
        section=Section.RUN_FOLDER, may_change=True,
    )
    # fmt: on

    def __post_init__(self) -> None:
        options = options_of(type(self))
        for name in options:
            object.__setattr__(self, name, options[name].check(getattr(self, name)))
        for one in options.values():
            if one.by_model and getattr(self, one.name) is None:
                object.__setattr__(self, one.name, default_of_model(one, self.model))
        for name, value in of_cycles(self).items():
            object.__setattr__(self, name, value)
        for one in options.values():
            if one.of:
                chosen, given = getattr(self, one.of), getattr(self, one.name)
                if given is None and chosen == default_of_model(options[one.of], self.model):
                    given = default_of_model(one, self.model)
                object.__setattr__(self, one.name, completed(one, chosen, given))
        check_together(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """The inverse of `to_dict`; what is not there has its default.

        Raises
        ------
        OptionError
            If there is no such option, or a value is not allowed.
        """
        names = options_of(cls)
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

    def table_options(self) -> dict[str, Any]:
        """What is said of a table: options of `load_dataset`. Of other data sets nothing is."""
        tables = ("label", "test", "test_fraction", "target_kind")
        said = {name: getattr(self, name) for name in tables}
        if self.dataset not in DATASETS:
            # What is kept for validation must not be measured.
            seed = self.seed if self.split_seed is None else self.split_seed
            said |= {"validation": self.validation, "seed": seed}
        return said

    def build_model(self, data: Dataset) -> Sequential:
        """The network for a data set: its pixels, or the columns of a table, in; an output for each
        class, or one for a number.

        Raises
        ------
        OptionError
            If the model cannot take samples of that shape.
        """
        options = self._given("model") | {
            "activation": ACTIVATIONS[self.activation](),
            "init_weight": INITIALIZERS[self.init],
        }
        options |= {name: getattr(self, name) for name in OFF if name in model_options(self.model)}
        try:
            return build_model(self.model, data.image_shape, data.n_outputs, **options)
        except ValueError as error:
            raise OptionError("model", str(error)) from error

    def build_schedule(self) -> Schedule | ReduceOnPlateau | None:
        """How the learning rate changes; None where it does not."""
        if self.schedule == "constant" and not self.warmup:
            return None
        options = self._given("schedule")
        if self.schedule == "plateau":
            options["monitor"] = "train_loss" if self.validation is None else "validation_loss"
        return SCHEDULES[self.schedule](**options)

    def build_optimizer(self) -> Optimizer:
        """The optimizer, with its schedule."""
        options = self._given("optimizer")
        return OPTIMIZERS[self.optimizer](**options, schedule=self.build_schedule())

    def _given(self, of: str) -> dict[str, Any]:
        """The arguments of the class that is chosen, but for those that it does not have."""
        own = [one for one in options_of(type(self)).values() if one.of == of]
        values = {one.argument: getattr(self, one.name) for one in own}
        return {name: value for name, value in values.items() if value is not None}

    def of_member(self, number: int) -> "RunConfig":
        """The run of one member of an ensemble, by its number from 1.

        It differs in its seed, and in no rows of a table: what these become is the same for all.

        Raises
        ------
        OptionError
            If the seed is too large.
        """
        split = self.seed if self.split_seed is None else self.split_seed
        return replace(self, members=1, seed=self.seed + number - 1, split_seed=split)

    def early_stopping(self) -> EarlyStopping | None:
        """What ends the training early, if anything does: one for each training."""
        return None if self.patience is None else EarlyStopping(patience=self.patience)

    def own_callbacks(self) -> Iterator[Callback]:
        """The callbacks that the configuration asks for, new ones for each training."""
        stopping = self.early_stopping()
        if stopping is not None:
            yield stopping
        if self.snapshots is not None:
            yield SnapshotEnsemble(self.snapshots)

    def fit(
        self,
        data: Dataset,
        backend: Backend,
        callbacks: tuple[Callback, ...] = (),
        *,
        resume: Snapshot | None = None,
        stop_after: int | None = None,
        group: Group | None = None,
    ) -> Network:
        """Train on a data set; see `xpnet.fit`. What goes on needs no file of `start` any more.

        With `snapshots` the network is the `Ensemble` of them, when the last epoch is finished.

        Raises
        ------
        CheckpointError
            If that file cannot be read.
        """
        start = None if self.start is None or resume is not None else load(self.start)
        own = tuple(self.own_callbacks())
        network = fit(
            self.build_model(data),
            data.limited(self.limit),
            backend=backend,
            callbacks=(*own, *callbacks),
            resume=resume,
            stop_after=stop_after,
            group=group,
            reduction=self.reduction,
            shards=self.shards,
            start=start,
            freeze=self.freeze,
            fresh=self.fresh,
            **self.fit_options(data.target_kind) | self._kept_already(data),
        )
        for kept in own:
            if isinstance(kept, SnapshotEnsemble) and len(kept.networks) == kept.members:
                return kept.ensemble
        return network

    def _kept_already(self, data: Dataset) -> dict[str, Any]:
        """Of a table the part for validation was kept before it was measured."""
        return {} if data.validation is None else {"validation": None}

    def fit_options(self, target_kind: str = "classes") -> dict[str, Any]:
        """The options of `fit` that the configuration determines, but for callbacks.

        The loss is the cross-entropy of classes, or the mean squared error of values.

        Raises
        ------
        OptionError
            If there is label smoothing, and no classes.
        """
        loss: LossFunction = SoftmaxCrossEntropy(self.label_smoothing)
        if target_kind == "values":
            if self.label_smoothing:
                raise OptionError("label_smoothing", "is for classes, and here are numbers")
            loss = mean_squared_error
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
            "augment": None if self.augment is None else augmentations_from(self.augment),
            "optimizer": self.build_optimizer(),
            "loss": loss,
            "validation": self.validation,
            "seed": self.seed,
            "train_metrics": self.train_metrics,
            "average_from": self.average_from,
        }

    def describe(self, data: Dataset) -> str:
        """The network in a few words, such as `784-128-10, relu, 101,770 parameters`."""
        words = [self.model]
        if self.hidden is not None:
            sizes = (math.prod(data.image_shape), *self.hidden, data.n_outputs)
            words = ["-".join(map(str, sizes))]
        if self.hidden != ():
            words += ["batch norm"] * self.batch_norm + [self.activation]
            words += [] if self.pooling is None else [f"{self.pooling} pooling"]
            words += [f"dropout {self.dropout:g}"] * bool(self.dropout)
        count = self.build_model(data).parameter_count
        return f"{', '.join(words)}, {counted(count, 'parameter')}"
