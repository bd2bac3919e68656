"""Every layer against the module of PyTorch that it says it is: values, gradients, buffers."""

import numpy as np
import pytest
from exporting import EXAMPLES, network_of

from xpnet import ELU, LeakyReLU, Softmax
from xpnet.conformance.examples import LayerExample
from xpnet.export import torch_code
from xpnet.layers import EVALUATION, Activation, Dropout, GaussianNoise
from xpnet.layers.container import inner_layers
from xpnet.network.torch_module import make_module
from xpnet.random import stream

pytestmark = [pytest.mark.numerics, pytest.mark.libraries]

ROWS = [
    *EXAMPLES,
    *(LayerExample(layer, (4, 5)) for layer in (LeakyReLU(), LeakyReLU(0.3), LeakyReLU(0))),
    *(LayerExample(layer, (4, 5)) for layer in (ELU(), ELU(1.7))),
]
"""Also with the defaults, which are PyTorch's."""


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def draws(layer):
    """Whether there is dropout in a layer, whose masks are not those of PyTorch."""
    own = isinstance(layer, GaussianNoise) or (isinstance(layer, Dropout) and layer.rate > 0)
    return own or any(draws(inner) for inner in inner_layers(layer).values())


def torch_module(torch, layer, params, shape):
    """The module of a layer, with these parameters and buffers."""
    network = network_of(layer, params, "float64", sample_shape=shape, input_dtype="float64")
    namespace = {}
    exec(compile(torch_code(network), "exported.py", "exec"), namespace)
    module = namespace["make_model"]()
    module.load_state_dict(as_torch(torch, layer, params))
    return module


def as_torch(torch, layer, arrays):
    """Arrays of a layer by PyTorch's names and in its layouts."""
    state = make_module(layer, arrays).state
    return {name: torch.asarray(value) for name, value in state.items()}


def compare(torch, layer, params, x, dy, ctx, *, atol):
    module = torch_module(torch, layer, params, x.shape[1:]).train(ctx.training)
    leaf = torch.tensor(x, requires_grad=True)
    expected = module(leaf)
    expected.backward(torch.asarray(dy))
    y, cache = layer.forward(np, params, x, ctx)
    dx, grads = layer.backward(np, params, cache, dy)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12, atol=atol)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-12, atol=atol)
    buffers = {name: params[name] for name in layer.buffers()}
    found = as_torch(torch, layer, {**grads, **buffers})
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(
            found[name].numpy(), parameter.grad.numpy(), rtol=1e-11, atol=10 * atol, err_msg=name
        )
    if ctx.training and buffers:
        moved = layer.update_buffers(np, buffers, cache)
        found = as_torch(torch, layer, {**grads, **moved})
        for name, value in module.named_buffers():
            if not name.endswith("num_batches_tracked"):
                np.testing.assert_allclose(found[name].numpy(), value.numpy(), rtol=1e-12)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_layer_is_the_module_that_it_says(torch, row, training):
    if training and draws(row.layer):
        pytest.skip("its random numbers are xpnet's own: in evaluation it is compared")
    params, x, dy = row.arrays()
    ctx = row.context() if training else EVALUATION
    compare(torch, row.layer, params, x, dy, ctx, atol=1e-13)


@pytest.mark.parametrize(
    "layer",
    [row.layer for row in ROWS if isinstance(row.layer, Activation | Softmax)],
    ids=str,
)
def test_an_activation_is_the_module_also_far_out(torch, layer):
    x = np.concatenate([stream(0, "x").normal(size=40) * 3, [0.0, -0.0, 800.0, -800.0, 1e-30]])
    x = x.reshape(5, 9)
    compare(torch, layer, {}, x, stream(0, "dy").normal(size=x.shape), EVALUATION, atol=2e-15)
