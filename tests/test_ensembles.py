"""Networks that answer together."""

import copy
import pickle
import shutil

import numpy as np
import pytest
from commands import xp

import xpnet
from xpnet import (
    SGD,
    BatchNorm,
    CheckpointError,
    Conv2D,
    Dense,
    Ensemble,
    Flatten,
    Mixture,
    Network,
    ReLU,
    Sequential,
    binary_cross_entropy,
    fit,
    load,
    load_dataset,
    mean_squared_error,
    mlp,
)
from xpnet.network.state import load_array
from xpnet.random import stream

pytestmark = pytest.mark.numerics

N = 40


def made(model, seed=0, backend="numpy", dtype="float64", **attributes):
    """A network of random weights."""
    opened = xpnet.open_backend(backend, None, dtype)
    with opened.scope():
        host = {
            name: stream(seed, name).standard_normal(shape)
            for name, shape in model.parameter_shapes().items()
        }
        params = {name: load_array(opened, value) for name, value in host.items()}
    return Network(model, params, opened, **attributes)


def samples(*shape, seed=1):
    return stream(seed, "samples").standard_normal((N, *shape))


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def networks(digits):
    """Three small networks, barely trained, of which one has convolutions."""
    data = digits.limited(300)
    pair = [
        fit(mlp(64, 12, 10), data, epochs=2, seed=seed, optimizer=SGD(0.1), backend="numpy")
        for seed in range(2)
    ]
    pictures = Sequential(
        conv1=Conv2D(1, 4), bn=BatchNorm(4), act=ReLU(), flat=Flatten(), fc=Dense(256, 10)
    )
    return [*pair, fit(pictures, data, epochs=1, backend="numpy")]


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_the_probabilities_are_the_mean(kind):
    members = [made(mlp(5, 8, 3), seed, target_kind=kind) for seed in range(4)]
    x = samples(5)
    expected = np.mean([network.predict_proba(x) for network in members], axis=0)
    ensemble = Ensemble(members)
    np.testing.assert_allclose(ensemble.predict_proba(x), expected, rtol=1e-12)
    right = expected.argmax(axis=1) if kind == "classes" else expected > 0.5
    assert (ensemble.predict(x) == right).all()
    # None of them says it alone, so that this is a test of the mean.
    assert all((network.predict(x) != right).any() for network in members)


def test_values_are_the_mean():
    members = [made(mlp(5, 8, 2), seed, target_kind="values") for seed in range(3)]
    x = samples(5)
    expected = np.mean([network.predict(x) for network in members], axis=0)
    np.testing.assert_allclose(Ensemble(members).predict(x), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="gives values"):
        Ensemble(members).predict_proba(x)


def test_small_probabilities_keep_their_digits():
    """The logarithm of a mean of softmaxes, one of which is below the smallest number."""
    one, other = made(mlp(1, 2)), made(mlp(1, 2))
    for network, slope in ((one, 2000.0), (other, 20.0)):
        network.params = {
            "fc1.weight": np.array([[slope, 0.0]]), "fc1.bias": np.zeros(2),
        }  # fmt: skip
    found = Ensemble([one, other]).evaluate(np.ones((1, 1)), np.array([1]))
    assert found.loss == pytest.approx(20 + np.log(2) + np.log1p(np.exp(-20.0)), rel=1e-12)


def test_all_figures_are_those_of_the_mean(networks, digits):
    metrics = pytest.importorskip("sklearn.metrics")
    ensemble, part = Ensemble(networks), digits.test
    each = [network.predict_proba(part.images) for network in networks]
    p = np.mean(each, axis=0, dtype="float64")
    p /= p.sum(axis=1, keepdims=True)
    found = ensemble.evaluate(part.images, part.labels)
    assert found.loss == pytest.approx(metrics.log_loss(part.labels, p), rel=1e-5)
    assert found.errors == (p.argmax(axis=1) != part.labels).sum()
    counts = metrics.confusion_matrix(part.labels, p.argmax(axis=1))
    assert (ensemble.confusion_matrix(part.images, part.labels) == counts).all()
    assert ensemble.report(part.images, part.labels).accuracy == pytest.approx(found.accuracy)


