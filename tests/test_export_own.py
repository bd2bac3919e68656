"""Layers of one's own in exports: by methods of their class, or by functions that are given."""

from dataclasses import dataclass

import numpy as np
import pytest
from exporting import small

import xpnet
from xpnet import Dense, Layer, Residual, Sequential, Tanh
from xpnet.errors import ExportError
from xpnet.export import build_onnx, to_torch_state_dict, torch_code

pytestmark = pytest.mark.libraries


@dataclass(frozen=True)
class Scale(Layer):
    """y = factor x, with a factor for each feature; says itself how it is written."""

    n: int

    def parameter_shapes(self):
        return {"factor": (self.n,)}

    def init(self, seed):
        return {"factor": np.linspace(1, 2, self.n)}

    def forward(self, xp, params, x, ctx):
        return params["factor"] * x, (x,)

    def onnx(self, place, x):
        return place.node("Mul", x, place.parameter("factor"))

    def torch(self, place):
        place.keep("scale", place.array("factor"))
        return f"Scale({self.n})"


class Twice(Scale):
    """Computes something else, and does not say how that is written."""

    def forward(self, xp, params, x, ctx):
        return 2 * params["factor"] * x, (x,)


class Named(Scale):
    """Computes what its parent does."""


class Written:
    """Says how something is written, and computes nothing."""

    def torch(self, place):
        place.keep("weight", place.array("factor"))
        return "Mixed()"


class Mixed(Written, Scale):
    pass


class Same(Scale):
    forward = Scale.forward


def operators(network, **options):
    pytest.importorskip("onnx")
    return [node.op_type for node in build_onnx(network, **options).graph.node]


def test_a_class_that_says_how_it_is_written_is_exported():
    network = small(a=Scale(5), res=Residual(Sequential(b=Scale(5))), fc=Dense(5, 3))
    assert "Scale(5)" in torch_code(network)
    assert list(to_torch_state_dict(network))[:2] == ["a.scale", "res.block.b.scale"]
    again = xpnet.Network.from_torch(to_torch_state_dict(network), network.model)
    np.testing.assert_array_equal(again.params["a.factor"], network.params["a.factor"])
    assert operators(network) == ["Mul", "Mul", "Add", "Gemm"]


@pytest.mark.parametrize("kind", [Named, Same], ids=lambda kind: kind.__name__)
def test_a_subclass_that_computes_the_same_is_written_as_its_parent(kind):
    network = small(a=kind(5))
    assert list(to_torch_state_dict(network)) == ["a.scale"]
    assert operators(network) == ["Mul"]


def test_a_subclass_that_computes_something_else_is_not_written_as_its_parent():
    network = small(a=Twice(5))
    message = (
        r"layer 'a', Twice\(n=5\), has no PyTorch form that xpnet knows: define torch\(\) in its "
        r"class, or give layers=\{Twice: function\}"
    )
    with pytest.raises(ExportError, match=message):
        torch_code(network)
    with pytest.raises(ExportError, match=r"no ONNX form .*: define onnx\(\) in its class"):
        operators(network)
    given = {Twice: lambda place, layer: Scale.torch(layer, place)}
    assert list(to_torch_state_dict(network, layers=given)) == ["a.scale"]


def test_what_is_nearest_to_the_class_goes_first():
    """A mixin before its parent, and of one class the function that is given before the method."""
    network = small(a=Mixed(5))
    assert list(to_torch_state_dict(network)) == ["a.weight"]

    def other(place, layer):
        place.keep("other", place.array("factor"))
        return "Other()"

    assert list(to_torch_state_dict(network, layers={Scale: other})) == ["a.weight"]
    assert list(to_torch_state_dict(network, layers={Mixed: other})) == ["a.other"]
    assert list(to_torch_state_dict(small(a=Scale(5)), layers={Scale: other})) == ["a.other"]


def test_a_function_takes_the_place_of_what_xpnet_says_of_its_own_layers():
    network = small(act=Tanh())
    given = {Tanh: lambda place, layer, x: place.node("Elu", x)}
    assert operators(network) == ["Tanh"]
    assert operators(network, layers=given) == ["Elu"]


def test_a_plain_layer_says_what_is_missing():
    for form, arguments in (("onnx", (None, "x")), ("torch", (None,))):
        with pytest.raises(NotImplementedError, match=f"Layer must define {form}"):
            getattr(Layer(), form)(*arguments)
