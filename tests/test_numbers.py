"""Numbers of layers, losses and optimizers that are 0 or infinite in the dtype of a training."""

import math
import re
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pytest

import xpnet
from xpnet import Callback, Dense, MaxNorm, Residual, Sequential, fit, mlp, open_backend
from xpnet.dtype_limits import check_numbers, names_in_dtype
from xpnet.fields import number
from xpnet.layers import CONSTRAINTS, Layer
from xpnet.layers.container import Container
from xpnet.layers.description import LAYERS
from xpnet.losses import LOSSES, Loss
from xpnet.optimizers import OPTIMIZERS
from xpnet.training.step import initial_state, make_step

pytestmark = pytest.mark.numerics

# The first column, and the second row, are constant.
X = np.array([[1.0, 2.0], [1.0, 1.0], [1.0, -3.0], [1.0, 0.5]])
Y = np.array([0, 1, 1, 0])
VALUES = X[:, 1:]


def layers_around(part):
    """A model with this layer, or constraint, in a block, and its name there."""
    if isinstance(part, MaxNorm):
        return Sequential(block=Sequential(fc=Dense(2, 2, constraint=part))), "block.fc"
    block = Sequential(part=part, fc=Dense(2, 2))
    return Sequential(res=Residual(block), fc2=Dense(2, 2)), "res.block.part"


PARTS = {
    "BatchNorm: epsilon": lambda n: xpnet.BatchNorm(2, epsilon=n),
    "BatchNorm: momentum": lambda n: xpnet.BatchNorm(2, momentum=n),
    "LayerNorm: epsilon": lambda n: xpnet.LayerNorm(2, epsilon=n),
    "LeakyReLU: slope": xpnet.LeakyReLU,
    "ELU: alpha": xpnet.ELU,
    "MaxNorm: limit": MaxNorm,
    "Huber: delta": xpnet.Huber,
    "BinaryCrossEntropy: positive_weight": lambda n: xpnet.BinaryCrossEntropy(
        positive_weight=(1.0, n)
    ),
    "SoftmaxCrossEntropy: class_weight": lambda n: xpnet.SoftmaxCrossEntropy(
        class_weight={0: 1.0, 1: n}
    ),
}


class Watch(Callback):
    """Fails where a training begins."""

    def on_start(self, network, *, epochs, steps):
        raise AssertionError("the training has begun")


def training_of(part, **options):
    """Arguments for `fit`, of which the part is one; and what a message begins with."""
    if isinstance(part, Loss):
        kind = {"classes": Y, "multilabel": np.eye(2)[Y], "values": VALUES}[part.target_kind]
        n_outputs = 1 if kind is VALUES else 2
        return (mlp(2, n_outputs), (X, kind)), {"loss": part, **options}, ""
    model, name = layers_around(part)
    return (model, (X, Y)), options, f"layer {name!r}: "


@pytest.mark.parametrize("named", PARTS)
def test_numbers_that_the_dtype_has_not_are_refused(named, training_backend):
    """By some libraries the numbers from 1e-45 to 1e-38 are taken for 0 in float32 as well."""
    backend = type(training_backend)(None, "float32")
    for value, words in (
        (1e-50, "must be 1.18e-38 or more in float32, where some libraries take 1e-50 for 0"),
        (1e-40, "must be 1.18e-38 or more in float32, where some libraries take 1e-40 for 0"),
        (1e39, "must be 3.4e+38 or less in float32, where 1e+39 is infinite"),
    ):
        if named == "BatchNorm: momentum" and value > 1:
            continue
        part = PARTS[named](value)
        args, options, where = training_of(part, epochs=1)
        message = re.escape(f"{where}{named} {words}, or give dtype='float64'")
        with pytest.raises(ValueError, match=message):
            fit(*args, backend=backend, callbacks=[Watch()], **options)
        if isinstance(part, Loss):
            trained = fit(*args, epochs=1, loss=type(part)(), backend=backend)
            with pytest.raises(ValueError, match=message):
                make_step(backend, args[0], part, xpnet.SGD())
            with pytest.raises(ValueError, match=message):
                trained.evaluate(*args[1], loss=part)
        else:
            with pytest.raises(ValueError, match=message):
                initial_state(backend, args[0], xpnet.SGD(), 0)
        if value < 1:
            fit(*args, backend=training_backend, **options)


