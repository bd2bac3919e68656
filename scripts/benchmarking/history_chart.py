"""The picture of the history: a panel for each of the main figures, a line for each machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = (
    ("training 784-128-10, batch 64", "floor", "training, batch 64\nover its products"),
    ("training 784-128-10, batch 64", "jax-epoch", "training, batch 64\nover JAX"),
    ("predict 1 row, float32", "numpy", "predict, 1 row\nover plain NumPy"),
    ("predict 64 rows, float32", "numpy", "predict, 64 rows\nover plain NumPy"),
    ("predict 60,000 rows, float32", "numpy", "predict, 60,000 rows\nover plain NumPy"),
    ("predict of the estimator, 569 rows", "sklearn", "estimator, 569 rows\nover scikit-learn"),
    ("training lenet5, batch 64, 3,200 samples", "torch", "LeNet-5, batch 64\nover PyTorch"),
    ("training small_cnn, batch 128, 640 samples", "torch", "small CNN, batch 128\nover PyTorch"),
    ("predict lenet5 10,000 rows, uint8", "onnxruntime", "LeNet-5, 10,000\nover ONNX Runtime"),
    ("fit iris, adam", "sklearn", "fit, iris\nover scikit-learn"),
    ("fit digits, adam", "sklearn", "fit, digits\nover scikit-learn"),
)
"""The figure, what it is a ratio to, and the title."""

# Of Okabe and Ito's colours, which remain apart for the colour-blind.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK = "#333333"


def machine_name(row: dict[str, Any]) -> str:
    """What a line is called: the processor, its cores, and what else was chosen."""
    kernels = row["kernels"] and f" ({row['kernels']})"
    parts = [f"{row['processor']}{kernels or ''}, {row['cores']} cores", row["gpu"]]
    parts += [row["threads"] and f"{row['threads']} threads"]
    parts += [row["neighbour"] and f"beside: {row['neighbour']}"]
    return ", ".join(str(part) for part in parts if part)


def plot_history(rows: Sequence[dict[str, Any]]) -> "Figure":
    """Ratios against versions, the median of each with its quartiles; below 1 xpnet is faster.

    Parameters
    ----------
    rows
        From `read_history`.

    Raises
    ------
    ValueError
        If they have none of the main figures.
    """
    from matplotlib.figure import Figure

    panels = [panel for panel in PANELS if any(_ratio(row, panel) for row in rows)]
    if not panels:
        raise ValueError("plot_history needs rows with one of the main figures at least")
    versions = sorted({(row["commit_date"], row["version"]) for row in rows})
    machines = list(dict.fromkeys(machine_name(row) for row in rows))
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    size = (1.2 + 2.0 * across, 0.8 + 2.3 * down + 0.2 * len(machines))
    figure = Figure(figsize=size, dpi=200, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for one, panel in zip(axes, panels, strict=False):
        _draw(one, panel, rows, versions, machines)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    _legend(figure, machines)
    return figure


def _ratio(row: dict[str, Any], panel: tuple[str, str, str]) -> list[float] | None:
    figure, base, _ = panel
    found: list[float] | None = row["figures"].get(figure, {}).get("over", {}).get(base)
    return found


def _draw(
    axes: "Axes",
    panel: tuple[str, str, str],
    rows: Sequence[dict[str, Any]],
    versions: Sequence[tuple[str, str]],
    machines: Sequence[str],
) -> None:
    """One panel."""
    most = 1.0
    for number, machine in enumerate(machines):
        points = [
            (versions.index((row["commit_date"], row["version"])), ratio)
            for row in rows
            if machine_name(row) == machine and (ratio := _ratio(row, panel))
        ]
        if not points:
            continue
        x = [place for place, _ in points]
        low, median, high = zip(*(ratio for _, ratio in points), strict=True)
        most = max(most, *high)
        colour = _COLOURS[number % len(_COLOURS)]
        axes.vlines(x, low, high, color=colour, linewidth=1.1)
        axes.plot(x, median, color=colour, marker="o", markersize=3.5, linewidth=1.4)
    axes.axhline(1.0, color=_INK, linewidth=0.9, linestyle="--")
    axes.set_ylim(0, 1.1 * most)
    axes.set_xlim(-0.5, len(versions) - 0.5)
    labels = [f"{version}\n{date}" for date, version in versions]
    step = -(-len(labels) // 3)
    axes.set_xticks(range(0, len(labels), step), labels[::step], fontsize=6.5)
    axes.tick_params(axis="y", labelsize=7.5)
    axes.set_title(panel[2], fontsize=8, color=_INK)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", machines: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=_COLOURS[number % len(_COLOURS)], marker="o", markersize=3.5)
        for number in range(len(machines))
    ]
    figure.legend(
        handles, machines, loc="outside lower center", fontsize=7.5, frameon=False, ncols=1
    )