def test_members_may_take_rows_and_pictures(networks, digits):
    x = digits.test.images[:50]
    expected = np.mean([network.predict_proba(x) for network in networks], axis=0)
    np.testing.assert_allclose(Ensemble(networks).predict_proba(x), expected, atol=1e-6)
    # Whichever comes first.
    again = Ensemble(networks[::-1]).predict_proba(x)
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_on_every_backend(networks, digits, other_backend, tmp_path):
    ensemble = Ensemble(networks)
    ensemble.save(tmp_path / "e.safetensors")
    moved = load(tmp_path / "e.safetensors", backend=other_backend)
    x = digits.test.images[:100]
    np.testing.assert_allclose(moved.predict_proba(x), ensemble.predict_proba(x), atol=1e-5)
    assert moved.backend.name == other_backend
    # Members of several libraries answer where the first is.
    mixed = Ensemble([networks[0], moved])
    assert mixed.backend.name == "numpy"
    expected = (networks[0].predict_proba(x) + ensemble.predict_proba(x)) / 2
    np.testing.assert_allclose(mixed.predict_proba(x), expected, atol=1e-5)


def test_saved_copied_and_pickled_it_is_the_same(networks, digits, tmp_path):
    ensemble = Ensemble(networks)
    ensemble.save(tmp_path / "e.safetensors")
    x = digits.test.images[:50]
    expected = ensemble.predict_proba(x)
    for same in (
        load(tmp_path / "e.safetensors"), copy.deepcopy(ensemble),
        pickle.loads(pickle.dumps(ensemble)),
    ):  # fmt: skip
        assert isinstance(same, Ensemble)
        assert (same.predict_proba(x) == expected).all()
        for one, other in zip(same.members, networks, strict=True):
            assert type(one) is Network
            assert one.model == other.model
            assert [record.train_loss for record in one.history] == other.history["train_loss"]
            np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))
    same.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "e.safetensors"
    ).read_bytes()


def test_it_says_what_it_is(networks):
    text = repr(Ensemble(networks))
    assert text.startswith("<Ensemble of 3 on numpy cpu: Sequential(fc1=Dense(64, 12)")
    assert "m3.conv1" in Ensemble(networks).summary()


def test_of_ensembles_each_counts_as_one():
    members = [made(mlp(4, 3), seed) for seed in range(3)]
    x = samples(4)
    nested = Ensemble([Ensemble(members[:2]), members[2]])
    p = [network.predict_proba(x) for network in members]
    np.testing.assert_allclose(nested.predict_proba(x), (p[0] + p[1]) / 4 + p[2] / 2, rtol=1e-12)
    assert isinstance(nested.members[0], Ensemble)
    assert isinstance(nested.members[0].members[1], Network)


def test_exports_give_the_mean(networks, digits, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from xpnet.export import to_npz, to_onnx

    ensemble, x = Ensemble(networks), digits.test.images[:20]
    to_onnx(ensemble, tmp_path / "e.onnx", probabilities=True)
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": x})
    np.testing.assert_allclose(found, ensemble.predict_proba(x), atol=1e-5)
    to_npz(ensemble, tmp_path / "e.npz")
    for read in (Network.from_npz, Ensemble.from_npz):
        same = read(tmp_path / "e.npz")
        assert (same.predict_proba(x) == ensemble.predict_proba(x)).all()
    assert len(same.members) == 3


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (lambda: made(mlp(5, 4)), r"outputs of network 1: \(3,\), of network 2: \(4,\)"),
        (lambda: made(mlp(5, 3), target_kind="values"), "target_kind of network 1: 'classes'"),
        (lambda: made(mlp(5, 3), pixel_maximum=16), "pixel_maximum of network 1: 255.0"),
        (lambda: made(mlp(5, 3), sample_shape=(1, 5)), r"sample_shape of network 1: \(5,\)"),
        (lambda: made(mlp(5, 3), classes=["x", "y", "z"]), "classes of network 1: .'a'"),
        (lambda: made(mlp(6, 3)), "rows of 5 and some of 6"),
    ],
)
def test_what_differs_is_said(other, words):
    first = made(mlp(5, 3), sample_shape=(5,), classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=words):
        Ensemble([first, other()])


def test_only_networks_can_be_members():
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])
    with pytest.raises(TypeError, match="give a list"):
        Ensemble(made(mlp(5, 3)))
    with pytest.raises(TypeError, match="trained networks, got 3"):
        Ensemble([made(mlp(5, 3)), 3])
    with pytest.raises(ValueError, match="target_kind must be one of"):
        Mixture(mlp(5, 3), target_kind="ranks")


