"""What a call of `fit` or `partial_fit` comes to: computed first, and then had by the estimator."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xpnet.backends import Backend
from xpnet.callbacks.base import Callback
from xpnet.inputs.samples import all_finite
from xpnet.layers import Sequential
from xpnet.sklearn.architecture import arrays_of, coefficient_names, norm_arrays, norm_names
from xpnet.sklearn.curves import Criterion, Curves
from xpnet.sklearn.encoding import Labels
from xpnet.sklearn.engine import Engine
from xpnet.sklearn.outputs import Forwards
from xpnet.sklearn.progress import Progress
from xpnet.sklearn.told import Copies
from xpnet.typing import Array

SEEN = ("n_features_in_", "feature_names_in_", "sample_shape_")
"""The attributes that are written when samples are checked, the first two by scikit-learn."""

ATTRIBUTES = frozenset({
    *SEEN, "classes_", "coefs_", "intercepts_", "batch_norm_", "n_layers_", "n_outputs_",
    "out_activation_", "loss_", "n_iter_", "t_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "validation_loss_curve_", "stopped_", "callbacks_", "_kept",
})  # fmt: skip
"""All attributes that a fitted estimator may have beside its parameters."""


@dataclass(frozen=True)
class Kept:
    """What a fitted estimator has beside its public attributes.

    Attributes
    ----------
    model, labels, dtype
        The layers, what the outputs of a classifier stand for, and the dtype of the training.
    names
        Those of the arrays that are `coefs_`, `intercepts_` and, by layer, `batch_norm_`.
    criterion, no_improvement
        See `Curves`.
    given
        The callbacks as they were given, whose copies are `callbacks_`.
    progress
        What `partial_fit` goes on from; None after `lbfgs`, unless other solvers came before it.
    engine
        The steps of the last call, if it was one of `partial_fit`.
    forwards
        What the backends have made of the forward pass. Copies and pickles have neither of these.
    """

    model: Sequential
    labels: Labels | None
    dtype: str
    names: tuple[list[str], list[str], dict[str, list[str]]]
    criterion: Criterion
    no_improvement: int
    given: tuple[Callback, ...]
    progress: Progress | None
    engine: Engine | None
    forwards: Forwards = field(default_factory=Forwards, compare=False)

    def without_steps(self) -> "Kept":
        """All but what is compiled, which is made again where it is wanted."""
        return replace(self, engine=None, forwards=Forwards())


@dataclass(frozen=True)
class Fitted:
    """What a solver has come to, or what it goes on from.

    Attributes
    ----------
    model, labels, dtype
        As in `Kept`.
    n_outputs, out_activation
        See `Problem`.
    batch_norm
        Whether each hidden layer has a batch norm.
    seen
        What scikit-learn has seen of the samples, by the names of `SEEN`.
    arrays
        The arrays of the network by name.
    curves
        The figures of the epochs.
    loss
        That of the last epoch; not a number where there was none.
    n_iter, t
        The epochs of the last call, and the samples of all that steps were taken on.
    stopped
        Whether a rule or a callback has ended the training; None of a solver that has no such rule.
    callbacks
        Those that were told; None where none could be.
    progress, engine
        As in `Kept`.
    """

    model: Sequential
    labels: Labels | None
    dtype: str
    n_outputs: int
    out_activation: str
    batch_norm: bool
    seen: Mapping[str, Any]
    arrays: Mapping[str, Array]
    curves: Curves
    loss: float = math.nan
    n_iter: int = 0
    t: int = 0
    stopped: bool | None = None
    callbacks: Copies | None = None
    progress: Progress | None = None
    engine: Engine | None = None

    @classmethod
    def of(cls, estimator: Any) -> "Fitted":
        """What an estimator has, whose public attributes may have been changed since."""
        own, kept = vars(estimator), estimator._kept
        copies = None
        if "callbacks_" in own:
            copies = Copies(kept.given, tuple(own["callbacks_"]))
        return cls(
            kept.model, kept.labels, kept.dtype,
            n_outputs=own["n_outputs_"],
            out_activation=own["out_activation_"],
            batch_norm="batch_norm_" in own,
            seen={name: own[name] for name in SEEN if name in own},
            arrays=arrays_of(estimator),
            curves=Curves.read(own, kept.criterion, kept.no_improvement),
            loss=own.get("loss_", math.nan),
            n_iter=own["n_iter_"],
            t=own["t_"],
            stopped=own.get("stopped_"),
            callbacks=copies,
            progress=kept.progress,
            engine=kept.engine,
        )  # fmt: skip

    def attributes(self) -> dict[str, Any]:
        """The attributes that an estimator has then, by their names."""
        weights, biases = coefficient_names(self.model)
        found = {
            **self.seen,
            **self.curves.attributes(),
            "coefs_": [self.arrays[name] for name in weights],
            "intercepts_": [self.arrays[name] for name in biases],
            "n_layers_": len(weights) + 1,
            "n_outputs_": self.n_outputs,
            "out_activation_": self.out_activation,
            "loss_": self.loss,
            "n_iter_": self.n_iter,
            "t_": self.t,
        }
        if self.batch_norm:
            found["batch_norm_"] = norm_arrays(self.model, self.arrays)
        if self.stopped is not None:
            found["stopped_"] = self.stopped
        if self.callbacks is not None:
            found["callbacks_"] = list(self.callbacks.own)
        found["_kept"] = Kept(
            self.model, self.labels, self.dtype, (weights, biases, norm_names(self.model)),
            self.curves.criterion, self.curves.no_improvement,
            () if self.callbacks is None else self.callbacks.given, self.progress, self.engine,
        )  # fmt: skip
        return found


def check_finite(work: Backend, fitted: Fitted) -> None:
    """Check that weights and biases are finite.

    Raises
    ------
    ValueError
        If they are not.
    """
    weights, biases = coefficient_names(fitted.model)
    if not all(all_finite(work, fitted.arrays[name]) for name in (*weights, *biases)):
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain large "
            "values and need to be preprocessed."
        )


def take_on(estimator: Any, attributes: Mapping[str, Any]) -> None:
    """Let an estimator have these attributes, and none of those that it was fitted with before.

    It is one assignment: nothing, not even Ctrl-C, comes in between.
    """
    others = {name: x for name, x in vars(estimator).items() if name not in ATTRIBUTES}
    estimator.__dict__ = {**others, **attributes}
