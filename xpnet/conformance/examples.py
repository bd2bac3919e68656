"""Small examples of everything that a namespace must be able to run.

Those of layers, losses and optimizers are what their classes give as `examples`; the tests of their
contracts run on the same.
"""

from dataclasses import dataclass
from typing import Any

from xpnet import losses, metrics
from xpnet.backends import Backend
from xpnet.layers import EVALUATION, LAYERS, Context, Layer, ReLU
from xpnet.losses import LOSSES, Loss
from xpnet.optimizers import OPTIMIZERS, SGD, Optimizer
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
        """Parameters with buffers, input, output gradient: float64, none of them near a kink."""
        import numpy as np

        params = {
            name: stream(0, name).normal(size=shape)
            for name, shape in self.layer.parameter_shapes().items()
        }
        # Buffers may have to be positive, as variances.
        params |= {
            name: value + stream(0, name).uniform(size=value.shape)
            for name, value in self.layer.buffers().items()
        }
        x = stream(0, "x").normal(size=self.shape)
        # No two are equal: a window with two largest has a kink.
        x = np.where(np.abs(x) < 0.1, x + np.copysign(0.5, x), x)
        y, _ = self.layer.forward(np, params, x, self.context())
        return params, x, stream(0, "dy").normal(size=y.shape)


SEED = derive(0, "examples")

LAYER_EXAMPLES = [LayerExample(*row) for kind in LAYERS.values() for row in kind.examples()]


def run_layer(backend: Backend, example: LayerExample) -> dict[str, Array]:
    """A training step on a backend: output, gradients, buffers, and constrained parameters."""
    layer, xp = example.layer, backend.xp
    host_params, host_x, host_dy = example.arrays()
    params = {name: floats(backend, value) for name, value in host_params.items()}
    x, dy = floats(backend, host_x), floats(backend, host_dy)
    y, cache = layer.forward(xp, params, x, example.context())
    dx, grads = layer.backward(xp, params, cache, dy)
    found = {"y": y, "dx": dx, **{f"d{name}": value for name, value in grads.items()}}
    found |= layer.update_buffers(xp, {name: params[name] for name in layer.buffers()}, cache)
    for name, constraint in layer.constraints().items():
        found[name] = constraint(xp, params[name])
    return found


@dataclass(frozen=True)
class LossExample:
    """A loss and the form of its targets: `labels`, `one-hot rows`, `rows`, `values`, `counts`."""

    loss: Loss
    target: str
    weighted: bool = False

    def __str__(self) -> str:
        names = [name for name, loss in vars(losses).items() if loss == self.loss]
        weights = ", weighted" if self.weighted else ""
        return f"{names[0] if names else self.loss!r} of {self.target}{weights}"

    def arrays(self) -> tuple[HostArray, HostArray, HostArray | None]:
        """Output, targets and weights of samples, none of them near a kink."""
        import numpy as np

        output = 3 * stream(0, "z").normal(size=(5, 4))
        labels = np.asarray([1, 0, 3, 2, 1])
        target = {
            "labels": labels,
            "one-hot rows": np.eye(4)[labels],
            "rows": np.floor(stream(0, "rows").uniform(0, 2, size=(5, 4))),
            "values": stream(0, "values").normal(size=(5, 4)),
            "counts": np.floor(stream(0, "counts").uniform(0, 4, size=(5, 4))),
        }[self.target]
        return output, target, np.asarray([0.5, 2, 0, 1, 3]) if self.weighted else None


LOSS_EXAMPLES = [LossExample(*row) for kind in LOSSES.values() for row in kind.examples()]


def run_loss(backend: Backend, example: LossExample) -> dict[str, Array]:
    """A loss on a backend: its value, without and with the gradient, and its gradient."""
    output, target, weight = example.arrays()
    z = floats(backend, output)
    y = (integers if example.target == "labels" else floats)(backend, target)
    options = {} if weight is None else {"weight": floats(backend, weight)}
    value, d_output = example.loss(backend.xp, z, y, **options)
    alone, _ = example.loss(backend.xp, z, y, need_grad=False, **options)
    return {"loss": value, "d_output": d_output, "loss_alone": alone}


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
        "argmax": metrics.predicted_classes(xp, ties),
    }


def run_metrics(backend: Backend) -> dict[str, Array]:
    """Each metric on a backend."""
    import numpy as np

    xp = backend.xp
    labels = integers(backend, np.asarray([1, 0, 3, 2, 1]))
    predicted = integers(backend, np.asarray([1, 0, 2, 2, 0]))
    p = floats(backend, stream(0, "p").dirichlet(np.ones(4), size=5))
    z = floats(backend, stream(0, "z").normal(size=(5, 4)))
    rows = floats(backend, np.eye(4)[[1, 0, 3, 3, 1]])
    scores = metrics.precision_recall_f1(xp, labels, predicted, 4, dtype=backend.dtype)
    of_rows = metrics.precision_recall_f1(
        xp, rows, metrics.predicted_labels(xp, z), average="weighted", dtype=backend.dtype
    )
    return {
        "count_correct": metrics.count_correct(xp, p, labels),
        "confusion_matrix": metrics.confusion_matrix(xp, labels, predicted, 4),
        "accuracy": metrics.accuracy(xp, p, labels),
        "top_k_accuracy": metrics.top_k_accuracy(xp, p, rows, 2),
        "count_correct_labels": metrics.count_correct_labels(xp, z, rows),
        "log_loss": metrics.log_loss(xp, p, labels),
        "expected_calibration_error": metrics.expected_calibration_error(xp, p, labels, n_bins=4),
        "mean_squared_error": metrics.mean_squared_error(xp, z, p),
        "mean_absolute_error": metrics.mean_absolute_error(xp, z, p),
        "r2_score": metrics.r2_score(xp, z, p),
        **{f"{name} of labels": score for name, score in scores._asdict().items()},
        **{f"{name} of rows": score for name, score in of_rows._asdict().items()},
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


OPTIMIZER_EXAMPLES = {
    repr(example): example for kind in OPTIMIZERS.values() for example in kind.examples()
}
SCHEDULED = SGD(schedule=Constant())


def floats(backend: Backend, value: Any) -> Array:
    """A host array in the backend's floating-point dtype."""
    return backend.asarray(value.astype(backend.dtype_name), copy=True)


def integers(backend: Backend, value: HostArray) -> Array:
    """Host integers as labels and indices."""
    return backend.asarray(value, dtype=backend.index_dtype)
