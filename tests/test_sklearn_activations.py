"""Activations of the estimators: scikit-learn's four, the library's others, one for each layer."""

import pickle
from dataclasses import dataclass

import joblib
import numpy as np
import pytest
from estimators import LABELS, VALUES, X, quietly
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from xpnet import ELU, GELU, BatchNorm, Dense, Dropout, Flatten, LeakyReLU, ReLU, Sigmoid, Tanh
from xpnet.layers import ACTIVATIONS, EVALUATION, Layer
from xpnet.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.libraries


@dataclass(frozen=True)
class Square(Layer):
    """A layer of one's own: y = x²."""

    def forward(self, xp, params, x, ctx):
        return x * x, (x,)

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        return (2 * cache[0] * dy if need_dx else None), {}


def fitted(activation, sizes=(5, 4), **options):
    model = MLPRegressor("squared_error", sizes, activation, max_iter=2, random_state=0, **options)
    return quietly(model.fit, X, VALUES)


def by_hand(model, functions):
    hidden = X
    for i, function in enumerate(functions):
        hidden = function(hidden @ model.coefs_[i] + model.intercepts_[i])
    return hidden @ model.coefs_[-1] + model.intercepts_[-1]


def function_of(layer):
    return lambda x: layer.forward(np, {}, x, EVALUATION)[0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_the_library(name):
    layer = ACTIVATIONS[name]()
    function = function_of(layer)
    named, given, listed = fitted(name), fitted(layer), fitted([name, layer])
    np.testing.assert_allclose(named.predict(X), by_hand(named, [function] * 2), rtol=1e-9)
    for other in (given, listed):
        np.testing.assert_array_equal(named.predict(X), other.predict(X))
    network = named.to_network()
    np.testing.assert_allclose(network.predict(X), named.predict(X), rtol=1e-12)


def test_one_for_each_hidden_layer():
    for activation, functions in (
        (("gelu", "tanh"), [function_of(GELU()), np.tanh]),
        ([LeakyReLU(0.3), "identity"], [function_of(LeakyReLU(0.3)), lambda x: x]),
        (np.array(["logistic", "elu"]), [function_of(Sigmoid()), function_of(ELU())]),
        ((Square(), "relu"), [np.square, lambda x: np.maximum(x, 0)]),
    ):
        model = fitted(activation)
        np.testing.assert_allclose(model.predict(X), by_hand(model, functions), rtol=1e-9)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert fitted([], ()).coefs_[0].shape == (6, 2)
    same, alone = fitted(["tanh"], 5), fitted("tanh", 5)
    np.testing.assert_array_equal(same.predict(X), alone.predict(X))
    # With batch norm and dropout in between, in their order.
    model = fitted(("silu", "relu"), batch_norm=True, dropout=0.2)
    names = ["fc1", "bn1", "act1", "drop1", "fc2", "bn2", "act2", "drop2", "fc3"]
    assert list(model._kept.model.layers) == names
    lbfgs = fitted(("softplus", "gelu"), solver="lbfgs")
    assert lbfgs.loss_ < np.mean(VALUES**2)


def test_initial_arrays_by_the_activation_behind():
    """Uniform within ±sqrt(6 / (fan_in + fan_out)), in front of logistic ones with 2 for 6."""
    for activation, factors in (
        ("gelu", (6, 6, 6)),
        ("sigmoid", (2, 2, 2)),
        (Sigmoid(), (2, 2, 2)),
        (("logistic", "relu"), (2, 6, 6)),
        (("relu", "logistic"), (6, 2, 2)),
    ):
        options = {"solver": "sgd", "learning_rate_init": 1e-12, "momentum": 0.0}
        model = MLPClassifier((300, 200), activation, max_iter=1, random_state=0, **options)
        quietly(model.fit, X, LABELS)
        arrays = zip(model.coefs_, model.intercepts_, factors, strict=True)
        for weight, bias, factor in arrays:
            limit = np.sqrt(factor / sum(weight.shape))
            assert 0.97 * limit < np.abs(weight).max() <= limit * (1 + 1e-6)
            assert np.abs(bias).max() <= limit * (1 + 1e-6)
            assert len(bias) < 10 or np.abs(bias).max() > 0.95 * limit


def test_parameters_are_left_and_cloned():
    for activation in (LeakyReLU(0.2), [Tanh(), "gelu"], "elu"):
        model = MLPRegressor(hidden_layer_sizes=(5, 4), activation=activation, max_iter=1)
        before = joblib.hash(model.get_params())
        quietly(model.fit, X, VALUES)
        assert joblib.hash(model.get_params()) == before
        assert model.activation is activation
        assert clone(model).activation == activation
    choices = {"activation": ["relu", "gelu", ["tanh", "relu"], LeakyReLU(0.1)]}
    search = GridSearchCV(MLPRegressor(hidden_layer_sizes=(5, 4), max_iter=1), choices, cv=2)
    assert len(quietly(search.fit, X, VALUES).cv_results_["params"]) == 4


def test_activations_that_are_refused():
    for activation, error, message in (
        ("swish", ValueError, "'activation' parameter of MLPRegressor must be"),
        (3, ValueError, "'activation' parameter of MLPRegressor must be"),
        (None, ValueError, "'activation' parameter of MLPRegressor must be"),
        (["relu"], ValueError, "has 1 entry, and there are 2 hidden layers: give one for each"),
        (["relu"] * 3, ValueError, "has 3 entries, and there are 2 hidden layers"),
        (["relu", "swish"], ValueError, "must be one of identity, logistic, relu, tanh.*'swish'"),
        (["relu", None], TypeError, "must be a name or a layer of xpnet.layers, got None"),
        ([ReLU, "relu"], TypeError, r"must be one such as ReLU\(\), got the class"),
        (Dense(3, 3), ValueError, "must be a layer without arrays"),
        (BatchNorm(5), ValueError, "must be a layer without arrays"),
    ):
        with pytest.raises(error, match=message):
            fitted(activation)
    for kept in (Dropout(0.1), Flatten()):
        fitted(kept)
    with pytest.raises(ValueError, match="cannot do with Dropout among the activations"):
        fitted(["relu", Dropout(0.1)], solver="lbfgs")
