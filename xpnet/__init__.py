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

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "backends": "BACKENDS Backend backend_of open_backend probe_backends",
    "callbacks": "Callback Checkpoint CSVLogger EarlyStopping JSONLogger ProgressBar TensorBoard",
    "data": "Dataset Split load_dataset read_idx write_idx",
    "errors": (
        "BackendUnavailable CheckpointError DataError DataWarning OutOfMemory RunError "
        "TrainingDiverged XpnetError"
    ),
    "history": "EpochRecord History",
    "inputs": "Weighted shuffled_batches",
    "layers": (
        "ELU GELU BatchNorm Context Dense Dropout Flatten Layer LayerNorm LeakyReLU MaxNorm ReLU "
        "Residual Sigmoid SiLU Softmax Softplus Tanh"
    ),
    "losses": (
        "BinaryCrossEntropy Huber Loss MeanAbsoluteError MeanSquaredError PoissonDeviance "
        "SoftmaxCrossEntropy balanced_class_weight binary_cross_entropy huber mean_absolute_error "
        "mean_squared_error poisson_deviance softmax_cross_entropy"
    ),
    "model": "Sequential mlp",
    "network": "ClassificationReport Evaluation Network RegressionReport load make_evaluator",
    "optimizers": "SGD Adam AdamW Lion Momentum Nesterov Optimizer RMSprop",
    "schedules": "ReduceOnPlateau Schedule",
    "saving": "Snapshot read_snapshot",
    "training": "fit initial_state make_step",
}
"""The public names by the module that they come from; `__init__.pyi` has them as imports."""

_MODULES = "initializers losses metrics schedules"
"""Modules that are public names themselves."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted([*_HOMES, *_MODULES.split()])


def __getattr__(name: str) -> Any:
    """Import what is used, when it is used: so `import xpnet` takes less time than NumPy's."""
    if name in _HOMES:
        value = getattr(import_module(f"xpnet.{_HOMES[name]}"), name)
        globals()[name] = value  # from now on it is found without this function
        return value
    if name.isidentifier() and not name.startswith("_"):
        try:
            return import_module(f"xpnet.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"xpnet.{name}":
                raise
    raise AttributeError(f"module 'xpnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
