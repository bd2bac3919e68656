"""The figures of the epochs, by which a training is judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from xpnet.sklearn.settings import Settings


@dataclass(frozen=True)
class Criterion:
    """What epochs are compared by: of others the best says nothing.

    Attributes
    ----------
    by
        The loss on the training set, the score on the validation set, or `"nothing"` of a solver
        without epochs: what was best before it is of another network.
    scoring
        Which score, as the parameter of that name says.
    """

    by: Literal["loss", "score", "nothing"]
    scoring: Any = None

    @classmethod
    def of(cls, settings: Settings) -> "Criterion":
        """What the epochs of a call are compared by."""
        if settings.solver == "lbfgs":
            return cls("nothing")
        return cls("score", settings.scoring) if settings.early_stopping else cls("loss")


@dataclass
class Curves:
    """The figures of all epochs until now; the attributes of an estimator that have their names.

    Attributes
    ----------
    criterion
        What the epochs are compared by.
    loss_curve, best_loss
        The losses, and the smallest; with early stopping None for the latter.
    validation_scores, best_validation_score
        The scores, and the largest; without early stopping None.
    validation_loss_curve
        The losses on the validation set; None where there has been none.
    no_improvement
        How many of the last epochs have brought nothing.
    """

    criterion: Criterion
    loss_curve: list[float]
    best_loss: float | None
    validation_scores: list[float] | None
    best_validation_score: float | None
    validation_loss_curve: list[float] | None = None
    no_improvement: int = 0

    @classmethod
    def begin(cls, criterion: Criterion) -> "Curves":
        """Those before the first epoch."""
        if criterion.by == "score":
            return cls(criterion, [], None, [], -math.inf)
        return cls(criterion, [], math.inf, None, None)

    @classmethod
    def for_call(cls, settings: Settings, before: "Curves | None", *, validated: bool) -> "Curves":
        """Those that a call adds to: of the calls before, where epochs are compared by the same.

        `validated` says whether a validation set is given.
        """
        criterion = Criterion.of(settings)
        goes_on = before is not None and before.criterion == criterion
        found = before.copy() if before is not None and goes_on else cls.begin(criterion)
        if validated or criterion.by == "score":
            found.measured()
        return found

    @classmethod
    def read(cls, own: Mapping[str, Any], criterion: Criterion, no_improvement: int) -> "Curves":
        """Those that an estimator has, by its attributes."""
        found = cls.begin(criterion)
        found.loss_curve = own.get("loss_curve_", [])
        for name in ("best_loss", "validation_scores", "best_validation_score"):
            setattr(found, name, own.get(f"{name}_"))
        found.validation_loss_curve = own.get("validation_loss_curve_")
        found.no_improvement = no_improvement
        return found.copy()

    def copy(self) -> "Curves":
        """The same figures in lists of their own."""
        lists: dict[str, Any] = {k: x[:] for k, x in vars(self).items() if isinstance(x, list)}
        return replace(self, **lists)

    def attributes(self) -> dict[str, Any]:
        """The attributes that an estimator has of them."""
        found: dict[str, Any] = {}
        if self.criterion.by != "nothing":
            found = {
                "loss_curve_": self.loss_curve,
                "best_loss_": self.best_loss,
                "validation_scores_": self.validation_scores,
                "best_validation_score_": self.best_validation_score,
            }
        if self.validation_loss_curve is not None:
            found["validation_loss_curve_"] = self.validation_loss_curve
        return found

    def measured(self) -> list[float]:
        """The losses on the validation set, of which there is one from now on."""
        if self.validation_loss_curve is None:
            self.validation_loss_curve = []
        return self.validation_loss_curve

    def count_loss(self, loss: float, tol: float) -> None:
        """Count an epoch by its training loss."""
        assert self.best_loss is not None
        worse = loss > self.best_loss - tol
        if loss < self.best_loss:
            self.best_loss = loss
        self.no_improvement = self.no_improvement + 1 if worse else 0

    def count_score(self, score: float, tol: float) -> bool:
        """Count an epoch by its validation score; whether it is the best until now."""
        assert self.validation_scores is not None
        assert self.best_validation_score is not None
        self.validation_scores.append(score)
        worse = not score >= self.best_validation_score + tol  # also what is no number
        best = score > self.best_validation_score
        if best:
            self.best_validation_score = score
        self.no_improvement = self.no_improvement + 1 if worse else 0
        return best
