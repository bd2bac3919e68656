"""The configuration of a run: what the command line asks for, as one checked value."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from xpnet.backends import Backend
from xpnet.data import Dataset
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS, Dropout
from xpnet.model import Sequential, mlp
from xpnet.optimizers import SGD
from xpnet.training.callbacks import Callback
from xpnet.training.fit import fit
from xpnet.training.network import Network


@dataclass(frozen=True)
class RunConfig:
    """A multi-layer perceptron and how it is trained on a data set.

    Parameters
    ----------
    dataset
        The name of the data set, or the folder it was read from.
    hidden
        The numbers of features of the hidden layers; none for softmax regression.
    dropout
        The rate of dropout after each hidden layer; none if 0.
    activation, init
        Names from `xpnet.layers.ACTIVATIONS` and `xpnet.initializers.INITIALIZERS`.
    epochs, batch_size, learning_rate, seed
        As in `fit` and `SGD`.
    limit
        Train on the first `limit` samples only; on all if None.

    Raises
    ------
    ValueError
        If a value is not allowed; the message says what is.
    """

    dataset: str = "digits"
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    dropout: float = 0.0
    init: str = "he_normal"
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.1
    seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("activation", ACTIVATIONS), ("init", INITIALIZERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}"
                )
        SGD(self.learning_rate)
        Dropout(self.dropout)
        sizes = {"hidden": self.hidden, "limit": () if self.limit is None else (self.limit,)}
        for name, values in sizes.items():
            if not all(value > 0 for value in values):
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}")

    def model(self, data: Dataset) -> Sequential:
        """The network for a data set: its pixels in, its classes out."""
        return mlp(
            math.prod(data.image_shape),
            *self.hidden,
            data.n_classes,
            activation=ACTIVATIONS[self.activation](),
            dropout=self.dropout,
            init_weight=INITIALIZERS[self.init],
        )

    def describe(self, data: Dataset) -> str:
        """The network in a few words, such as `784-128-10, relu, 101,770 parameters`."""
        sizes = (math.prod(data.image_shape), *self.hidden, data.n_classes)
        count = self.model(data).parameter_count
        activation = f"{self.activation}, " if self.hidden else ""
        dropout = f"dropout {self.dropout:g}, " if self.hidden and self.dropout else ""
        return f"{'-'.join(map(str, sizes))}, {activation}{dropout}{count:,} parameters"

    def fit(self, data: Dataset, backend: Backend, callbacks: tuple[Callback, ...] = ()) -> Network:
        """Train on a data set; see `xpnet.fit`."""
        return fit(
            self.model(data),
            data.limited(self.limit),
            backend=backend,
            callbacks=callbacks,
            **self.fit_options(),
        )

    def fit_options(self) -> dict[str, Any]:
        """The options of `fit` that the configuration determines."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": SGD(self.learning_rate),
            "seed": self.seed,
        }

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return {**asdict(self), "hidden": list(self.hidden)}
