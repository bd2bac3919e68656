"""What may happen beside a training: bars, logs, files, an early end."""

from xpnet.callbacks.base import Callback
from xpnet.callbacks.checkpoint import Checkpoint
from xpnet.callbacks.early_stopping import EarlyStopping
from xpnet.callbacks.loggers import CSVLogger, JSONLogger, TensorBoard
from xpnet.callbacks.progress import ProgressBar

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "JSONLogger",
    "ProgressBar",
    "TensorBoard",
]
