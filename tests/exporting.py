"""What the tests of the exports share: small networks of every layer, and inputs for them."""

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np

import xpnet
from xpnet import Sequential
from xpnet.backends import open_backend
from xpnet.conformance.examples import LAYER_EXAMPLES, LayerExample
from xpnet.export import to_torch_state_dict, torch_code
from xpnet.layers import Layer
from xpnet.random import stream

EXAMPLES = [
    *LAYER_EXAMPLES,
    LayerExample(xpnet.BatchNorm(5, epsilon=0.3), (4, 5)),
    LayerExample(xpnet.LayerNorm(5, epsilon=0.3), (4, 5)),
]
"""The options of these examples differ from the defaults of other libraries."""


def inputs_of(example, dtype):
    """Batches of one, two and seventeen samples; and one from far left to far right."""
    for batch in (1, 2, 17):
        yield (3 * stream(batch, "x").normal(size=(batch, *example.shape[1:]))).astype(dtype)
    shape = (20, *example.shape[1:])
    # Each row goes far: one of nearly equal numbers has no variance that float32 could hold.
    yield np.linspace(-100, 100, math.prod(shape), dtype=dtype).reshape(shape[::-1]).T.copy()


def network_of(layer, arrays, dtype="float32", **options):
    backend = open_backend("numpy", None, dtype)
    moved = {name: np.asarray(value, dtype=dtype) for name, value in arrays.items()}
    buffers = {name: moved.pop(name) for name in layer.buffers()}
    return xpnet.Network(layer, moved, backend, buffers=buffers, **options)


def example_network(example, dtype):
    arrays, _, _ = example.arrays()
    shape = example.shape[1:]
    return network_of(example.layer, arrays, dtype, sample_shape=shape, input_dtype=dtype)


def small(**layers):
    """An untrained network of these layers for rows of five floats."""
    model = Sequential(**layers)
    arrays = {**model.init(0), **model.buffers()}
    return network_of(model, arrays, sample_shape=(5,), input_dtype="float32")


def module_of(text):
    """The Python module of a text."""
    module = ModuleType("exported")
    exec(compile(text, "exported.py", "exec"), module.__dict__)
    return module


def torch_module(network):
    """The module of PyTorch that is exported, with the weights, in evaluation; and `prepare`."""
    import torch

    exported = module_of(torch_code(network))
    model = exported.make_model()
    state = {name: torch.asarray(value) for name, value in to_torch_state_dict(network).items()}
    model.load_state_dict(state)
    return model.eval(), exported.prepare


@dataclass(frozen=True)
class Square(Layer):
    """A layer of one's own, with an array."""

    n: int

    def parameter_shapes(self):
        return {"factor": (self.n,)}

    def init(self, seed):
        return {"factor": stream(seed, "factor").normal(size=self.n)}

    def forward(self, xp, params, x, ctx):
        return params["factor"] * x * x, (x,)
