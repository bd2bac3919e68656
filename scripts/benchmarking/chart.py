"""The pictures of the benchmark. Needs matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarking.report import case_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito's colours, which remain apart for the colour-blind.
_OURS, _OTHERS, _INK = "#0072B2", "#b8bfc6", "#333333"
_SECOND = "#D55E00"


def plot_benchmark(cases: Sequence[dict[str, Any]]) -> "Figure":
    """Bars of the ratio to the floor, one panel a case, the fastest above; xpnet's in colour.

    The bar is the median of the rounds and the line on it goes from quartile to quartile. One axis
    serves all panels, logarithmic where the ratios span more than a factor of 8.

    Parameters
    ----------
    cases
        From `summarise`; at least one has a peer besides the floor.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    from matplotlib.figure import Figure

    panels = [(case, bars) for case in cases if (bars := _bars(case))]
    if not panels:
        raise ValueError("plot_benchmark needs a case with the floor and one more peer")
    counts = [len(bars) for _, bars in panels]
    height = 0.25 * sum(counts) + 0.55 * len(panels) + 0.6
    figure = Figure(figsize=(7.2, height), dpi=200, layout="constrained")
    all_axes = figure.subplots(
        len(panels), squeeze=False, sharex=True, height_ratios=[n + 0.8 for n in counts]
    )[:, 0]
    everything = [value for _, bars in panels for bar in bars for value in bar["over_floor"]]
    most = max(everything)
    for axes, (case, bars) in zip(all_axes, panels, strict=True):
        _draw_bars(axes, bars, logarithmic=most > 8)
        axes.set_title(case_title(case), fontsize=9, color=_INK, loc="left")
    _style_ratio_axis(all_axes[-1], min(everything), most)
    return figure


def _bars(case: dict[str, Any]) -> list[dict[str, Any]]:
    bars = [p for p in case["peers"] if p["over_floor"] is not None and p["name"] != "floor"]
    return sorted(bars, key=lambda bar: bar["over_floor"][1], reverse=True)


def _draw_bars(axes: "Axes", bars: Sequence[dict[str, Any]], *, logarithmic: bool) -> None:
    if logarithmic:
        axes.set_xscale("log")
    # On a logarithmic axis the length is what there is over the floor; zero is nowhere.
    start = 1.0 if logarithmic else 0.0
    for row, bar in enumerate(bars):
        low, median, high = bar["over_floor"]
        ours = bar["name"].startswith("xpnet-")
        axes.barh(row, median - start, left=start, height=0.68, color=_OURS if ours else _OTHERS)
        for colour, width in (("white", 3.0), (_INK, 1.1)):  # to be seen on the bar as well
            axes.plot([low, high], [row, row], color=colour, lw=width, solid_capstyle="butt")
        axes.annotate(
            f"{median:.2f}",
            (max(high, 1.0), row),  # clear of the line of the floor
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=_INK,
            weight="bold" if ours else "normal",
        )
    axes.axvline(1.0, color=_INK, linewidth=0.9, linestyle="--")
    axes.set_yticks(range(len(bars)), [bar["label"] for bar in bars], fontsize=8)
    for label, bar in zip(axes.get_yticklabels(), bars, strict=True):
        if bar["name"].startswith("xpnet-"):
            label.set(color=_OURS, weight="bold")
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _style_ratio_axis(axes: "Axes", least: float, most: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axes.set_xlabel("time of an epoch over that of its matrix products alone", fontsize=8)
    if axes.get_xscale() == "log":
        axes.set_xlim(0.94 * min(least, 1.0), 1.35 * most)
        # As many as can be read: each second one from a factor of 64 on.
        ticks = [2.0**i for i in range(0, 30, 1 if most < 64 else 2) if 2.0**i <= 1.35 * most]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.12 * most)
    axes.tick_params(axis="x", labelsize=8)


def plot_scaling(series: Sequence[dict[str, Any]]) -> "Figure":
    """Time and memory against samples, width, depth and batch size, on logarithmic axes.

    Parameters
    ----------
    series
        From `measure_scaling`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(series) + 0.4, 4.9), dpi=200, layout="constrained")
    panels = figure.subplots(2, len(series), squeeze=False, sharey="row", sharex="col")
    for column, one in enumerate(series):
        x = one["values"]
        seconds = [point["seconds"][1] for point in one["points"]]
        memory = [point["memory_peak"] / 1e6 for point in one["points"]]
        time_axes, memory_axes = panels[:, column]
        _draw_series(time_axes, x, seconds, _OURS)
        _draw_series(memory_axes, x, memory, _SECOND)
        heading = one["fixed"]
        if one["name"] != "batch_size":  # which has a best value, and no exponent
            heading += f"\nexponent {one['time_exponent']:.2f}"
            linear = [seconds[-1] * value / x[-1] for value in x]
            time_axes.plot(x, linear, color="#999999", linestyle=":", linewidth=1, label="linear")
            time_axes.legend(frameon=False, fontsize=7.5, loc="lower right")
        time_axes.set_title(heading, fontsize=7.5, color=_INK)
        # Memory is what every process has and a part that grows: a slope tells that, no exponent.
        slope = one["memory_slope"] / 1e3
        digits = f"{slope:,.1f}" if slope < 100 else f"{slope:,.0f}"
        memory_axes.set_title(f"{digits} kB for each one more", fontsize=7.5, color=_INK)
        memory_axes.set_xlabel(one["label"], fontsize=8.5)
        _style_scaling(time_axes, x)
        _style_scaling(memory_axes, x)
    panels[0, 0].set_ylabel("seconds an epoch", fontsize=8.5)
    panels[1, 0].set_ylabel("peak memory (MB)", fontsize=8.5)
    figure.align_ylabels(panels[:, 0])
    return figure


def _draw_series(axes: "Axes", x: Sequence[float], y: Sequence[float], colour: str) -> None:
    axes.plot(x, y, color=colour, marker="o", markersize=3.5, linewidth=1.4)


def _style_scaling(axes: "Axes", x: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set(xscale="log", yscale="log")
    axes.set_xticks(x[:: -(-len(x) // 4)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7.5)
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
