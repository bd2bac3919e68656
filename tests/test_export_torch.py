"""Modules of PyTorch made from the text and the state dict that are exported; and .npz files."""

import json
import sys

import numpy as np
import pytest
from exporting import (
    EXAMPLES,
    Square,
    example_network,
    inputs_of,
    module_of,
    network_of,
    small,
)

import xpnet
from xpnet import BatchNorm, Dense, ReLU, Residual, Sequential
from xpnet.errors import ExportError
from xpnet.export import save_torch, to_npz, to_torch_state_dict, torch_code
from xpnet.layers import EVALUATION, LAYERS, Layer, build_layer
from xpnet.random import stream

pytestmark = pytest.mark.libraries

TOLERANCES = {"float32": 1e-6, "float64": 1e-12}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def test_every_layer_says_how_it_is_exported():
    assert all(layer.torch is not Layer.torch for layer in LAYERS.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_gives_what_the_network_gives(torch, example, dtype, tmp_path):
    from safetensors.torch import load_file

    network = example_network(example, dtype)
    model = module_of(torch_code(network)).make_model()
    initial = {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}
    save_torch(network, tmp_path / "model.torch.safetensors")
    state = load_file(tmp_path / "model.torch.safetensors")
    assert {name: (value.shape, value.dtype) for name, value in state.items()} == initial
    assert list(to_torch_state_dict(network)) == list(initial)
    model.load_state_dict(state)
    model.eval()
    for x in inputs_of(example, dtype):
        expected, _ = example.layer.forward(np, network.arrays, x, EVALUATION)
        found = model(torch.asarray(x)).detach().numpy()
        assert found.dtype == np.dtype(dtype)
        tolerance = TOLERANCES[dtype]
        # In float32 a sum of five products can lose more than 1e-6 of a result near 0.
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def test_samples_are_prepared_as_predict_prepares_them(torch):
    data = xpnet.load_dataset("digits").limited(300)
    network = xpnet.fit(xpnet.mlp(64, 16, 10, batch_norm=True), data, epochs=1, backend="numpy")
    text = torch_code(network)
    exported = module_of(text)
    model = exported.make_model()
    state = {name: torch.asarray(value) for name, value in to_torch_state_dict(network).items()}
    model.load_state_dict(state)
    model.eval()
    pixels = data.test.images
    for x in (pixels, pixels / 16, pixels > 8, pixels.astype("int64")):
        logits = model(exported.prepare(torch.asarray(x)))
        probabilities = torch.softmax(logits, dim=1).detach().numpy()
        np.testing.assert_allclose(probabilities, network.predict_proba(x), rtol=1e-5, atol=1e-6)


def test_training_can_go_on_in_torch(torch):
    """The module trains as xpnet's does: options such as the momentum of batch norm are there."""
    layer = Sequential(bn=BatchNorm(5, momentum=0.3, epsilon=1e-3), fc=Dense(5, 2))
    params = {**layer.init(0), **layer.buffers()}
    network = network_of(layer, params, "float64", sample_shape=(5,), input_dtype="float64")
    model = module_of(torch_code(network)).make_model()
    x = stream(0, "x").normal(size=(6, 5))
    model.load_state_dict({n: torch.asarray(v) for n, v in to_torch_state_dict(network).items()})
    y = model(torch.asarray(x))
    expected, cache = layer.forward(np, params, x, xpnet.Context(training=True))
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12, atol=1e-14)
    moved = layer.update_buffers(np, layer.buffers(), cache)
    np.testing.assert_allclose(model.bn.running_var.numpy(), moved["bn.variance"], rtol=1e-12)


def test_the_text_and_the_state_need_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    network = small(fc1=Dense(5, 4), act1=ReLU(), fc2=Dense(4, 3, bias=False))
    state = to_torch_state_dict(network)
    assert {name: value.shape for name, value in state.items()} == {
        "fc1.weight": (4, 5), "fc1.bias": (4,), "fc2.weight": (3, 4),
    }  # fmt: skip
    np.testing.assert_array_equal(state["fc1.weight"], network.params["fc1.weight"].T)
    assert all(value.flags.c_contiguous for value in state.values())
    assert '    model = nn.Sequential(OrderedDict([\n        ("fc1", nn.Linear(5, 4)),\n' in (
        torch_code(network)
    )


