"""A model of clusters that were not measured: how long a step would take on many ranks.

A step takes what the part of one rank takes, which is measured, and a sum over all ranks, in the
model of Hockney (Parallel Computing 20, 1994): a message of n bytes takes a latency and n over a
bandwidth. A ring and a tree are those of Thakur, Rabenseifner and Gropp (Int. J. High Performance
Computing Applications 19, 2005). Nothing is overlapped; no rank is slower than another, no link is
shared, and adding takes no time: what comes out is the best that can be hoped for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Link:
    """What joins two ranks: seconds of latency, and bytes a second in one direction."""

    name: str
    latency: float
    bandwidth: float
    source: str = ""


_NCCL = "what NCCL counts for one step of a ring by its protocol LL (`src/graph/tuning.cc`)"

LINKS = (
    Link(
        "10 Gb Ethernet, TCP",
        30e-6,
        10e9 / 8,
        "nominal rate; about what MPI over TCP takes, an assumption (24 to 35 µs were measured "
        "at nw-grid.ac.uk/LivMPI on Gigabit Ethernet with ordinary settings)",
    ),
    Link(
        "100 Gb InfiniBand",
        2.7e-6,
        100e9 / 8,
        f"nominal rate of EDR (user manual of NVIDIA ConnectX-5); {_NCCL}, over a network",
    ),
    Link(
        "NVLink 4",
        0.6e-6,
        450e9,
        f"900 GB/s in both directions together (data sheet of NVIDIA H100); {_NCCL}, over NVLink",
    ),
)
"""Networks as they are sold, and what is known of them."""


def ring_seconds(n_bytes: float, ranks: int, link: Link) -> float:
    """The sum over all ranks by a ring: 2 (R - 1) messages, each of n / R bytes."""
    return 2 * (ranks - 1) * (link.latency + n_bytes / (ranks * link.bandwidth))


def tree_seconds(n_bytes: float, ranks: int, link: Link) -> float:
    """The same up a binary tree and down again: 2 ceil(log2 R) messages of n bytes."""
    return 2 * math.ceil(math.log2(ranks)) * (link.latency + n_bytes / link.bandwidth)


def least_bytes(n_bytes: float, ranks: int) -> float:
    """What each rank must send at least for a sum of n bytes: 2 (R - 1) / R times n.

    Patarasuk and Yuan, J. Parallel and Distributed Computing 69, 2009.
    """
    return 2 * (ranks - 1) / ranks * n_bytes


def interpolated(x: float, measured: Mapping[int, float]) -> float:
    """A value between measured ones, on straight lines; beyond both ends as on the last ones.

    Below the first it is never less than half of the first.
    """
    xs = sorted(measured)
    at = min(max(int(np.searchsorted(xs, x)), 1), len(xs) - 1)
    low, high = xs[at - 1], xs[at]
    slope = (measured[high] - measured[low]) / (high - low)
    return max(measured[low] + slope * (x - low), measured[xs[0]] / 2)


def step_seconds(
    batch_size: int, ranks: int, n_bytes: float, parts: Mapping[int, float], link: Link
) -> dict[str, float]:
    """A step on so many ranks, by `ring` and by `tree`.

    Parameters
    ----------
    batch_size
        Of the whole batch; the largest part has batch / R samples, rounded up.
    ranks, link
        How many there are, and what joins them.
    n_bytes
        What is summed in a step.
    parts
        The seconds that one rank takes for a part, by the number of its samples.
    """
    compute = interpolated(math.ceil(batch_size / ranks), parts)
    return {
        "ring": compute + ring_seconds(n_bytes, ranks, link),
        "tree": compute + tree_seconds(n_bytes, ranks, link),
    }


def fitted_link(messages: Sequence[Mapping[str, Any]]) -> Link:
    """The link of two ranks that the sums of some sizes were measured on.

    Such a sum takes 2 latency + n / bandwidth by a ring; the straight line with the least relative
    errors.
    """
    n = np.asarray([message["bytes"] for message in messages], float)
    seconds = np.asarray([message["least"] for message in messages])
    design = np.stack([2 / seconds, n / seconds], axis=1)
    (latency, per_byte), *_ = np.linalg.lstsq(design, np.ones(len(n)), rcond=None)
    return Link("measured", max(float(latency), 0.0), 1 / max(float(per_byte), 1e-15))


def predictions(
    batch_sizes: Sequence[int],
    alone: Mapping[int, float],
    parts: Mapping[int, float],
    n_bytes: float,
    ranks: Sequence[int],
    links: Sequence[Link] = LINKS,
) -> list[dict[str, Any]]:
    """Steps on clusters: seconds, the better way to add, and how many times as fast as one process.

    Parameters
    ----------
    batch_sizes, ranks, links
        What to predict.
    alone
        The seconds of a step of one process, by batch size.
    parts, n_bytes
        As in `step_seconds`.
    """
    found = []
    for batch_size in batch_sizes:
        for count in ranks:
            for link in links:
                seconds = step_seconds(batch_size, count, n_bytes, parts, link)
                way = min(seconds, key=seconds.__getitem__)
                found.append(
                    {
                        "batch_size": batch_size,
                        "ranks": count,
                        "link": link.name,
                        "seconds": seconds,
                        "way": way,
                        "speed_up": alone[batch_size] / seconds[way],
                    }
                )
    return found
