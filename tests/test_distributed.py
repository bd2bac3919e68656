"""One training on several ranks is the training on one: with ranks as threads, so without MPI."""

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from conftest import CPU_BACKENDS, TRAINING_TARGETS, require

from xpnet import (
    SGD,
    Callback,
    Checkpoint,
    Dense,
    EarlyStopping,
    Flatten,
    Sequential,
    TrainingDiverged,
    fit,
    mlp,
    open_backend,
    read_snapshot,
)
from xpnet.conformance.examples import LAYER_EXAMPLES, LOSS_EXAMPLES
from xpnet.distributed import Group, threads
from xpnet.distributed.group import ALONE, agreed, check_same
from xpnet.distributed.mpi import probe_mpi
from xpnet.distributed.reduction import Reduction
from xpnet.errors import CheckpointError, GroupError
from xpnet.layers import BatchNorm, Layer
from xpnet.optimizers import OPTIMIZERS, Adam
from xpnet.random import stream
from xpnet.schedules import Cosine, ReduceOnPlateau

N, BATCH = 23, 5
X = stream(0, "x").normal(size=(N, 4))
LABELS = stream(0, "labels").integers(3, size=N)
MODEL = mlp(4, 6, 3, dropout=0.3)
OPTIONS = {
    "epochs": 2, "batch_size": BATCH, "optimizer": SGD(0.3), "backend": "numpy",
    "dtype": "float64", "seed": 3,
}  # fmt: skip


def on_ranks(size, model=MODEL, data=(X, LABELS), **options):
    """The networks of all ranks."""
    options = OPTIONS | options
    return threads(size, timeout=30).run(lambda group: fit(model, data, group=group, **options))


def content(network):
    """All arrays of a network, on the host."""
    to_numpy = network.backend.to_numpy
    return {name: np.array(to_numpy(value)) for name, value in network.arrays.items()}


def figures(network):
    return [
        value
        for record in network.history
        for value in (record.train_loss, record.test_loss, record.validation_loss)
        if value is not None
    ]


def check_same_as_alone(size, model=MODEL, data=(X, LABELS), **options):
    """The networks of several ranks are that of one process, but for the last digits."""
    alone = fit(model, data, **OPTIONS | options)
    networks = on_ranks(size, model, data, **options)
    for network in networks:
        np.testing.assert_allclose(figures(network), figures(alone), rtol=0, atol=1e-12)
        for name, value in content(alone).items():
            np.testing.assert_allclose(content(network)[name], value, rtol=1e-11, atol=1e-12)
    first = content(networks[0])
    for network in networks[1:]:
        assert all(value.tobytes() == content(network)[k].tobytes() for k, value in first.items())


SIZES = pytest.mark.parametrize("size", [2, 3, 8])


# -- equal to one process -------------------------------------------------------------------------


@pytest.mark.parametrize("example", LAYER_EXAMPLES, ids=str)
def test_every_layer(example):
    sample = example.shape[1:]
    shape = example.layer.output_shape(sample)
    n_features = int(np.prod(shape))
    model = Sequential(own=example.layer, flat=Flatten(), out=Dense(n_features, 3))
    x = stream(0, "x").normal(size=(N, *sample))
    # With 8 ranks some of them have no row of a batch, and with 3 the parts are uneven.
    for size in (3, 8):
        check_same_as_alone(size, model, (x, LABELS), epochs=1)


@pytest.mark.parametrize("example", LOSS_EXAMPLES, ids=str)
def test_every_loss(example):
    _, target, weight = example.arrays()
    rows = np.arange(N) % len(target)
    model = Sequential(fc=Dense(4, 4))
    weights = None if weight is None else weight[rows]
    check_same_as_alone(
        3, model, (X, target[rows]), loss=example.loss, sample_weight=weights, epochs=1
    )


@pytest.mark.parametrize(
    "optimizer", [one for kind in OPTIMIZERS.values() for one in kind.examples()], ids=repr
)
def test_every_optimizer(optimizer):
    check_same_as_alone(3, optimizer=optimizer)


