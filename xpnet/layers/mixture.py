"""Layers side by side, whose predictions are averaged: what an ensemble is made of."""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any, Self

from xpnet.checks import is_one_of
from xpnet.data.preparation import taken_shape
from xpnet.errors import shown
from xpnet.layers.activations import Tanh
from xpnet.layers.base import Context, Layer
from xpnet.layers.container import Container, takes_any_axes, wanted_shape
from xpnet.layers.dense import Dense
from xpnet.layers.description import build_layer
from xpnet.layers.flatten import Flatten
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.layers.sequential import Sequential
from xpnet.layers.softmax import log_softmax
from xpnet.typing import Array, Cache, Grads, Namespace, Params, Shape

MIXED = ("classes", "multilabel", "values")
"""What outputs may stand for, by which it is decided what their mean is."""


class Mixture(Container):
    """Layers side by side, of whose predictions the output is the mean, each counting the same.

    The output is of the kind that theirs are. Of logits of classes it is the logarithm of the mean
    of their softmax, so that the softmax of it is that mean; of logits of labels, which hold or
    not, the logit of the mean of their logistic functions; of values their mean. It is computed
    from the logarithms of probabilities, so that small ones keep their digits.

    Parameters
    ----------
    members
        The layers, at least one; they are called `m1`, `m2`, ..., and their parameters after that.
        Where some take pictures and others rows, these are given the pictures flattened.
    target_kind
        What outputs stand for: `"classes"`, `"multilabel"` or `"values"`, as in `xpnet.losses`.

    Notes
    -----
    With p the probabilities of a member and q their mean over K members, of classes
    dz = r dy - p sum(r dy) for r = p / (K q); of labels dz = dy (r (1 - p) + s p) with
    s = (1 - p) / (K (1 - q)); of values dz = dy / K.

    Raises
    ------
    TypeError
        If a member is not a layer.
    ValueError
        If there is none, members give outputs of different shapes, or take other samples.

    Examples
    --------
    >>> from xpnet import Dense, Mixture, mlp
    >>> layer = Mixture(mlp(8, 16, 3), Dense(8, 3))
    >>> list(layer.parameter_shapes())[-2:]
    ['m2.weight', 'm2.bias']
    """

    def __init__(self, *members: Layer, target_kind: str = "classes") -> None:
        if not is_one_of(MIXED, target_kind):
            raise ValueError(
                f"Mixture: target_kind must be one of {', '.join(MIXED)}; got {shown(target_kind)}"
            )
        if not members:
            raise ValueError("Mixture needs at least one layer, such as mlp(784, 128, 10)")
        super().__init__({f"m{i}": layer for i, layer in enumerate(members, start=1)})
        self.target_kind = target_kind
        self._lowest = {name for name, layer in self._layers.items() if layer.parameter_shapes()}
        rows = {shape for shape in self._wanted() if len(shape) == 1}
        if len(rows) > 1:
            raise ValueError(f"Mixture: some members take rows of {_either(rows)}")
        self.output_shape(None)

    def _wanted(self) -> list[Shape]:
        shapes = (wanted_shape(layer) for layer in self._layers.values())
        return [shape for shape in shapes if shape is not None]

    def input_shape(self) -> Shape | None:
        # Pictures can be made rows, and not the other way round; a length that is known is better.
        wanted = sorted(self._wanted(), key=lambda shape: (-len(shape), shape.count(None)))
        known = [layer.input_shape() for layer in self._layers.values()]
        return next(iter((*wanted, *filter(None, known))), None)

    def takes_more_axes(self) -> bool:
        return all(takes_any_axes(layer) for layer in self._layers.values())

    def output_shape(self, shape: Shape | None) -> Shape | None:
        shape = self.input_shape() if shape is None else shape
        inner = self.inner_shapes(shape)
        given = {name: layer.output_shape(taken) for name, layer, taken in inner}
        known = {name: output for name, output in given.items() if output is not None}
        first = next(iter(known), "")
        for name, output in known.items():
            if output != known[first]:
                raise ValueError(
                    f"Mixture: {first} gives samples of shape {known[first]}, {name} {output}: a "
                    f"mean needs outputs of the same shape"
                )
        return known.get(first)

    def inner_shapes(self, shape: Shape | None) -> Iterator[tuple[str, Layer, Shape | None]]:
        for name, layer in self._layers.items():
            yield name, layer, _taken(layer, shape)

    def with_layers(self, layers: Mapping[str, Layer]) -> "Mixture":
        return type(self)(*layers.values(), target_kind=self.target_kind)

    def last(self) -> Layer:
        return self  # whatever members end in, the mean is given as logits, or is of values

    def flops(self, shape: Shape) -> int:
        output = self.output_shape(shape)
        return super().flops(shape) + 9 * len(self) * (0 if output is None else math.prod(output))

    def forward(self, xp: Namespace, params: Params, x: Array, ctx: Context) -> tuple[Array, Cache]:
        outputs, caches = [], []
        for name, layer in self._layers.items():
            inner = ctx.inside(name) if ctx.training else ctx
            taken = _taken(layer, tuple(x.shape[1:]))
            z, cache = layer.forward(xp, self._of(name, params), _shaped(xp, x, taken), inner)
            outputs.append(z)
            caches.append(cache)
        y = _MEANS[self.target_kind](xp, outputs)
        return y, (tuple(caches), x, y, *outputs)

    def update_buffers(self, xp: Namespace, buffers: Params, cache: Cache) -> dict[str, Array]:
        return super().update_buffers(xp, buffers, cache[0])

    def backward(
        self, xp: Namespace, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True
    ) -> tuple[Array | None, Grads]:
        caches, x, y, *outputs = cache
        grads: Grads = {}
        parts = []
        for (name, layer), own, z in zip(self._layers.items(), caches, outputs, strict=True):
            if need_dx or name in self._lowest:
                dz = _SLOPES[self.target_kind](xp, z, y, dy, len(outputs))
                dx, of = layer.backward(xp, self._of(name, params), own, dz, need_dx=need_dx)
                grads.update({f"{name}.{key}": gradient for key, gradient in of.items()})
                parts.append(dx)
        return (_joined(xp, parts, x) if need_dx else None), grads

    def input_gradient(self, xp: Namespace, params: Params, cache: Cache, dy: Array) -> Array:
        caches, x, y, *outputs = cache
        parts = []
        for (name, layer), own, z in zip(self._layers.items(), caches, outputs, strict=True):
            dz = _SLOPES[self.target_kind](xp, z, y, dy, len(outputs))
            parts.append(layer.input_gradient(xp, self._of(name, params), own, dz))
        return _joined(xp, parts, x)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "target_kind": self.target_kind}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(*map(build_layer, config["layers"]), target_kind=config["target_kind"])

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        return same and self.target_kind == other.target_kind if same is True else same  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.target_kind))

    def __repr__(self) -> str:
        members = ", ".join(map(repr, self._layers.values()))
        return f"Mixture({members}, target_kind={self.target_kind!r})"

    @classmethod
    def examples(cls) -> Iterator[tuple[Layer, Shape]]:
        yield cls(Sequential(fc1=Dense(5, 4), act=Tanh(), fc2=Dense(4, 3)), Dense(5, 3)), (6, 5)
        yield cls(Dense(5, 3), Dense(5, 3), target_kind="multilabel"), (4, 5)
        pictures = Sequential(act=Tanh(), flat=Flatten(), fc=Dense(6, 2))
        yield cls(pictures, Dense(6, 2), Dense(6, 2), target_kind="values"), (3, 6)

    def onnx(self, place: OnnxPlace, x: str) -> str:
        outputs = []
        for key, inner in self._layers.items():
            taken = x
            if place.shape is not None and _taken(inner, place.shape) != place.shape:
                taken = place.node("Flatten", x, part=f"{key}.flat", axis=1)
            outputs.append(place.layer(key, inner, taken))
        if self.target_kind == "values":
            total = place.node("Sum", *outputs, part="sum")
            return place.node("Mul", total, place.number(1 / len(outputs)))
        if self.target_kind == "classes":
            axis = place.last_axis(outputs[0])
            if axis is None:
                place.need_opset(11, "the last axis of outputs of unknown shape")
            logs = [_log_softmax_nodes(place, z, axis or -1) for z in outputs]
            total = _log_sum(place, logs)
            return place.node("Sub", total, place.number(math.log(len(outputs))))
        holds = [_log_logistic(place, z) for z in outputs]
        pairs = zip(holds, outputs, strict=True)
        not_holds = [place.node("Sub", log, z, part="opposite") for log, z in pairs]
        return place.node("Sub", _log_sum(place, holds), _log_sum(place, not_holds))

    def torch(self, place: TorchPlace) -> str:
        place.define(_TORCH)
        parts = []
        for key, inner, shape in self.inner_shapes(place.shape):
            code = place.layer(key, inner, shape).replace("\n", "\n    ")
            flat = shape is not None and len(shape) == 1
            parts.append(f'    ("{key}", {code}, {flat}),\n')
        return f'Mixture("{self.target_kind}", [\n{"".join(parts)}])'


