"""Layer normalisation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from xpnet.fields import number
from xpnet.layers.base import Context, Layer
from xpnet.layers.features import FeatureLayer, rows_of_features
from xpnet.layers.places import OnnxPlace, TorchPlace, scale_and_shift
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


@dataclass(frozen=True)
class LayerNorm(FeatureLayer):
    """Each row of features with mean 0 and variance 1, then scaled and shifted.

    y = scale (x - m) / sqrt(v + epsilon) + bias, where m and v are the mean and the (biased)
    variance over the last axis alone. Samples may have more axes in front of it, such as pictures
    (H, W, C), of which each pixel is then normalised by itself, over its channels: as
    `torch.nn.LayerNorm(C)` with channels last, and the default of Keras. No sample depends on
    another, and training and evaluation are the same.

    Parameters
    ----------
    n_features
        The length of the last axis, positive.
    epsilon
        What is added to the variance, positive.

    Notes
    -----
    Parameters: `scale` (ones) and `bias` (zeros), of shape (n_features,). With
    n = (x - m) / sqrt(v + epsilon) and g = scale dy: dscale = sum(dy n) and dbias = sum(dy) over
    all axes but the last, and dx = (g - mean(g) - n mean(g n)) / sqrt(v + epsilon), with means over
    the last.

    Raises
    ------
    ValueError
        If an argument is out of range, or samples of another last axis come in.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", 2016, https://arxiv.org/abs/1607.06450
    """

    # With 0 the quotient of a row that is constant would be 0 / 0.
    epsilon: float = field(default=1e-5, metadata=number(above=0))

    def flops(self, shape: Shape) -> int:
        # Seven of each element; two divisions, a sum, a root and an inverse of each row.
        return (7 * self.n_features + 5) * math.prod(shape[:-1])

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        normal = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(normal * normal, axis=-1, keepdims=True)
        inverse = 1 / xp.sqrt(variance + self.epsilon)
        normal *= inverse
        y = normal * params["scale"]
        y += params["bias"]
        return y, (normal, inverse)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        normal, inverse = cache
        products, d = rows_of_features(xp, dy * normal), rows_of_features(xp, dy)
        grads = {"scale": xp.sum(products, axis=0), "bias": xp.sum(d, axis=0)}
        if not need_dx:
            return None, grads
        g = dy * params["scale"]
        dx = g - xp.mean(g, axis=-1, keepdims=True)
        dx -= normal * xp.mean(g * normal, axis=-1, keepdims=True)
        dx *= inverse
        return dx, grads

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(5), (4, 5)
        yield cls(4), (3, 2, 2, 4)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.dtype == "float32" and place.opset >= 17:
            arrays = [place.parameter(key) for key in ("scale", "bias")]
            return place.node("LayerNormalization", x, *arrays, axis=-1, epsilon=self.epsilon)
        axis = place.last_axis(x)
        if axis is None:
            place.need_opset(11, "the last axis of samples of unknown shape")
            axis = -1
        centred = place.node("Sub", x, _mean(place, x, axis, "mean"), part="centred")
        square = place.node("Mul", centred, centred, part="square")
        variance = _mean(place, square, axis, "variance")
        return scale_and_shift(place, centred, variance, self.epsilon)

    def torch(self, place: TorchPlace) -> str:
        place.keep("weight", place.array("scale"))
        place.keep("bias", place.array("bias"))
        return f"nn.LayerNorm({self.n_features}, eps={self.epsilon!r})"


def _mean(place: OnnxPlace, x: str, axis: int, part: str) -> str:
    if place.opset < 18:
        return place.node("ReduceMean", x, part=part, axes=[axis])
    return place.node("ReduceMean", x, place.constant("axes", [axis]), part=part)