@SIZES
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": SGD(0.3, clip_norm=0.1, weight_decay=0.01)},
        {"optimizer": Adam(0.01, l2=0.1, clip_value=0.01, ema=0.9)},
        {"optimizer": SGD(0.3, schedule=Cosine(warmup=0.5))},
        {"optimizer": SGD(0.3, schedule=ReduceOnPlateau(patience=0)), "validation": 0.3},
        {"train_metrics": "running", "drop_last": True},
        {"train_metrics": "running", "batch_size": 22},  # ranks without rows know the batch too
        {"sample_weight": np.arange(N) % 3, "test": (X[:7], LABELS[:7])},
        {"sample_weight": np.arange(N) % 3, "model": mlp(4, 6, 3, batch_norm=True)},
        {"batch_size": 22, "epochs": 3},  # a last batch of one sample
        {"batch_size": 22, "epochs": 3, "train_metrics": "running"},
        {"batch_size": 1000, "model": mlp(4, 6, 3, batch_norm=True), "epochs": 3},
        {"freeze": ["fc1"], "train_metrics": "none"},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_option(size, options):
    options = {"model": MODEL} | options
    check_same_as_alone(size, **options)


@pytest.mark.parametrize("target", TRAINING_TARGETS, ids=str)
def test_every_backend(target):
    require(target.name)
    options = {"backend": target.name, "device": target.device, "epochs": 1}
    check_same_as_alone(3, batch_size=12, **options)
    check_same_as_alone(2, mlp(4, 6, 3, batch_norm=True), batch_size=N, **options)


def test_steps_are_recorded_and_compiled_on_both_sides_of_the_sum():
    """And give the bits of those that are called; of one rank, those of no group at all."""
    by_way = {}
    for steps in ("called", "recorded", "compiled"):
        opened = open_backend("numpy", dtype="float64", steps=steps)
        networks = on_ranks(2, backend=opened, dtype=None, epochs=20)
        by_way[steps] = content(networks[0])
        if steps != "called":
            assert opened.step_counts.recorded + opened.step_counts.compiled > 100
    for steps, arrays in by_way.items():
        for name, value in arrays.items():
            assert value.tobytes() == by_way["called"][name].tobytes(), (steps, name)
    alone, one = content(fit(MODEL, (X, LABELS), **OPTIONS)), content(on_ranks(1)[0])
    assert all(value.tobytes() == one[name].tobytes() for name, value in alone.items())


def test_data_larger_than_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.data.stored.LARGEST_LOADED", 0)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    from_file = on_ranks(3, data=(mapped, LABELS))
    np.testing.assert_equal(content(from_file[2]), content(on_ranks(3)[0]))


# -- equal to the bit -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", [MODEL, mlp(4, 6, 3, batch_norm=True)], ids=["mlp", "batch norm"])
def test_an_exact_reduction_gives_the_same_bits_for_any_number_of_ranks(model, dtype):
    options = {"reduction": "exact", "shards": 4, "dtype": dtype, "optimizer": Adam(0.01)}
    networks = {size: on_ranks(size, model, **options) for size in (1, 2, 3, 4)}
    expected = content(networks[1][0])
    for size, of_size in networks.items():
        for network in of_size:
            for name, value in content(network).items():
                assert value.tobytes() == expected[name].tobytes(), (size, name)
            assert figures(network) == figures(networks[1][0])
    alone = fit(model, (X, LABELS), **OPTIONS | {"dtype": dtype, "optimizer": Adam(0.01)})
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(figures(alone), figures(networks[1][0]), atol=tolerance)


@pytest.mark.parametrize("name", [n for n in CPU_BACKENDS if n != "numpy"])
def test_an_exact_reduction_on_other_libraries(name):
    require(name)
    options = {"reduction": "exact", "shards": 2, "backend": name, "batch_size": 12}
    one, two = on_ranks(1, **options), on_ranks(2, **options)
    np.testing.assert_equal(content(two[1]), content(one[0]))


@pytest.mark.parametrize("shards", [1, 2, 4, 8, 16])
def test_the_tree_of_an_exact_sum_is_the_same_whoever_has_the_leaves(shards):
    """Against a sum by levels, written otherwise; of numbers whose order matters."""
    leaves = stream(0, "leaves").normal(size=(shards, 50)) * 10.0 ** np.arange(shards)[:, None]
    expected = list(leaves)
    while len(expected) > 1:
        expected = [a + b for a, b in zip(expected[::2], expected[1::2], strict=True)]

    def total(group):
        reduction = Reduction.of(group, "exact", shards)
        return reduction.total([leaves[part].copy() for part in reduction.own])

    for size in range(1, shards + 1):
        for found in threads(size, timeout=30).run(total):
            assert found.tobytes() == expected[0].tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n_samples", [1, 2, 7, 8, 64])
