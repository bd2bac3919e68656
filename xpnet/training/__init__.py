"""Training: the only place that composes backends, layers, losses, optimizers and data."""

from xpnet.training.batches import shuffled_batches
from xpnet.training.callbacks import Callback, ProgressBar
from xpnet.training.checkpoints import Checkpoint
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.evaluation import Evaluation, make_evaluator
from xpnet.training.fit import fit
from xpnet.training.history import EpochRecord, History
from xpnet.training.loggers import CSVLogger, JSONLogger, TensorBoard
from xpnet.training.network import Network
from xpnet.training.report import ClassificationReport, RegressionReport, ScoreRow
from xpnet.training.saved import load
from xpnet.training.snapshot import Snapshot, read_snapshot
from xpnet.training.step import initial_state, make_step
from xpnet.training.weighted import Weighted

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "ClassificationReport",
    "EarlyStopping",
    "EpochRecord",
    "Evaluation",
    "History",
    "JSONLogger",
    "Network",
    "ProgressBar",
    "RegressionReport",
    "ScoreRow",
    "Snapshot",
    "TensorBoard",
    "Weighted",
    "fit",
    "initial_state",
    "load",
    "make_evaluator",
    "make_step",
    "read_snapshot",
    "shuffled_batches",
]