# -- the shapes of samples -------------------------------------------------------------------------


def _taken(layer: Layer, shape: Shape | None) -> Shape | None:
    """The shape in which a member takes samples of a shape."""
    wanted = wanted_shape(layer)
    if shape is None or (wanted is not None and len(wanted) == 1 and None in shape):
        return wanted
    return taken_shape(wanted, shape)


def _shaped(xp: Namespace, x: Array, shape: Shape | None) -> Array:
    same = shape is None or shape == tuple(x.shape[1:])
    return x if same else xp.reshape(x, (x.shape[0], *(shape or ())))


def _joined(xp: Namespace, parts: list[Array], x: Array) -> Array:
    """The sum of the gradients of the members by their inputs, in the shape of the batch."""
    return reduce(lambda a, b: a + b, (_shaped(xp, dx, tuple(x.shape[1:])) for dx in parts))


def _either(rows: Iterable[Shape]) -> str:
    return " and some of ".join(f"{length}" for length, *_ in sorted(rows))


# -- the means, and what of a gradient each output is given ----------------------------------------


def _log_mean(xp: Namespace, logs: list[Array]) -> Array:
    """The logarithm of the mean of what these are the logarithms of."""
    top = reduce(xp.maximum, logs)
    total = reduce(lambda a, b: a + b, (xp.exp(log - top) for log in logs))
    return top + xp.log(total * (1 / len(logs)))