@pytest.mark.parametrize("shards", [None, 8])
def test_every_sample_of_a_batch_is_in_one_part(size, n_samples, shards):
    reductions = [Reduction(group, shards) for group in threads(size)]
    parts = [one.rows(part, n_samples) for one in reductions for part in one.own]
    assert len(parts) == (shards or size)
    assert np.concatenate([np.arange(n_samples)[part] for part in parts]).tolist() == list(
        range(n_samples)
    )
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


# -- going on, stopping ---------------------------------------------------------------------------


def test_a_training_goes_on_with_other_numbers_of_ranks(tmp_path):
    """The file has no rank in it: begun on four, gone on with on two and then one, to the bit."""
    options = {"reduction": "exact", "shards": 4, "epochs": 3}
    whole = on_ranks(4, **options)[0]
    (tmp_path / "saved").mkdir()
    saved = Checkpoint(tmp_path / "saved" / "x.safetensors")
    on_ranks(4, **options, callbacks=[saved], stop_after=1)
    on_ranks(2, **options, callbacks=[saved], stop_after=2, resume=saved.path)
    last = on_ranks(1, **options, callbacks=[saved], resume=saved.path)[0]
    np.testing.assert_equal(content(last), content(whole))
    assert not [name for name in read_snapshot(saved.path).arrays if "part/" in name]
    for other in ({"reduction": "fast", "shards": None}, {"shards": 2}):
        with pytest.raises(CheckpointError, match="shards"):
            on_ranks(1, **options | other, resume=saved.path)


def test_callbacks_are_told_on_rank_0_alone_and_stop_all():
    told = []

    class Stopping(Callback):
        def on_epoch(self, network, record):
            told.append(threading.get_ident())
            return record.epoch == 2

        def on_finish(self, network):
            network.params["fc1.bias"] = network.params["fc1.bias"] + 1

    networks = on_ranks(3, epochs=5, callbacks=[Stopping()])
    assert len(told) == 2
    assert len(set(told)) == 1
    assert [len(network.history) for network in networks] == [2, 2, 2]
    for network in networks[1:]:  # what a callback changed at the end as well
        np.testing.assert_equal(content(network), content(networks[0]))


def test_early_stopping_gives_all_ranks_the_best_parameters():
    options = {"validation": 0.3, "epochs": 30, "optimizer": SGD(3.0)}
    alone = fit(MODEL, (X, LABELS), callbacks=[EarlyStopping(patience=1)], **OPTIONS | options)
    networks = on_ranks(2, callbacks=[EarlyStopping(patience=1)], **options)
    for network in networks:
        assert len(network.history) == len(alone.history) < 30
        for name, value in content(alone).items():
            np.testing.assert_allclose(content(network)[name], value, atol=1e-9)


def test_a_rank_that_is_asked_to_stop_stops_all_after_the_same_step(tmp_path, monkeypatch):
    """Rank 1 alone gets the signal; rank 0 saves, and all leave with the same message."""
    asked = threading.Event()

    class Asking(Callback):
        every_step = True

        def on_step(self, state, count):
            if int(state["step"]) == 7:
                asked.set()

    from xpnet.training.loop import Loop

    monkeypatch.setattr(
        Loop, "_is_interrupted", lambda loop: asked.is_set() and loop._group.rank == 1
    )
    saved = Checkpoint(tmp_path / "x.safetensors")
    messages = []

    def train(group):
        try:
            fit(MODEL, (X, LABELS), group=group, callbacks=[saved, Asking()], **OPTIONS)
        except KeyboardInterrupt as error:
            messages.append(str(error))

    threads(3, timeout=30).run(train)
    assert len(messages) == 3
    assert len(set(messages)) == 1
    step = read_snapshot(saved.path)
    assert f"after step {step.step} of 5 in epoch {step.epoch + 1}" in messages[0]
    assert step.epoch * 5 + step.step in (8, 9)


# -- what is wrong --------------------------------------------------------------------------------


def test_what_is_wrong_on_one_rank_ends_all_and_names_it():
    def train(group):
        labels = np.where(group.rank == 1, 77, LABELS)
        with pytest.raises(Exception, match="labels must be from 0 to 2") as caught:
            fit(MODEL, (X, labels), group=group, **OPTIONS)
        return str(caught.value), type(caught.value).__name__

    found = threads(3, timeout=30).run(train)
    assert len(set(found)) == 1
    assert "(on rank 1 of 3)" in found[0][0]
    assert found[0][1] == "DataError"


