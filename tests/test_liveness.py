"""Memory that recorded calls share, by what is live at the same time."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from compiling import HAS_COMPILER

from xpnet import SGD, models, open_backend
from xpnet.backends.numpy import liveness, replay
from xpnet.backends.numpy import tape as tape_module
from xpnet.backends.numpy.calls import Refused
from xpnet.backends.numpy.liveness import (
    Account,
    Arena,
    Lifetime,
    Memory,
    Names,
    lifetimes,
)
from xpnet.backends.numpy.recording import Recording
from xpnet.backends.numpy.replay import WARM_UPS, Replayer
from xpnet.losses import softmax_cross_entropy
from xpnet.random import stream
from xpnet.training.step import initial_state, make_step

MODELS = {
    "mlp": lambda: models.mlp(64, 40, 10),
    "lenet5": lambda: models.lenet5((16, 16), 10),
    "small_cnn": lambda: models.small_cnn((8, 8), 10),
    "resnet8": lambda: models.resnet8((8, 8), 10),
}


def most_live(lives):
    """Bytes that are live at once, at the most: no block can be smaller."""
    end = max((one.last for one in lives), default=-1) + 1
    change = [0] * (end + 1)
    for one in lives:
        change[one.first] += liveness._rounded(one.name.nbytes)
        change[one.last + 1] -= liveness._rounded(one.name.nbytes)
    return max(np.cumsum(change).tolist())


def recorded(function, *inputs):
    """What a function of arrays makes, as calls with names; and what stands for its result."""
    recording = Recording()
    result = function(*map(recording.input, inputs))
    return recording.finish([]), recording.names, recording.named(recording.read(result))


def sizes(calls, names):
    """How much is live at once, how much an arena takes, and how much all takes together."""
    lives = lifetimes([call.arrays for call in calls], names)
    return most_live(lives), liveness.offsets(lives)[1], sum(x.name.nbytes for x in lives)


def test_a_chain_needs_two_arrays():
    x = np.ones(16)  # 128 bytes
    calls, names, _ = recorded(lambda x: (((x + 1) * 2 - 3) / 4) ** 2, x)
    assert sizes(calls, names) == (256, 256, 5 * 128)


def test_a_view_keeps_all_of_its_memory_and_small_arrays_take_a_line():
    def function(x):
        y = x + 1  # 256 bytes, live to the end by its last row
        z = y * 2
        return (z - 1).sum() + y[3, :1]

    calls, names, _ = recorded(function, np.ones((4, 8)))
    # y, z and z - 1; the sum and what it is added to take 64 bytes each, in the place of z.
    assert sizes(calls, names) == (3 * 256, 3 * 256, 3 * 256 + 8 + 8)


def test_what_is_kept_shares_its_memory_with_nothing():
    x = np.arange(16.0)
    calls, names, kept = recorded(lambda x: (x + 1, ((x + 2) * 3 - 4) / 5)[0], x)
    arena = Arena(Account(3 * 128))
    tape = tape_module.Tape(calls, [kept], names=names, arena=arena)
    x *= 2
    tape.play()
    np.testing.assert_array_equal(tape.live[0], 2 * np.arange(16.0) + 1)
    assert not np.may_share_memory(tape.live[0], arena.block(0))


def test_no_two_that_are_live_at_once_overlap():
    rng, names = np.random.default_rng(0), Names()
    for count in (1, 5, 40, 200):
        firsts = rng.integers(0, 50, count).tolist()
        lives = [
            Lifetime(names.new(int(size)), first, first + int(length))
            for size, first, length in zip(
                rng.integers(0, 5000, count), firsts, rng.integers(0, 20, count), strict=True
            )
        ]
        placed, total = liveness.offsets(lives)
        assert len(placed) == count
        assert most_live(lives) <= total <= 1.25 * most_live(lives)
        for one, start in placed:
            assert start % 64 == 0
            assert start + one.name.nbytes <= total
            for other, at in placed:
                if one is not other and max(one.first, other.first) <= min(one.last, other.last):
                    apart = start >= at + other.name.nbytes or at >= start + one.name.nbytes
                    assert apart
    assert most_live([]) == 0


def test_names_are_not_written_and_views_of_them_are_moved():
    names = Names()
    name, other = names.new(96), names.new(2**21)
    with pytest.raises(ValueError, match="read-only"):
        name[0] = 1
    view = np.ndarray((2, 3), "float32", name, 4 + 12, (32, -4))
    arena = Arena(Account(2**22))
    memory = Memory(names, [[view], [other]], arena)
    moved = memory.moved(view)
    assert (moved.shape, moved.strides, moved.dtype) == (view.shape, view.strides, view.dtype)
    start = moved.__array_interface__["data"][0]
    assert memory.moved_address(view.__array_interface__["data"][0]) == start
    assert memory.moved_address(12345) == 12345
    moved[...] = 1  # where there is memory
    own = np.ones(3)
    assert memory.moved(own) is own


def test_recording_takes_no_more_memory_than_what_is_recorded():
    x = np.ones(2**18, "float32")  # a MiB

    def function(x):
        for _ in range(30):
            x = x * 1.5
        return x

    tracemalloc.start()
    try:
        calls, names, _ = recorded(function, x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(calls) == 30
    assert peak < 4 * 2**20
    assert sizes(calls, names)[1] == 2 * 2**20


def test_a_constant_that_is_written_to_after_it_was_read_is_refused():
    def function(x):
        y = np.ones(3)
        z = x + y
        y += x
        return z + y

    with pytest.raises(Refused, match="written to that was read"):
        recorded(function, np.ones(3))


# -- steps ----------------------------------------------------------------------------------------


def steps_of(model, shape, batch):
    backend = open_backend("numpy", threads=1)
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.05), pixel_maximum=255.0, seed=1)
    x = stream(0, "samples").integers(0, 256, (3 * batch, *shape)).astype("uint8")
    y = stream(0, "labels").integers(0, 10, 3 * batch)
    rows = stream(0, "rows").integers(0, 3 * batch, (WARM_UPS + 5, 1, batch))
    return backend, step, initial_state(backend, model, SGD(0.05), 1), x, y, rows


def run(backend, step, state, x, y, groups, *, compiles=False):
    replayed = Replayer(step, compiles=compiles)
    with backend.scope():
        for rows in groups:
            state = replayed(state, x, y, rows)
    return {name: value.copy() for name, value in state.items()}, replayed


@pytest.mark.compiler
@pytest.mark.numerics
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_are_those_without_sharing(monkeypatch, name):
    """In memory that has served before; one of them compiled."""
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)
    compiles = name == "small_cnn"
    shape = (64,) if name == "mlp" else (16, 16) if name == "lenet5" else (8, 8)
    shared, replayed = run(*steps_of(MODELS[name](), shape, 4), compiles=compiles)
    assert replayed.reason == ""
    (tape,) = replayed._tapes.values()
    assert tape.is_compiled == (compiles and HAS_COMPILER)
    monkeypatch.setattr(liveness.Lifetime, "overlaps", lambda one, other: True)
    apart, replayed = run(*steps_of(MODELS[name](), shape, 4), compiles=compiles)
    assert replayed.reason == ""
    for key, value in shared.items():
        assert value.tobytes() == apart[key].tobytes(), key


def test_memory_that_is_given_away_too_early_is_found(monkeypatch):
    """Before the last call that reads it. (NumPy's functions may write to what they read.)"""
    right = liveness.lifetimes

    def early(touched, names):
        return [replace(x, last=max(x.first, x.last - 2)) for x in right(touched, names)]

    monkeypatch.setattr(liveness, "lifetimes", early)
    _, replayed = run(*steps_of(MODELS["lenet5"](), (16, 16), 4))
    assert "a replay gives another" in replayed.reason


@pytest.mark.parametrize(("name", "batch", "most"), [("lenet5", 128, 14), ("small_cnn", 64, 60)])
def test_convolutional_networks_are_recorded_at_usual_sizes_of_batch(
    monkeypatch, name, batch, most
):
    """With digits of MNIST. They make 66 and 601 MiB, of which so many are live at once."""
    monkeypatch.setattr(replay, "WARM_UPS", 0)
    *parts, rows = steps_of(getattr(models, name)((28, 28), 10), (28, 28), batch)
    _, replayed = run(*parts, rows[:1])
    assert replayed.reason == ""
    assert replayed._memory.arena.block(0).nbytes < most * 2**20


def test_sizes_of_batch_share_one_block():
    backend, step, state, x, y, rows = steps_of(MODELS["lenet5"](), (16, 16), 6)
    groups = [group[:, :size] for size in (6, 5, 3) for group in rows]
    _, replayed = run(backend, step, state, x, y, groups)
    assert len(replayed._tapes) == 3
    block = replayed._memory.arena.block(0)
    for tape in replayed._tapes.values():
        made = [call.output for call in tape._as_recorded if call.output.size > 100]
        assert any(np.may_share_memory(block, array) for array in made)


def test_what_would_take_too_much_is_not_recorded(monkeypatch):
    monkeypatch.setattr(replay, "MOST_MADE", 10_000)
    _, replayed = run(*steps_of(MODELS["lenet5"](), (16, 16), 4))
    assert "recording it would take" in replayed.reason
