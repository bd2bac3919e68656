"""Layers applied one after the other."""

from collections.abc import Iterator

from xpnet.layers.activations import ReLU, Tanh
from xpnet.layers.base import Context, Layer
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.constraints import MaxNorm
from xpnet.layers.container import Container, takes_any_axes
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout
from xpnet.layers.flatten import Flatten
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.layers.reshape import Permute, Reshape
from xpnet.layers.residual import Residual
from xpnet.layers.softmax import Softmax
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape


class Sequential(Container):
    """Layers applied one after the other.

    The names are the caller's, and parameters are called after them (`fc1.weight`), so that
    inserting a layer later renames nothing in a saved network. A `Sequential` is itself a layer
    and may stand inside another.

    Parameters
    ----------
    layers
        The layers by name, in order. Names are letters, digits and underscores.

    Raises
    ------
    TypeError
        If a value is not a layer.
    ValueError
        If there is no layer, a name has other characters, or a layer's output does not fit the
        next layer's input.

    Examples
    --------
    >>> from xpnet import Dense, ReLU, Sequential
    >>> model = Sequential(fc1=Dense(784, 128), act1=ReLU(), fc2=Dense(128, 10))
    >>> model.parameter_count
    101770
    >>> model["fc1"]
    Dense(784, 128)
    """

    def __init__(self, **layers: Layer) -> None:
        if not layers:
            raise ValueError("Sequential needs at least one layer, such as fc1=Dense(784, 10)")
        super().__init__(layers)
        shape = self.input_shape()
        for name, layer in layers.items():
            try:
                shape = layer.output_shape(shape)
            except ValueError as error:
                raise ValueError(f"Sequential: {name}: {error}") from None
        # Below the lowest layer with parameters no gradient is needed for training.
        self._lowest = next((n for n, layer in layers.items() if layer.parameter_shapes()), None)

    def input_shape(self) -> Shape | None:
        # Layers in front that leave the shape as it is do not say how many axes a later one takes.
        features: Shape | None = None
        for layer in self._layers.values():
            shape = layer.input_shape()
            if not takes_any_axes(layer):
                fits = not (features and shape) or shape[-1] == features[-1]
                return shape if fits else features
            features = features or shape
        return features

    def takes_more_axes(self) -> bool:
        return all(takes_any_axes(layer) for layer in self._layers.values())

    def output_shape(self, shape: Shape | None) -> Shape | None:
        for layer in self._layers.values():
            shape = layer.output_shape(shape)
        return shape

    def last(self) -> Layer:
        layers = [layer.last() for layer in self._layers.values()]
        moving = Dropout | Flatten | Permute | Reshape
        changing = [layer for layer in layers if not isinstance(layer, moving)]
        return (changing or layers)[-1]

    def inner_shapes(self, shape: Shape | None) -> Iterator[tuple[str, Layer, Shape | None]]:
        for name, layer in self._layers.items():
            yield name, layer, shape
            shape = layer.output_shape(shape)

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        caches = []
        for name, layer in self._layers.items():
            # The path tells the random numbers of layers apart; evaluation draws none.
            inner = ctx.inside(name) if ctx.training else ctx
            x, cache = layer.forward(xp, self._of(name, params), x, inner)
            caches.append(cache)
        return x, tuple(caches)

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        if self._lowest is None and not need_dx:
            return None, {}
        grads: Grads = {}
        d: Array | None = dy
        for (name, layer), layer_cache in zip(
            reversed(self._layers.items()), reversed(cache), strict=True
        ):
            lowest = name == self._lowest and not need_dx
            d, layer_grads = layer.backward(
                xp, self._of(name, params), layer_cache, d, need_dx=not lowest
            )
            grads.update({f"{name}.{key}": grad for key, grad in layer_grads.items()})
            if lowest:
                return None, grads
        return d, grads

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        for (name, layer), layer_cache in zip(
            reversed(self._layers.items()), reversed(cache), strict=True
        ):
            dy = layer.input_gradient(xp, self._of(name, params), layer_cache, dy)
        return dy

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(fc1=Dense(5, 4), act1=Tanh(), fc2=Dense(4, 3)), (6, 5)
        yield cls(first=ReLU(), block=cls(fc=Dense(5, 2), drop=Dropout(0.3))), (7, 5)
        yield cls(act1=Tanh(), act2=Softmax()), (3, 5)
        block = cls(
            fc1=Dense(5, 4, bias=False, constraint=MaxNorm(1.0)),
            bn=BatchNorm(4),
            act=Tanh(),
            drop=Dropout(0.3),
            fc2=Dense(4, 3),
        )
        yield Residual(block, Dense(5, 3, bias=False)), (7, 5)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        for key, inner in self._layers.items():
            x = place.layer(key, inner, x)
        return x

    def torch(self, place: TorchPlace) -> str:
        lines = []
        for key, inner, shape in self.inner_shapes(place.shape):
            code = place.layer(key, inner, shape).replace("\n", "\n    ")
            lines.append(f'    ("{key}", {code}),\n')
        return f"nn.Sequential(OrderedDict([\n{''.join(lines)}]))"