def test_an_error_whose_class_cannot_be_sent_is_said_as_one_of_its_bases():
    class OwnError(LookupError):
        pass

    def use(group):
        def do():
            if group.rank == 1:
                raise OwnError("not here")

        with pytest.raises(LookupError, match=r"not here \(on rank 1 of 2\)"):
            agreed(group, do)

    threads(2, timeout=30).run(use)


def test_numbers_that_rank_0_alone_finds_when_it_saves_end_the_others(tmp_path):
    class Saving(Callback):
        def wants_snapshot(self, epoch, step, *, last):
            return step == 2

    def train(group):
        options = OPTIONS | {"optimizer": SGD(1e200), "callbacks": [Saving()]}
        fit(mlp(4, 6, 3), (X * 1e100, LABELS), group=group, **options)

    ranks = threads(2, timeout=30)
    with pytest.raises(TrainingDiverged):
        ranks.run(train)
    assert ranks.groups[0].error is None  # as it would be if all had raised it


def test_an_error_of_one_process_is_not_kept():
    with pytest.raises(TrainingDiverged):
        fit(mlp(4, 6, 3), (X * 1e100, LABELS), **OPTIONS | {"optimizer": SGD(1e200)})
    assert ALONE.error is None


def test_what_is_wrong_on_all_ranks_is_said_as_on_one():
    def train(group):
        with pytest.raises(ValueError, match="batch_size") as caught:
            fit(MODEL, (X, LABELS), group=group, **OPTIONS | {"batch_size": 0})
        return str(caught.value)

    (message,) = set(threads(2, timeout=30).run(train))
    assert "rank" not in message


def test_an_error_in_a_callback_of_rank_0_ends_the_others():
    class Failing(Callback):
        def on_epoch(self, network, record):
            raise RuntimeError("no room left")

    ended = []

    def train(group):
        try:
            fit(MODEL, (X, LABELS), group=group, callbacks=[Failing()], **OPTIONS)
        except Exception as error:
            ended.append((group.rank, type(error).__name__, str(error)))
            raise

    with pytest.raises(RuntimeError, match="no room left") as caught:
        threads(3, timeout=30).run(train)
    assert caught.value.__notes__ == ["on rank 0 of 3"]
    assert sorted(rank for rank, _, _ in ended) == [0, 1, 2]
    others = [text for rank, kind, text in ended if rank and kind == "GroupError"]
    assert len(others) == 2
    assert all("rank 0 of 3 has failed: no room left" in text for text in others)


def test_a_training_that_diverges_does_so_on_all_ranks():
    def train(group):
        options = OPTIONS | {"optimizer": SGD(1e200)}
        with pytest.raises(TrainingDiverged, match=r"first in step \d+ of epoch 1") as caught:
            fit(mlp(4, 6, 3), (X * 1e100, LABELS), group=group, **options)
        return str(caught.value)

    assert len(set(threads(2, timeout=30).run(train))) == 1


def test_numbers_of_one_rank_alone_that_are_not_finite_end_all(tmp_path):
    """As where a machine computes wrong in the last step of an epoch, which no loss shows."""

    class Broken(Callback):
        def on_step(self, state, count):
            self.steps = getattr(self, "steps", 0) + count
            if self.steps == 5:
                state["param/fc1.bias"] = state["param/fc1.bias"] * np.nan

    def train(group):
        told = [Checkpoint(tmp_path), Broken()]
        with pytest.raises(TrainingDiverged, match=r"fc1.bias .* epoch 1 .* before is in") as found:
            fit(
                MODEL, (X, LABELS), group=group, callbacks=told, train_metrics="none", **OPTIONS
            )  # fmt: skip
        return str(found.value)

    assert len(set(threads(2, timeout=5).run(train))) == 1
    assert read_snapshot(tmp_path).not_finite() is None


