"""What one call of `fit` or `partial_fit` asks of a solver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.utils import check_random_state

from xpnet.backends import Backend
from xpnet.distributed.reduction import WHOLE, Reduction
from xpnet.errors import counted
from xpnet.layers import Sequential
from xpnet.network.evaluation import Evaluation
from xpnet.sklearn.architecture import Structure, layer_sizes
from xpnet.sklearn.curves import Curves
from xpnet.sklearn.fitted import Fitted
from xpnet.sklearn.holding import CheckedSamples, Held
from xpnet.sklearn.problem import Problem
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.whole import NetworkStructure

Score = Callable[[Fitted, Held, Evaluation], float]
"""`score(fitted, held, found)`: how good a network is on a validation set, on which its loss and
accuracy were `found`."""

_MOST_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Task:
    """What is to be learnt, from what, and where.

    Attributes
    ----------
    work
        Where the work is done.
    problem, structure, model
        What the network is to give, and its layers.
    samples
        The samples, and what is known of them.
    held
        The validation set that was given.
    incremental
        Whether this is a call of `partial_fit`.
    score
        For early stopping; None of a solver without epochs.
    seen
        See `Fitted`.
    ranks
        Which ranks train, and how a batch is divided among them.
    """

    work: Backend
    problem: Problem
    structure: Structure | NetworkStructure
    model: Sequential
    samples: CheckedSamples
    held: Held | None
    incremental: bool
    score: Score | None
    seen: dict[str, Any]
    ranks: Reduction = WHOLE

    def curves(self, settings: Settings, before: Fitted | None) -> Curves:
        """The figures that are added to: of the calls before, or none yet."""
        known = None if before is None else before.curves
        return Curves.for_call(settings, known, validated=self.held is not None)

    def fitted(self, **found: Any) -> Fitted:
        """What a solver has come to: what it has `found`, of this network."""
        problem = self.problem
        return Fitted(
            self.model, problem.labels, self.work.dtype_name, problem.n_outputs,
            problem.out_activation, self.structure.batch_norm, self.seen, **found,
        )  # fmt: skip


def draw_seed(settings: Settings, ranks: Reduction) -> int:
    """The seed of a run, from `random_state`: that of rank 0, for all ranks."""
    drawn = int(check_random_state(settings.random_state).randint(_MOST_SEEDS))
    return int(ranks.group.share(drawn))


def make_structure(
    settings: Settings, n_features: int, problem: Problem, before: Fitted | None
) -> Structure:
    """The layers that are asked for, which must be those of before where the training goes on.

    Raises
    ------
    ValueError, TypeError
        If they are not, or there are no such layers.
    """
    sizes = layer_sizes(n_features, settings.hidden_layer_sizes, problem.n_outputs)
    if before is not None:
        _check_goes_on(sizes, settings, before)
    return Structure.of(settings, sizes)


def _check_goes_on(sizes: list[int], settings: Settings, before: Fitted) -> None:
    """Check that what was fitted is the network that there is to be."""
    again = "give what was given before, or fit with warm_start=False"
    weights = [x for name, x in before.arrays.items() if name.endswith(".weight")]
    fitted = [weights[0].shape[0], *(x.shape[1] for x in weights)]
    if fitted[-1] != sizes[-1]:
        raise ValueError(
            f"the targets and the loss need {counted(sizes[-1], 'output')}, and what was fitted "
            f"has {fitted[-1]}: {again}"
        )
    if fitted != sizes:
        raise ValueError(
            f"hidden_layer_sizes={settings.hidden_layer_sizes!r}, and what was fitted has hidden "
            f"layers of {fitted[1:-1]}: {again}"
        )
    if settings.batch_norm != before.batch_norm:
        raise ValueError(
            f"batch_norm={settings.batch_norm}, and what was fitted has "
            f"{'none' if settings.batch_norm else 'one'}: {again}"
        )
