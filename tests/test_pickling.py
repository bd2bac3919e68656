"""Networks and backends in pickles and copies: the same predictions, to the last bit."""

import copy
import io
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
from conftest import require

import xpnet
from xpnet import (
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    MaxNorm,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
    mean_squared_error,
    mlp,
    open_backend,
)
from xpnet.backends.namespace import NamespaceBackend
from xpnet.backends.numpy import NumpyBackend
from xpnet.errors import BackendUnavailable
from xpnet.random import stream

pytestmark = [pytest.mark.libraries, pytest.mark.installed]

X = stream(0, "x").normal(size=(40, 5))
Y = (X @ stream(0, "truth").normal(size=(5, 3))).argmax(axis=1)
MODEL = Sequential(
    fc1=Dense(5, 6, constraint=MaxNorm(2.0)), bn=BatchNorm(6), act=Tanh(), drop=Dropout(0.2),
    more=Residual(Sequential(fc=Dense(6, 6))), out=Dense(6, 3),
)  # fmt: skip


def own_loss(xp, output, target, *, weight=None, need_grad=True):
    return mean_squared_error(xp, output, target, weight=weight, need_grad=need_grad)


def train(backend, **changes):
    options = {"epochs": 2, "batch_size": 16, "optimizer": SGD(0.1), **changes}
    return fit(MODEL, (X, Y), test=(X, Y), backend=backend, **options)


def same(found, expected):
    """Whether two networks are the same: of their own arrays, to the last bit."""
    backend = expected.backend
    assert (found.model, found.loss) == (expected.model, expected.loss)
    assert list(found.history) == list(expected.history)
    for name in ("sample_shape", "pixel_maximum", "target_kind", "input_dtype"):
        assert getattr(found, name) == getattr(expected, name)
    assert type(found.backend) is type(backend)
    assert repr(found.backend) == repr(backend)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, value in expected.arrays.items():
        assert found.arrays[name] is not value
        assert found.backend.holds(found.arrays[name])
        np.testing.assert_array_equal(
            found.backend.to_numpy(found.arrays[name]), backend.to_numpy(value)
        )
    for given in (X, backend.asarray(X)):
        for method in ("predict", "predict_proba"):
            a, b = (getattr(network, method)(given) for network in (found, expected))
            assert type(a) is type(b)
            home = backend if backend.holds(b) else open_backend("numpy")
            np.testing.assert_array_equal(home.to_numpy(a), home.to_numpy(b))
    assert found.evaluate(X, Y) == expected.evaluate(X, Y)
    return True


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_protocol_on_every_backend(training_backend, dtype):
    device = training_backend.device_of(training_backend.asarray(0.0))
    network = train(open_backend(training_backend.name, device, dtype))
    stored = {pickle.dumps(network, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
    for one in stored:
        assert same(pickle.loads(one), network)


def test_copies(training_backend):
    network = train(training_backend)
    for found in (copy.copy(network), copy.deepcopy(network), copy.deepcopy([network])[0]):
        assert same(found, network)
        assert found.backend is network.backend
        found.history.append(found.history[0])
        assert len(network.history) == 2


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_joblib(name, tmp_path):
    require(name)
    joblib = pytest.importorskip("joblib")
    network = train(open_backend(name))
    joblib.dump(network, tmp_path / "network.joblib")
    assert same(joblib.load(tmp_path / "network.joblib"), network)
    # Mapped arrays are read-only; those of a network are its own.
    mapped = joblib.load(tmp_path / "network.joblib", mmap_mode="r")
    assert same(mapped, network)


def test_another_process(tmp_path):
    """Which has imported nothing but pickle."""
    network = train("numpy", dtype="float64", loss=SoftmaxCrossEntropy(0.1, {1: 2.0}))
    (tmp_path / "network.pickle").write_bytes(pickle.dumps(network))
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, numpy, pathlib, sys; folder = pathlib.Path(sys.argv[1]);"
        "network = pickle.loads((folder / 'network.pickle').read_bytes());"
        "numpy.save(folder / 'p.npy', network.predict_proba(numpy.load(folder / 'x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), network.predict_proba(X))


def test_a_subclass_with_attributes_of_its_own():
    network = train("numpy")
    network.__class__ = Named
    network.name = "Ada"
    for found in (pickle.loads(pickle.dumps(network)), network.copy()):
        assert type(found) is Named
        assert found.name == "Ada"
        assert same(found, network)


class Named(xpnet.Network):
    pass


def test_a_loss_of_ones_own_must_be_importable():
    y = X[:, :3]
    network = fit(mlp(5, 3), (X, y), loss=own_loss, backend="numpy", epochs=1)
    found = pickle.loads(pickle.dumps(network))
    assert found.loss is own_loss
    assert found.evaluate(X, y) == network.evaluate(X, y)
    network.loss = lambda *arrays, **options: own_loss(*arrays, **options)
    with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>"):
        pickle.dumps(network)


def test_what_a_pickle_calls():
    """Names of xpnet, NumPy and Python's containers, and nothing that opens or runs anything."""
    called = set()

    class Watched(pickle.Unpickler):
        def find_class(self, module, name):
            called.add((module, name))
            return super().find_class(module, name)

    network = train("numpy")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(Watched(io.BytesIO(pickle.dumps(network, protocol))).load(), network)
    assert ("xpnet.backends.base", "reopened") in called
    foreign = {name for module, name in called if module.partition(".")[0] != "xpnet"}
    assert foreign <= {
        "_reconstruct", "_frombuffer", "ndarray", "dtype",  # an array of NumPy
        "_reconstructor", "object", "encode", "set",  # how old protocols make objects and bytes
    }  # fmt: skip


# -- backends -------------------------------------------------------------------------------------


class WithTF32(NumpyBackend):
    """NumPy that says it had TF32, as long as it has."""

    here = True

    def has_tf32(self):
        return self.here


def test_a_backend_is_opened_again(training_backend, monkeypatch):
    for found in (pickle.loads(pickle.dumps(training_backend)), copy.deepcopy(training_backend)):
        assert type(found) is type(training_backend)
        assert repr(found) == repr(training_backend)
    for name in ("numpy", "torch"):
        pytest.importorskip(name)
        assert pickle.loads(pickle.dumps(open_backend(name, threads=1))).threads == 1
    backend = NamespaceBackend("array_api_strict")
    assert repr(copy.deepcopy(backend)) == repr(backend)
    stored = pickle.dumps(WithTF32(None, "float32", tf32=True))
    assert pickle.loads(stored).tf32
    monkeypatch.setattr(WithTF32, "here", False)
    assert not pickle.loads(stored).tf32


def test_numpy_takes_the_place_of_what_is_not_there(other_backend, monkeypatch, caplog):
    network = train(open_backend(other_backend))
    stored = pickle.dumps(network)

    def open_nothing(self, device):
        raise BackendUnavailable("it is not installed here")

    monkeypatch.setattr(type(network.backend), "open", open_nothing)
    with caplog.at_level(logging.WARNING, "xpnet"):
        found = pickle.loads(stored)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"what was pickled on the {other_backend} backend")
    assert record.getMessage().endswith("is now on numpy: it is not installed here")
    assert (found.backend.name, found.backend.dtype_name) == ("numpy", "float32")
    assert "it is not installed here" in found.backend.reason
    for name, value in network.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], network.backend.to_numpy(value))
    np.testing.assert_array_equal(found.predict(X), network.predict(X))