@pytest.mark.parametrize(
    "other", [{"batch_size": 6}, {"seed": 4}, {"optimizer": SGD(0.2)}, {"data": (X + 1, LABELS)}]
)
def test_ranks_that_were_given_other_arguments_are_refused(other):
    def train(group):
        options = {"data": (X, LABELS)} | OPTIONS | (other if group.rank == 2 else {})
        with pytest.raises(GroupError, match="the training of rank 2 is not that of rank 0"):
            fit(MODEL, options.pop("data"), group=group, **options)

    threads(3, timeout=30).run(train)


def test_parameters_that_differ_are_found_after_the_epoch():
    class Changing(Callback):
        def on_step(self, state, count):
            state["param/fc1.bias"] += 1

    def train(group):
        with pytest.raises(GroupError, match=r"after epoch 1 the network of rank 1 .* rank 0"):
            fit(MODEL, (X, LABELS), group=group, callbacks=[Changing()], **OPTIONS)

    threads(2, timeout=30).run(train)


def test_a_layer_that_looks_at_the_whole_batch_must_say_that_it_can_do_with_parts():
    class Own(BatchNorm):
        takes_totals = False

    model = Sequential(own=Own(4), out=Dense(4, 3))
    with pytest.raises(ValueError, match=r"ctx\.total"):
        on_ranks(2, model)

    class Centred(Layer):
        """Less the mean of the batch."""

        takes_totals = True  # that is enough: it may take a batch of one

        def forward(self, xp, params, x, ctx):
            if not ctx.training:
                return x, ()
            if ctx.total is None:
                return x - xp.mean(x, axis=0), (x.shape[0], None)
            sums = ctx.total(xp, xp.sum(x * ctx.present[:, None], axis=0))
            count = ctx.total(xp, xp.sum(ctx.present)[None])
            return x - sums / count, (count, ctx.total)

        def backward(self, xp, params, cache, dy, *, need_dx=True):
            count, total = cache
            sums = xp.sum(dy, axis=0)
            return dy - (sums if total is None else total(xp, sums)) / count, {}

    check_same_as_alone(3, Sequential(fc=Dense(4, 4), own=Centred(), out=Dense(4, 3)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 3}, "group must be one such as mpi_group"),
        ({"reduction": "fats"}, "reduction must be one of fast, exact"),
        ({"shards": 4}, "take the reduction exact"),
        ({"reduction": "exact", "shards": 6}, "power of two"),
        ({"reduction": "exact", "shards": 0}, "shards"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        fit(MODEL, (X, LABELS), **OPTIONS | options)


def test_more_ranks_than_shards_are_refused():
    with pytest.raises(ValueError, match="at least the number of ranks, 3"):
        on_ranks(3, reduction="exact", shards=2)


# -- the group ------------------------------------------------------------------------------------


def test_what_a_group_does():
    def use(group):
        buffer = np.arange(3.0) + group.rank
        group.sum(buffer)
        return buffer.tolist(), group.gather(group.rank**2), group.share([group.rank])

    for size in (1, 2, 5):
        total = [sum(i + rank for rank in range(size)) for i in range(3)]
        squares = [rank**2 for rank in range(size)]
        assert threads(size, timeout=30).run(use) == [(total, squares, [0])] * size
    alone = Group()
    assert (alone.gather(1), alone.share(2), alone.rank, alone.size) == ([1], 2, 0, 1)


def test_what_was_sent_may_be_overwritten():
    def use(group):
        value = np.full(1000, float(group.rank))
        found = group.gather(value)
        value[:] = -1
        return [int(other[0]) for other in found]

    assert threads(4, timeout=30).run(use) == [[0, 1, 2, 3]] * 4


def test_a_rank_that_does_not_come_is_not_waited_for_without_end():
    with pytest.raises(GroupError, match=r"has not come for 0\.2 s"):
        threads(2, timeout=0.2).run(lambda group: group.rank or group.gather(1))


def test_agreed_and_check_same():
    def use(group):
        assert agreed(group, lambda: group.rank + 1) == group.rank + 1
        assert agreed(group, lambda: group.rank + 1, first_alone=True) == 1
        with pytest.raises(KeyError):
            agreed(group, lambda: {}["x"])
        with pytest.raises(GroupError, match=r"^the seed of rank 1 is not that of rank 0"):
            check_same(group, "the seed", group.rank == 1, "give all the same")

    threads(3, timeout=30).run(use)
    assert replace(Reduction(), shards=2).n_parts == 2


def test_what_is_missing_for_mpi_is_said_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert probe_mpi().reason == "mpi4py is not installed: pip install 'xpnet[mpi]'"
