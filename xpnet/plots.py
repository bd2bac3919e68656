"""Pictures of a training run. Needs matplotlib, which is imported only when a picture is drawn.

Each function returns a `matplotlib.figure.Figure`; call its `savefig` to write a file. No global
state of matplotlib is used, so that nothing here opens a window or needs a display.
"""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xpnet.data import Split
from xpnet.drawing import figure_class
from xpnet.errors import counted, one_line
from xpnet.figures import save_figure
from xpnet.filters import first_convolution, plot_feature_maps, plot_filters, plot_saliency
from xpnet.history import History
from xpnet.inputs.chunks import chunks
from xpnet.inputs.samples import home_of, place
from xpnet.network.ensemble import Ensemble
from xpnet.network.network import Network
from xpnet.parity import ParityReport
from xpnet.typing import HostArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which remain apart for the colour-blind.
_TRAIN, _TEST, _VALIDATION = "#0072B2", "#D55E00", "#009E73"
_COLOURS = (_TRAIN, _TEST, _VALIDATION, "#CC79A7", "#E69F00", "#56B4E9")
_INK = "#333333"

_LONGEST_NAME, _NARROW = 16, 3  # characters of the name of a class
_FEW = 4  # samples whose feature maps are drawn
_MOST, _PART_VALUES = 40, 1 << 25  # mistakes on a sheet; numbers that are looked at at a time


def draw_run(
    folder: str | os.PathLike[str],
    network: Network,
    split: Split,
    counts: HostArray | None,
    title: str,
) -> None:
    """Write `curves.png`, `confusion.png` and `mistakes.png`, each whole or not at all.

    Of pictures also `saliency.png`; of a network with convolutions `filters.png` and, of pictures,
    `features.png`.

    Parameters
    ----------
    folder
        An existing folder.
    network
        The trained network, with its history.
    split
        The samples that the confusion matrix and the mistakes are of.
    counts
        The network's confusion matrix on them, which is left out if None.
    title
        What they are called in the pictures.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RunError
        If a picture cannot be written.
    """
    figures = {}
    if counts is not None:
        heading = f"{title}: {counted(int(counts.sum() - counts.trace()), 'error')}"
        figures["confusion.png"] = plot_confusion(counts, title=heading, class_names=network.names)
    if len(network.history):
        figures["curves.png"] = plot_curves(network.history, title=title.partition(",")[0])
    if split.images.ndim == 3:
        errors, shown, probabilities = _worst(network, split)
        title = f"{title}\n{_how_many(errors, len(split), len(shown))}"
        figures["mistakes.png"] = _draw_mistakes(
            split.images[shown], split.labels[shown], probabilities, title, network.names
        )
    figures |= _what_is_learnt(network, split)
    for name, figure in figures.items():
        save_figure(figure, Path(folder) / name)


def _what_is_learnt(network: Network, split: Split) -> "dict[str, Figure]":
    """Filters and feature maps, where there are any, and what is looked at in pictures. Of an
    ensemble each member has its own filters and feature maps."""
    figures = {}
    alone = not isinstance(network, Ensemble)
    convolves = alone and first_convolution(network.model) is not None
    if convolves:
        figures["filters.png"] = plot_filters(network)
    rows = _some_of_each(split.labels)
    if len(rows) and split.images.ndim in (3, 4):
        samples = np.asarray(split.images[rows])
        if convolves:
            figures["features.png"] = plot_feature_maps(network, samples)
        figures["saliency.png"] = plot_saliency(network, samples)
    return figures


