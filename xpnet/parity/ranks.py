"""The same training on several ranks, compared with that of one process."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from xpnet.backends import Backend, open_backend
from xpnet.checks import positive_integer
from xpnet.data import Dataset
from xpnet.distributed import Group, threads
from xpnet.distributed.reduction import REDUCTIONS, SHARDS, check_shards
from xpnet.layers import Layer
from xpnet.network import Network
from xpnet.training import fit
from xpnet.training.ranks import digest_of

LARGEST_DIFFERENCE = {"float64": 1e-12, "float32": 1e-3}
"""What is allowed between the losses of a fast reduction and those of one process. In float32 runs
drift apart, as the same run on two backends does."""


@dataclass(frozen=True)
class RankRow:
    """A training on some ranks.

    Attributes
    ----------
    reduction, ranks
        How the gradients were added up, of how many ranks.
    loss_difference
        The largest difference of a training or test loss, of any epoch, to that of one process.
    parameter_difference
        The largest difference of a parameter at the end.
    digest
        The SHA-256 of all arrays of the network.
    """

    reduction: str
    ranks: int
    loss_difference: float
    parameter_difference: float
    digest: str


@dataclass(frozen=True)
class RankReport:
    """What `compare_ranks` found; `print` shows it as a table, `holds` is the verdict."""

    backend: str
    dtype: str
    shards: int
    rows: tuple[RankRow, ...]
    failures: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether a fast reduction gave the losses of one process, and an exact one equal bytes."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"holds": self.holds, **asdict(self)}

    def __str__(self) -> str:
        lines = [
            f"{'reduction':<9}  {'ranks':>5}  {'loss diff.':>10}  {'param. diff.':>12}  SHA-256"
        ]
        lines += [
            f"{row.reduction:<9}  {row.ranks:>5}  {row.loss_difference:>10.1e}  "
            f"{row.parameter_difference:>12.1e}  {row.digest[:16]}"
            for row in self.rows
        ]
        lines += [f"FAILS: {failure}" for failure in self.failures]
        if self.holds:
            lines.append(
                f"holds on {self.backend} in {self.dtype}: the losses of one process within "
                f"{LARGEST_DIFFERENCE[self.dtype]:g}, and equal bytes where the reduction is exact"
            )
        return "\n".join(lines)


def compare_ranks(
    model: Layer,
    data: Dataset,
    ranks: Sequence[int],
    *,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    shards: int = SHARDS,
    **options: Any,
) -> RankReport:
    """Train the same network in one process and on several ranks, fast and exactly, and compare.

    The ranks are threads of this process (`xpnet.distributed.threads`), so that anyone can do it;
    what they compute is what processes compute.

    Parameters
    ----------
    model, data
        What is trained, on what.
    ranks
        Numbers of ranks, none above `shards`.
    backend, dtype
        Where, and in which precision.
    shards
        The number of parts where the reduction is exact.
    options
        Further options of `fit`, such as `epochs` and `seed`.

    Raises
    ------
    ValueError
        If there is no number of ranks, or one is not allowed.

    Examples
    --------
    >>> from xpnet import load_dataset, mlp
    >>> from xpnet.parity import compare_ranks
    >>> data = load_dataset("digits").limited(200)
    >>> report = compare_ranks(mlp(64, 10), data, [1, 2], epochs=1, shards=2)
    >>> assert report.holds, report
    """
    ranks = [positive_integer("ranks", number) for number in ranks]
    if not ranks:
        raise ValueError("give one or more numbers of ranks to compare, such as 1,2,4")
    check_shards(shards, max(ranks))  # before anything is trained, fast
    opened = open_backend(backend, None, dtype)
    if opened.product_threads() is not None:
        opened.limit_threads(1)
    alone = fit(model, data, backend=opened, **options)
    rows = []
    for reduction in REDUCTIONS:
        how: dict[str, Any] = {
            "reduction": reduction,
            "shards": shards if reduction == "exact" else None,
        }
        train = partial(fit, model, data, backend=opened, **how, **options)
        for number in ranks:
            network, *_ = threads(number).run(partial(_on_rank, train))
            rows.append(_row(reduction, number, network, alone))
    return RankReport(opened.name, dtype, shards, tuple(rows), tuple(_failures(rows, dtype)))


def _on_rank(train: Callable[..., Network], group: Group) -> Network:
    return train(group=group)


def _row(reduction: str, ranks: int, network: Network, alone: Network) -> RankRow:
    arrays, expected = _arrays(network), _arrays(alone)
    differences = [np.max(np.abs(arrays[n] - expected[n]), initial=0.0) for n in expected]
    losses = zip(_losses(network), _losses(alone), strict=True)
    return RankRow(
        reduction,
        ranks,
        max((abs(a - b) for a, b in losses), default=0.0),
        float(max(differences, default=0.0)),
        digest_of(network.backend, network.arrays),
    )


def _arrays(network: Network) -> dict[str, np.ndarray]:
    to_numpy = network.backend.to_numpy
    return {name: np.ascontiguousarray(to_numpy(v)) for name, v in network.arrays.items()}


def _losses(network: Network) -> list[float]:
    figures = [(record.train_loss, record.test_loss) for record in network.history]
    return [loss for pair in figures for loss in pair if loss is not None]


def _failures(rows: Sequence[RankRow], dtype: str) -> list[str]:
    failures = [
        f"{row.ranks} ranks, {row.reduction}: a loss differs by {row.loss_difference:.1e}, allowed "
        f"is {LARGEST_DIFFERENCE[dtype]:g}"
        for row in rows
        if not row.loss_difference <= LARGEST_DIFFERENCE[dtype]
    ]
    exact = [row for row in rows if row.reduction == "exact"]
    return failures + [
        f"{row.ranks} ranks, exact: other bytes than on {exact[0].ranks}"
        for row in exact
        if row.digest != exact[0].digest
    ]
