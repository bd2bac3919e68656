"""Training: the only place that composes backends, layers, losses, optimizers and data."""

from xpnet.training.callbacks import Callback, ProgressBar
from xpnet.training.evaluation import Evaluation, make_evaluator
from xpnet.training.fit import fit
from xpnet.training.history import EpochRecord, History
from xpnet.training.network import Network
from xpnet.training.report import ClassificationReport, RegressionReport, ScoreRow
from xpnet.training.saved import load
from xpnet.training.step import initial_state, make_step
from xpnet.training.weighted import Weighted

__all__ = [
    "Callback",
    "ClassificationReport",
    "EpochRecord",
    "Evaluation",
    "History",
    "Network",
    "ProgressBar",
    "RegressionReport",
    "ScoreRow",
    "Weighted",
    "fit",
    "initial_state",
    "load",
    "make_evaluator",
    "make_step",
]
