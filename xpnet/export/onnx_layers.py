"""How each layer is written in standard ONNX operators.

A function `(place, layer, x) -> tensor` for each, named in `ONNX_LAYERS`. In float64 fewer
operators are of use: attributes such as a slope or an epsilon are float32 always,
LayerNormalization may compute in float32, and runtimes lack Elu, Softplus and Erf. There layers are
made of parts, as they are where the opset is from before their operator.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.export.onnx_erf import add_erf
from xpnet.export.onnx_graph import NEGATIVE_AXES, OnnxPlace
from xpnet.layers import (
    ELU,
    GELU,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    LeakyReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.model import Sequential

OnnxExporter = Callable[[OnnxPlace, Any, str], str]


def _operator(name: str, **attributes: Any) -> OnnxExporter:
    """The function of a layer that is one operator of ONNX."""

    def export(place: OnnxPlace, layer: Layer, x: str) -> str:
        return place.node(name, x, **attributes)

    return export


def _dense(place: OnnxPlace, layer: Dense, x: str) -> str:
    weight = place.parameter("weight")
    if layer.bias:
        return place.node("Gemm", x, weight, place.parameter("bias"))
    # Until 11 Gemm has to have a bias.
    return place.node("Gemm" if place.opset >= 11 else "MatMul", x, weight)


def _softmax(place: OnnxPlace, layer: Softmax, x: str) -> str:
    # Until 13 all axes from this one on are one: of the last that is the same.
    axis = place.last_axis(x)
    if axis is None:
        place.need_opset(NEGATIVE_AXES, "the last axis of samples of unknown shape")
    return place.node("Softmax", x, axis=axis)


def _leaky_relu(place: OnnxPlace, layer: LeakyReLU, x: str) -> str:
    if place.dtype == "float32":
        return place.node("LeakyRelu", x, alpha=layer.slope)
    scaled = place.node("Mul", x, place.number(layer.slope), part="scaled")
    return place.node("Where", place.node("Greater", x, place.number(0), part="right"), x, scaled)


def _elu(place: OnnxPlace, layer: ELU, x: str) -> str:
    if place.dtype == "float32":
        return place.node("Elu", x, alpha=layer.alpha)
    zero, one = place.number(0), place.number(1)
    left = place.node("Exp", place.node("Min", x, zero, part="left"), part="exp")
    less = place.node("Sub", left, one, part="less")
    scaled = place.node("Mul", less, place.number(layer.alpha), part="scaled")
    return place.node("Where", place.node("Greater", x, zero, part="right"), x, scaled)


def _softplus(place: OnnxPlace, layer: Softplus, x: str) -> str:
    if place.dtype == "float32":
        return place.node("Softplus", x)
    size = place.node("Neg", place.node("Abs", x, part="abs"), part="size")
    sum_ = place.node("Add", place.node("Exp", size, part="exp"), place.number(1), part="sum")
    right = place.node("Max", x, place.number(0), part="right")
    return place.node("Add", right, place.node("Log", sum_, part="log"))


def _silu(place: OnnxPlace, layer: SiLU, x: str) -> str:
    return place.node("Mul", x, place.node("Sigmoid", x, part="sigmoid"))


def _gelu(place: OnnxPlace, layer: GELU, x: str) -> str:
    if place.opset >= 20 and place.dtype == "float32":
        return place.node("Gelu", x, approximate=layer.approximate)
    half, one = place.number(0.5), place.number(1)
    if layer.approximate == "tanh":
        square = place.node("Mul", x, x, part="square")
        cubic = place.node("Mul", square, place.number(0.044715), part="cubic")
        factor = place.node("Add", cubic, one, part="factor")
        scaled = place.node("Mul", x, place.number(math.sqrt(2 / math.pi)), part="scaled")
        t = place.node("Tanh", place.node("Mul", scaled, factor, part="inner"), part="tanh")
    else:
        scaled = place.node("Mul", x, place.number(math.sqrt(0.5)), part="scaled")
        wide = place.dtype == "float64"
        t = add_erf(place, scaled) if wide else place.node("Erf", scaled, part="erf")
    twice = place.node("Add", t, one, part="twice")
    return place.node("Mul", x, place.node("Mul", twice, half, part="probability"))


def _batch_norm(place: OnnxPlace, layer: BatchNorm, x: str) -> str:
    # Until 14 it trains or not by the number of its outputs, which ONNX's own evaluator ignores.
    if place.dtype == "float32" and place.opset >= 14:
        arrays = [place.parameter(key) for key in ("scale", "bias", "mean", "variance")]
        return place.node("BatchNormalization", x, *arrays, epsilon=layer.epsilon)
    centred = place.node("Sub", x, place.parameter("mean"), part="centred")
    return _scaled(place, centred, place.parameter("variance"), layer.epsilon)


def _layer_norm(place: OnnxPlace, layer: LayerNorm, x: str) -> str:
    if place.dtype == "float32" and place.opset >= 17:
        arrays = [place.parameter(key) for key in ("scale", "bias")]
        return place.node("LayerNormalization", x, *arrays, axis=-1, epsilon=layer.epsilon)
    centred = place.node("Sub", x, _row_mean(place, x, "mean"), part="centred")
    square = place.node("Mul", centred, centred, part="square")
    return _scaled(place, centred, _row_mean(place, square, "variance"), layer.epsilon)


def _scaled(place: OnnxPlace, centred: str, variance: str, epsilon: float) -> str:
    """Scale times centred / sqrt(variance + epsilon), plus the bias."""
    shifted = place.node("Add", variance, place.number(epsilon), part="shifted")
    deviation = place.node("Sqrt", shifted, part="deviation")
    normal = place.node("Div", centred, deviation, part="normal")
    scaled = place.node("Mul", normal, place.parameter("scale"), part="scaled")
    return place.node("Add", scaled, place.parameter("bias"))


def _row_mean(place: OnnxPlace, x: str, part: str) -> str:
    # Of rows, whose axis 1 every opset has.
    if place.opset < 18:
        return place.node("ReduceMean", x, part=part, axes=[1])
    return place.node("ReduceMean", x, place.constant("axes", np.asarray([1])), part=part)


def _nothing(place: OnnxPlace, layer: Dropout, x: str) -> str:
    """Dropout is nothing in evaluation."""
    return x


def _sequential(place: OnnxPlace, layer: Sequential, x: str) -> str:
    for key, inner in layer.layers.items():
        x = place.layer(key, inner, x)
    return x


def _residual(place: OnnxPlace, layer: Residual, x: str) -> str:
    outputs = [place.layer(key, inner, x) for key, inner in layer.layers.items()]
    return place.node("Add", outputs[0], outputs[1] if len(outputs) == 2 else x)


ONNX_LAYERS: dict[type[Layer], OnnxExporter] = {
    BatchNorm: _batch_norm,
    Dense: _dense,
    Dropout: _nothing,
    ELU: _elu,
    Flatten: _operator("Flatten", axis=1),
    GELU: _gelu,
    LayerNorm: _layer_norm,
    LeakyReLU: _leaky_relu,
    ReLU: _operator("Relu"),
    Residual: _residual,
    Sequential: _sequential,
    SiLU: _silu,
    Sigmoid: _operator("Sigmoid"),
    Softmax: _softmax,
    Softplus: _softplus,
    Tanh: _operator("Tanh"),
}
"""The function that exports a layer to ONNX, by its type."""