def export_square(place, layer):
    place.define(
        "class Square(nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.factor = nn.Parameter(torch.ones(n))\n\n"
        "    def forward(self, x):\n"
        "        return self.factor * x * x\n"
    )
    place.keep("factor", place.array("factor"))
    return f"Square({layer.n})"


def test_a_layer_of_ones_own(torch):
    network = small(a=Square(5), res=Residual(Sequential(b=Square(5))), fc=Dense(5, 3))
    with pytest.raises(ExportError, match=r"layer 'a', Square\(n=5\), has no PyTorch form"):
        torch_code(network)
    layers = {Square: export_square}
    text = torch_code(network, layers=layers)
    assert (text.count("class Square"), text.count("class Residual")) == (1, 1)
    model = module_of(text).make_model()
    state = to_torch_state_dict(network, layers=layers)
    model.load_state_dict({name: torch.asarray(value) for name, value in state.items()})
    x = stream(0, "x").normal(size=(3, 5)).astype("float32")
    expected, _ = network.model.forward(np, network.params, x, EVALUATION)
    np.testing.assert_allclose(model(torch.asarray(x)).detach().numpy(), expected, rtol=1e-5)


def test_an_array_that_is_forgotten_is_an_error():
    network = small(a=Square(5))
    with pytest.raises(ExportError, match=r"a\.factor: not exported by the function of its layer"):
        to_torch_state_dict(network, layers={Square: lambda place, layer: "Square()"})


def test_the_dtype_can_be_chosen():
    network = small(fc=Dense(5, 3))
    assert to_torch_state_dict(network, dtype="float64")["fc.weight"].dtype == np.float64
    assert "torch.float64" in torch_code(network, dtype="float64")
    with pytest.raises(ValueError, match="dtype must be one of float32, float64; got 'half'"):
        torch_code(network, dtype="half")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_npz_has_all_that_is_needed(dtype, tmp_path):
    data = xpnet.load_dataset("digits").limited(300)
    model = xpnet.mlp(64, 16, 10, batch_norm=True)
    network = xpnet.fit(model, data, epochs=1, backend="numpy", dtype=dtype)
    to_npz(network, tmp_path / "digits.npz")
    with np.load(tmp_path / "digits.npz", allow_pickle=False) as file:
        arrays = dict(file)
    described = json.loads(str(arrays.pop("xpnet")))
    assert list(arrays) == list(network.arrays)
    for name, value in network.arrays.items():
        assert arrays[name].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(arrays[name], value)
    assert build_layer(described.pop("model")) == model
    assert described == {
        "xpnet": xpnet.__version__, "dtype": dtype, "sample_shape": [8, 8],
        "input_dtype": "uint8", "pixel_maximum": 16.0, "target_kind": "classes",
        "classes": None, "target_shape": [], "class_names": [str(digit) for digit in range(10)],
        "framing": data.framing.to_dict(),
    }  # fmt: skip


def test_npz_of_the_same_network_is_the_same_file_on_every_day(tmp_path, monkeypatch):
    network = small(fc=Dense(5, 3))
    to_npz(network, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    to_npz(network, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_npz_takes_any_name_but_one(tmp_path):
    class Named(Square):
        """Its array has a name that numpy.savez would take for an argument."""

        key = "file"

        def parameter_shapes(self):
            return {self.key: (self.n,)}

        def init(self, seed):
            return {self.key: np.ones(self.n)}

    layer = Named(5)
    to_npz(network_of(layer, layer.init(0)), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["file"], np.ones(5))
    Named.key = "xpnet"
    with pytest.raises(ExportError, match="'xpnet' would hide the description: rename it"):
        to_npz(network_of(layer, layer.init(0)), tmp_path / "model.npz")
