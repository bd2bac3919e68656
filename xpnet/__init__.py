"""xpnet: train neural networks wherever your arrays live.

The first page:

>>> import xpnet
>>> from xpnet import Dense, ReLU, Sequential
>>> data = xpnet.load_dataset("digits")
>>> model = Sequential(fc1=Dense(64, 128), act1=ReLU(), fc2=Dense(128, 10))
>>> network = xpnet.fit(model, data, epochs=3, backend="numpy", seed=0)
>>> network.predict(data.test.images).shape
(359,)
"""

from xpnet import initializers, losses, metrics, schedules
from xpnet.backends import BACKENDS, Backend, backend_of, open_backend, probe_backends
from xpnet.data import Dataset, Split, load_dataset, read_idx, write_idx
from xpnet.errors import (
    BackendUnavailable,
    CheckpointError,
    DataError,
    RunError,
    TrainingDiverged,
    XpnetError,
)
from xpnet.layers import (
    ELU,
    GELU,
    BatchNorm,
    Context,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxNorm,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
    balanced_class_weight,
    binary_cross_entropy,
    huber,
    mean_absolute_error,
    mean_squared_error,
    softmax_cross_entropy,
)
from xpnet.model import Sequential, mlp
from xpnet.optimizers import SGD, Adam, AdamW, Lion, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.training import (
    Callback,
    ClassificationReport,
    EpochRecord,
    Evaluation,
    History,
    Network,
    ProgressBar,
    RegressionReport,
    Weighted,
    fit,
    initial_state,
    load,
    make_evaluator,
    make_step,
)

__version__ = "0.1.0"

__all__ = [
    "BACKENDS",
    "ELU",
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "Backend",
    "BackendUnavailable",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Callback",
    "CheckpointError",
    "ClassificationReport",
    "Context",
    "DataError",
    "Dataset",
    "Dense",
    "Dropout",
    "EpochRecord",
    "Evaluation",
    "Flatten",
    "History",
    "Huber",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "Loss",
    "MaxNorm",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Momentum",
    "Nesterov",
    "Network",
    "Optimizer",
    "ProgressBar",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "RegressionReport",
    "Residual",
    "RunError",
    "Schedule",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Split",
    "Tanh",
    "TrainingDiverged",
    "Weighted",
    "XpnetError",
    "backend_of",
    "balanced_class_weight",
    "binary_cross_entropy",
    "fit",
    "huber",
    "initial_state",
    "initializers",
    "load",
    "load_dataset",
    "losses",
    "make_evaluator",
    "make_step",
    "mean_absolute_error",
    "mean_squared_error",
    "metrics",
    "mlp",
    "open_backend",
    "probe_backends",
    "read_idx",
    "schedules",
    "softmax_cross_entropy",
    "write_idx",
]
