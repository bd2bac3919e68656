"""Layer normalisation."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from xpnet.checks import positive_integer
from xpnet.fields import checked_by, number
from xpnet.initializers import ones, zeros
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace, scale_and_shift
from xpnet.random import Seed
from xpnet.typing import Array, Cache, Grads, HostArray, Namespace, Params, Shape


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Each sample with mean 0 and variance 1 over its features, then scaled and shifted.

    y = scale (x - m) / sqrt(v + epsilon) + bias, where m and v are the mean and the (biased)
    variance of a row. No sample depends on another, and training and evaluation are the same.

    Parameters
    ----------
    n_features
        The number of columns, positive.
    epsilon
        What is added to the variance, positive.

    Notes
    -----
    Parameters: `scale` (ones) and `bias` (zeros), of shape (n_features,). With
    n = (x - m) / sqrt(v + epsilon) and g = scale dy: dscale = sum(dy n) and dbias = sum(dy) over
    the batch, and dx = (g - mean(g) - n mean(g n)) / sqrt(v + epsilon), with means over the row.

    Raises
    ------
    ValueError
        If an argument is out of range, or samples of another shape come in.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", 2016, https://arxiv.org/abs/1607.06450
    """

    n_features: int = field(metadata=checked_by(positive_integer))
    # With 0 the quotient of a row that is constant would be 0 / 0.
    epsilon: float = field(default=1e-5, metadata=number(above=0))

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"scale": (self.n_features,), "bias": (self.n_features,)}

    def init(self, seed: Seed) -> dict[str, HostArray]:
        return {"scale": ones((self.n_features,)), "bias": zeros((self.n_features,))}

    def input_shape(self) -> Shape:
        return (self.n_features,)

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape not in (None, (self.n_features,)):
            raise ValueError(
                f"LayerNorm({self.n_features}) takes samples of shape ({self.n_features},), "
                f"but is given shape {shape}"
            )
        return (self.n_features,)

    def flops(self, shape: Shape) -> int:
        # Seven of each element; two divisions, a sum, a root and an inverse of each sample.
        return 7 * self.n_features + 5

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
        grads = {"scale": xp.sum(dy * normal, axis=0), "bias": xp.sum(dy, axis=0)}
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

    def onnx(self, place: OnnxPlace, x: str) -> str:
        if place.dtype == "float32" and place.opset >= 17:
            arrays = [place.parameter(key) for key in ("scale", "bias")]
            return place.node("LayerNormalization", x, *arrays, axis=-1, epsilon=self.epsilon)
        centred = place.node("Sub", x, _row_mean(place, x, "mean"), part="centred")
        square = place.node("Mul", centred, centred, part="square")
        return scale_and_shift(place, centred, _row_mean(place, square, "variance"), self.epsilon)

    def torch(self, place: TorchPlace) -> str:
        place.keep("weight", place.array("scale"))
        place.keep("bias", place.array("bias"))
        return f"nn.LayerNorm({self.n_features}, eps={self.epsilon!r})"


def _row_mean(place: OnnxPlace, x: str, part: str) -> str:
    # Of rows, whose axis 1 every opset has.
    if place.opset < 18:
        return place.node("ReduceMean", x, part=part, axes=[1])
    return place.node("ReduceMean", x, place.constant("axes", [1]), part=part)