def _some_of_each(labels: HostArray) -> HostArray:
    """The first sample of each of a few classes; where there are no classes the first ones."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        return np.arange(min(_FEW, len(labels)))
    first = np.unique(labels, return_index=True)[1]
    return np.sort(first[:_FEW])


def plot_curves(history: History, *, title: str = "") -> "Figure":
    """Loss, and accuracy if there is one, on the training, the validation and the test set.

    Parameters
    ----------
    history
        At least one epoch.
    title
        Written above both panels.

    Raises
    ------
    ValueError
        If the history is empty.
    ImportError
        If matplotlib is not installed.
    """
    if not len(history):
        raise ValueError("plot_curves needs a history of at least one epoch")
    measured = any(
        None not in history[f"{part}_accuracy"] for part in ("train", "validation", "test")
    )
    figure = _figure(9.0 if measured else 4.8, 3.6, title)
    loss_axes, *others = figure.subplots(1, 1 + measured, squeeze=False)[0]
    _plot_series(loss_axes, history, "loss", 1.0)
    loss_axes.set(ylabel="mean cross-entropy loss" if measured else "mean loss")
    # From zero: a truncated axis would make the curve look steeper than it is.
    loss_axes.set_ylim(bottom=0.0)
    for accuracy_axes in others:
        _plot_series(accuracy_axes, history, "accuracy", 100.0)
        accuracy_axes.set(ylabel="accuracy (%)")
    for axes in (loss_axes, *others):
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def plot_confusion(
    counts: HostArray, *, title: str = "", class_names: list[str] | None = None
) -> "Figure":
    """A confusion matrix with its counts.

    The shade is the fraction of the row, so that rare classes are seen as well; mistakes are
    shaded on a scale of their own, because beside 98 % a 1 % would be invisible. Of more than 40
    classes the counts, which would be illegible, are left out.

    Parameters
    ----------
    counts
        Shape (C, C): entry (i, j) counts class i predicted as class j.
    title
        Written above.
    class_names
        The names of the classes; their numbers if None.

    Raises
    ------
    ValueError
        If the matrix is not square.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a confusion matrix is square, got shape {counts.shape}")
    n = len(counts)
    names = _short_names(class_names, n)
    legible = n <= 40
    side = max(4.5, 0.52 * min(n, 40) + 1.4)
    figure = _figure(side, side, title)
    axes = figure.subplots()
    diagonal = np.eye(n, dtype=bool)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = np.ma.masked_where(diagonal, fractions)
    most_wrong = float(wrong.max()) if n > 1 else 0.0
    axes.imshow(np.ma.masked_where(~diagonal, fractions), cmap="Blues", vmin=0.0, vmax=1.2)
    axes.imshow(wrong, cmap="Oranges", vmin=0.0, vmax=1.6 * max(most_wrong, 1e-9))
    size = 9 if n <= 12 else max(3.0, 110 / n)
    for (i, j), count in np.ndenumerate(counts):
        if count and legible:
            ink = "white" if i == j and fractions[i, j] > 0.6 else _INK
            axes.text(j, i, str(count), ha="center", va="center", fontsize=size, color=ink)
    every = -(-n // 40)
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(range(0, n, every), names[::every])
        set_ticks(np.arange(0.5, n - 1), minor=True)
    if max(map(len, names), default=0) > _NARROW:
        axes.tick_params(axis="x", labelrotation=90)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    shades = "shade: fraction of the row (blue: right, to 100 %; orange: wrong, to {:.1f} %)"
    figure.supxlabel(shades.format(100 * most_wrong), fontsize=8, color=_INK)
    axes.grid(which="minor", color="white", linewidth=1.5 if legible else 0)
    axes.spines[:].set_visible(False)
    return figure


def plot_mistakes(
    images: HostArray,
    labels: HostArray,
    probabilities: HostArray,
    *,
    title: str = "",
    most: int = _MOST,
    class_names: list[str] | None = None,
) -> "Figure":
    """A sheet of wrongly classified images, the most confident mistakes first.

    Parameters
    ----------
    images
        Shape (N, height, width); the whole set, of which the mistakes are picked.
    labels
        The true classes, shape (N,).
    probabilities
        What the network says, shape (N, C).
    title
        Written above.
    most
        How many mistakes to show at the most.
    class_names
        The names of the classes; their numbers if None.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    images, labels, probabilities = map(np.asarray, (images, labels, probabilities))
    if not (images.ndim == 3 and labels.shape == (len(images),) == probabilities.shape[:1]):
        raise ValueError(
            f"plot_mistakes needs images (N, height, width), labels (N,) and probabilities (N, C), "
            f"got {images.shape}, {labels.shape} and {probabilities.shape}"
        )
    wrong = _mistakes(labels, probabilities)
    shown = wrong[:most]
    title = f"{title}\n{_how_many(len(wrong), len(labels), len(shown))}".strip()
    return _draw_mistakes(images[shown], labels[shown], probabilities[shown], title, class_names)


def _short_names(names: list[str] | None, n_classes: int) -> list[str]:
    """The names of the classes, or their numbers, as short as a picture has room for."""
    if names is None:
        return [str(i) for i in range(n_classes)]
    # matplotlib takes what stands between two dollars for a formula.
    return [one_line(name, _LONGEST_NAME).replace("$", r"\$") for name in names]


def _mistakes(labels: HostArray, probabilities: HostArray) -> HostArray:
    """The numbers of the wrongly classified samples, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def _worst(network: Network, split: Split) -> tuple[int, HostArray, HostArray]:
    """How many mistakes there are; the most confident ones' numbers, and their probabilities."""
    home = home_of(network.backend, split.images)
    images = place(home, split.images)
    errors, shown = 0, np.zeros(0, dtype=np.int64)
    kept: list[HostArray] = []
    outputs = network.model.output_shape(network.model.input_shape())
    values = max(math.prod(images.shape[1:]), *(outputs or (1,)))
    for rows in chunks(len(split), max(1, _PART_VALUES // values)):
        part = home.to_numpy(network.predict_proba(images[rows, ...]))
        wrong = _mistakes(split.labels[rows], part)
        errors, wrong = errors + len(wrong), wrong[:_MOST]
        shown, kept = np.concatenate([shown, rows.start + wrong]), [*kept, part[wrong]]
    probabilities = np.concatenate(kept)
    best = np.argsort(-probabilities.max(axis=1), kind="stable")[:_MOST]
    return errors, shown[best], probabilities[best]


def _how_many(n_wrong: int, count: int, n_shown: int) -> str:
    text = f"{n_wrong:,} of {counted(count, 'image')} wrong"
    if n_shown:
        which = f"the {n_shown} most confident" if n_shown < n_wrong else "all"
        text += f"; {which}: true → predicted class, its probability"
    return text


def _draw_mistakes(
    images: HostArray,
    labels: HostArray,
    probabilities: HostArray,
    title: str,
    class_names: list[str] | None,
) -> "Figure":
    columns = 10 if len(images) > 10 else max(5, len(images))
    rows = max(1, -(-len(images) // columns))
    figure = _figure(0.95 * columns, 1.12 * rows + 0.6, title)
    if not len(images):
        figure.text(0.5, 0.4, "no mistakes", ha="center", va="center", fontsize=14, color=_INK)
        return figure
    low, high, (height, width) = float(images.min()), float(images.max()), images.shape[1:]
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    names = _short_names(class_names, probabilities.shape[1])
    small = min(7.5, 45 / max(map(len, names)))
    axes = figure.subplots()  # one for all: matplotlib needs longer for axes than for images
    for i, image in enumerate(images):
        left, top = 1.15 * width * (i % columns), 1.35 * height * (i // columns)
        box = _, right, bottom, _ = left, left + width, top + height, top
        axes.imshow(image, "gray_r", vmin=low, vmax=high, interpolation="nearest", extent=box)
        axes.fill([left, right, right, left], [top, top, bottom, bottom], fill=False, ec="#cccccc")
        text = f"{names[labels[i]]} → {names[predicted[i]]}  {100 * confidence[i]:.0f} %"
        axes.text(
            left + width / 2, top - height / 20, text, ha="center", fontsize=small, color=_INK
        )
    ends = -width / 20, (1.15 * columns - 0.1) * width, (1.35 * rows - 0.3) * height, -height / 4
    axes.axis(ends)
    axes.set_axis_off()
    return figure


def plot_parity(report: ParityReport) -> "Figure":
    """How far the backends are from the first one: loss and predictions over the epochs.

    The axis of the loss is logarithmic above the precision of the dtype and linear below it, so
    that a difference of exactly zero is drawn at zero.

    Parameters
    ----------
    report
        From `xpnet.parity.compare_backends`.
    """
    first, *others = report.backends
    figure = _figure(9.0, 4.2, f"distance to {first}, {report.dtype}")
    loss_axes, prediction_axes = figure.subplots(1, 2)
    for number, name in enumerate(others):
        rows = report.of(name)
        epochs = [row.epoch for row in rows]
        style = {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": "osD^v<>"[number % 7],
            # The first is drawn largest, so that equal lines show through each other.
            "markersize": 4 + 1.5 * (len(others) - 1 - number),
        }
        loss_axes.plot(epochs, [row.relative_loss_difference for row in rows], label=name, **style)
        prediction_axes.plot(epochs, [row.prediction_differences for row in rows], **style)
    precision = float(np.finfo(report.dtype).eps)
    allowed = report.tolerances.loss
    when = "after every epoch" if report.tolerances.predictions else "after the last epoch"
    loss_axes.axhline(allowed, color=_INK, linestyle="--", linewidth=1, label=f"allowed {when}")
    loss_axes.axhline(
        precision, color="#999999", linestyle=":", linewidth=1, label=f"precision of {report.dtype}"
    )
    loss_axes.set_yscale("symlog", linthresh=precision)
    loss_axes.set_ylim(-0.1 * precision, 10 * max(allowed, report.max_relative_loss_difference))
    loss_axes.set(ylabel="relative difference of the loss")
    most = max(row.prediction_differences for row in report.rows)
    prediction_axes.set_ylim(-0.05 * max(most, 4), 1.1 * max(most, 4))
    prediction_axes.set(ylabel=f"predictions that differ, of {report.rows[0].count:,}")
    for axes in (loss_axes, prediction_axes):
        _style_epochs(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _figure(width: float, height: float, title: str) -> "Figure":
    figure = figure_class()(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10, color=_INK, parse_math=False)
    return figure


def _plot_series(axes: "Axes", history: History, quantity: str, scale: float) -> None:
    epochs = [record.epoch for record in history]
    sets = (("train", _TRAIN, "o"), ("validation", _VALIDATION, "^"), ("test", _TEST, "s"))
    for split, colour, marker in sets:
        values = history[f"{split}_{quantity}"]
        if any(value is None for value in values):
            continue
        label = f"{'training' if split == 'train' else split} set"
        scaled = [scale * value for value in values if value is not None]
        axes.plot(epochs, scaled, color=colour, marker=marker, markersize=3, label=label)
    _style_epochs(axes)


def _style_epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