def _log_logistic_of(xp: Namespace, z: Array) -> Array:
    return xp.minimum(z, 0.0) - xp.log1p(xp.exp(-xp.abs(z)))


def _mean_of_classes(xp: Namespace, outputs: list[Array]) -> Array:
    return _log_mean(xp, [log_softmax(xp, z) for z in outputs])


def _mean_of_labels(xp: Namespace, outputs: list[Array]) -> Array:
    holds = [_log_logistic_of(xp, z) for z in outputs]
    not_holds = [_log_logistic_of(xp, -z) for z in outputs]
    return _log_mean(xp, holds) - _log_mean(xp, not_holds)


def _mean_of_values(xp: Namespace, outputs: list[Array]) -> Array:
    return reduce(lambda a, b: a + b, outputs) * (1 / len(outputs))


_MEANS = {
    "classes": _mean_of_classes,
    "multilabel": _mean_of_labels,
    "values": _mean_of_values,
}


def _slope_of_classes(xp: Namespace, z: Array, y: Array, dy: Array, count: int) -> Array:
    logs = log_softmax(xp, z)
    part = xp.exp(logs - y) * (1 / count) * dy
    return part - xp.exp(logs) * xp.sum(part, axis=-1, keepdims=True)


def _slope_of_labels(xp: Namespace, z: Array, y: Array, dy: Array, count: int) -> Array:
    holds, not_holds = _log_logistic_of(xp, z), _log_logistic_of(xp, -z)
    # Of the mean q of probabilities the logarithms of q and 1 - q.
    of_mean, of_opposite = _log_logistic_of(xp, y), _log_logistic_of(xp, -y)
    part = xp.exp(holds - of_mean + not_holds) + xp.exp(not_holds - of_opposite + holds)
    return part * (1 / count) * dy


