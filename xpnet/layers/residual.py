"""A block of layers with a way around it."""

import math
from collections.abc import Iterator

from xpnet.layers.activations import Tanh
from xpnet.layers.base import Context, Layer
from xpnet.layers.container import Container, takes_any_axes
from xpnet.layers.dense import Dense
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


class Residual(Container):
    """What a block adds to its input: y = block(x) + skip(x), and the gradient goes both ways.

    Parameters
    ----------
    block
        The layer, usually a `Sequential`; its parameters are called `block.fc1.weight` and so on.
    skip
        The way around it, needed where the block changes the shape, such as
        `Dense(n_in, n_out, bias=False)`, with parameters `skip.weight`; the identity if None.

    Notes
    -----
    dx = the input gradient of the block + that of the skip, each for dy.

    Whatever the block ends in, a sum is no probability: `last` is this layer itself.

    Raises
    ------
    TypeError
        If one is not a layer.
    ValueError
        If the two outputs have different shapes; when the layer is made, as far as shapes are
        known then.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015,
    https://arxiv.org/abs/1512.03385

    Examples
    --------
    >>> from xpnet import Dense, ReLU, Residual, Sequential
    >>> layer = Residual(Sequential(fc1=Dense(8, 32), act=ReLU(), fc2=Dense(32, 8)))
    >>> list(layer.parameter_shapes())
    ['block.fc1.weight', 'block.fc1.bias', 'block.fc2.weight', 'block.fc2.bias']
    """

    def __init__(self, block: Layer, skip: Layer | None = None) -> None:
        super().__init__({"block": block} if skip is None else {"block": block, "skip": skip})
        self._trained = {name for name, layer in self._layers.items() if layer.parameter_shapes()}
        self.output_shape(None)

    def input_shape(self) -> Shape | None:
        known = [layer for layer in self._layers.values() if layer.input_shape() is not None]
        # One that takes more axes than it says does not say how many come in.
        known.sort(key=lambda layer: layer.takes_more_axes())
        return known[0].input_shape() if known else None

    def takes_more_axes(self) -> bool:
        return all(takes_any_axes(layer) for layer in self._layers.values())

    def output_shape(self, shape: Shape | None) -> Shape | None:
        shape = self.input_shape() if shape is None else shape
        block = self["block"].output_shape(shape)
        around = self["skip"].output_shape(shape) if "skip" in self._layers else shape
        if block is not None and around is not None and block != around:
            raise ValueError(
                f"Residual: the block gives samples of shape {block}, the skip {around}: give a "
                f"skip of the block's shape, such as skip=Dense(n_in, n_out, bias=False)"
            )
        return around if block is None else block

    def inner_shapes(self, shape: Shape | None) -> Iterator[tuple[str, Layer, Shape | None]]:
        for name, layer in self._layers.items():
            yield name, layer, shape

    def flops(self, shape: Shape) -> int:
        output = self.output_shape(shape)
        return super().flops(shape) + (0 if output is None else math.prod(output))

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        outputs, caches = [], []
        for name, layer in self._layers.items():
            inner = ctx.inside(name) if ctx.training else ctx
            y, cache = layer.forward(xp, self._of(name, params), x, inner)
            outputs.append(y)
            caches.append(cache)
        around = outputs[1] if len(outputs) == 2 else x
        return outputs[0] + around, tuple(caches)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        grads: Grads = {}
        parts = []
        for (name, layer), layer_cache in zip(self._layers.items(), cache, strict=True):
            if need_dx or name in self._trained:
                dx, own = layer.backward(
                    xp, self._of(name, params), layer_cache, dy, need_dx=need_dx
                )
                grads.update({f"{name}.{key}": gradient for key, gradient in own.items()})
                parts.append(dx)
        return (self._joined(parts, dy) if need_dx else None), grads

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        parts = [
            layer.input_gradient(xp, self._of(name, params), layer_cache, dy)
            for (name, layer), layer_cache in zip(self._layers.items(), cache, strict=True)
        ]
        return self._joined(parts, dy)

    def _joined(self, parts: list[Array], dy: Array) -> Array:
        return parts[0] + (parts[1] if "skip" in self._layers else dy)

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(Dense(5, 5)), (4, 5)
        yield cls(Tanh()), (3, 4)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        outputs = [place.layer(key, inner, x) for key, inner in self._layers.items()]
        return place.node("Add", outputs[0], outputs[1] if len(outputs) == 2 else x)

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH)
        parts = [place.layer(key, inner, place.shape) for key, inner in self._layers.items()]
        return f"Residual({', '.join(parts)})"


_TORCH = '''
class Residual(nn.Module):
    """What a block adds to its input: block(x) + skip(x)."""

    def __init__(self, block: nn.Module, skip: nn.Module | None = None) -> None:
        super().__init__()
        self.block = block
        self.skip = skip if skip is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x) + self.skip(x)
'''
