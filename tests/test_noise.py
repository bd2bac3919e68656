"""Noise in training: its distribution, and what it follows from."""

import numpy as np
import pytest

import xpnet
from xpnet import Dense, GaussianNoise, ReLU, Sequential, fit, load_dataset
from xpnet.layers import EVALUATION, Context
from xpnet.random import layer_key, normal, seed_sequence

pytestmark = pytest.mark.numerics

KEY = layer_key(seed_sequence(0), ("noise1",))


def test_the_numbers_are_normal():
    stats = pytest.importorskip("scipy.stats")
    x = np.zeros((300, 401))
    found = normal(np, KEY, 5, x)
    assert stats.kstest(found.ravel(), "norm").pvalue > 0.01
    assert abs(found).max() < 6
    # No two rows, columns, halves of a row or steps go with one another.
    bound = 5 / np.sqrt(found.size)
    other = normal(np, KEY, 6, x)
    for a, b in (
        (found[:-1], found[1:]), (found[:, :-1], found[:, 1:]), (found[:, :200], found[:, 201:]),
        (found, other), (found[:, :200] ** 2 - 1, found[:, 201:] ** 2 - 1),
    ):  # fmt: skip
        assert abs(np.mean(a * b)) < 2 * bound


def test_every_library_has_the_same_numbers(backend):
    x = np.zeros((5, 3, 3))
    found = normal(backend.xp, KEY, 7, backend.asarray(x))
    np.testing.assert_allclose(backend.to_numpy(found), normal(np, KEY, 7, x), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_part_of_a_batch_has_its_part(dtype):
    x = np.zeros((10, 7), dtype=dtype)
    whole = normal(np, KEY, 3, x)
    assert whole.dtype == dtype
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(normal(np, KEY, 3, x[4:8], row_offset=4), whole[4:8])


def test_it_is_added_in_training_alone():
    layer, x = GaussianNoise(0.3), np.ones((400, 50))
    y, _ = layer.forward(np, {}, x, Context(True, seed=seed_sequence(1), path=("a",)))
    assert np.std(y - x) == pytest.approx(0.3, rel=0.02)
    assert layer.forward(np, {}, x, EVALUATION)[0] is x
    with pytest.raises(ValueError, match="needs a seed"):
        layer.forward(np, {}, x, Context(True))
    with pytest.raises(ValueError, match="deviation must be at least 0"):
        GaussianNoise(-1)


def test_a_training_is_the_same_however_steps_are_taken():
    data = load_dataset("digits").limited(200)
    model = Sequential(
        noise0=GaussianNoise(0.1), fc1=Dense(64, 16), noise1=GaussianNoise(0.2), act1=ReLU(),
        fc2=Dense(16, 10),
    )  # fmt: skip
    found = []
    for steps in ("called", "recorded", "compiled"):
        backend = xpnet.open_backend("numpy", threads=1, steps=steps)
        found.append(fit(model, data, epochs=2, backend=backend))
    for other in found[1:]:
        for name, value in found[0].params.items():
            np.testing.assert_array_equal(other.params[name], value)
