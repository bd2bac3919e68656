"""The main job: the network 784-128-10 on MNIST, against published figures."""

import numpy as np
import pytest
from conftest import require

from xpnet import SGD, fit, load_dataset, mlp

pytestmark = pytest.mark.mnist

PUBLISHED = [
    0.5915, 0.4249, 0.3698, 0.3406, 0.3215, 0.3047, 0.2909, 0.2790, 0.2685, 0.2580,
    0.2492, 0.2408, 0.2327, 0.2253, 0.2175, 0.2107, 0.2044, 0.1985, 0.1929, 0.1872,
]  # fmt: skip
"""Training loss after epochs 1 to 20 of the write-up: batch size 100, learning rate 0.01."""


@pytest.fixture(scope="module")
def mnist(mnist_dir):
    return load_dataset("mnist", data_dir=mnist_dir)


@pytest.mark.slow
def test_the_published_run(mnist):
    network = fit(
        mlp(784, 128, 10), mnist, epochs=20, batch_size=100, optimizer=SGD(0.01), backend="numpy"
    )
    history = network.history
    np.testing.assert_allclose(history["train_loss"], PUBLISHED, atol=0.03)
    assert history[0].train_accuracy == pytest.approx(0.8545, abs=0.01)
    assert history[-1].train_accuracy == pytest.approx(0.9473, abs=0.005)
    assert history[-1].test_accuracy == pytest.approx(0.9478, abs=0.01)


@pytest.mark.slow
def test_the_defaults_reach_97_8_percent(mnist):
    # (Measuring the training set as well takes as long as training does, and changes nothing.)
    network = fit(mlp(784, 128, 10), mnist, backend="numpy", train_metrics="none")
    assert network.history[-1].test_accuracy >= 0.978


@pytest.mark.parametrize("name", ["torch", "jax", "array_api_strict", "cupy"])
def test_every_backend_gives_the_same_run(mnist, name):
    require(name)
    options = {"epochs": 2, "dtype": "float64"}
    data = mnist.limited(2000)
    ours = fit(mlp(784, 32, 10), data, backend="numpy", **options).history
    theirs = fit(mlp(784, 32, 10), data, backend=name, **options).history
    for key in ("train_loss", "test_loss"):
        np.testing.assert_allclose(theirs[key], ours[key], rtol=1e-9)
    for key in ("train_accuracy", "test_accuracy"):
        assert theirs[key] == ours[key]
