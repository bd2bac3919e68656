"""Means of the parameters at the ends of epochs, and networks kept at the ends of cycles."""

import numpy as np
import pytest
from commands import xp

import xpnet
from xpnet import (
    SGD,
    Adam,
    Callback,
    CheckpointError,
    Ensemble,
    Momentum,
    SnapshotEnsemble,
    fit,
    load,
    load_dataset,
    mlp,
)
from xpnet.distributed import threads
from xpnet.export import to_torch_state_dict, torch_code
from xpnet.random import stream
from xpnet.runs.config import RunConfig
from xpnet.runs.options import OptionError
from xpnet.schedules import Cosine

pytestmark = pytest.mark.numerics

SMALL = ("--limit", 150, "--hidden", 8, "--backend", "numpy", "--threads", 1, "--quiet")


class Copies(Callback):
    """Keeps the network after each epoch."""

    every_step = False

    def __init__(self):
        self.networks = []

    def on_epoch(self, network, record):
        self.networks.append(network.copy())


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits").limited(320)


def trained(data, model=None, **options):
    options = {
        "epochs": 4, "batch_size": 32, "optimizer": SGD(0.2), "backend": "numpy",
        "dtype": "float64", "train_metrics": "none", "average_from": 0.5, **options,
    }  # fmt: skip
    return fit(model or mlp(64, 8, 10, batch_norm=True), data, **options)


def test_equals_torch(data):
    """`AveragedModel` of the parameters of the epochs, and `update_bn` in the same order."""
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, update_bn

    copies = Copies()
    network = trained(data, epochs=5, average_from=0.4, callbacks=[copies])
    made: dict = {}
    exec(torch_code(network), made)
    module = made["make_model"]()

    def put(one):
        state = to_torch_state_dict(one)
        module.load_state_dict({name: torch.asarray(value) for name, value in state.items()})

    put(copies.networks[0])
    averaged = AveragedModel(module)
    for one in copies.networks[2:]:
        put(one)
        averaged.update_parameters(module)
    x = made["prepare"](torch.asarray(data.train.images))
    order = stream(0, "statistics").permutation(len(x))
    update_bn(list(x[order].split(32)), averaged)
    found = to_torch_state_dict(network)
    for name, value in averaged.module.state_dict().items():
        if "num_batches" not in name:
            np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-10, atol=1e-12)


def test_the_training_itself_is_as_without(data):
    plain, averaged = Copies(), Copies()
    trained(data, average_from=None, callbacks=[plain])
    network = trained(data, callbacks=[averaged])
    for one, other in zip(plain.networks, averaged.networks, strict=True):
        for name, value in one.arrays.items():
            np.testing.assert_array_equal(other.arrays[name], value)
    last = averaged.networks[-2:]
    mean = (last[0].params["fc2.weight"] + last[1].params["fc2.weight"]) / 2
    np.testing.assert_allclose(network.params["fc2.weight"], mean, rtol=1e-13)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_it_goes_on_to_the_bit(data, tmp_path, stop):
    model = mlp(64, 8, 10, batch_norm=True, dropout=0.2)
    whole = trained(data, model)
    keep = xpnet.Checkpoint(tmp_path / "run")
    left = trained(data, model, stop_after=stop, callbacks=[keep])
    assert len(left.history) == stop
    again = trained(data, model, resume=tmp_path / "run", callbacks=[keep])
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], value)
    # Also of what is finished.
    again = trained(data, model, resume=tmp_path / "run", callbacks=[keep])
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], value)
    with pytest.raises(CheckpointError, match="average_from was"):
        trained(data, model, resume=tmp_path / "run", average_from=0.25)
    with pytest.raises(CheckpointError, match="average_from was"):
        trained(data, model, resume=tmp_path / "run", epochs=8)


def test_every_backend_gives_the_same(data, training_backend):
    expected = trained(data)
    with training_backend.scope():
        found = trained(data, backend=training_backend, dtype=None)
    for name, value in expected.arrays.items():
        actual = found.backend.to_numpy(found.arrays[name])
        np.testing.assert_allclose(actual, value, rtol=1e-8, atol=1e-10)


def test_statistics_are_those_of_what_is_trained_on(data):
    """Not of samples that are kept for validation, or count for nothing."""
    images, labels = data.train.images / 16.0, data.train.labels
    weights = np.ones(len(labels))
    weights[::5] = 0
    changed = np.where(weights[:, None, None] == 0, 1e3, images)
    one, other = (
        trained((x, labels), sample_weight=weights, average_from=0) for x in (images, changed)
    )
    for name, value in one.buffers.items():
        np.testing.assert_array_equal(other.buffers[name], value)
        assert np.isfinite(value).all()


