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
from xpnet.layers import Context, Dense, Dropout, Flatten, Layer, ReLU, Sigmoid, Softmax, Tanh
from xpnet.losses import softmax_cross_entropy
from xpnet.model import Sequential, mlp
from xpnet.optimizers import SGD, Adam, AdamW, Lion, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.training import (
    Callback,
    EpochRecord,
    Evaluation,
    History,
    Network,
    ProgressBar,
    fit,
    initial_state,
    load,
    make_evaluator,
    make_step,
)

__version__ = "0.1.0"

__all__ = [
    "BACKENDS",
    "SGD",
    "Adam",
    "AdamW",
    "Backend",
    "BackendUnavailable",
    "Callback",
    "CheckpointError",
    "Context",
    "DataError",
    "Dataset",
    "Dense",
    "Dropout",
    "EpochRecord",
    "Evaluation",
    "Flatten",
    "History",
    "Layer",
    "Lion",
    "Momentum",
    "Nesterov",
    "Network",
    "Optimizer",
    "ProgressBar",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "RunError",
    "Schedule",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Split",
    "Tanh",
    "TrainingDiverged",
    "XpnetError",
    "backend_of",
    "fit",
    "initial_state",
    "initializers",
    "load",
    "load_dataset",
    "losses",
    "make_evaluator",
    "make_step",
    "metrics",
    "mlp",
    "open_backend",
    "probe_backends",
    "read_idx",
    "schedules",
    "softmax_cross_entropy",
    "write_idx",
]
