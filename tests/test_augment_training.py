"""Augmentation within trainings: steps of all kinds, ranks, breaks, files, estimators."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    Checkpoint,
    CheckpointError,
    Conv2D,
    Dense,
    Flatten,
    ReLU,
    Sequential,
    fit,
    mlp,
    open_backend,
)
from xpnet.augment import (
    Affine,
    Augmentation,
    Compose,
    CutMix,
    Cutout,
    Elastic,
    Flip,
    Mixup,
    Noise,
    Shift,
    Sometimes,
)
from xpnet.distributed import threads
from xpnet.losses import softmax_cross_entropy
from xpnet.random import stream
from xpnet.training.step import initial_state, make_step

pytestmark = pytest.mark.numerics

X = stream(0, "x").integers(256, size=(90, 8, 8)).astype(np.uint8)
Y = stream(0, "y").integers(3, size=90)
MODEL = mlp(64, 6, 3)
OPTIONS = {"epochs": 2, "batch_size": 25, "backend": "numpy", "dtype": "float64"}
DEFORMED = (Elastic(), Affine())
MIXED = Compose((Mixup(), Affine(edge="nearest"), Sometimes(CutMix()), Flip()))


def weights(network):
    return np.concatenate([value.reshape(-1) for value in network.params.values()])


def trained(augment=DEFORMED, model=MODEL, data=(X, Y), **options):
    return fit(model, data, augment=augment, **OPTIONS | options)


def stepped(augment, steps, n_steps=8, **options):
    """The weights after some steps on NumPy, and how these were taken."""
    backend = open_backend("numpy", None, "float32")
    backend.choose_steps(steps)
    with backend.scope():
        x, y = backend.asarray(X), backend.asarray(Y, dtype=backend.index_dtype)
        state = initial_state(backend, MODEL, SGD(0.1), 0)
        step = make_step(
            backend, MODEL, softmax_cross_entropy, SGD(0.1), pixel_maximum=255.0,
            augment=augment, sample_shape=(8, 8),
        )  # fmt: skip
        run = backend.repeat(step, pure=True)
        order = stream(1).permutation(np.tile(np.arange(90), 10))[: 16 * n_steps]
        for rows in order.reshape(n_steps, 1, 16):
            state = run(state, x, y, backend.asarray(rows, dtype=backend.index_dtype))
        return {name: value.copy() for name, value in state.items()}, backend.taken_steps()


@pytest.mark.parametrize(
    "augment", [Compose(DEFORMED), MIXED, Shift(), Cutout(), Noise()], ids=repr
)
def test_recorded_steps_are_the_written_ones(augment):
    written, _ = stepped(augment, "called")
    recorded, taken = stepped(augment, "recorded")
    assert "5 steps recorded" in taken
    for name, value in written.items():
        assert value.tobytes() == recorded[name].tobytes()


@pytest.mark.compiler
@pytest.mark.parametrize("augment", [Compose(DEFORMED), MIXED], ids=repr)
def test_compiled_steps_are_the_written_ones(augment, monkeypatch):
    monkeypatch.setattr("xpnet.backends.numpy.tape.COMPILING_PAYS", 0.0)
    compiled, taken = stepped(augment, "compiled")
    if "compiled" not in taken:
        pytest.skip(f"nothing is compiled here: {taken}")
    written, _ = stepped(augment, "called")
    for name, value in written.items():
        assert value.tobytes() == compiled[name].tobytes()


@pytest.mark.parametrize("augment", [DEFORMED, MIXED], ids=["deformed", "mixed"])
def test_every_library_trains_alike(augment, other_backend):
    other = trained(augment, backend=other_backend)
    here = trained(augment)
    values = [other.backend.to_numpy(value).reshape(-1) for value in other.params.values()]
    assert np.abs(np.concatenate(values) - weights(here)).max() < 1e-12


@pytest.mark.parametrize("augment", [DEFORMED, MIXED, Compose((Mixup(), Mixup()))], ids=repr)
def test_ranks_train_as_one_process(augment):
    one = weights(trained(augment))

    def on(n, **options):
        return weights(threads(n).run(lambda group: trained(augment, group=group, **options))[0])

    for n in (2, 3):
        assert np.abs(on(n) - one).max() < 1e-13
    exact = on(1, reduction="exact", shards=4)
    assert np.array_equal(on(2, reduction="exact", shards=4), exact)
    assert np.array_equal(on(4, reduction="exact", shards=4), exact)
    assert np.abs(exact - one).max() < 1e-13


def test_weights_of_samples_are_mixed_on_ranks_as_in_one_process():
    weight = stream(2).integers(0, 3, size=90).astype(float)
    one = weights(trained(MIXED, sample_weight=weight))

    def on(group):
        return trained(MIXED, sample_weight=weight, group=group)

    assert np.abs(weights(threads(3).run(on)[0]) - one).max() < 1e-13
    assert not np.allclose(one, weights(trained(MIXED)))


def test_a_training_goes_on_to_the_same_bytes(tmp_path):
    whole = trained(MIXED, epochs=4, optimizer=Adam())
    checkpoint = Checkpoint(tmp_path)
    trained(MIXED, epochs=4, optimizer=Adam(), stop_after=2, callbacks=[checkpoint])
    resumed = trained(MIXED, epochs=4, optimizer=Adam(), resume=tmp_path)
    assert weights(resumed).tobytes() == weights(whole).tobytes()
    for other in (None, DEFORMED, replace(MIXED, augmentations=MIXED.augmentations[:-1])):
        with pytest.raises(CheckpointError, match="augment was"):
            trained(other, epochs=4, optimizer=Adam(), resume=tmp_path)


def test_what_was_saved_without_augmentation_goes_on_without(tmp_path):
    trained(None, epochs=3, stop_after=1, callbacks=[Checkpoint(tmp_path)])
    trained(None, epochs=3, resume=tmp_path)
    with pytest.raises(CheckpointError, match=r"augment was None, and is .*Flip"):
        trained(Flip(), epochs=3, resume=tmp_path)


def test_samples_in_a_file_are_changed_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for augment in (DEFORMED, MIXED):
        one = weights(trained(augment))
        assert np.array_equal(weights(trained(augment, data=(mapped, Y))), one)

        def on(group, augment=augment):
            return trained(augment, data=(mapped, Y), group=group)

        assert np.abs(weights(threads(2).run(on)[0]) - one).max() < 1e-13


def test_dense_networks_and_convolutions_see_the_same_pictures():
    """A convolution as large as the picture is a dense layer, and begins with the same numbers."""
    flat = Sequential(fc=Dense(64, 4), act=ReLU(), out=Dense(4, 3))
    conv = Sequential(fc=Conv2D(1, 4, 8, padding=0), act=ReLU(), flat=Flatten(), out=Dense(4, 3))
    dense = trained(DEFORMED, flat)
    kernel = trained(DEFORMED, conv).params["fc.weight"]
    assert np.abs(kernel.reshape(64, 4) - dense.params["fc.weight"]).max() < 1e-12
    rows = trained(Compose(DEFORMED, shape=(8, 8)), flat, data=(X.reshape(90, 64) / 255, Y))
    assert np.abs(weights(rows) - weights(dense)).max() < 1e-12


def test_what_is_measured_is_measured_without():
    network = trained(Noise(5.0), epochs=1, optimizer=SGD(1e-12))
    found = network.evaluate(X, Y)
    assert network.history[-1].train_loss == pytest.approx(found.loss, rel=1e-9)
    running = trained(Noise(5.0), epochs=1, optimizer=SGD(1e-12), train_metrics="running")
    assert running.history[-1].train_loss > 1.5 * found.loss
    assert np.array_equal(network.predict_proba(X), network.predict_proba(X))


def test_mixed_values_and_labels_that_hold_train_as_well():
    from xpnet import binary_cross_entropy, mean_squared_error

    values = stream(3).normal(size=(90, 3))
    for loss, y in (
        (mean_squared_error, values),
        (binary_cross_entropy, (values > 0).astype(np.int64)),
        (softmax_cross_entropy, np.eye(3)[Y]),
    ):
        network = trained(MIXED, data=(X, y), loss=loss)
        assert np.isfinite(weights(network)).all()
    one = trained(Mixup(), mlp(64, 4, 1), data=(X, values[:, 0]), loss=mean_squared_error)
    assert np.isfinite(weights(one)).all()
    table = trained([Mixup(), Noise()], mlp(5, 4, 3), data=(stream(4).normal(size=(90, 5)), Y))
    assert np.isfinite(weights(table)).all()


def test_labels_as_rows_are_mixed_as_labels():
    assert np.array_equal(weights(trained(MIXED)), weights(trained(MIXED, data=(X, np.eye(3)[Y]))))


@dataclass(frozen=True)
class Inverted(Augmentation):
    """One of a user's own."""

    probability: float = 0.5

    def apply(self, xp, x, y, random):
        chosen = random.chance(xp, "chosen", self.probability)[:, :, None, None]
        return xp.where(chosen, 1.0 - x, x), y