@pytest.mark.parametrize("named", PARTS)
def test_the_least_number_is_one_on_every_backend(named, training_backend):
    """With less, the constant column and row of X would be 0 / 0 after a normalisation."""
    backend = type(training_backend)(None, "float32")
    args, options, _ = training_of(PARTS[named](1.18e-38), epochs=2)
    network = fit(*args, backend=backend, **options)
    for array in (*network.arrays.values(), network.predict(backend.asarray(X))):
        assert np.isfinite(backend.to_numpy(array)).all()


def test_numbers_that_are_0_may_stay_so():
    for part in (xpnet.LeakyReLU(0.0), xpnet.SoftmaxCrossEntropy(class_weight=(0.0, 1.0))):
        args, options, _ = training_of(part, epochs=1)
        fit(*args, backend="numpy", **options)


def test_what_has_to_be_positive_is_named():
    """A number that a class refuses to be 0 must not become 0 either."""
    needed = {"MaxNorm": {"limit": 1.0}, "Permute": {"axes": (1,)}, "Reshape": {"shape": (2,)}}
    for kind in (*LAYERS.values(), *LOSSES.values(), *CONSTRAINTS.values(), *OPTIMIZERS.values()):
        if issubclass(kind, Container):
            continue
        names = [field.name for field in fields(kind) if field.init]
        given = {"n_features": 2} if "n_features" in names else needed.get(kind.__name__, {})
        given = {"n_in": 2, "n_out": 2} if "n_in" in names else given
        part = kind(**given)
        for name in names:
            if isinstance(getattr(part, name), float) or name in ("clip_norm", "clip_value"):
                try:
                    replace(part, **{name: 0.0})
                except ValueError:
                    assert name in names_in_dtype(kind), (kind, name)


def test_a_network_is_not_read_in_a_dtype_that_has_not_its_numbers(tmp_path):
    args, options, _ = training_of(xpnet.BatchNorm(2, epsilon=1e-50), epochs=1)
    fit(*args, backend="numpy", dtype="float64", **options).save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"layer 'res.block.part': BatchNorm: epsilon must be"):
        xpnet.load(tmp_path / "net.safetensors", dtype="float32")
    xpnet.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_estimators_refuse_them_as_well(solver):
    sklearn = pytest.importorskip("xpnet.sklearn")
    model = sklearn.MLPRegressor(xpnet.Huber(1e-50), solver=solver, dtype="float32")
    with pytest.raises(ValueError, match=r"^Huber: delta must be 1.18e-38 or more in float32"):
        model.fit(X, VALUES[:, 0])


def test_numbers_of_layers_of_ones_own(training_backend):
    """Inside of whatever has a mapping of layers; and what is named nowhere is not looked at."""

    @dataclass(frozen=True)
    class Own(Layer):
        scale: float = field(metadata=number(above=0))
        seen: float = math.inf
        layers = ("no", "mapping")

        def forward(self, xp, params, x, ctx):
            return self.scale * x, ()

        def backward(self, xp, params, cache, dy, *, need_dx=True):
            return self.scale * dy, {}

    check_numbers("float64", Sequential(own=Own(1e-50)))
    with pytest.raises(ValueError, match=r"layer 'own': Own: scale must be 1.18e-38 or more"):
        check_numbers("float32", Sequential(own=Own(1e-50)))
    with pytest.raises(ValueError, match=r"^Own: scale must be"):
        check_numbers("float32", Own(1e-50))
    fit(Sequential(own=Own(2.0), fc=Dense(2, 2)), (X, Y), epochs=1, backend=training_backend)
    assert open_backend("numpy").dtype_name == "float32"