def test_losses_that_differ_leave_the_usual_one(digits):
    data = digits.limited(50)
    one = fit(mlp(64, 10), data, epochs=1, backend="numpy")
    smooth = xpnet.SoftmaxCrossEntropy(0.1)
    other = fit(mlp(64, 10), data, epochs=1, backend="numpy", loss=smooth)
    assert Ensemble([other, other]).loss == smooth
    assert Ensemble([one, other]).loss is None


@pytest.mark.parametrize("loss", [mean_squared_error, binary_cross_entropy])
def test_targets_of_other_kinds(loss):
    x = samples(4)
    y = (x[:, 0] > 0).astype("float64" if loss is mean_squared_error else "int64")
    members = [
        fit(mlp(4, 6, 1), (x, y), epochs=2, loss=loss, seed=seed, backend="numpy")
        for seed in range(2)
    ]
    ensemble = Ensemble(members)
    assert ensemble.predict(x).shape == (N,)
    assert ensemble.evaluate(x, y).count == N


# -- the command line --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        xp("train", "--limit", 200, "--epochs", 1, "--seed", seed, "--backend", "numpy",
           "--hidden", "16", "--quiet", "--out", folder / f"run-{seed}")  # fmt: skip
    return [folder / f"run-{seed}" for seed in range(2)]


def test_runs_are_evaluated_together(runs, digits):
    members = [load(run) for run in runs]
    part = digits.test
    lines = xp("evaluate", *runs).output.splitlines()
    found = [network.evaluate(part.images, part.labels) for network in members]
    assert lines[1:3] == [f"{run}: {one}" for run, one in zip(runs, found, strict=True)]
    together = Ensemble(members).evaluate(part.images, part.labels)
    assert lines[3] == f"ensemble of 2: digits test set: {together}"
    # The data set may be named, and runs by their files.
    files = [run / "model.safetensors" for run in runs]
    assert xp("evaluate", *files, "digits").output.splitlines()[3] == lines[3]
    assert len(xp("evaluate", runs[0], "digits").output.splitlines()) == 2


def test_a_folder_of_members_is_the_ensemble(runs, digits, tmp_path):
    for number, run in enumerate(runs, start=1):
        shutil.copytree(run, tmp_path / f"member-{number}")
    assert len(load(tmp_path).members) == 2
    lines = xp("evaluate", tmp_path, "digits").output.splitlines()
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "member 1", "member 2", "ensemble of 2",
    ]  # fmt: skip
    file = tmp_path / "member-2" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"member-2.*damaged"):
        load(tmp_path)
    assert "member-2" in xp("evaluate", tmp_path, "digits", code=1).output
    file.unlink()
    with pytest.raises(CheckpointError, match="member-2"):
        load(tmp_path)


def test_runs_predict_together(runs, digits, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("scipy")
    picture = tmp_path / "seven.png"
    pixels = np.kron(digits.test.images[0], np.ones((10, 10))) * 15
    image.fromarray(pixels.astype("uint8")).save(picture)
    (answer,) = Ensemble(map(load, runs)).predict_pictures(picture, as_is=True)
    percent = 100 * answer.probabilities[answer.prediction]
    found = xp("predict", *runs, picture, "--as-is").output
    assert f"{answer.prediction}  ({percent:.1f} %)" in found
    assert "give a FILE" in xp("predict", *runs, code=2).output


def test_runs_that_do_not_go_together(runs, tmp_path):
    x = samples(4)
    other = fit(mlp(4, 10), (x, np.arange(N) % 10), epochs=1, backend="numpy")
    other.save(tmp_path / "other.safetensors")
    found = xp("evaluate", runs[0], tmp_path / "other.safetensors", "digits", code=1).output
    assert "cannot answer together" in found
    assert "sample_shape of network 1" in found


def test_a_file_that_says_anything_is_refused(networks, tmp_path):
    from forging import forge

    Ensemble(networks).save(tmp_path / "e.safetensors")
    for value in ([], "x", [[], []], [1, 2, 3], [[{}], [], []]):

        def change(metadata, arrays, value=value):
            metadata["histories"] = value

        forge(tmp_path / "e.safetensors", tmp_path / "forged.safetensors", change)
        with pytest.raises(CheckpointError, match="histories"):
            load(tmp_path / "forged.safetensors")


def test_pictures_of_an_ensemble_with_convolutions(networks, digits, tmp_path):
    pytest.importorskip("matplotlib")
    from xpnet.plots import draw_run

    draw_run(tmp_path, Ensemble([networks[2], networks[2]]), digits.test, None, "digits, test set")
    assert {path.name for path in tmp_path.iterdir()} == {"mistakes.png", "saliency.png"}
