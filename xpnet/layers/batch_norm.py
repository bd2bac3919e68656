"""Batch normalisation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet.checks import finite_number
from xpnet.errors import shown
from xpnet.fields import checked_by, number
from xpnet.initializers import constant
from xpnet.layers.base import Context, Layer
from xpnet.layers.features import FeatureLayer, rows_of_features, shaped_like
from xpnet.layers.places import (
    OnnxPlace,
    TorchPlace,
    scale_and_shift,
    with_channels_first,
    with_channels_last,
)
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape

_ORDINARY = 4
"""The length of the cache of a training step in which all samples are there."""


def _momentum(name: str, value: Any) -> float:
    momentum = finite_number(name, value, above=0)
    if momentum > 1:
        raise ValueError(f"{name} must be at most 1, got {shown(value)}")
    return momentum


@dataclass(frozen=True)
class BatchNorm(FeatureLayer):
    """Each feature with mean 0 and variance 1 in the batch, then scaled and shifted.

    y = scale (x - m) / sqrt(v + epsilon) + bias. Features are along the last axis; samples may have
    more axes in front of it, such as pictures (H, W, C) their rows and columns, and each pixel then
    counts as a row of features. In training m and v are the mean and the (biased) variance of each
    feature over all N rows, which are B for samples (C,), and B H W for pictures. In evaluation
    they are the running ones, the buffers, which each training step moves:
    running += momentum (batch - running), with the unbiased variance of the batch, v N / (N - 1).
    This is what `torch.nn.BatchNorm1d` does, and of pictures `BatchNorm2d` with channels last.

    Samples of weight 0 are not there (`Context.present`): m, v and N are of the others, as with a
    mask in Keras. Where they have fewer than two rows the running ones stay. Of a part of a batch
    all sums are those over the whole batch (`Context.total`): first that for the mean, and then
    that of the squared deviations from it.

    Parameters
    ----------
    n_features
        The number of features, the length of the last axis (the channels of pictures), positive.
    momentum
        The weight of the last batch, above 0 and at most 1. It is PyTorch's; Keras and others give
        the same word to the weight of what was before, 1 - momentum.
    epsilon
        What is added to the variance, positive.

    Notes
    -----
    Parameters: `scale` (ones) and `bias` (zeros). Buffers: `mean` (zeros) and `variance` (ones).
    All have shape (n_features,). With n = (x - m) / sqrt(v + epsilon), the sums being over all
    rows: dscale = sum(dy n), dbias = sum(dy), and in training dx = scale / sqrt(v + epsilon)
    (dy - dbias / N - n dscale / N); in evaluation m and v do not depend on x, and
    dx = scale / sqrt(v + epsilon) dy.

    Raises
    ------
    ValueError
        If an argument is out of range, samples of another last axis come in, or a training batch
        has a single row, of which there is no variance.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015, https://arxiv.org/abs/1502.03167
    """

    takes_totals = True

    momentum: float = field(default=0.1, metadata=checked_by(_momentum, in_dtype=True))
    # With 0 the quotient of a column that is constant would be 0 / 0.
    epsilon: float = field(default=1e-5, metadata=number(above=0))

    def buffers(self) -> dict[str, HostArray]:
        # No memory is taken: a file may ask for more features than it has arrays for.
        shape = (self.n_features,)
        return {"mean": constant(0.0, shape), "variance": constant(1.0, shape)}

    def update_buffers(self, xp: Namespace, buffers: Params, cache: Cache) -> dict[str, Array]:
        normal, _, mean, variance, *masked = cache
        momentum: Any = self.momentum
        if masked:
            _, count, _ = masked
            unbiased = count / xp.maximum(count - 1, 1.0)
            momentum = xp.astype(count > 1, count.dtype) * momentum
        else:
            unbiased = normal.shape[0] / (normal.shape[0] - 1)
        batch = {"mean": mean, "variance": variance * unbiased}
        return {name: value + momentum * (batch[name] - value) for name, value in buffers.items()}

    def smallest_batch(self) -> int:
        return 2

    def flops(self, shape: Shape) -> int:
        return 4 * math.prod(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        if not ctx.training:
            inverse = 1 / xp.sqrt(params["variance"] + self.epsilon)
            normal = (x - params["mean"]) * inverse
            return normal * params["scale"] + params["bias"], (normal, inverse)
        total, rows = ctx.total, rows_of_features(xp, x)
        if rows.shape[0] < 2 and total is None:
            raise ValueError(
                "BatchNorm: a batch of one sample has no variance to train with; take a batch "
                "size that leaves no last batch of one sample"
            )
        masked: Cache = ()
        if ctx.present is None:
            mean = xp.mean(rows, axis=0)
            normal = rows - mean
            variance = xp.mean(normal * normal, axis=0)
        else:
            present = ctx.present[:, None] if x.ndim == 2 else _of_rows(xp, ctx.present, x)
            sums, count = xp.sum(rows * present, axis=0), xp.sum(ctx.present)
            if total is not None:
                whole = total(xp, xp.concat([sums, count[None]]))
                sums, count = whole[:-1], whole[-1]
            if x.ndim > 2:
                count = count * math.prod(x.shape[1:-1])
            count = xp.maximum(count, 1.0)
            mean = sums / count
            normal = rows - mean
            # Before the square, which may be infinite of a sample that is not there.
            counted = normal * present
            squares = xp.sum(counted * counted, axis=0)
            variance = (squares if total is None else total(xp, squares)) / count
            masked = (present, count, total)
        inverse = 1 / xp.sqrt(variance + self.epsilon)
        normal *= inverse
        y = normal * params["scale"]
        y += params["bias"]
        return shaped_like(xp, y, x), (normal, inverse, mean, variance, *masked)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        normal, inverse, *batch = cache[:_ORDINARY]
        d = rows_of_features(xp, dy)
        normal = rows_of_features(xp, normal)
        grads = {"scale": xp.sum(d * normal, axis=0), "bias": xp.sum(d, axis=0)}
        if not need_dx:
            return None, grads
        factor = params["scale"] * inverse
        if not batch:  # of an evaluation
            return dy * factor, grads
        if len(cache) > _ORDINARY:
            present, count, total = cache[_ORDINARY:]
            scale, bias = grads["scale"], grads["bias"]
            if total is not None:
                whole = total(xp, xp.concat([scale, bias]))
                scale, bias = whole[: self.n_features], whole[self.n_features :]
            dx = d - present * (bias / count)
            dx -= present * normal * (scale / count)
        else:
            count = normal.shape[0]
            dx = d - grads["bias"] / count
            dx -= normal * (grads["scale"] / count)
        dx *= factor
        return shaped_like(xp, dx, dy), grads

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(5, momentum=0.3), (6, 5)
        yield cls(3), (4, 2, 3, 3)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        # Until 14 the number of its outputs says whether it trains; ONNX's evaluator ignores that.
        if place.dtype == "float32" and place.opset >= 14 and place.shape is not None:
            arrays = [place.parameter(key) for key in ("scale", "bias", "mean", "variance")]
            axes = len(place.shape)
            first = with_channels_first(place, x, axes)
            options = {"part": "normal"} if axes > 1 else {}
            y = place.node("BatchNormalization", first, *arrays, epsilon=self.epsilon, **options)
            return with_channels_last(place, y, axes)
        centred = place.node("Sub", x, place.parameter("mean"), part="centred")
        return scale_and_shift(place, centred, place.parameter("variance"), self.epsilon)

    def torch(self, place: TorchPlace) -> str:
        place.keep("weight", place.array("scale"))
        place.keep("bias", place.array("bias"))
        place.keep("running_mean", place.array("mean"))
        place.keep("running_var", place.array("variance"))
        place.keep("num_batches_tracked", 0)
        kind = "nn.BatchNorm1d"
        if place.shape is None or len(place.shape) > 1:
            place.define(_TORCH)
            kind = "BatchNorm"
        return f"{kind}({self.n_features}, eps={self.epsilon!r}, momentum={self.momentum!r})"


def _of_rows(xp: Namespace, present: Array, x: Array) -> Array:
    """What is said of each sample, (B,), for each of the rows that x is made of, (B pixels, 1)."""
    pixels = math.prod(x.shape[1:-1])
    ones = xp.ones_like(xp.reshape(x, (x.shape[0], pixels, x.shape[-1]))[:, :, 0])
    return xp.reshape(present[:, None] * ones, (x.shape[0] * pixels, 1))


_TORCH = '''
class BatchNorm(nn.BatchNorm1d):
    """Batch norm of the last axis, over all others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)
'''
