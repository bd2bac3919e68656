"""Losses against torch, JAX, SciPy and finite differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_layers import assert_directional_derivative

from xpnet.losses import one_hot, softmax_cross_entropy
from xpnet.random import stream


def example(n=6, c=4):
    z = 3 * stream(0, "z").normal(size=(n, c))
    labels = stream(0, "labels").integers(c, size=n)
    return z, labels


@pytest.mark.parametrize("encoding", ["labels", "one-hot"])
def test_cross_entropy_equals_torch(backend, encoding):
    torch = pytest.importorskip("torch")
    z, labels = example()
    leaf = torch.tensor(z, requires_grad=True)
    with torch.enable_grad():
        expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(labels))
        expected.backward()
    target = labels if encoding == "labels" else np.eye(4)[labels]
    dtype = backend.index_dtype if encoding == "labels" else backend.dtype
    loss, d_output = softmax_cross_entropy(
        backend.xp, backend.asarray(z), backend.asarray(target, dtype=dtype)
    )
    assert loss.shape == ()
    assert float(backend.to_numpy(loss)) == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(backend.to_numpy(d_output), leaf.grad.numpy(), atol=1e-15)


def test_cross_entropy_of_probabilities_equals_torch():
    torch = pytest.importorskip("torch")
    z, _ = example()
    y = stream(0, "p").dirichlet(np.ones(4), size=6)
    leaf = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(leaf, torch.tensor(y))
    expected.backward()
    loss, d_output = softmax_cross_entropy(np, z, y)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(d_output, leaf.grad.numpy(), atol=1e-15)


def test_cross_entropy_gradient_equals_jax():
    jax = pytest.importorskip("jax")
    z, labels = example()
    with jax.enable_x64(True):
        y = jax.numpy.asarray(labels)
        loss_of = lambda z: softmax_cross_entropy(jax.numpy, z, y)[0]  # noqa: E731
        expected = jax.grad(loss_of)(jax.numpy.asarray(z))
    _, d_output = softmax_cross_entropy(np, z, labels)
    np.testing.assert_allclose(d_output, expected, atol=1e-15)


def test_cross_entropy_directional_derivative():
    z, labels = example()
    _, d_output = softmax_cross_entropy(np, z, labels)
    assert_directional_derivative(
        lambda z: float(softmax_cross_entropy(np, z, labels)[0]), {"z": z}, {"z": d_output}
    )


def test_cross_entropy_without_gradient(backend):
    z, labels = example()
    z, labels = backend.asarray(z), backend.asarray(labels, dtype=backend.index_dtype)
    expected, _ = softmax_cross_entropy(backend.xp, z, labels)
    loss, d_output = softmax_cross_entropy(backend.xp, z, labels, need_grad=False)
    assert d_output is None
    assert float(backend.to_numpy(loss)) == float(backend.to_numpy(expected))


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    loss, d_output = softmax_cross_entropy(np, np.zeros((5, 10)), np.arange(5))
    assert float(loss) == pytest.approx(np.log(10), rel=1e-15)
    np.testing.assert_allclose(d_output, (0.1 - np.eye(10)[:5]) / 5, atol=1e-17)


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e300, 1e300)))
def test_cross_entropy_never_overflows(z):
    loss, d_output = softmax_cross_entropy(np, z, np.array([0, 1, 2]))
    assert np.isfinite(loss)
    assert loss >= 0
    assert np.isfinite(d_output).all()
    assert np.abs(d_output.sum(axis=1)).max() < 1e-15


def test_cross_entropy_in_float32_stays_in_float32(backend):
    backend = type(backend)(type(backend).device_of(backend.asarray(1.0)), "float32")
    with backend.scope():
        z, labels = example()
        z = backend.asarray(z, dtype=backend.dtype)
        loss, d_output = softmax_cross_entropy(
            backend.xp, z, backend.asarray(labels, dtype=backend.index_dtype)
        )
    assert loss.dtype == d_output.dtype == backend.dtype


@pytest.mark.parametrize("shape", [(5,), (6, 3), (5, 4)])
def test_cross_entropy_refuses_shapes(shape):
    z, _ = example()
    with pytest.raises(ValueError, match=r"needs labels of shape \(6,\) or one-hot rows"):
        softmax_cross_entropy(np, z, np.zeros(shape, dtype=int))


def test_one_hot(backend):
    labels = backend.asarray(np.array([2, 0, 1, 2]), dtype=backend.index_dtype)
    y = one_hot(backend.xp, labels, 3, backend.dtype)
    assert y.dtype == backend.dtype
    np.testing.assert_array_equal(backend.to_numpy(y), np.eye(3)[[2, 0, 1, 2]])