def test_one_of_ones_own_trains_and_is_not_recorded():
    backend = open_backend("numpy", None, "float64")
    backend.choose_steps("recorded")
    network = trained([Elastic(), Inverted()], backend=backend, dtype=None)
    assert "not known to be pure" in backend.taken_steps()
    assert not np.allclose(weights(network), weights(trained([Elastic()])))


def test_what_does_not_fit_is_refused_before_the_first_step():
    rows = X.reshape(90, 64)
    with pytest.raises(ValueError, match=r"Elastic needs pictures, and samples have shape \(64,\)"):
        trained(DEFORMED, data=(rows, Y))
    with pytest.raises(ValueError, match=r"shape \(9, 9\) is of 81 numbers"):
        trained(Compose(DEFORMED, shape=(9, 9)), data=(rows, Y))
    with pytest.raises(TypeError, match="augment must be"):
        trained("elastic")
    first = np.zeros((90, 3, 8, 8), np.float32)
    with pytest.raises(ValueError, match="colours last"):
        trained(DEFORMED, mlp(192, 3), data=(first, Y))
    backend = open_backend("numpy")
    with pytest.raises(ValueError, match="augment needs sample_shape"):
        make_step(backend, MODEL, softmax_cross_entropy, SGD(), augment=Flip())


# -- estimators ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_take_augmentations():
    pytest.importorskip("sklearn")
    from sklearn.base import clone

    from xpnet.sklearn import ConvClassifier, MLPClassifier, MLPRegressor

    x = X / np.float32(255)
    options = {"max_iter": 3, "random_state": 0, "batch_size": 25, "tol": 0.0}
    small = {"hidden_layer_sizes": (6,), **options}
    whole = Compose(DEFORMED, shape=(8, 8))
    rows = x.reshape(90, 64)
    model = MLPClassifier(augment=whole, **small).fit(rows, Y)
    plain = MLPClassifier(**small).fit(rows, Y)
    assert not np.allclose(model.coefs_[0], plain.coefs_[0])
    again = clone(model).fit(rows, Y)
    assert np.array_equal(model.coefs_[0], again.coefs_[0])
    called = MLPClassifier(augment=whole, compile=False, **small).fit(rows, Y)
    assert np.array_equal(model.coefs_[0], called.coefs_[0])
    pictures = ConvClassifier(mlp(64, 6, 3), augment=list(DEFORMED), **options).fit(x, Y)
    assert pictures.predict(x).shape == (90,)
    MLPClassifier(augment=[Mixup()], **small).fit(rows, Y)
    MLPClassifier(augment=Mixup(), **small).fit(rows, Y == 0)
    MLPRegressor(augment=[Mixup(), Noise()], **small).fit(rows, Y.astype(float))
    with pytest.raises(ValueError, match="Elastic needs pictures"):
        MLPClassifier(augment=Elastic(), **small).fit(rows, Y)
    with pytest.raises(ValueError, match="augment"):
        MLPClassifier(augment="elastic", **small).fit(rows, Y)
    with pytest.raises(ValueError, match=r"takes no steps by batches.*augment"):
        MLPClassifier(augment=whole, solver="lbfgs").fit(rows, Y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_estimator_on_ranks_is_that_of_one_process():
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPClassifier

    rows = (X / 255.0).reshape(90, 64)
    model = MLPClassifier((6,), max_iter=2, random_state=0, batch_size=25,
                          augment=Compose((Mixup(), *DEFORMED), shape=(8, 8)))  # fmt: skip
    one = model.fit(rows, Y).coefs_[0]

    def on(group):
        own = MLPClassifier(**model.get_params() | {"group": group}).fit(rows, Y)
        return own.coefs_[0]

    assert np.abs(threads(2).run(on)[0] - one).max() < 1e-12
