"""What is said of a network, and of what was drawn, as JSON values: what the page shows."""

import base64
import math
import secrets
import threading
from typing import Any

import numpy as np

from xpnet.data.picture_shape import PictureShape
from xpnet.data.prepared import prepare_picture
from xpnet.errors import DataError, one_line
from xpnet.network import Network
from xpnet.page.insight import Insight, look_inside
from xpnet.typing import HostArray

_FIELD = 280
"""The longer side of a drawing has so many pixels at least, ten times those of MNIST."""
_FINER, _LARGEST_FIELD = 4, 2048
"""So many times the pixels that the network takes, where they are many; but no more than that."""
_MARGIN = 0.1
"""So wide is the blank margin of a drawing, as a part of the longer side of what is drawn on."""
_OUTPUTS, _UNITS = 1000, 4096
"""So many outputs, and units of a layer, are shown at the most: nobody looks at more."""
_LOOKED_AT, _VALUES = 8, 1 << 22
"""So many units of a layer are looked at; fewer where that would take more than so many values."""
_SEEN, _WEIGHTS = 256, 64
"""The longest sides of pictures for the page, which are small there: larger ones are reduced."""


class Answers:
    """What one network says of drawings, one at a time, whatever thread asks.

    Parameters
    ----------
    network
        A network for pictures, in grey or in colour, on any backend.
    title
        What it is called.

    Attributes
    ----------
    size
        The (height, width) of a drawing.
    margin
        So wide at each side is what nothing is drawn on.
    description
        What the page shows before anything is drawn.

    Raises
    ------
    DataError
        If the network takes no pictures, or Pillow or SciPy is not installed.
    """

    def __init__(self, network: Network, title: str = "") -> None:
        self._network = network
        self._samples = PictureShape.of(network.sample_shape)
        self._shape = self._samples.size
        self._lock = threading.Lock()
        # By which a page that is open knows that there is another network now, at the same port.
        self._server = secrets.token_hex(8)
        side = max(self._shape)
        longer = max(_FIELD, min(_FINER * side, _LARGEST_FIELD))
        # Where the figure is looked for, it is easier found with paper around it. Where the whole
        # picture is taken, the margin would be a part of it.
        self.margin = 0 if network.framing is None else round(_MARGIN * longer)
        self.size = tuple(round(longer * n / side) + 2 * self.margin for n in self._shape)
        # The first call of a library takes its time, and shows what the network cannot be asked.
        stroke = np.zeros(self.size, np.uint8)
        stroke[tuple(slice(n // 3, 2 * n // 3) for n in self.size)] = 255
        try:
            sample = self._sample(prepare_picture(stroke, self._shape, network.framing).sample)
        except ImportError as error:
            raise DataError(
                f"preparing a drawing needs Pillow and SciPy: pip install 'xpnet[image]' "
                f"({one_line(error)})"
            ) from error
        self._names = network.names
        self._count = len(self._numbers(sample))
        self._looked_at = min(_LOOKED_AT, max(1, _VALUES // max(sample.size, self._count)))
        self.description = self._describe(title, self._inside(sample))

    def answer(self, drawing: bytes) -> dict[str, Any]:
        """What the network says of a drawing: as `Network.predict_pictures` of the same picture.

        Parameters
        ----------
        drawing
            A byte for each pixel of `size`, row by row, from 0, black, to 255, white.

        Raises
        ------
        DataError
            If the drawing has another size, or the network gives no finite numbers for it.
        """
        height, width = self.size
        if len(drawing) != height * width:
            raise DataError(f"a drawing has {height} x {width} bytes, not {len(drawing):,}")
        grey = np.frombuffer(drawing, np.uint8).reshape(height, width)
        with self._lock:
            prepared = prepare_picture(grey, self._shape, self._network.framing)
            seen = _reduced(255 * prepared.sample.clip(0, 1), _SEEN)
            answer = {
                "server": self._server,
                "problem": prepared.problem,
                "seen": {**_size(seen), "pixels": _encoded(seen, np.uint8)},
            }
            return answer if prepared.problem else answer | self._said(prepared.sample)

    def _said(self, brightness: HostArray) -> dict[str, Any]:
        sample = self._sample(brightness)
        numbers = self._numbers(sample)
        shown = np.sort(np.argsort(-numbers, kind="stable")[:_OUTPUTS])
        return {
            "outputs": [{"name": self._name(i), "value": float(numbers[i])} for i in shown],
            "best": _best(self._kind, numbers[shown]),
            "layers": [self._layer(layer) for layer in self._inside(sample)],
        }

    def _inside(self, sample: HostArray) -> tuple[Insight, ...]:
        return look_inside(self._network, sample, units=self._looked_at)

    def _name(self, output: int) -> str:
        return str(output) if self._names is None else one_line(self._names[output])

    @property
    def _kind(self) -> str:
        """The kind of the answers: of two classes with one output there are two probabilities."""
        return "classes" if self._network.classes is not None else self._network.target_kind

    def _numbers(self, sample: HostArray) -> HostArray:
        """The probabilities of one sample, or the values."""
        ask = self._network.predict if self._kind == "values" else self._network.predict_proba
        with np.errstate(all="ignore"):
            numbers = np.asarray(ask(sample[None, ...]), dtype=np.float64).ravel()
        if not np.isfinite(numbers).all():
            raise DataError("the network gives no finite numbers for this picture")
        one_of_two = self._kind == "classes" and len(numbers) == 1
        return np.array([1 - numbers[0], numbers[0]]) if one_of_two else numbers

    def _sample(self, brightness: HostArray) -> HostArray:
        """Brightness from 0 to 1 as a sample of the training: a grey is the same in each colour."""
        framing = self._network.framing
        if framing is not None:
            brightness = framing.as_samples(brightness)
        return self._samples.samples(brightness[None])[0]

    # -- as the page shows it -------------------------------------------------------------------

    def _describe(self, title: str, layers: tuple[Insight, ...]) -> dict[str, Any]:
        network, shape = self._network, " × ".join(map(str, self._network.sample_shape or ()))
        count = sum(math.prod(shape) for shape in network.model.parameter_shapes().values())
        backend = network.backend
        outputs = [self._name(i) for i in range(min(self._count, _OUTPUTS))]
        return {
            "server": self._server,
            "title": one_line(title),
            "summary": (
                f"Pictures of {shape}, {count:,} parameters; "
                f"{backend.name} on {one_line(backend.device_name())}, {backend.dtype_name}"
            ),
            "kind": self._kind,
            "sheet": {"height": self.size[0], "width": self.size[1]},
            "margin": self.margin,
            "seen": _size(_reduced(np.zeros(self._shape), _SEEN)),
            "weights": _size(self._weights(layers[-1].strongest[0].weights)),
            "outputs": outputs,
            "layers": [
                {
                    "names": ", ".join(layer.names),
                    "output": layer is layers[-1],
                    "units": len(layer.values),
                    "shown": _shown(layer).size,
                    # Of feature maps: how wide what is shown is, and how many there are.
                    "columns": _shown(layer).shape[1] if len(layer.shape) == 3 else None,
                    "channels": layer.shape[2] if len(layer.shape) == 3 else None,
                    # Of two classes with one output, this is of the second.
                    "unit_names": outputs[-len(layer.values) :] if layer is layers[-1] else None,
                    "pictures": len(layer.strongest),
                }
                for layer in layers
            ],
        }

    def _layer(self, layer: Insight) -> dict[str, Any]:
        return {
            "values": [_short(value) for value in _shown(layer).ravel().tolist()],
            "strongest": [
                {
                    "number": unit.number,
                    "value": _short(unit.value),
                    "picture": _encoded(127 * _to_one(self._weights(unit.weights)), np.int8),
                }
                for unit in layer.strongest
            ],
        }

    def _weights(self, weights: HostArray) -> HostArray:
        """What the pixels count for, with the colours last."""
        axis = self._samples.axis
        return _reduced(weights if axis is None else np.moveaxis(weights, axis, -1), _WEIGHTS)


def _best(kind: str, numbers: HostArray) -> list[int]:
    """Which of the outputs are the answer: the most probable class, or the labels that hold."""
    if kind == "values":
        return []
    return [int(numbers.argmax())] if kind == "classes" else np.flatnonzero(numbers > 0.5).tolist()


def _shown(layer: Insight) -> HostArray:
    """The activations that are shown: the first ones; of feature maps all, coarser if need be.

    Maps stand side by side, with zeros between them: shape (rows, columns).
    """
    if len(layer.shape) != 3:
        return layer.values[:_UNITS]
    maps = layer.values.reshape(layer.shape)
    most = max(maps.shape[:2])
    while _mosaic(maps).size > _UNITS and most > 1:
        most = -(-most // 2)
        maps = _reduced(layer.values.reshape(layer.shape), most)
    return _mosaic(maps)


def _mosaic(maps: HostArray) -> HostArray:
    height, width, channels = maps.shape
    across = math.ceil(math.sqrt(channels))
    down = -(-channels // across)
    tiles = np.zeros((down * across, height + 1, width + 1))
    tiles[:channels, :height, :width] = np.moveaxis(maps, -1, 0)
    rows = tiles.reshape(down, across, height + 1, width + 1).swapaxes(1, 2)
    return rows.reshape(down * (height + 1), across * (width + 1))[:-1, :-1]


def _reduced(picture: HostArray, most: int) -> HostArray:
    """A picture with at most so many pixels a side, each the mean of a block."""
    block = -(-max(picture.shape[:2]) // most)
    if block == 1:
        return picture
    rows, columns = (np.arange(0, n, block) for n in picture.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(picture, rows, axis=0), columns, axis=1)
    return sums / block**2


def _to_one(numbers: HostArray) -> HostArray:
    """Numbers divided by the largest magnitude; 0 for what is not finite."""
    numbers = np.where(np.isfinite(numbers), numbers, 0)
    return numbers / max(float(np.abs(numbers).max()), np.finfo(np.float32).tiny)


def _size(picture: HostArray) -> dict[str, int]:
    height, width = picture.shape[:2]
    return {"height": height, "width": width, "channels": math.prod(picture.shape[2:])}


def _encoded(picture: HostArray, dtype: type) -> str:
    """The pixels in row-major order, as base64 of a byte each."""
    return base64.b64encode(np.rint(picture).astype(dtype).tobytes()).decode()


def _short(value: float) -> float | None:
    """To four digits, which is more than is shown; JSON has no infinity."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
