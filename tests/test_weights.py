"""Weights of samples in `fit`: which are taken, and batches of which no sample counts."""

import numpy as np
import pytest

from xpnet import Adam, BatchNorm, Callback, DataError, Dense, Dropout, ReLU, Sequential, fit
from xpnet.backends import open_backend
from xpnet.callbacks import Checkpoint
from xpnet.inputs import shuffled_batches
from xpnet.inputs.batches import counting
from xpnet.inputs.weighted import Weighted
from xpnet.losses import softmax_cross_entropy
from xpnet.schedules import Cosine
from xpnet.training import initial_state, make_step

pytestmark = pytest.mark.numerics

N = 72
RNG = np.random.default_rng(3)
X = RNG.normal(size=(N, 5))
Y = (X[:, 0] > 0) * 1 + (X[:, 1] > 0)
FEW = np.where(np.arange(N) % 9 == 1, RNG.uniform(1, 2, size=N), 0.0)
"""Weights of which most are 0, so that some batches have no other."""
MODEL = Sequential(
    fc1=Dense(5, 6), bn1=BatchNorm(6), act1=ReLU(), drop1=Dropout(0.2), fc2=Dense(6, 3)
)
OPTIMIZER = Adam(0.05, weight_decay=0.2, l2=0.01, ema=0.5)
OPTIONS = {"epochs": 4, "batch_size": 8, "optimizer": OPTIMIZER, "seed": 2}


def train(weights, **options):
    options = {"backend": "numpy", "dtype": "float64", **OPTIONS, **options}
    return fit(MODEL, (X, Y), sample_weight=weights, **options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full(N, 1e-46), r"the largest, 1e-46, is 0 in float32 on some libraries: give weights"),
        (np.full(N, 1e-40), "the largest, 1e-40, is 0"),
        (np.full(N, 1e38), "the sum of these is infinite in float32: give weights with a mean of"),
        (np.full(N, np.float32(3e38)), "the sum of these is infinite"),
    ],
)
def test_weights_that_the_dtype_cannot_hold_are_refused(weights, message):
    for backend in ("numpy", open_backend("numpy")):
        with pytest.raises(DataError, match=message):
            train(weights, backend=backend, dtype="float32" if backend == "numpy" else None)
    network = train(None, epochs=1, dtype="float32")
    with pytest.raises(DataError, match=message):
        network.evaluate(X, Y, sample_weight=weights)
    train(weights / weights.mean(dtype=np.float64), dtype="float32", epochs=1)


def test_batches_that_count():
    order = np.array([4, 2, 0, 1, 3, 5, 6])
    counts = np.array([True, False, False, True, True, False, False])
    for size, expected in (
        (2, [4, 2, 0, 1, 3, 5]), (3, [4, 2, 0, 1, 3, 5]), (1, [4, 0, 3]), (7, order), (4, order),
    ):  # fmt: skip
        np.testing.assert_array_equal(counting(order, size, counts), expected)
    assert counting(order, 2, None) is order
    assert len(counting(order, 2, np.zeros(7, bool))) == 0


class OneByOne(Callback):
    """Looks at every step, so that a compiler sees steps of one kind."""

    def on_step(self, state, count):
        assert count == 1


def test_a_batch_of_weight_0_takes_no_step(training_backend):
    """As in a loop of one's own that leaves it out."""
    backend = training_backend
    with backend.scope():
        x, y = backend.asarray(X, copy=True), backend.asarray(Y, dtype=backend.index_dtype)
        pair = Weighted(y, backend.asarray(FEW, copy=True))
        state = initial_state(backend, MODEL, OPTIMIZER, 2)
        step = make_step(backend, MODEL, softmax_cross_entropy, OPTIMIZER, seed=2)
        taken = 0
        for epoch in (1, 2):
            for rows in shuffled_batches(backend, N, 8, seed=2, epoch=epoch):
                if FEW[backend.to_numpy(rows)].any():
                    state = step(state, x, pair, rows)
                    taken += 1
        assert 5 < taken < 18
        expected = {name: backend.to_numpy(value) for name, value in state.items()}
    network = train(FEW, backend=backend, dtype=None, epochs=2, callbacks=[OneByOne()])
    for name, value in network.params.items():
        np.testing.assert_allclose(
            backend.to_numpy(value), expected[f"ema/{name}"], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("schedule", [None, Cosine()], ids=["", "scheduled"])
def test_a_training_goes_on_within_an_epoch_of_which_batches_are_left_out(tmp_path, schedule):
    optimizer = Adam(0.05, ema=0.5, schedule=schedule)

    class Break(Callback):
        def __init__(self, at):
            self.at, self.seen = at, 0

        def on_step(self, state, count):
            self.seen += count
            if self.seen == self.at:
                raise InterruptedError

    options = {"optimizer": optimizer, "seed": 5}
    plain = train(FEW, **options)
    for at in (1, 4, 9):
        with pytest.raises(InterruptedError):
            train(FEW, callbacks=[Checkpoint(tmp_path, every_steps=1), Break(at)], **options)
        network = train(FEW, resume=tmp_path, **options)
        assert network.history["train_loss"] == plain.history["train_loss"]
        assert network.history["learning_rate"] == plain.history["learning_rate"]
        for name, value in plain.params.items():
            np.testing.assert_array_equal(network.params[name], value)


def test_a_schedule_keeps_time_where_batches_are_left_out():
    rates = {}
    for name, weights in (("some", FEW), ("all", np.ones(N))):
        network = train(weights, optimizer=Adam(0.05, schedule=Cosine()), epochs=8)
        rates[name] = network.history["learning_rate"]
    np.testing.assert_allclose(rates["some"], rates["all"], atol=0.05 / 8)


def test_streamed_weights_leave_batches_out_as_well(tmp_path, monkeypatch):
    expected = train(FEW)
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    stored = {}
    for name, values in (("x", X), ("y", Y), ("w", FEW)):
        np.save(tmp_path / f"{name}.npy", values)
        stored[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    network = fit(
        MODEL, (stored["x"], stored["y"]), sample_weight=stored["w"], backend="numpy",
        dtype="float64", **OPTIONS,
    )  # fmt: skip
    for name, value in expected.params.items():
        np.testing.assert_array_equal(network.params[name], value)


def test_the_rest_of_a_split_has_to_count():
    with pytest.raises(DataError, match="all have weight 0; give validation="):
        train(np.eye(N)[3], validation=0.2)
