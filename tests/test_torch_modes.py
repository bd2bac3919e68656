"""What a program has set for its own use of torch changes nothing in xpnet's work."""

from contextlib import contextmanager

import numpy as np
import pytest

from xpnet import Adam, fit, initial_state, make_step, mlp, open_backend, softmax_cross_entropy
from xpnet.backends.torch import TorchBackend

pytestmark = pytest.mark.libraries

torch = pytest.importorskip("torch")

MODEL = mlp(4, 8, 3, dropout=0.2, batch_norm=True)
OPTIMIZER = Adam(0.01, clip_norm=1.0)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "a default device": lambda: default_device("meta"),  # which holds no data
    "the context of a device": lambda: torch.device("meta"),
}


@pytest.fixture(params=MODES)
def mode(request):
    return MODES[request.param]


def samples():
    rng = np.random.default_rng(0)
    x = torch.asarray(rng.normal(size=(60, 4)).astype("float32"), device="cpu")
    return x, torch.asarray(np.arange(60) % 3, device="cpu")


def assert_the_same(found, expected):
    for name, value in expected.items():
        assert type(found[name]) is type(value), name
        if torch.is_tensor(value):
            assert found[name].dtype == value.dtype, name
            assert not found[name].is_inference(), name
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(value), err_msg=name)


def by_fit():
    x, y = samples()
    options = {"epochs": 2, "batch_size": 16, "optimizer": OPTIMIZER, "validation": 0.2}
    network = fit(MODEL, (x, y), **options)
    return network.params | {
        "classes": network.predict(x), "probabilities": network.predict_proba(x),
        "loss": network.evaluate(x, y).loss, "history": network.history["train_loss"],
    }  # fmt: skip


def by_estimators():
    sklearn = pytest.importorskip("xpnet.sklearn")
    x, y = samples()
    options = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
    found = {}
    for solver in ("adam", "lbfgs"):
        own = {**options, "solver": solver}
        classifier = sklearn.MLPClassifier(**own).fit(x, y)
        regressor = sklearn.MLPRegressor(**own).fit(x, x[:, 0])
        found[f"{solver}, weights"] = classifier.coefs_[0]
        found[f"{solver}, probabilities"] = classifier.predict_proba(x)
        found[f"{solver}, score"] = classifier.score(x, y)
        found[f"{solver}, values"] = regressor.predict(x)
    found["further"] = (
        sklearn.MLPClassifier(**options).partial_fit(x, y, classes=[0, 1, 2]).coefs_[0]
    )
    return found


def by_own_loop(inside=None):
    """The mode may be entered before the scope, or for the steps alone."""
    backend, (x, y) = open_backend("torch"), samples()
    rows = torch.asarray(np.arange(16), device="cpu")
    with backend.scope():
        state = initial_state(backend, MODEL, OPTIMIZER, 0)
        step = make_step(backend, MODEL, softmax_cross_entropy, OPTIMIZER)
        for i in range(4):
            if inside is None:
                state = step(state, x, y, rows + i)
            else:
                with inside():
                    state = step(state, x, y, rows + i)
    return state


@pytest.mark.filterwarnings("ignore:.*reached|lbfgs failed:UserWarning")
@pytest.mark.parametrize("train", [by_fit, by_estimators, by_own_loop])
def test_inside_of_a_mode_all_is_as_outside(mode, train):
    expected = train()
    with mode():
        found = train()
    assert_the_same(found, expected)


def test_autocast_for_the_steps_alone():
    assert_the_same(by_own_loop(MODES["autocast"]), by_own_loop())


def test_what_was_trained_in_inference_mode_is_trained_on_outside():
    x, y = samples()
    sklearn = pytest.importorskip("xpnet.sklearn")
    with torch.inference_mode():
        estimator = sklearn.MLPClassifier((8,)).partial_fit(x, y, classes=[0, 1, 2])
    estimator.partial_fit(x, y)
    weight = torch.ones(4, 8, requires_grad=True)
    (weight * torch.asarray(estimator.coefs_[0])).sum().backward()  # as a constant of one's own


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_the_scope_leaves_autocast_as_it_was(kind):
    """Of the device that the backend works on, which need not be there for this."""
    backend = TorchBackend(None, "float32")
    backend.device = torch.device(kind)
    torch.set_autocast_enabled(kind, True)
    try:
        with backend.scope():
            assert not torch.is_autocast_enabled(kind)
        assert torch.is_autocast_enabled(kind)
        assert not backend.compile(lambda: torch.is_autocast_enabled(kind))()
    finally:
        torch.set_autocast_enabled(kind, False)
