"""The tables of `ranks`: what was measured, and what is predicted."""

from collections.abc import Sequence
from typing import Any

from benchmarking.clusters import LINKS
from benchmarking.ranks import CLASSES, LIMIT, PIXELS


def rank_lines(report: dict[str, Any]) -> list[str]:
    """The report as Markdown."""
    return [
        *_step_lines(report["cases"]),
        *_price_lines(report["cases"]),
        *_exact_lines(report["cases"]),
        *_message_lines(report),
        *_byte_lines(report["networks"]),
        *_model_lines(report["networks"]),
        *_prediction_lines(report["networks"]),
    ]


def name_of(hidden: Sequence[int]) -> str:
    """A network by the sizes of its layers."""
    return "-".join(map(str, (PIXELS, *hidden, CLASSES)))


def _step_lines(cases: Sequence[dict[str, Any]]) -> list[str]:
    found = _table(
        "## Steps",
        ("network", "batch", "one process, one thread: ms", "least", "two threads: ms"),
        ("two ranks: ms", "over one thread", "over two threads"),
        text=1,
    )
    for case in cases:
        seconds = case["seconds"]
        cells = [name_of(case["hidden"]), f"{case['batch_size']:,}"]
        cells += [_spread(seconds["alone-1"], 1e3), f"{1e3 * case['least']['alone-1']:.3g}"]
        cells += [_spread(seconds["alone-2"], 1e3), _spread(seconds["ranks-2"], 1e3)]
        cells += [_spread(case["over_one_thread"]), _spread(case["over_two_threads"])]
        found.append(_row(cells))
    return [*found, ""]


def _price_lines(cases: Sequence[dict[str, Any]]) -> list[str]:
    """One rank over no group, and where that is too much."""
    title = "## One rank over no group, in turn in one process"
    found = _table(title, ("network", "batch", "of each round", "of the least times"), text=1)
    slow = []
    for case in cases:
        price, name = case["price_of_group"], name_of(case["hidden"])
        cells = [name, f"{case['batch_size']:,}", _spread(price["ratio"]), f"{price['least']:.3g}"]
        found.append(_row(cells))
        if price["least"] > LIMIT:
            slow += [
                "",
                f"{name} at {case['batch_size']:,}: one rank takes more than {LIMIT:g} times as "
                f"long as no group.",
            ]
    return [*found, *slow, ""]


def _exact_lines(cases: Sequence[dict[str, Any]]) -> list[str]:
    names = sorted(cases[0]["exact"], key=lambda name: (name[-1], int(name.split("-")[0])))
    if not names:
        return []
    heads = [f"{n[-1]} rank{'s' * (n[-1] > '1')}, S = {n.split('-')[0]}" for n in names]
    found = _table("## Exact over fast", ("network", "batch"), heads, text=1)
    for case in cases:
        cells = [name_of(case["hidden"]), f"{case['batch_size']:,}"]
        found.append(_row([*cells, *(f"{case['exact'][name][1]:.2f}" for name in names)]))
    return [*found, ""]


def _message_lines(report: dict[str, Any]) -> list[str]:
    found = _table("## Messages", ("bytes", "µs", "least", "MB/s"))
    for message in report["messages"]:
        rate = message["bytes"] / message["seconds"][1] / 1e6
        spread, least = _spread(message["seconds"], 1e6), f"{1e6 * message['least']:.3g}"
        found.append(_row([f"{message['bytes']:,}", spread, least, f"{rate:,.0f}"]))
    link = report["link"]
    line = (
        f"As a link: {1e6 * link['latency']:.2g} µs of latency, {link['bandwidth'] / 1e9:.2g} GB/s."
    )
    return [*found, "", line, ""]


def _byte_lines(networks: Sequence[dict[str, Any]]) -> list[str]:
    heads = ("network", "parameters", "least", "fast", "over the least", "exact", "over the least")
    found = _table("## Bytes that each of two ranks sends in a step", heads, text=1)
    for network in networks:
        sent = network["sent"]
        cells = [name_of(network["hidden"]), f"{sent['parameters']:,}", f"{sent['least']:,.0f}"]
        for reduction in ("fast", "exact"):
            cells += [f"{sent[reduction]:,}", f"{sent[reduction] / sent['least']:.5f}"]
        found.append(_row(cells))
    return [*found, ""]


def _model_lines(networks: Sequence[dict[str, Any]]) -> list[str]:
    heads = (
        "network",
        "batch",
        "half the batch: ms",
        "message",
        "the model",
        "measured",
        "model over it",
    )
    found = _table("## The model against two ranks that were measured", heads, text=1)
    for network in networks:
        for row in network["model"]:
            cells = [name_of(network["hidden"]), f"{row['batch_size']:,}"]
            cells += [
                f"{1e3 * row[key]:.3g}" for key in ("part", "message", "predicted", "measured")
            ]
            found.append(_row([*cells, f"{row['over']:.2f}"]))
    return [*found, ""]


def _prediction_lines(networks: Sequence[dict[str, Any]]) -> list[str]:
    """How many times as fast as one process; the better of ring and tree, which is named."""
    found = []
    for network in networks:
        rows = network["predictions"]
        ranks = sorted({row["ranks"] for row in rows})
        title = f"## PREDICTED, not measured: {name_of(network['hidden'])}, times one process"
        heads = ("batch", "network between ranks", *(f"{count:,} ranks" for count in ranks))
        found += _table(title, heads, text=2)
        for batch_size in sorted({row["batch_size"] for row in rows}):
            for link in LINKS:
                own = [
                    f"{row['speed_up']:.3g} {row['way']}"
                    for row in rows
                    if (row["batch_size"], row["link"]) == (batch_size, link.name)
                ]
                found.append(_row([f"{batch_size:,}", link.name, *own]))
        found.append("")
    found += ["Links of the model:", "", "| network | µs | GB/s | source |", "|---|---:|---:|---|"]
    for link in LINKS:
        figures = [f"{1e6 * link.latency:g}", f"{link.bandwidth / 1e9:g}"]
        found.append(_row([link.name, *figures, link.source]))
    return found


def _table(title: str, *heads: Sequence[str], text: int = 0) -> list[str]:
    columns = [head for part in heads for head in part]
    rule = "|" + "---|" * text + "---:|" * (len(columns) - text)
    return [title, "", _row(columns), rule]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(found: Sequence[float], scale: float = 1.0) -> str:
    low, median, high = (scale * value for value in found)
    return f"{median:.3g} ({low:.3g} to {high:.3g})"