def test_frozen_layers_stay(data):
    first = trained(data, average_from=None)
    network = trained(data, first.model, start=first, freeze=("fc1", "bn1"))
    for name, value in first.buffers.items():
        np.testing.assert_array_equal(network.buffers[name], value)


def test_what_is_averaged_is_said_early(data):
    with pytest.raises(ValueError, match="average_from must be at least 0 and below 1"):
        trained(data, average_from=1)
    with pytest.raises(ValueError, match="give one"):
        trained(data, optimizer=Adam(ema=0.9))


def test_several_ranks_give_what_one_gives(data):
    expected = trained(data)
    found = threads(2, timeout=60).run(lambda group: trained(data, group=group))
    for network in found:
        for name, value in expected.arrays.items():
            np.testing.assert_allclose(network.arrays[name], value, rtol=1e-8, atol=1e-10)


# -- snapshots -----------------------------------------------------------------------------------


def test_snapshots_are_the_networks_at_the_ends_of_cycles(data):
    copies, kept = Copies(), SnapshotEnsemble(3)
    network = trained(
        data, epochs=6, average_from=None, callbacks=[copies, kept],
        optimizer=Momentum(0.1, schedule=Cosine(cycles=3)),
    )  # fmt: skip
    ensemble = kept.ensemble
    assert isinstance(ensemble, Ensemble)
    for member, one in zip(ensemble.members, copies.networks[1::2], strict=True):
        assert len(member.history) == len(one.history)
        for name, value in one.arrays.items():
            np.testing.assert_array_equal(member.arrays[name], value)
    assert len(ensemble.history) == len(network.history) == 6


def test_snapshots_need_whole_epochs(data):
    with pytest.raises(ValueError, match="take a multiple of 3"):
        trained(data, callbacks=[SnapshotEnsemble(3)])


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_snapshots_go_on_to_the_bit(data, tmp_path, stop):
    options = {"average_from": None, "optimizer": SGD(0.2, schedule=Cosine(cycles=2))}
    whole = SnapshotEnsemble(2)
    trained(data, callbacks=[whole], **options)
    keep, again = xpnet.Checkpoint(tmp_path / "run"), SnapshotEnsemble(2)
    trained(data, callbacks=[keep, again], stop_after=stop, **options)
    if stop > 1:  # something is kept
        with pytest.raises(CheckpointError, match="SnapshotEnsemble was one of the callbacks"):
            trained(data, callbacks=[keep], resume=tmp_path / "run", **options)
    again = SnapshotEnsemble(2)
    trained(data, callbacks=[keep, again], resume=tmp_path / "run", **options)
    for name, value in whole.ensemble.arrays.items():
        np.testing.assert_array_equal(again.ensemble.arrays[name], value)


# -- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", [("--average-from", 0.5), ("--snapshots", 2)])
def test_runs_go_on_to_the_byte(tmp_path, option):
    options = (*SMALL, "--epochs", 4, *option)
    xp("train", *options, "--out", tmp_path / "whole")
    xp("train", *options, "--out", tmp_path / "run", "--stop-after", 3)
    output = xp("train", "--resume", tmp_path / "run").output
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    network = load(tmp_path / "run")
    assert len(network.history) == 4
    test = load_dataset("digits").test
    errors = network.evaluate(test.images, test.labels).errors
    assert f"({errors} errors in 359)" in output
    if "--snapshots" in option:
        assert len(network.members) == 2
        assert "ensemble of 2: test accuracy" in output
        assert "member 2: " in xp("evaluate", tmp_path / "run").output
    output = xp("train", "--resume", tmp_path / "run", "--epochs", 8, code=2).output
    assert "must stay 4" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"snapshots": 3}, "snapshots needs cycles of whole epochs"),
        ({"snapshots": 4, "schedule": "step", "schedule_every": 2}, "needs the schedule cosine"),
        ({"snapshots": 4, "schedule": "cosine", "schedule_cycles": 2}, "schedule_cycles is the"),
        ({"snapshots": 4, "warmup": 1.0}, "no warmup"),
        ({"snapshots": 4, "patience": 2, "validation": 0.1}, "patience cannot be given together"),
        ({"average_from": 0.5, "ema": 0.9}, "average_from cannot be given together with ema"),
        ({"average_from": 0.5, "snapshots": 4}, "together with snapshots"),
        ({"schedule_cycles": 2}, "schedule_cycles means nothing for the schedule constant"),
    ],
)
def test_options_that_do_not_go_together(options, words):
    with pytest.raises(OptionError, match=words):
        RunConfig(**options)


def test_snapshots_choose_the_schedule():
    config = RunConfig(snapshots=5, learning_rate=0.2)
    assert config.build_optimizer() == SGD(0.2, schedule=Cosine(cycles=5))
    assert RunConfig.from_dict(config.to_dict()) == config
