"""Gaussian noise."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from xpnet.fields import number
from xpnet.layers.base import Context, Layer
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


@dataclass(frozen=True)
class GaussianNoise(Layer):
    """Noise in training: y = x + deviation n, with n a normal number for each element.

    Evaluation and prediction leave their input as it is. The gradient passes as it is, always.

    Parameters
    ----------
    deviation
        The standard deviation of the noise, 0 (the identity) or more.

    Notes
    -----
    The numbers follow from the run's seed, the layer's name, the step, the row and the column
    (`xpnet.random.normal`): the same on every array library to the last digits, and for a part of a
    batch those of that part of the batch.

    Raises
    ------
    ValueError
        If the deviation is negative or not finite; in training, if the context has no seed.

    References
    ----------
    Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995,
    https://doi.org/10.1162/neco.1995.7.1.108
    """

    deviation: float = field(default=0.1, metadata=number(at_least=0))

    def flops(self, shape: Shape) -> int:
        return 0  # of evaluation

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        if not ctx.training or self.deviation == 0:
            return x, ()
        return x + self.deviation * ctx.normal(xp, x), ()

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        return (dy if need_dx else None), {}

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(0.5), (6, 5)
        yield cls(0.2), (3, 2, 4)
        yield cls(0), (2, 3)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        return x  # it is nothing in evaluation

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH)
        return f"GaussianNoise({self.deviation!r})"


_TORCH = '''
class GaussianNoise(nn.Module):
    """Normal noise in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training else x
'''
