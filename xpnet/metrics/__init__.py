"""What is measured of a network. Functions of arrays; nothing is read on the host.

What a metric gives is an array on the device of its arguments. Where a division by zero would be
made, as for the precision of a class that was never predicted, the result is 0, as scikit-learn
has it with `zero_division=0`.
"""

from xpnet.metrics.classification import (
    accuracy,
    class_labels,
    confusion_matrix,
    count_correct,
    count_correct_labels,
    predicted_classes,
    predicted_labels,
    top_k_accuracy,
)
from xpnet.metrics.probabilities import (
    calibration_bins,
    expected_calibration_error,
    log_loss,
)
from xpnet.metrics.regression import mean_absolute_error, mean_squared_error, r2_score
from xpnet.metrics.scores import Scores, class_counts, precision_recall_f1, scores_of_counts

__all__ = [
    "Scores",
    "accuracy",
    "calibration_bins",
    "class_counts",
    "class_labels",
    "confusion_matrix",
    "count_correct",
    "count_correct_labels",
    "expected_calibration_error",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "precision_recall_f1",
    "predicted_classes",
    "predicted_labels",
    "r2_score",
    "scores_of_counts",
    "top_k_accuracy",
]
