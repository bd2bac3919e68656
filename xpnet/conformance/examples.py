"""Small examples of everything that a namespace must be able to run.

The contract tests of the layers run on the same examples: a new layer needs one row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnet.backends import Backend
from xpnet.layers import (
    EVALUATION,
    Context,
    Dense,
    Dropout,
    Flatten,
    Layer,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from xpnet.losses import softmax_cross_entropy
from xpnet.metrics import confusion_matrix, count_correct, predicted_classes
from xpnet.model import Sequential
from xpnet.optimizers import SGD, Adam, AdamW, Lion, Momentum, Nesterov, Optimizer, RMSprop
from xpnet.random import derive, stream
from xpnet.schedules import Constant
from xpnet.typing import Array, HostArray


@dataclass(frozen=True)
class LayerExample:
    """A layer, and the shape of a batch for it."""

    layer: Layer
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.layer!r}-{'x'.join(map(str, self.shape))}"

    def context(self) -> Context:
        """A training context."""
        return Context(training=True, seed=SEED, step=3)

    def arrays(self) -> tuple[dict[str, HostArray], HostArray, HostArray]:
        """Parameters, input and output gradient in float64, none of them near a kink."""
        import numpy as np

        params = {
            name: stream(0, name).normal(size=shape)
            for name, shape in self.layer.parameter_shapes().items()
        }
        x = stream(0, "x").normal(size=self.shape)
        x = np.where(np.abs(x) < 0.1, 0.5, x)
        y, _ = self.layer.forward(np, params, x, self.context())
        return params, x, stream(0, "dy").normal(size=y.shape)


SEED = derive(0, "examples")

LAYER_EXAMPLES = [
    LayerExample(Dense(5, 3), (4, 5)),
    LayerExample(Dense(1, 1), (1, 1)),
    LayerExample(ReLU(), (4, 5)),
    LayerExample(Tanh(), (4, 5)),
    LayerExample(Sigmoid(), (4, 5)),
    LayerExample(Softmax(), (4, 5)),
    LayerExample(Dropout(0.5), (6, 5)),
    LayerExample(Dropout(0.2), (3, 2, 4)),
    LayerExample(Dropout(0), (2, 3)),
    LayerExample(Flatten(), (3, 2, 4)),
    LayerExample(Flatten((2, 4)), (3, 2, 4)),
    LayerExample(Sequential(fc1=Dense(5, 4), act1=Tanh(), fc2=Dense(4, 3)), (6, 5)),
    LayerExample(
        Sequential(first=ReLU(), block=Sequential(fc=Dense(5, 2), drop=Dropout(0.3))), (7, 5)
    ),
    LayerExample(Sequential(act1=Tanh(), act2=Softmax()), (3, 5)),
]


def run_layer(backend: Backend, example: LayerExample) -> dict[str, Array]:
    """Forward and backward on a backend: output, input gradient and gradients by name."""
    host_params, host_x, host_dy = example.arrays()
    params = {name: floats(backend, value) for name, value in host_params.items()}
    x, dy = floats(backend, host_x), floats(backend, host_dy)
    y, cache = example.layer.forward(backend.xp, params, x, example.context())
    dx, grads = example.layer.backward(backend.xp, params, cache, dy)
    return {"y": y, "dx": dx, **{f"d{name}": value for name, value in grads.items()}}


def run_loss(backend: Backend, loss: Callable[..., Any], *, one_hot: bool) -> dict[str, Array]:
    """A loss of labels or one-hot rows on a backend: its value and its gradient."""
    import numpy as np

    labels = np.asarray([1, 0, 3, 2, 1])
    z = floats(backend, 3 * stream(0, "z").normal(size=(5, 4)))
    target = floats(backend, np.eye(4)[labels]) if one_hot else integers(backend, labels)
    value, d_output = loss(backend.xp, z, target)
    return {"loss": value, "d_output": d_output}


def run_edges(backend: Backend) -> dict[str, Array]:
    """What must be right beside ordinary numbers: NaN, infinities, equal values, mixed truth."""
    import numpy as np

    xp = backend.xp
    x = floats(backend, np.asarray([[np.nan, 1.0, -1.0], [np.inf, 0.0, -np.inf]]))
    ties = floats(backend, np.asarray([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0]]))
    y, _ = ReLU().forward(xp, {}, x, EVALUATION)
    finite = xp.isfinite(x)
    return {
        "relu": y,
        "isfinite": finite,
        "all": xp.all(finite),
        "argmax": predicted_classes(xp, ties),
    }


def run_metrics(backend: Backend) -> dict[str, Array]:
    """Each metric on a backend."""
    import numpy as np

    labels = integers(backend, np.asarray([1, 0, 3, 2, 1]))
    predicted = integers(backend, np.asarray([1, 0, 2, 2, 0]))
    p = floats(backend, stream(0, "p").dirichlet(np.ones(4), size=5))
    return {
        "count_correct": count_correct(backend.xp, p, labels),
        "confusion_matrix": confusion_matrix(backend.xp, labels, predicted, 4),
    }


def run_optimizer(backend: Backend, optimizer: Optimizer) -> dict[str, Array]:
    """Three steps of an optimizer on a backend: the parameters afterwards, and their averages."""
    shapes = {"weight": (4, 3), "bias": (3,)}

    def draw(*names: Any) -> dict[str, Array]:
        return {
            name: floats(backend, stream(0, *names, name).normal(size=shape))
            for name, shape in shapes.items()
        }

    params, averages = draw("parameter"), draw("parameter")
    slots = optimizer.init(backend.xp, params)
    rate = floats(backend, stream(0, "rate").uniform(0.1, 0.2, size=()))
    for step in range(3):
        params, slots = optimizer.update(backend.xp, params, draw("gradient", step), slots, rate)
        if optimizer.ema is not None:
            averages, slots = optimizer.average(averages, params, slots)
    return {**params, **{f"average {name}": value for name, value in averages.items()}}


LOSS_EXAMPLES = {"softmax_cross_entropy": softmax_cross_entropy}
OPTIMIZER_EXAMPLES = {
    "SGD": SGD(0.1),
    "SGD, all options": SGD(0.1, weight_decay=0.1, l2=0.2, clip_norm=0.5, ema=0.9),
    "Momentum": Momentum(0.1),
    "Nesterov": Nesterov(0.1),
    "RMSprop": RMSprop(0.1),
    "Adam": Adam(0.1, clip_value=0.3),
    "AdamW": AdamW(0.1),
    "Lion": Lion(0.1),
}
SCHEDULED = SGD(schedule=Constant())


def floats(backend: Backend, value: Any) -> Array:
    """A host array in the backend's floating-point dtype."""
    return backend.asarray(value.astype(backend.dtype_name), copy=True)


def integers(backend: Backend, value: HostArray) -> Array:
    """Host integers as labels and indices."""
    return backend.asarray(value, dtype=backend.index_dtype)
