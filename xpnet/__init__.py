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

from xpnet import initializers, losses, metrics
from xpnet.backends import BACKENDS, Backend, backend_of, open_backend, probe_backends
from xpnet.data import Dataset, Split, load_dataset, read_idx, write_idx
from xpnet.errors import (
    BackendUnavailable,
    CheckpointError,
    DataError,
    OutOfMemory,
    RunError,
    TrainingDiverged,
    XpnetError,
)
from xpnet.layers import Context, Dense, Dropout, Flatten, Layer, ReLU, Sigmoid, Softmax, Tanh
from xpnet.losses import softmax_cross_entropy
from xpnet.model import Sequential, mlp
from xpnet.optimizers import SGD
from xpnet.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    EpochRecord,
    Evaluation,
    History,
    JSONLogger,
    Network,
    ProgressBar,
    Snapshot,
    TensorBoard,
    fit,
    initial_state,
    load,
    make_evaluator,
    make_step,
    read_snapshot,
    shuffled_batches,
)

__version__ = "0.1.0"

__all__ = [
    "BACKENDS",
    "SGD",
    "Backend",
    "BackendUnavailable",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "Context",
    "DataError",
    "Dataset",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "EpochRecord",
    "Evaluation",
    "Flatten",
    "History",
    "JSONLogger",
    "Layer",
    "Network",
    "OutOfMemory",
    "ProgressBar",
    "ReLU",
    "RunError",
    "Sequential",
    "Sigmoid",
    "Snapshot",
    "Softmax",
    "Split",
    "Tanh",
    "TensorBoard",
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
    "read_snapshot",
    "shuffled_batches",
    "softmax_cross_entropy",
    "write_idx",
]
