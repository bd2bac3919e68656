"""The networks by name, trained, as PyTorch, ONNX and .npz have them: pictures as they come."""

import numpy as np
import pytest
from exporting import torch_module

import xpnet
from xpnet import Network
from xpnet.export import to_npz, to_onnx
from xpnet.models import MODELS, build_model
from xpnet.random import stream

pytestmark = pytest.mark.libraries

SHAPES = [(13, 12), (13, 12, 3), (3, 12, 13)]
"""In grey, and in colour with the channels last and first."""


@pytest.fixture(scope="module")
def networks():
    """Trained, so that the statistics of batch norm are none of a beginning; of pixels."""
    made = {}

    def network(name, shape, dtype="float64"):
        key = name, shape, dtype
        if key not in made:
            x = stream(0, "pixels", name).integers(0, 256, (24, *shape)).astype("uint8")
            made[key] = xpnet.fit(
                build_model(name, shape, 4), (x, np.arange(24) % 4), epochs=2, batch_size=8,
                optimizer=xpnet.Adam(0.01), backend="numpy", dtype=dtype, seed=0, callbacks=(),
                train_metrics="running",
            )  # fmt: skip
        return made[key], stream(1, "pixels").integers(0, 256, (9, *shape)).astype("uint8")

    return network


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_torch_has_the_same_probabilities(networks, name, shape):
    torch = pytest.importorskip("torch")
    network, pixels = networks(name, shape)
    module, prepare = torch_module(network)
    for x in (pixels, pixels / 255):
        with torch.no_grad():
            found = torch.softmax(module(prepare(torch.asarray(x))), dim=1).numpy()
        np.testing.assert_allclose(found, network.predict_proba(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_onnx_has_the_same_probabilities(networks, name, shape, tmp_path):
    """Of pixels as they were trained on; for a single picture too."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, pixels = networks(name, shape, "float32")
    path = tmp_path / "model.onnx"
    to_onnx(network, path, probabilities=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.shape[1:], given.type) == ([*shape], "tensor(uint8)")
    for x in (pixels, pixels[:1]):
        (found,) = session.run(None, {given.name: x})
        np.testing.assert_allclose(found, network.predict_proba(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_npz_has_the_same_bits(networks, name, tmp_path):
    network, pixels = networks(name, SHAPES[1])
    to_npz(network, tmp_path / "model.npz")
    again = Network.from_npz(tmp_path / "model.npz")
    assert again.model == network.model
    np.testing.assert_array_equal(again.predict_proba(pixels), network.predict_proba(pixels))
