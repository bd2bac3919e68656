"""Initial weights: shape, dtype, and the distribution that the papers ask for."""

import math

import numpy as np
import pytest

from xpnet import Dense, fit, load
from xpnet.initializers import (
    INITIALIZERS,
    Normal,
    Orthogonal,
    Uniform,
    he_uniform,
    ones,
    orthogonal,
    zeros,
)
from xpnet.random import stream

pytestmark = pytest.mark.numerics

FAN_IN, FAN_OUT = 400, 600
N = FAN_IN * FAN_OUT

# The variance of the published formula.
VARIANCE = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "xavier": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
NAMES = [f"{family}_{shape}" for family in VARIANCE for shape in ("normal", "uniform")]


def draw(name, fan_in=FAN_IN, fan_out=FAN_OUT, seed=0):
    return INITIALIZERS[name](stream(seed, name), fan_in, fan_out)


def spread(name):
    """Five times the relative standard deviation of the standard deviation of N draws.

    A sample variance has relative standard deviation sqrt((kurtosis - 1) / N), where the kurtosis
    is 3 for a normal and 9/5 for a uniform distribution; a root halves it.
    """
    kurtosis = 3 if name.endswith("normal") else 9 / 5
    return 5 * math.sqrt((kurtosis - 1) / N) / 2


def published_std(name, fan_in=FAN_IN, fan_out=FAN_OUT):
    return math.sqrt(VARIANCE[name.partition("_")[0]](fan_in, fan_out))


