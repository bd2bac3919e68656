"""What each layer of a network gives: the forward pass, with all that lies between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from xpnet.layers import EVALUATION, Layer, Residual, Sequential
from xpnet.typing import Array, Cache, Namespace

_C = TypeVar("_C", Sequential, Residual)


@dataclass(frozen=True)
class Step:
    """A layer as it was applied, and the step that its input came from; None for the picture."""

    name: str
    layer: Layer
    params: Mapping[str, Array]
    cache: Cache
    output: Array
    before: "Step | None"
    depth: int
    """Inside of how many residual blocks it is."""

    @property
    def has_weights(self) -> bool:
        """Whether its units are new ones: a norm scales units, and has a number for each."""
        shapes = self.layer.parameter_shapes().values()
        return isinstance(self.layer, Residual) or any(len(shape) > 1 for shape in shapes)


def applied(
    xp: Namespace,
    layer: Layer,
    name: str,
    params: Mapping[str, Array],
    x: Array,
    before: Step | None,
    depth: int,
) -> list[Step]:
    """Each layer in the order of the forward pass; the last step is what `layer` gives."""
    steps: list[Step] = []
    if _is(layer, Sequential):
        own = _by_layer(params)
        for inner, part in layer.layers.items():
            arrays = own.get(inner, {})
            steps += applied(xp, part, _joined(name, inner), arrays, x, before, depth)
            x, before = steps[-1].output, steps[-1]
        return steps
    if _is(layer, Residual):
        arrays = _by_layer(params).get("block", {})
        steps += applied(xp, layer["block"], _joined(name, "block"), arrays, x, before, depth + 1)
    output, cache = layer.forward(xp, params, x, EVALUATION)
    return [*steps, Step(name, layer, params, cache, output, before, depth)]


def _is(layer: Layer, kind: type[_C]) -> TypeGuard[_C]:
    """Whether a layer applies its parts as this kind does, which a subclass need not."""
    return isinstance(layer, kind) and type(layer).forward is kind.forward


def _by_layer(params: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The arrays of a container by its layers, with the names that they have there."""
    parts: dict[str, dict[str, Array]] = {}
    for name, value in params.items():
        inner, _, own = name.partition(".")
        parts.setdefault(inner, {})[own] = value
    return parts


def _joined(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name else inner


def stages_of(steps: list[Step]) -> list[list[Step]]:
    """The steps in groups: one that has weights, and what is applied to its output.

    What comes before the first is left out, since it is the picture still; so is what a residual
    block begins with, since that is the layer below it still. The last group has the output.
    """
    stages: list[list[Step]] = []
    for step in steps:
        if step.has_weights or (step is steps[-1] and not stages):
            stages.append([step])
        elif stages and stages[-1][-1] is step.before and stages[-1][-1].depth == step.depth:
            stages[-1].append(step)
    return stages


def with_maps(stage: list[Step]) -> list[Step]:
    """The steps of a stage as long as they give feature maps (B, height, width, channels).

    Those of a stage that begins with none are all of it.
    """
    if stage[0].output.ndim != 4:
        return stage
    return [step for step in stage if step.output.ndim == 4]
