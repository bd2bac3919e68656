"""Pictures of what networks have learnt: filters, feature maps, and what is looked at.

They need matplotlib.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from xpnet.drawing import figure_class
from xpnet.errors import counted, one_line
from xpnet.layers import Conv2D, Layer
from xpnet.layers.container import inner_layers
from xpnet.network import Network
from xpnet.network.inside import applied, stages_of, with_maps
from xpnet.typing import HostArray, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _LINES = "#333333", "#d9d9d9"
_MOST_TILES, _MOST_MAPS, _MOST_STAGES, _ACROSS = 64, 16, 4, 8
_MOST_CLASSES = 2  # whose scores are looked at
_INCH = 0.55  # of a filter
_TINY = 1e-30


class _Maps(NamedTuple):
    """What a part of the network gives for some samples: shape (N, height, width, channels)."""

    names: tuple[str, ...]
    values: HostArray


def first_convolution(model: Layer, name: str = "") -> tuple[str, Conv2D] | None:
    """The lowest convolution of a network with its whole name; None if it has none."""
    if isinstance(model, Conv2D):
        return name, model
    for key, layer in inner_layers(model).items():
        found = first_convolution(layer, f"{name}.{key}" if name else key)
        if found is not None:
            return found
    return None


def plot_filters(network: Network, *, title: str = "") -> "Figure":
    """The filters of the first convolution, side by side.

    Of grey pictures, weights above zero are red and below zero blue, all on one scale. Of three
    colours a filter is a picture in these, with grey for zero. Of any other number of channels each
    is a tile of its own. There are 64 tiles at the most.

    Parameters
    ----------
    network
        A network with a `Conv2D`.
    title
        Written above.

    Raises
    ------
    ValueError
        If there is no convolution.
    ImportError
        If matplotlib is not installed.
    """
    found = first_convolution(network.model)
    if found is None:
        raise ValueError("plot_filters: the network has no Conv2D")
    name, _ = found
    arrays = network.arrays
    kernel = network.backend.to_numpy(arrays[f"{name}.weight" if name else "weight"])
    height, width, channels, count = kernel.shape
    in_colour = channels == 3
    tiles = np.moveaxis(kernel, -1, 0)  # (filters, height, width, channels)
    if not in_colour:
        tiles = np.moveaxis(tiles, -1, 1).reshape(-1, height, width, 1)
    of = f"{counted(count, 'filter')} of {height} × {width}"
    if channels not in (1, 3):
        of += f", a tile for each of {channels} channels"
    if len(tiles) > _MOST_TILES:
        of += f": the first {_MOST_TILES} of {len(tiles)}"
    tiles = tiles[:_MOST_TILES]
    most = max(float(np.abs(tiles).max()), _TINY)
    columns = min(_ACROSS, len(tiles)) if len(tiles) > _ACROSS else len(tiles)
    rows = -(-len(tiles) // columns)
    wide = max(3.2, _INCH * columns + 1.0)
    sheet = _mosaic(tiles, columns)
    heading = f"{title}\n{one_line(name)}: {of}".strip() if name else f"{title}\n{of}".strip()
    figure = _figure(wide, _INCH * rows * height / width + 0.9, heading)
    axes = figure.subplots()
    _bare(axes)
    if in_colour:
        axes.imshow(np.nan_to_num(0.5 + 0.5 * sheet / most, nan=1.0), interpolation="nearest")
        return figure
    image = axes.imshow(sheet[..., 0], "RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, label="weight")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7)
    bar.ax.yaxis.label.set_fontsize(8)
    return figure


def plot_feature_maps(network: Network, samples: HostArray, *, title: str = "") -> "Figure":
    """What the convolutions of a network make of some pictures: a row for each.

    In front is the picture, and behind it the feature maps after each convolution with all that
    follows it until the next, such as its activation and pooling: the first 16 maps of four
    convolutions at the most, the first and the last among them. What is darker is larger, from
    white for zero; where there are numbers below zero, these are blue, and those above it red. The
    scale is one for all that stands in a column.

    Parameters
    ----------
    network
        A network with convolutions.
    samples
        Pictures as `predict` takes them, shape (N, ...): a few.
    title
        Written above.

    Raises
    ------
    ValueError
        If nothing in the network gives feature maps.
    ImportError
        If matplotlib is not installed.
    """
    samples = np.asarray(samples)
    stages = _feature_maps(network, samples)
    if not stages:
        raise ValueError("plot_feature_maps: no layer of the network gives feature maps")
    columns, rows = 1 + len(stages), len(samples)
    shares = [0.7, *(_aspect(stage) for stage in stages)]
    figure = _figure(1.5 * sum(shares) + 0.1, 1.12 * rows + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False, width_ratios=shares)
    for axes in grid.ravel():
        _bare(axes)
    for axes, picture in zip(grid[:, 0], _as_pictures(samples), strict=True):
        axes.imshow(picture, "gray_r", interpolation="nearest")
    grid[0, 0].set_title("picture", fontsize=7, color=_INK)
    for column, stage in enumerate(stages, start=1):
        _draw_stage(list(grid[:, column]), stage)
    return figure


def plot_saliency(network: Network, samples: HostArray, *, title: str = "") -> "Figure":
    """What a network looks at in some pictures: a row for each.

    Beside the picture is the derivative of a score by its pixels (`Network.saliency`): that of the
    class which is predicted, and that of the next. Where it is red, more brightness makes the class
    more probable, where it is blue less, and white is zero. In colour it is the largest magnitude
    of a pixel's colours, the darker the larger. The scale is one for all that stands in a row.

    Parameters
    ----------
    network
        A network for pictures, of layers of any kind.
    samples
        Pictures as `predict` takes them, shape (N, ...): a few.
    title
        Written above.

    Raises
    ------
    ValueError
        If samples are no pictures.
    ImportError
        If matplotlib is not installed.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (3, 4):
        raise ValueError(
            f"plot_saliency takes pictures, (N, height, width) or with channels, got shape "
            f"{samples.shape}"
        )
    pictures, columns = _as_pictures(samples), _salient(network, samples)
    figure = _figure(1.3 * (1 + len(columns)) + 0.3, 1.45 * len(samples) + 0.4, title)
    grid = figure.subplots(len(samples), 1 + len(columns), squeeze=False)
    for axes in grid.ravel():
        _bare(axes)
    for row, (axes, *others) in enumerate(grid):
        axes.imshow(pictures[row], "gray_r", interpolation="nearest")
        most = max(*(float(np.nan_to_num(np.abs(maps[row])).max()) for _, maps in columns), _TINY)
        for cell, (names, maps) in zip(others, columns, strict=True):
            colours, low = ("RdBu_r", -most) if samples.ndim == 3 else ("gray_r", 0.0)
            cell.imshow(maps[row], colours, vmin=low, vmax=most, interpolation="nearest")
            cell.set_title(names[row], fontsize=7, color=_INK, parse_math=False)
    grid[0, 0].set_title("picture", fontsize=7, color=_INK)
    return figure


