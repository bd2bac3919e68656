"""What is predicted of classes: labels and probabilities, where the samples are."""

from contextlib import nullcontext
from functools import cache
from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from xpnet.layers import log_softmax, softmax
from xpnet.network.prediction import (
    PREDICTIONS,
    Head,
    label_probabilities,
    log_label_probabilities,
)
from xpnet.sklearn.base import BaseMLP
from xpnet.sklearn.checking import hosted
from xpnet.sklearn.encoding import Labels
from xpnet.typing import Array, Namespace


@cache
def _of_two(of_labels: Head) -> Head:
    """What `of_labels` gives for both of two classes, whose second one has the output."""

    def head(xp: Namespace, output: Array) -> Array:
        # 1 - p of a logit is p of its negative, and loses no digits.
        return of_labels(xp, xp.concat([-output, output], axis=1))

    return head


class ClassPredictions(ClassifierMixin, BaseMLP):
    """The predictions of a classifier."""

    classes_: Any

    @property
    def _labels(self) -> Labels:
        """The classes of what was fitted."""
        labels = self._kept.labels
        assert labels is not None
        return labels

    def predict(self, X: Any) -> Any:
        """The class of each sample, (N,); of several labels rows of 0 and 1, (N, labels)."""
        return self._predict(X, "predict")

    def _predict(self, X: Any, method: str) -> Any:
        kind = self._kind()
        home, predicted = self._outputs(X, PREDICTIONS[kind], method)
        classes = self.classes_ if home.holds(self.classes_) else self._labels.placed(home)
        # NumPy warns of nothing in integers, and a scope takes as long as a small product.
        with nullcontext() if home.name == "numpy" else home.scope():
            return self._labels.decode(home, predicted, classes)

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, (N, classes); of several labels that of each by itself."""
        return self._probabilities(X, "predict_proba", softmax, label_probabilities)

    def predict_log_proba(self, X: Any) -> Any:
        """The natural logarithm of `predict_proba`: finite also where that is rounded to 0."""
        return self._probabilities(X, "predict_log_proba", log_softmax, log_label_probabilities)

    def _probabilities(self, X: Any, method: str, of_classes: Head, of_labels: Head) -> Any:
        if self._kind() == "classes":
            head = of_classes
        else:
            two = getattr(self, "n_outputs_", 0) == 1 and self._labels.kind == "binary"
            head = _of_two(of_labels) if two else of_labels
        return self._outputs(X, head, method)[1]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy on samples with known classes."""
        predicted = hosted(self._predict(X, "score"))
        weight = hosted(sample_weight)
        return float(accuracy_score(hosted(y), predicted, sample_weight=weight))