def test_these_are_all_initializers():
    assert sorted(INITIALIZERS) == sorted([*NAMES, "orthogonal"])
    assert all(function.__name__ == name for name, function in INITIALIZERS.items())


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (1, 7), (7, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_shape_and_dtype(name, shape):
    weight = draw(name, *shape)
    assert isinstance(weight, np.ndarray)
    assert (weight.shape, weight.dtype) == (shape, np.float64)
    assert np.all(np.isfinite(weight))


@pytest.mark.parametrize(("fan_in", "fan_out"), [(FAN_IN, FAN_OUT), (FAN_OUT, FAN_IN), (16, 15000)])
@pytest.mark.parametrize("name", NAMES)
def test_mean_and_variance_are_those_of_the_papers(name, fan_in, fan_out):
    weight = draw(name, fan_in, fan_out)
    std = published_std(name, fan_in, fan_out)
    assert abs(weight.mean()) < 5 * std / math.sqrt(N)
    assert weight.std() == pytest.approx(std, rel=spread(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("uniform")])
def test_uniform_weights_fill_their_interval(name):
    weight, limit = draw(name), math.sqrt(3) * published_std(name)
    # That no draw comes within 20 / N of an end has probability exp(-10).
    assert limit * (1 - 20 / N) < weight.max() < limit
    assert -limit < weight.min() < -limit * (1 - 20 / N)


@pytest.mark.parametrize("name", NAMES)
def test_the_distribution_has_the_right_form(name):
    stats = pytest.importorskip("scipy.stats")
    std = published_std(name)
    limit = math.sqrt(3) * std
    normal, uniform = stats.norm(scale=std), stats.uniform(-limit, 2 * limit)
    expected = normal if name.endswith("normal") else uniform
    assert stats.kstest(draw(name).ravel(), expected.cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_draws_the_same_distribution(name):
    torch = pytest.importorskip("torch")
    family, _, shape = name.partition("_")
    options = {"he": {"nonlinearity": "relu"}, "lecun": {"nonlinearity": "linear"}}.get(family, {})
    function = getattr(torch.nn.init, f"{'kaiming' if options else 'xavier'}_{shape}_")
    weight = torch.empty(FAN_OUT, FAN_IN, dtype=torch.float64)
    function(weight, **options, generator=torch.Generator().manual_seed(0))
    assert draw(name).std() == pytest.approx(weight.std().item(), rel=2 * spread(name))
    if options:
        std = torch.nn.init.calculate_gain(**options) / math.sqrt(FAN_IN)
        assert published_std(name) == pytest.approx(std)


@pytest.mark.parametrize("name", NAMES)
def test_jax_draws_the_same_variance(name):
    jax = pytest.importorskip("jax")
    # JAX cuts its normal distributions off and corrects the variance for it.
    initializer = getattr(jax.nn.initializers, name.replace("xavier", "glorot"))()
    weight = np.asarray(initializer(jax.random.key(0), (FAN_IN, FAN_OUT)), dtype=np.float64)
    assert draw(name).std() == pytest.approx(weight.std(), rel=2 * spread(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_alone_decides(name):
    np.testing.assert_array_equal(draw(name), draw(name))
    assert not np.any(draw(name) == draw(name, seed=1))


def test_the_signal_keeps_its_variance_through_relu_layers():
    rng = stream(0, "signal")
    x = rng.standard_normal((500, 300))
    for i in range(10):
        x = np.maximum(x, 0) @ INITIALIZERS["he_normal"](stream(0, "layer", i), 300, 300)
    # The mean square stays 1, give or take 13 % a layer; half the variance would leave 1 / 1024.
    assert 1 / 4 < np.mean(x**2) < 4


def test_biases_start_at_zero():
    assert zeros((3,)).tolist() == [0, 0, 0]
    assert (zeros((2, 3)).shape, zeros((2, 3)).dtype) == ((2, 3), np.float64)
    assert (ones((2, 3)) == 1).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (40, 25), (25, 40), (1, 7), (7, 1)])
@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
def test_orthogonal_rows_or_columns(shape, gain):
    weight = Orthogonal(gain)(stream(0, "w"), *shape)
    assert (weight.shape, weight.dtype, weight.flags.c_contiguous) == (shape, np.float64, True)
    few = weight if shape[0] >= shape[1] else weight.T
    np.testing.assert_allclose(few.T @ few, gain**2 * np.eye(min(shape)), atol=1e-14)


def test_orthogonal_keeps_the_norm_through_a_deep_linear_network():
    x = stream(0, "x").normal(size=(7, 30))
    y = x
    for i in range(50):
        y = y @ orthogonal(stream(0, "layer", i), 30, 30)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=1e-12)


def test_orthogonal_is_uniformly_distributed():
    """Against SciPy's draws from the Haar distribution.

    Without the choice of signs every first element has one sign and the angles of the eigenvalues
    are not uniform (Mezzadri, 2007).
    """
    stats = pytest.importorskip("scipy.stats")
    ours = np.array([orthogonal(stream(0, "w", i), 3, 3) for i in range(4000)])
    theirs = stats.ortho_group.rvs(3, size=4000, random_state=1)
    for i in range(3):
        for j in range(3):
            # The standard deviation of the share of positive ones is 0.008.
            assert (ours[:, i, j] > 0).mean() == pytest.approx(0.5, abs=0.04)
            assert stats.ks_2samp(ours[:, i, j], theirs[:, i, j]).pvalue > 1e-4
    traces = [np.trace(draws, axis1=1, axis2=2) for draws in (ours, theirs)]
    assert stats.ks_2samp(*traces).pvalue > 1e-4
    assert (np.linalg.det(ours) > 0).mean() == pytest.approx(0.5, abs=0.04)


def test_a_spread_of_ones_own():
    stats = pytest.importorskip("scipy.stats")
    normal = Normal(0.02)(stream(0, "w"), FAN_IN, FAN_OUT)
    uniform = Uniform(0.3)(stream(0, "w"), FAN_IN, FAN_OUT)
    assert stats.kstest(normal.ravel(), stats.norm(scale=0.02).cdf).pvalue > 1e-4
    assert stats.kstest(uniform.ravel(), stats.uniform(-0.3, 0.6).cdf).pvalue > 1e-4


@pytest.mark.parametrize("family", [Normal, Uniform, Orthogonal])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, "1", True, None])
def test_a_spread_is_positive(family, value):
    with pytest.raises(ValueError, match=f"{family.__name__}: .* must be positive and finite"):
        family(value)


@pytest.mark.parametrize(
    "init", [orthogonal, Orthogonal(1.5), Normal(0.02), Uniform(0.3), he_uniform]
)
def test_an_initializer_is_saved_with_its_layer(init, tmp_path):
    layer = Dense(4, 3, init)
    assert Dense.from_config(layer.config()) == layer
    network = fit(layer, (np.eye(4), np.arange(4) % 3), epochs=1, backend="numpy")
    network.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").model == layer


def test_an_initializer_of_ones_own_is_not_needed_after_training():
    layer = Dense(2, 3, lambda rng, fan_in, fan_out: np.ones((fan_in, fan_out)))
    assert Dense.from_config(layer.config()) == Dense(2, 3)