def _salient(network: Network, samples: HostArray) -> list[tuple[list[str], HostArray]]:
    """For the most probable class of each sample, and the next: what it is called, and its map."""
    if network.target_kind == "values":
        numbers = np.asarray(network.predict(samples)).reshape(len(samples), -1)
        texts = [[f"{value:.4g}" for value in column] for column in numbers.T]
        order = np.tile(np.arange(numbers.shape[1]), (len(samples), 1))
    else:
        numbers = np.asarray(network.predict_proba(samples)).reshape(len(samples), -1)
        if numbers.shape[1] == 1:  # the probability of the second of two classes
            numbers = np.concatenate([1 - numbers, numbers], axis=1)
        order = np.argsort(-numbers, axis=1, kind="stable")
        names = network.names or [str(number) for number in range(numbers.shape[1])]
        texts = [
            [
                f"{one_line(names[of], 16)}: {100 * row[of]:.0f} %"
                for of, row in zip(column, numbers, strict=True)
            ]
            for column in order.T
        ]
    columns = []
    for text, column in zip(texts[:_MOST_CLASSES], order.T, strict=False):
        classes = column if network.classes is None else network.classes[column]
        maps = np.asarray(network.saliency(samples, classes))
        if maps.ndim == 4:
            maps = np.abs(maps).max(axis=1 + _channel_axis(samples.shape[1:]))
        columns.append((text, maps))
    return columns


