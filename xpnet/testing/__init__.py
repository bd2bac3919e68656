"""Checks for layers, losses and augmentations of your own.

`check_layer` and `check_loss` compare the slopes that a backward pass gives with differences of the
forward pass, in float64 on NumPy, and look whether the contract of `Layer` or of a loss is kept.
`check_augmentation` looks whether that of `Augmentation` is.

>>> from xpnet import Dense
>>> from xpnet.testing import check_layer
>>> check_layer(Dense(5, 3)).raise_if_wrong()
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet.augment import Augmentation
from xpnet.layers import Context, Layer
from xpnet.random import Seed, derive, stream
from xpnet.testing.augmentation import augmentation_rules
from xpnet.testing.report import Check, GradientError, GradientReport
from xpnet.testing.rules import backward, forward, layer_rules, loss_rules, run_loss
from xpnet.testing.slopes import check_slopes
from xpnet.typing import HostArray, Shape

__all__ = [
    "Check",
    "GradientError",
    "GradientReport",
    "check_augmentation",
    "check_layer",
    "check_loss",
]


def check_layer(
    layer: Layer,
    x: HostArray | None = None,
    *,
    shape: Shape | None = None,
    params: Mapping[str, HostArray] | None = None,
    ctx: Context | None = None,
    directions: int = 3,
    tolerance: float = 1e-6,
    seed: Seed = 0,
) -> GradientReport:
    """Check `backward` of a layer against differences of its `forward`, and the layer's contract.

    The layer's output is multiplied by random numbers `dy` and summed up: a function of the input
    and the parameters, whose slope along random directions `backward` tells and central differences
    find (`Check.error` is relative to the larger of the two). An error in a single element of a
    gradient shows as well.

    Checked besides: names, shapes and dtypes of output, gradients and buffers; that no argument is
    written to; that the cache can be used twice; the same gradients with `need_dx=False`; that
    float32 stays float32.

    Parameters
    ----------
    layer
        The layer.
    x
        A batch, floating point; random numbers of some size if None.
    shape
        The shape of one sample, for a batch of five, where `x` is not given and the layer does not
        know it itself (`input_shape`).
    params
        Parameters and buffers to check at. Those that are not given are random numbers near the
        initial ones.
    ctx
        The pass: a training step if None; `xpnet.layers.EVALUATION` for the other.
    directions
        How many for each gradient.
    tolerance
        The relative error up to which a slope is right.
    seed
        Of the random numbers.

    Returns
    -------
    report
        See `GradientReport.raise_if_wrong`.

    Raises
    ------
    ValueError
        If the shape of the input is not known.

    Notes
    -----
    Each difference is taken with steps from 1e-3 to 1e-6, and once with each halved, which also
    tells the error that is left (Richardson); the step with the smallest counts. So a kink beside
    the point, such as that of a ReLU inside of the layer, is passed by with a smaller step. On a
    kink itself a function has two slopes and the check cannot be made: it fails, and says so; give
    another `x`. For this `x` is drawn without numbers near 0.
    """
    x, arrays = _inputs(layer, x, shape, params or {}, seed)
    ctx = Context(training=True, seed=derive(seed, "masks"), step=3) if ctx is None else ctx
    y = forward(layer, arrays, x, ctx)
    dy = stream(seed, "dy").normal(size=np.shape(y))
    dx, grads = backward(layer, arrays, x, dy, ctx)

    def value(name: str, moved: HostArray) -> HostArray:
        given, at = (arrays, moved) if name == "dx" else ({**arrays, name[1:]: moved}, x)
        return dy * forward(layer, given, at, ctx)

    checks = list(layer_rules(layer, arrays, x, dy, ctx))
    points = {"dx": x, **{f"d{name}": arrays[name] for name in layer.parameter_shapes()}}
    gradients = {"dx": dx, **{f"d{name}": gradient for name, gradient in grads.items()}}
    checks += check_slopes(points, gradients, value, directions, tolerance, seed)
    return GradientReport(repr(layer), tuple(checks))


def check_loss(
    loss: Callable[..., Any],
    output: HostArray,
    target: HostArray,
    *,
    weight: HostArray | None = None,
    directions: int = 3,
    tolerance: float = 1e-6,
    seed: Seed = 0,
) -> GradientReport:
    """Check the gradient that a loss returns against differences of its value, and its contract.

    Checked besides: that the loss has no axes, and the gradient the shape and dtype of the output;
    that no argument is written to; the same loss with `need_grad=False`; that float32 stays
    float32.

    Parameters
    ----------
    loss
        `loss(xp, output, target, *, need_grad=True) -> (loss, d_output)`.
    output, target
        A batch of network outputs, floating point, and what they should be.
    weight
        Weights of the samples, passed on as `weight` if given.
    directions, tolerance, seed
        As in `check_layer`; so are kinks, such as that of an absolute value.

    Returns
    -------
    report
        See `GradientReport.raise_if_wrong`.
    """
    arrays = {"output": np.array(output, dtype=np.float64), "target": np.array(target)}
    if weight is not None:
        arrays["weight"] = np.array(weight, dtype=np.float64)

    def value(name: str, moved: HostArray) -> HostArray:
        return np.asarray(run_loss(loss, {**arrays, "output": moved}, need_grad=False)[0])

    checks = list(loss_rules(loss, arrays))
    points, gradients = {"d_output": arrays["output"]}, {"d_output": run_loss(loss, arrays)[1]}
    checks += check_slopes(points, gradients, value, directions, tolerance, seed)
    return GradientReport(getattr(loss, "__name__", repr(loss)), tuple(checks))


def check_augmentation(
    augmentation: Augmentation, *, shape: Shape = (12, 10, 1), seed: Seed = 0
) -> GradientReport:
    """Check that an augmentation keeps to the contract of `Augmentation`, on NumPy.

    Checked are: shapes and dtypes of samples and targets; that what it gives is finite; that no
    argument is written to; that it gives the same again for the same seed and step, and something
    else for others; that a part of a batch becomes that part of what the batch becomes; the same
    pictures in float32; and of one that changes targets, that rows of them stay distributions.

    Parameters
    ----------
    augmentation
        The augmentation.
    shape
        The shape of one sample: of a picture (H, W, C), or of what it takes else.
    seed
        Of the random samples.

    Returns
    -------
    report
        See `GradientReport.raise_if_wrong`.

    Raises
    ------
    ValueError
        If it does not take samples of that shape.

    Examples
    --------
    >>> from xpnet.augment import Cutout
    >>> from xpnet.testing import check_augmentation
    >>> check_augmentation(Cutout()).ok
    True
    """
    augmentation.check_shape(tuple(shape))
    return GradientReport(repr(augmentation), tuple(augmentation_rules(augmentation, shape, seed)))


def _inputs(
    layer: Layer,
    x: HostArray | None,
    shape: Shape | None,
    params: Mapping[str, HostArray],
    seed: Seed,
) -> tuple[HostArray, dict[str, HostArray]]:
    """The input, and the parameters with the buffers."""
    if x is None:
        shape = layer.input_shape() if shape is None else tuple(shape)
        if shape is None:
            raise ValueError(
                f"check_layer: {layer!r} takes samples of more than one shape: give x, or the "
                f"shape of one sample as shape=(3,)"
            )
        x = stream(seed, "x").normal(size=(5, *shape))
        x = np.where(np.abs(x) < 0.1, 0.5, x)
    initial = layer.init(derive(seed, "initialization"))
    arrays = {}
    for name, wanted in layer.parameter_shapes().items():
        noise = stream(seed, "parameter", name).normal(size=wanted)
        found = initial.get(name)
        if found is not None and found.shape == tuple(wanted):
            noise = found + 0.3 * noise
        arrays[name] = noise
    for name, value in layer.buffers().items():
        # Upwards only: a variance has to stay positive.
        arrays[name] = value + stream(seed, "buffer", name).uniform(size=value.shape)
    arrays |= params
    return np.array(x, dtype=np.float64), {n: np.array(a, np.float64) for n, a in arrays.items()}
