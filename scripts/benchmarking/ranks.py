"""One training on one and two ranks of MPI, beside one process: steps, messages, and bytes."""

import itertools
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarking.cases import Case, Task
from benchmarking.clusters import fitted_link, least_bytes, predictions, ring_seconds
from benchmarking.messages import measure_messages
from benchmarking.peers import Peer
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.summary import quartiles, ratios
from xpnet import fit, mlp
from xpnet.distributed import Group, threads
from xpnet.typing import HostArray

PIXELS, CLASSES = 784, 10
NETWORKS = ((128,), (1024, 1024))
BATCHES = (64, 256, 1024, 4096)
SHARDS = (2, 4, 8)
CLUSTERS = tuple(8 << i for i in range(8))
"""The numbers of ranks that are predicted: 8 to 1,024."""

SMALL_PARTS = (1, 4, 16)
"""Samples of a part that only large clusters have; the others are halves of the batches."""

LIMIT = 1.02
"""What a step of one rank in a group may take over that without a group, by the least times.

Both run the same code, so what lies between their times is what disturbs them, and that only makes
them longer: of nine rounds the least come near to each other, where medians are percents apart.
"""

PRICE_ROUNDS = 9
"""How often a group of one rank and no group are measured in turn."""

_OPERATIONS = 1e10  # about so many make an epoch, of 2 to 300 steps


def rank_peers(shards: Sequence[int] = SHARDS) -> list[Peer]:
    """Who is measured: one process, two ranks, exact reductions on one and two, half a batch."""
    found = [
        _peer("alone-1", "one process, one thread"),
        _peer("alone-2", "one process, two threads", threads=2),
        _peer("ranks-2", "two ranks", 2),
        _peer("part", "half a batch, no messages", part_of=2),
    ]
    for count in shards:
        found.append(_peer(f"exact-{count}-1", f"one rank, {count} shards", 1, shards=count))
        found.append(_peer(f"exact-{count}-2", f"two ranks, {count} shards", 2, shards=count))
    return found


def _peer(
    name: str, label: str, ranks: int | None = None, *, function: str = "run", **options: Any
) -> Peer:
    cores = options.setdefault("threads", 1)
    return Peer(
        name, label, f"benchmarking.peers.xpnet_ranks:{function}",
        options=tuple(options.items()), ranks=ranks, threads=cores,
    )  # fmt: skip


def steps_per_epoch(case: Case) -> int:
    """So many that an epoch takes some tenths of a second, the same for all peers of a case."""
    operations = 6 * n_parameters(case.hidden) * case.batch_size
    return min(max(round(_OPERATIONS / operations), 2), 300)


def n_parameters(hidden: Sequence[int]) -> int:
    """Weights and biases of a network for pictures of MNIST's size."""
    sizes = (PIXELS, *hidden, CLASSES)
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))


def measure_ranks(
    settings: Settings,
    say: Say,
    *,
    networks: Sequence[tuple[int, ...]] = NETWORKS,
    batches: Sequence[int] = BATCHES,
    shards: Sequence[int] = SHARDS,
) -> dict[str, Any]:
    """All that is measured, and what is predicted from it, as JSON values.

    Parameters
    ----------
    settings, say
        How workers are run, and what is told of that.
    networks, batches, shards
        Hidden layers, sizes of batches, and numbers of shards of exact reductions.

    Raises
    ------
    RuntimeError
        If a peer cannot be measured, or messages cannot.
    """
    say("messages")
    messages = measure_messages(2, settings)
    cases = []
    for hidden in networks:
        for batch_size in batches:
            case = Case(hidden, batch_size)
            cases.append(_measure_case(case, rank_peers(shards), settings, say))
    found = []
    for hidden in networks:
        own = [case for case in cases if case["hidden"] == list(hidden)]
        found.append(_network(hidden, own, messages, settings, say))
    link = fitted_link(messages)
    return {
        "messages": messages,
        "link": {"latency": link.latency, "bandwidth": link.bandwidth},
        "cases": cases,
        "networks": found,
        "holds": all(case["price_of_group"]["least"] <= LIMIT for case in cases),
    }


def _measured(case: Case, peers: list[Peer], settings: Settings, say: Say) -> dict[str, Measured]:
    steps = steps_per_epoch(case)
    task = Task(case, "synthetic", limit=steps * case.batch_size, epochs=1 + settings.repeats)
    found = measure(peers, task, settings, lambda text: say(f"{case}: {text}"))
    for one in found:
        if one.failure:
            raise RuntimeError(f"{one.peer.label} cannot be measured on {case}: {one.failure}")
        one.seconds = [seconds / steps for seconds in one.seconds]
    return {one.peer.name: one for one in found}


