"""Batch normalisation."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet.checks import finite_number, positive_integer
from xpnet.errors import shown
from xpnet.fields import checked_by, number
from xpnet.initializers import constant, ones, zeros
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace, scale_and_shift
from xpnet.random import Seed
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape

_ORDINARY = 4
"""The length of the cache of a training step in which all samples are there."""


def _momentum(name: str, value: Any) -> float:
    momentum = finite_number(name, value, above=0)
    if momentum > 1:
        raise ValueError(f"{name} must be at most 1, got {shown(value)}")
    return momentum


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each feature with mean 0 and variance 1 in the batch, then scaled and shifted.

    y = scale (x - m) / sqrt(v + epsilon) + bias. In training m and v are the mean and the (biased)
    variance of each column of the batch. In evaluation they are the running ones, the buffers,
    which each training step moves: running += momentum (batch - running), with the unbiased
    variance of the batch, v B / (B - 1). This is what `torch.nn.BatchNorm1d` does.

    Samples of weight 0 are not there (`Context.present`): m, v and B are of the others, as with a
    mask in Keras. Where there are fewer than two others the running ones stay. Of a part of a batch
    all sums are those over the whole batch (`Context.total`): first that for the mean, and then
    that of the squared deviations from it.

    Parameters
    ----------
    n_features
        The number of columns, positive.
    momentum
        The weight of the last batch, above 0 and at most 1. It is PyTorch's; Keras and others give
        the same word to the weight of what was before, 1 - momentum.
    epsilon
        What is added to the variance, positive.

    Notes
    -----
    Parameters: `scale` (ones) and `bias` (zeros). Buffers: `mean` (zeros) and `variance` (ones).
    All have shape (n_features,). With n = (x - m) / sqrt(v + epsilon), the sums being over the
    batch: dscale = sum(dy n), dbias = sum(dy), and in training dx = scale / sqrt(v + epsilon)
    (dy - dbias / B - n dscale / B); in evaluation m and v do not depend on x, and
    dx = scale / sqrt(v + epsilon) dy.

    Raises
    ------
    ValueError
        If an argument is out of range, samples of another shape come in, or a training batch has a
        single sample, of which there is no variance.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", 2015, https://arxiv.org/abs/1502.03167
    """

    takes_totals = True

    n_features: int = field(metadata=checked_by(positive_integer))
    momentum: float = field(default=0.1, metadata=checked_by(_momentum, in_dtype=True))
    # With 0 the quotient of a column that is constant would be 0 / 0.
    epsilon: float = field(default=1e-5, metadata=number(above=0))

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"scale": (self.n_features,), "bias": (self.n_features,)}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        return {"scale": ones((self.n_features,)), "bias": zeros((self.n_features,))}

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

    def input_shape(self) -> Shape:
        return (self.n_features,)

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape not in (None, (self.n_features,)):
            raise ValueError(
                f"BatchNorm({self.n_features}) takes samples of shape ({self.n_features},), "
                f"but is given shape {shape}"
            )
        return (self.n_features,)

    def flops(self, shape: Shape) -> int:
        return 4 * self.n_features

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        if not ctx.training:
            inverse = 1 / xp.sqrt(params["variance"] + self.epsilon)
            normal = (x - params["mean"]) * inverse
            return normal * params["scale"] + params["bias"], (normal, inverse)
        total = ctx.total
        if x.shape[0] < 2 and total is None:
            raise ValueError(
                "BatchNorm: a batch of one sample has no variance to train with; take a batch "
                "size that leaves no last batch of one sample"
            )
        masked: Cache = ()
        if ctx.present is None:
            mean = xp.mean(x, axis=0)
            normal = x - mean
            variance = xp.mean(normal * normal, axis=0)
        else:
            present = ctx.present[:, None]
            sums, count = xp.sum(x * present, axis=0), xp.sum(ctx.present)
            if total is not None:
                whole = total(xp, xp.concat([sums, count[None]]))
                sums, count = whole[:-1], whole[-1]
            count = xp.maximum(count, 1.0)
            mean = sums / count
            normal = x - mean
            # Before the square, which may be infinite of a sample that is not there.
            counted = normal * present
            squares = xp.sum(counted * counted, axis=0)
            variance = (squares if total is None else total(xp, squares)) / count
            masked = (present, count, total)
        inverse = 1 / xp.sqrt(variance + self.epsilon)
        normal *= inverse
        y = normal * params["scale"]
        y += params["bias"]
        return y, (normal, inverse, mean, variance, *masked)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        normal, inverse, *batch = cache[:_ORDINARY]
        grads = {"scale": xp.sum(dy * normal, axis=0), "bias": xp.sum(dy, axis=0)}
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
            dx = dy - present * (bias / count)
            dx -= present * normal * (scale / count)
        else:
            count = normal.shape[0]
            dx = dy - grads["bias"] / count
            dx -= normal * (grads["scale"] / count)
        dx *= factor
        return dx, grads

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(5, momentum=0.3), (6, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        # Until 14 the number of its outputs says whether it trains; ONNX's evaluator ignores that.
        if place.dtype == "float32" and place.opset >= 14:
            arrays = [place.parameter(key) for key in ("scale", "bias", "mean", "variance")]
            return place.node("BatchNormalization", x, *arrays, epsilon=self.epsilon)
        centred = place.node("Sub", x, place.parameter("mean"), part="centred")
        return scale_and_shift(place, centred, place.parameter("variance"), self.epsilon)

    def torch(self, place: TorchPlace) -> str:
        place.keep("weight", place.array("scale"))
        place.keep("bias", place.array("bias"))
        place.keep("running_mean", place.array("mean"))
        place.keep("running_var", place.array("variance"))
        place.keep("num_batches_tracked", 0)
        return (
            f"nn.BatchNorm1d({self.n_features}, eps={self.epsilon!r}, momentum={self.momentum!r})"
        )
