"""One seed, one run: the same training on several backends, or on several ranks, compared."""

from xpnet.parity.backends import (
    TOLERANCES,
    ParityReport,
    ParityRow,
    Tolerances,
    compare_backends,
)
from xpnet.parity.ranks import RankReport, RankRow, compare_ranks

__all__ = [
    "TOLERANCES",
    "ParityReport",
    "ParityRow",
    "RankReport",
    "RankRow",
    "Tolerances",
    "compare_backends",
    "compare_ranks",
]