def _across(stage: _Maps) -> int:
    """How many maps of a sample stand side by side."""
    return math.ceil(math.sqrt(min(stage.values.shape[-1], _MOST_MAPS)))


def _aspect(stage: _Maps) -> float:
    """The width of all maps of a sample by their height."""
    height, width, channels = stage.values.shape[1:]
    across = _across(stage)
    return across * width / (-(-min(channels, _MOST_MAPS) // across) * height)


def _draw_stage(column: "Sequence[Axes]", stage: _Maps) -> None:
    """The maps of each sample in a square or so."""
    height, width, channels = stage.values.shape[1:]
    shown = min(channels, _MOST_MAPS)
    values = stage.values[..., :shown]
    low, most = float(values.min()), max(float(np.abs(values).max()), _TINY)
    colours, bottom = ("RdBu_r", -most) if low < 0 else ("gray_r", 0.0)
    for axes, maps in zip(column, values, strict=True):
        sheet = _mosaic(np.moveaxis(maps, -1, 0)[..., None], _across(stage))[..., 0]
        axes.set_facecolor(_LINES)
        axes.imshow(sheet, colours, vmin=bottom, vmax=most, interpolation="nearest")
    of = f"{channels} of {height} × {width}"
    of = f"{shown} of {of}" if shown < channels else of
    names = one_line(", ".join(stage.names), 30)
    column[0].set_title(f"{names}\n{of}", fontsize=7, color=_INK, parse_math=False)


def _feature_maps(network: Network, samples: HostArray) -> list[_Maps]:
    """The maps after some convolutions, from below."""
    backend = network.backend
    with backend.scope():
        x = network.preparation(backend.xp, backend.asarray(samples))
        steps = applied(backend.xp, network.model, "", network.arrays, x, None, 0)
        # What follows the last pooling, such as flattening, gives no maps any more.
        parts = [with_maps(stage) for stage in stages_of(steps) if stage[0].output.ndim == 4]
        stages = [
            _Maps(tuple(step.name for step in part), backend.to_numpy(part[-1].output))
            for part in parts
        ]
    some = min(_MOST_STAGES, len(stages))
    places = np.linspace(0, len(stages) - 1, some).round().astype(int).tolist() if some else []
    return [stages[place] for place in places]


def _as_pictures(samples: HostArray) -> list[HostArray]:
    """Samples as they are drawn: (height, width), or with three colours last, from 0 to 1.

    Of other channels, which no picture shows, their mean.
    """
    if samples.ndim == 3:
        return list(samples)
    pictures = np.moveaxis(samples, 1 + _channel_axis(samples.shape[1:]), -1).astype(np.float64)
    low, high = float(pictures.min()), float(pictures.max())
    pictures = (pictures - low) / max(high - low, _TINY)
    return list(pictures if pictures.shape[-1] == 3 else pictures.mean(axis=-1))


def _channel_axis(shape: Shape) -> int:
    """The axis of a picture's channels: the last, unless only the first is one of colours."""
    return next((axis for axis in (2, 0) if shape[axis] in (1, 3)), 2)


def _mosaic(tiles: HostArray, columns: int) -> HostArray:
    """Tiles (N, height, width, channels) as one picture, with lines of no number between them."""
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    edge = max(1, round(max(height, width) / 12))
    shape = (rows * columns, height + edge, width + edge, channels)
    sheet = np.full(shape, np.nan)
    sheet[:count, :height, :width] = tiles
    sheet = sheet.reshape(rows, columns, *shape[1:]).swapaxes(1, 2)
    whole = sheet.reshape(rows * shape[1], columns * shape[2], channels)
    return whole[:-edge, :-edge]


def _bare(axes: "Axes") -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _figure(width: float, height: float, title: str) -> "Figure":
    figure = figure_class()(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10, color=_INK, parse_math=False)
    return figure
