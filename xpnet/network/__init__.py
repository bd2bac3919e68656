"""A trained network: what it predicts, how well, and its file."""

from xpnet.network.ensemble import Ensemble
from xpnet.network.evaluation import Evaluation, make_evaluator
from xpnet.network.loading import load
from xpnet.network.network import Network
from xpnet.network.pictures import Answer
from xpnet.network.report import ClassificationReport, RegressionReport, ScoreRow

__all__ = [
    "Answer",
    "ClassificationReport",
    "Ensemble",
    "Evaluation",
    "Network",
    "RegressionReport",
    "ScoreRow",
    "load",
    "make_evaluator",
]