def _measure_case(case: Case, peers: list[Peer], settings: Settings, say: Say) -> dict[str, Any]:
    found = _measured(case, peers, settings, say)
    alone, both = found["alone-1"].seconds, found["ranks-2"].seconds
    over = {"1": alone, "2": both}
    return {
        "hidden": list(case.hidden),
        "batch_size": case.batch_size,
        "steps": steps_per_epoch(case),
        "seconds": {name: quartiles(one.seconds) for name, one in found.items()},
        "least": {name: min(one.seconds) for name, one in found.items()},
        "rounds": {name: one.seconds for name, one in found.items()},
        "price_of_group": _price_of_group(case, settings, say),
        "over_one_thread": ratios(alone, both),
        "over_two_threads": ratios(found["alone-2"].seconds, both),
        "exact": {
            name.removeprefix("exact-"): ratios(one.seconds, over[name[-1]])
            for name, one in found.items()
            if name.startswith("exact-")
        },
    }


def _price_of_group(case: Case, settings: Settings, say: Say) -> dict[str, Any]:
    """One rank over no group, both in one process: in two, equal code differs by several percent,
    since memory lies elsewhere."""
    both = _peer("price", "one rank and no group", 1, function="run_in_turn")
    settings = replace(settings, repeats=2 * PRICE_ROUNDS)
    seconds = _measured(case, [both], settings, say)["price"].seconds
    without, with_group = seconds[::2], seconds[1::2]
    return {
        "rounds": {"without": without, "with": with_group},
        "ratio": ratios(with_group, without),
        "least": min(with_group) / min(without),
    }


def _network(
    hidden: tuple[int, ...],
    cases: Sequence[dict[str, Any]],
    messages: Sequence[dict[str, Any]],
    settings: Settings,
    say: Say,
) -> dict[str, Any]:
    """What is known of a network at all batch sizes: its bytes, its parts, and predictions.

    The model is made of the least times, which other work on the machine can only lengthen.
    """
    half = [peer for peer in rank_peers(()) if peer.name == "part"]
    parts = {case["batch_size"] // 2: case["least"]["part"] for case in cases}
    for rows in [rows for rows in SMALL_PARTS if rows < min(parts)]:
        found = _measured(Case(hidden, 2 * rows), half, settings, say)
        parts[rows] = min(found["part"].seconds)
    sent = bytes_per_step(hidden)
    link = fitted_link(messages)
    model = []
    for case in cases:
        part, measured = case["least"]["part"], case["least"]["ranks-2"]
        message = ring_seconds(sent["fast"], 2, link)
        model.append(
            {
                "batch_size": case["batch_size"],
                "part": part,
                "message": message,
                "predicted": part + message,
                "measured": measured,
                "over": (part + message) / measured,
            }
        )
    alone = {case["batch_size"]: case["least"]["alone-1"] for case in cases}
    return {
        "hidden": list(hidden),
        "sent": sent,
        "parts": {str(rows): parts[rows] for rows in sorted(parts)},
        "model": model,
        "predictions": predictions(sorted(alone), alone, parts, sent["fast"], CLUSTERS),
    }


# -- bytes ----------------------------------------------------------------------------------------


@dataclass
class Counting(Group):
    """A rank of another group that counts the bytes that it gives to others."""

    group: Group
    sent: int = field(default=0)

    def __post_init__(self) -> None:
        self.rank, self.size = self.group.rank, self.group.size

    def sum(self, buffer: HostArray) -> None:
        # By the best way to add: each part but one's own is sent once, and so is each sum.
        self.sent += round(least_bytes(buffer.nbytes, self.size))
        self.group.sum(buffer)

    def gather(self, value: Any) -> list[Any]:
        self.sent += len(pickle.dumps(value)) * (self.size - 1)
        return self.group.gather(value)

    def share(self, value: Any) -> Any:
        return self.group.share(value)

    def abort(self, status: int = 1, reason: str = "") -> None:
        self.group.abort(status, reason)


def bytes_per_step(hidden: Sequence[int], ranks: int = 2, shards: int = 8) -> dict[str, Any]:
    """The bytes that rank 0 sends in a step, by fast and exact reduction, and the least possible.

    Counted in a training on threads, as the difference of one of four steps and one of two, since
    what is sent at its start and its end is the same.
    """
    parameters = 4 * n_parameters(hidden)
    found = {}
    for reduction, count in (("fast", None), ("exact", shards)):
        few, more = (_sent(hidden, ranks, reduction, count, steps) for steps in (2, 4))
        found[reduction] = (more - few) // 2
    return {"parameters": parameters, "least": least_bytes(parameters, ranks), **found}


def _sent(hidden: Sequence[int], ranks: int, reduction: str, shards: int | None, steps: int) -> int:
    x = np.zeros((8 * steps, PIXELS), np.uint8)
    y = np.zeros(len(x), np.int64)
    y[0] = CLASSES - 1

    def train(group: Group) -> int:
        counting = Counting(group)
        fit(
            mlp(PIXELS, *hidden, CLASSES), (x, y), epochs=1, batch_size=8, dtype="float32",
            backend="numpy", group=counting, reduction=reduction, shards=shards,
            train_metrics="running",
        )  # fmt: skip
        return counting.sent

    return threads(ranks).run(train)[0]