def _slope_of_values(xp: Namespace, z: Array, y: Array, dy: Array, count: int) -> Array:
    return dy * (1 / count)


_SLOPES = {
    "classes": _slope_of_classes,
    "multilabel": _slope_of_labels,
    "values": _slope_of_values,
}


# -- the same for other programs -------------------------------------------------------------------


def _log_softmax_nodes(place: OnnxPlace, z: str, axis: int) -> str:
    """The nodes of z - max - log(sum(exp(z - max))): an evaluator may take the logarithm of 0."""
    below = place.node("Sub", z, _reduced(place, "ReduceMax", z, axis, since=18), part="below")
    exponentials = place.node("Exp", below, part="exp")
    total = _reduced(place, "ReduceSum", exponentials, axis, since=13)
    return place.node("Sub", below, place.node("Log", total, part="log"), part="logs")


def _reduced(place: OnnxPlace, operator: str, x: str, axis: int, *, since: int) -> str:
    """The nodes of a reduction of an axis, which is an input since some opset."""
    if place.opset < since:
        return place.node(operator, x, part="reduced", axes=[axis])
    return place.node(operator, x, place.constant("axes", [axis]), part="reduced")


def _log_sum(place: OnnxPlace, logs: list[str]) -> str:
    """The nodes of the logarithm of the sum of what these are the logarithms of."""
    top = place.node("Max", *logs, part="top")
    parts = [place.node("Exp", place.node("Sub", x, top, part="below"), part="part") for x in logs]
    total = place.node("Log", place.node("Sum", *parts, part="sum"), part="log")
    return place.node("Add", total, top, part="total")


def _log_logistic(place: OnnxPlace, z: str) -> str:
    """The nodes of min(z, 0) - log(1 + exp(-abs(z)))."""
    negative = place.node("Neg", z, part="negative")
    below = place.node("Neg", place.node("Relu", negative, part="above"), part="below")
    size = place.node("Neg", place.node("Abs", z, part="size"), part="size")
    one_more = place.node("Add", place.node("Exp", size, part="exp"), place.number(1.0), part="sum")
    return place.node("Sub", below, place.node("Log", one_more, part="log"), part="logs")


_TORCH = '''
class Mixture(nn.Module):
    """Modules side by side, of whose predictions the output is the mean."""

    def __init__(self, kind: str, members: list[tuple[str, nn.Module, bool]]) -> None:
        super().__init__()
        self.kind = kind
        self.rows = [name for name, _, rows in members if rows]
        self.names = [name for name, _, _ in members]
        for name, module, _ in members:
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = [(self.get_submodule(n), x.flatten(1) if n in self.rows else x) for n in self.names]
        z = torch.stack([module(x) for module, x in given])
        if self.kind == "values":
            return z.mean(0)
        count = torch.log(torch.tensor(float(len(z)), dtype=z.dtype))
        if self.kind == "classes":
            return torch.logsumexp(torch.log_softmax(z, dim=-1), dim=0) - count
        logistic = nn.functional.logsigmoid
        return torch.logsumexp(logistic(z), dim=0) - torch.logsumexp(logistic(-z), dim=0)
'''
