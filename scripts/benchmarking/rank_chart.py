"""The picture of `ranks`: what was measured on two ranks, and what is predicted for more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarking.clusters import LINKS
from benchmarking.rank_report import name_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#333333"
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")  # of Okabe and Ito


def plot_ranks(report: dict[str, Any]) -> "Figure":
    """Speed-up: measured against the batch size, and predicted against the number of ranks.

    Parameters
    ----------
    report
        From `measure_ranks`.
    """
    from matplotlib.figure import Figure

    networks = report["networks"]
    figure = Figure(figsize=(3.1 * (1 + len(networks)), 3.3), dpi=200, layout="constrained")
    panels = figure.subplots(1, 1 + len(networks), squeeze=False)[0]
    _draw_measured(panels[0], report["cases"], networks)
    for axes, network in zip(panels[1:], networks, strict=True):
        _draw_predicted(axes, network)
    for axes in panels:
        axes.tick_params(labelsize=7.5)
        axes.grid(color="#e5e5e5", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_measured(
    axes: "Axes", cases: Sequence[dict[str, Any]], networks: Sequence[dict[str, Any]]
) -> None:
    for network, colour in zip(networks, _COLOURS, strict=False):
        own = [case for case in cases if case["hidden"] == network["hidden"]]
        batches = [case["batch_size"] for case in own]
        for key, style in (("over_one_thread", "-"), ("over_two_threads", "--")):
            low, middle, high = zip(*(case[key] for case in own), strict=True)
            label = f"{name_of(network['hidden'])}, {key[5:].replace('_', ' ')}"
            axes.plot(batches, middle, style, color=colour, marker="o", markersize=3, label=label)
            axes.fill_between(batches, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.axhline(1.0, color=_INK, linewidth=0.8)
    axes.set_xscale("log")
    _count_on(axes.xaxis, sorted({case["batch_size"] for case in cases}))
    axes.set_ylim(0, 1.4 * axes.get_ylim()[1])  # the legend is above all
    axes.set_title("measured: two ranks over one process", fontsize=8, color=_INK)
    axes.set_xlabel("batch size", fontsize=8)
    axes.set_ylabel("times as fast", fontsize=8)
    axes.legend(frameon=False, fontsize=6, loc="upper left")


def _draw_predicted(axes: "Axes", network: dict[str, Any]) -> None:
    rows = network["predictions"]
    ranks = sorted({row["ranks"] for row in rows})
    batches = sorted({row["batch_size"] for row in rows})
    chosen = sorted({batches[0], batches[-1]}, reverse=True)
    for link, colour in zip(LINKS, _COLOURS, strict=False):
        for batch_size, style in zip(chosen, ("-", ":"), strict=False):
            values = [
                row["speed_up"]
                for row in rows
                if (row["link"], row["batch_size"]) == (link.name, batch_size)
            ]
            label = f"{link.name}, batch {batch_size:,}"
            axes.plot(ranks, values, style, color=colour, linewidth=1.4, label=label)
    axes.plot(ranks, ranks, color="#999999", linewidth=0.8, label="as many times as ranks")
    axes.axhline(1.0, color=_INK, linewidth=0.8)
    axes.set(xscale="log", yscale="log")
    _count_on(axes.xaxis, ranks[::2])
    _plain_on(axes.yaxis)
    axes.set_title(f"PREDICTED: {name_of(network['hidden'])}", fontsize=8, color=_INK)
    axes.set_xlabel("ranks", fontsize=8)
    axes.legend(frameon=False, fontsize=5.5, loc="upper left")
    axes.set_ylim(None, 40 * ranks[-1])


def _count_on(axis: Any, ticks: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.0f}"))


def _plain_on(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())
