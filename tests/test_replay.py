"""Recorded steps of the NumPy backend, against the steps as they are written: the same bits."""

import gc
import math
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from compiling import HAS_COMPILER, needs_compiler

from xpnet import (
    SGD,
    Callback,
    Dense,
    Flatten,
    Layer,
    MaxNorm,
    Residual,
    Sequential,
    Tanh,
    fit,
    mlp,
    open_backend,
)
from xpnet.backends.base import one_by_one
from xpnet.backends.numpy import loops, replay
from xpnet.backends.numpy import tape as tape_module
from xpnet.backends.numpy.calls import Refused
from xpnet.backends.numpy.liveness import Account, Arena, owner_of
from xpnet.backends.numpy.openblas import find_blas
from xpnet.backends.numpy.recording import Recording, Tracer
from xpnet.backends.numpy.replay import WARM_UPS, Replayer
from xpnet.conformance.examples import LAYER_EXAMPLES, LOSS_EXAMPLES, OPTIMIZER_EXAMPLES
from xpnet.inputs.weighted import Weighted
from xpnet.layers.frozen import Frozen
from xpnet.losses import softmax_cross_entropy
from xpnet.purity import is_pure
from xpnet.random import stream
from xpnet.training.step import initial_state, make_step

pytestmark = [pytest.mark.compiler, pytest.mark.numerics]


@pytest.fixture(autouse=True)
def _compile_at_once(monkeypatch):
    """One group of steps is replayed by NumPy, the next ones compiled."""
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)


class MovesAll(SGD):
    """Plain gradient descent that is given its gradients made."""

    def update(self, *arguments):
        return super().update(*arguments)


def samples(shape=(30, 12), classes=4, kind="uint8"):
    x = stream(0, "samples").integers(0, 256, shape)
    x = x.astype("uint8") if kind == "uint8" else (x / 100 - 1).astype(kind)
    return x, stream(0, "labels").integers(0, classes, shape[0])


SAMPLES = samples()


def steps_of(model, *, loss=softmax_cross_entropy, optimizer=SGD(0.1), dtype="float32"):  # noqa: B008
    backend = open_backend("numpy", None, dtype)
    step = make_step(backend, model, loss, optimizer, pixel_maximum=255.0, seed=1)
    return step, lambda: initial_state(backend, model, optimizer, 1)


def rows_of(count, batch, n=30):
    return stream(0, "rows").integers(0, n, (count, batch))


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        left, right = np.asarray(a[name]), np.asarray(b[name])
        assert left.dtype == right.dtype, name
        assert left.tobytes() == right.tobytes(), name


def replay_beside(step, make_state, x, y, groups):
    """Compare states by single steps and by replays after each group."""
    replayed, expected = Replayer(step), make_state()
    state = make_state()
    for group in groups:
        state = replayed(state, x, y, group)
        expected = one_by_one(step)(expected, x, y, group)
        assert_same_bits(state, expected)
    return replayed


def run_both(step, make_state, x, y, groups):
    """The same, where a step that is tried to be compiled has to be."""
    replayed = replay_beside(step, make_state, x, y, groups)
    # (Where there is no compiler, NumPy replays all.)
    assert all(t.is_compiled for t in replayed._tapes.values() if t.is_tried) or not HAS_COMPILER
    return replayed


def tape_of(recording, live, moves=()):
    calls = recording.finish(list(moves))
    return tape_module.Tape(calls, live, names=recording.names, arena=Arena(Account(10**6)))


@pytest.mark.parametrize("row", LAYER_EXAMPLES, ids=str)
@pytest.mark.parametrize(
    ("dtype", "plain"), [("float32", True), ("float64", False)], ids=["unmade", "gradients"]
)
def test_every_layer_has_the_same_bits(row, dtype, plain):
    """In each dtype, and in each way to change parameters; each of the four compiles a program."""
    check_layer(row, dtype, plain)


@pytest.mark.parametrize(("dtype", "plain"), [("float64", True), ("float32", False)])
def test_layers_of_layers_have_the_same_bits_in_the_other_dtype(dtype, plain):
    rows = [row for row in LAYER_EXAMPLES if isinstance(row.layer, Residual)]
    assert rows
    for row in rows:
        check_layer(row, dtype, plain)


def check_layer(row, dtype, plain):
    out = row.layer.output_shape(row.shape[1:])
    model = Sequential(layer=row.layer, flat=Flatten(), last=Dense(math.prod(out), 4))
    optimizer = SGD(0.1) if plain else MovesAll(0.1)
    step, make_state = steps_of(model, optimizer=optimizer, dtype=dtype)
    x, y = samples((30, *row.shape[1:]), kind=dtype)
    with open_backend("numpy", None, dtype).scope():
        replayed = run_both(step, make_state, x, y, rows_of(12, 6)[:, None, :])
    assert replayed.reason == ""
    assert len(replayed._tapes) == 1


@pytest.mark.parametrize("name", OPTIMIZER_EXAMPLES)
def test_every_optimizer_has_the_same_bits(name):
    step, make_state = steps_of(mlp(12, 130, 90, 4), optimizer=OPTIMIZER_EXAMPLES[name])
    replayed = run_both(step, make_state, *samples(), rows_of(15, 6)[:, None, :])
    assert replayed.reason == ""


@pytest.mark.parametrize("row", LOSS_EXAMPLES, ids=str)
def test_every_loss_has_the_same_bits(row):
    _, target, weight = row.arrays()
    x, _ = samples((target.shape[0], 12))
    y = target if weight is None else Weighted(target, weight)
    step, make_state = steps_of(mlp(12, 5, 4), loss=row.loss, dtype="float64")
    assert run_both(step, make_state, x, y, rows_of(12, 3, 5)[:, None, :]).reason == ""


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(30, 12), (30, 3, 4)])
def test_every_kind_of_samples(kind, shape):
    step, make_state = steps_of(mlp(12, 9, 4))
    assert (
        run_both(step, make_state, *samples(shape, kind=kind), rows_of(9, 5)[:, None]).reason == ""
    )


def test_groups_of_several_sizes_and_batches_of_two():
    """The tail of an epoch is a second recording, on the same state."""
    step, make_state = steps_of(mlp(12, 9, 4))
    whole, tail = rows_of(16, 8).reshape(4, 4, 8), rows_of(4, 3)[:, None, :]
    groups = [group for pair in zip(whole, tail, strict=True) for group in pair]
    replayed = run_both(step, make_state, *samples(), groups)
    assert replayed.reason == ""
    assert set(replayed._tapes) == {(8,), (3,)}


def test_a_state_that_was_changed_in_between():
    """A new learning rate, parameters from elsewhere, and another state altogether."""
    step, make_state = steps_of(mlp(12, 9, 4))
    replayed, x_y, groups = Replayer(step), samples(), rows_of(20, 8)[:, None, :]
    state, expected = make_state(), make_state()
    for i, group in enumerate(groups):
        if i in (6, 9):
            for changed in (state, expected):
                changed["learning_rate"] = np.asarray(0.5 / i, np.float32)
                changed["param/fc1.weight"] = changed["param/fc1.weight"] + np.float32(i)
        if i == 12:
            state, expected = make_state(), make_state()
        if i == 15:
            state["extra"], expected["extra"] = np.zeros(3), np.zeros(3)
        state = replayed(state, *x_y, group)
        expected = step(expected, *x_y, group[0])
        assert_same_bits(state, expected)
    assert replayed.reason == ""


@pytest.mark.parametrize("hold", [1, 3])
def test_samples_that_are_others_each_time_are_not_recorded(hold):
    """As streamed ones are; nor are they taken for those of a recorded step."""
    step, make_state = steps_of(mlp(12, 9, 4))
    replayed, state, expected = Replayer(step), make_state(), make_state()
    groups = rows_of(8, 8)[:, None, :]
    for i in range(12):
        x, y = samples()
        x = (x // 2 + i).astype("uint8")
        for group in groups[: hold * (1 + (i > 5))]:
            state = replayed(state, x, y, group)
            expected = step(expected, x, y, group[0])
            assert_same_bits(state, expected)
        assert hold > 1 or i > 5 or not replayed._tapes


def test_nothing_stays_when_a_training_is_over():
    """NumPy's arrays take no part in the search for circles: one that holds the samples stays."""
    for layer in (Tanh(), Odd("sorts")):  # recorded, and refused in the middle
        x, y = samples((300, 12), kind="float32")
        held = weakref.ref(x)
        step, make_state = steps_of(Sequential(odd=layer, last=Dense(12, 4)))
        run_both(step, make_state, x, y, rows_of(9, 6)[:, None, :])
        del x, step, make_state
        gc.collect()
        assert held() is None


def test_two_trainings_with_one_run():
    step, make_state = steps_of(mlp(12, 9, 4))
    (x, y), groups, run = samples(), rows_of(12, 6)[:, None, :], Replayer(step)
    states = []
    for seed in (0, 1):
        state = {name: value + np.float32(seed) for name, value in make_state().items()}
        state["step"] = np.asarray(0, np.int32)
        for group in groups:
            state = run(state, x, y, group)
        states.append(state)
    for seed, state in enumerate(states):
        expected = {name: value + np.float32(seed) for name, value in make_state().items()}
        expected["step"] = np.asarray(0, np.int32)
        for group in groups:
            expected = step(expected, x, y, group[0])
        assert_same_bits(state, expected)
    for group in np.tile(groups, (10, 1, 1)):  # in turn: in the end nothing is recorded any more
        states = [run(state, x, y, group) for state in states]
    assert "several trainings" in run.reason


def test_arrays_that_were_exchanged():
    step, make_state = steps_of(Sequential(a=Dense(12, 12), b=Dense(12, 12), c=Dense(12, 4)))
    (x, y), replayed = samples(), Replayer(step)
    state, expected = make_state(), make_state()
    for i, group in enumerate(rows_of(12, 6)[:, None, :]):
        if i % 5 == 4:
            for s in (state, expected):
                a, b = "param/a.weight", "param/b.weight"
                s[a], s[b] = s[b], s[a]
        state = replayed(state, x, y, group)
        expected = step(expected, x, y, group[0])
        assert_same_bits(state, expected)
    assert replayed.reason == ""


def test_a_recording_that_fails_leaves_the_state_as_it_was():
    """For the second size of batch, in a backward pass, when a weight above has been updated."""

    @dataclass(frozen=True)
    class OddBelow(Layer):
        def forward(self, xp, params, x, ctx):
            return x * 1.0, (x,)

        def backward(self, xp, params, cache, dy, *, need_dx=True):
            return (np.sort(dy, axis=1) if dy.shape[0] < 6 else dy * 2.0), {}

    model = Sequential(f=Dense(12, 130), odd=OddBelow(), g=Dense(130, 90), h=Dense(90, 4))
    step, make_state = steps_of(model)
    groups = [g for pair in zip(rows_of(9, 6), rows_of(9, 5), strict=True) for g in pair]
    replayed = run_both(step, make_state, *samples(), [group[None, :] for group in groups])
    assert "sort" in replayed.reason


@pytest.mark.parametrize("what", ["labels", "inputs"])
def test_a_copy_that_nobody_follows(what):
    """What depends on the batch alone is wrong for other batches, though the state is right."""

    def one_hot_by_indexing(xp, output, target, *, weight=None, need_grad=True):
        rows = np.eye(4, dtype=output.dtype)[np.asarray(target)]
        return softmax_cross_entropy(xp, output, rows)

    @dataclass(frozen=True)
    class Copies(Tanh):
        def forward(self, xp, params, x, ctx):
            return super().forward(xp, params, xp.asarray(x, copy=True), ctx)

    loss = one_hot_by_indexing if what == "labels" else softmax_cross_entropy
    layer = Copies() if what == "inputs" else Tanh()
    step, make_state = steps_of(Sequential(a=layer, b=Dense(12, 4)), loss=loss)
    replayed = run_both(step, make_state, *samples(), rows_of(9, 6)[:, None, :])
    assert replayed.reason


def test_negative_indices_count_from_the_end():
    table = np.arange(10.0)
    recording = Recording()
    rows = np.asarray([1, -1])
    taken = recording.input(table).take(recording.input(rows), axis=0).view(np.ndarray)
    tape = tape_of(recording, [recording.named(taken)])
    rows[:] = -2, 3
    tape.play()
    np.testing.assert_array_equal(tape.live[0], [8.0, 3.0])
    rows[0] = 10
    with pytest.raises(IndexError):
        tape.play()


def test_fit_records_what_is_made_of_its_own_parts_alone(monkeypatch):
    """A loss may look at what a callback changes; before there were recordings it could."""
    weight = {"factor": 1.0}

    def annealed(xp, output, target, *, weight=weight, need_grad=True):
        loss, d_output = softmax_cross_entropy(xp, output, target)
        return loss * weight["factor"], None if d_output is None else d_output * weight["factor"]

    class Anneal(Callback):
        every_step = False

        def on_epoch(self, network, record):
            weight["factor"] /= 2

    def train():
        weight["factor"] = 1.0
        return fit(
            mlp(12, 9, 4), samples((300, 12)), epochs=3, batch_size=8, loss=annealed,
            backend=open_backend("numpy", threads=1), callbacks=[Anneal()],
        )  # fmt: skip

    found = train()
    monkeypatch.setattr(replay, "WARM_UPS", 10**9)
    assert_same_bits(found.params, train().params)
    own = mlp(12, 9, 4, batch_norm=True, dropout=0.1), softmax_cross_entropy, SGD(0.1)
    assert is_pure(*own)
    assert not is_pure(Sequential(a=Sequential(b=Odd("sorts"))), *own[1:])
    assert not is_pure(own[0], annealed, own[2])
    assert not is_pure(*own[:2], MovesAll(0.1))


def test_what_fit_records():
    """What is of a class of xpnet, and not what is derived from one, whatever it calls itself."""

    class Disguised(Tanh):
        __module__ = "xpnet.layers.activations"

    class Longest(MaxNorm):
        pass

    rest = softmax_cross_entropy, SGD(0.1)
    for row in LAYER_EXAMPLES:
        assert is_pure(Sequential(layer=row.layer), *rest), row
    for row in LOSS_EXAMPLES:
        assert is_pure(Tanh(), row.loss, SGD(0.1)), row
    for optimizer in OPTIMIZER_EXAMPLES.values():
        assert is_pure(Tanh(), softmax_cross_entropy, optimizer)
    assert is_pure(Dense(4, 4, constraint=MaxNorm(3)), *rest)
    assert is_pure(Sequential(a=Frozen(Sequential(b=Dense(4, 4)))), *rest)
    for layer in (
        Disguised(),
        Sequential(a=Residual(Disguised())),
        Frozen(Sequential(a=Disguised())),
        Dense(4, 4, constraint=Longest(3)),
    ):
        assert not is_pure(layer, *rest)


def test_fit_gives_the_same_network(monkeypatch):
    class Steps(Callback):
        every_step = False

        def __init__(self):
            self.counts = []

        def on_step(self, state, count):
            self.counts.append(count)

    def train():
        watcher = Steps()
        network = fit(
            mlp(12, 9, 4, dropout=0.3), samples((300, 12)), epochs=3, batch_size=8,
            backend=open_backend("numpy", threads=1), callbacks=[watcher],
        )  # fmt: skip
        return network, watcher.counts

    (replayed, counts) = train()
    monkeypatch.setattr(replay, "WARM_UPS", 10**9)
    (expected, _) = train()
    assert_same_bits(replayed.params, expected.params)
    assert sum(counts) == 3 * 38
    assert max(counts) > 1


# -- what is compiled -----------------------------------------------------------------------------


@needs_compiler
def test_a_step_is_compiled_once_its_replays_have_taken_long(monkeypatch):
    step, make_state = steps_of(mlp(12, 9, 4))
    replayed, state, x_y = Replayer(step), make_state(), samples()
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", math.inf)
    for group in rows_of(8, 8)[:, None, :]:
        state = replayed(state, *x_y, group)
    (tape,) = replayed._tapes.values()
    assert len(tape.bound) > 30
    assert tape.seconds > 0
    assert not tape.is_tried
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0)
    replayed(state, *x_y, rows_of(2, 8))
    assert tape.is_compiled
    # Exponentials, logarithms and sums stay calls of NumPy; products where its BLAS is not found.
    assert len(tape.bound) == 7 or not find_blas()


@needs_compiler
def test_what_gives_other_bits_is_not_used(monkeypatch, caplog):
    monkeypatch.setitem(loops._FUNCTIONS, "subtract", "{0} - {1} * 1.0000002f")
    step, make_state = steps_of(mlp(12, 9, 4))
    with caplog.at_level("INFO", logger="xpnet"):
        replayed = replay_beside(step, make_state, *SAMPLES, rows_of(12, 8).reshape(4, 3, 8))
    (tape,) = replayed._tapes.values()
    assert tape.is_tried
    assert not tape.is_compiled
    assert "the results are others" in caplog.text


def test_without_a_compiler_all_is_as_before(monkeypatch, caplog):
    monkeypatch.setenv("XPNET_CC", "")
    step, make_state = steps_of(mlp(12, 9, 4, dropout=0.2))
    with caplog.at_level("INFO", logger="xpnet"):
        replayed = replay_beside(step, make_state, *SAMPLES, rows_of(15, 8).reshape(5, 3, 8))
    assert replayed.reason == ""
    assert [r.message for r in caplog.records if "compiled" in r.message] == [
        "steps are not compiled, which may be slower: XPNET_CC is empty: no compiler is to be used"
    ]


# -- what must not be replayed ------------------------------------------------------------------


@dataclass(frozen=True)
class Odd(Layer):
    """A layer that does what is asked of it with its input."""

    what: str

    def forward(self, xp, params, x, ctx):
        return DEEDS[self.what](x), (x,)

    def backward(self, xp, params, cache, dy, *, need_dx=True):
        return dy * 1.0, {}


_noise = np.random.default_rng(0)


def _written(x):
    y = np.zeros(x.shape, x.dtype)
    y += x
    y += y
    return y


DEEDS = {
    "noise": lambda x: x + _noise.normal(size=x.shape).astype(x.dtype),
    "reads": lambda x: x * float(x[0, 0]) if x.size else x,
    "looks": lambda x: x if x[0, 0] > 0 else 2 * x,
    "sorts": lambda x: np.sort(x, axis=1),
    "cumulates": lambda x: np.cumsum(x, axis=1),
    "masks": lambda x: x * (x[x > 0].shape[0] > 3),
    "argmin": lambda x: x + np.argmin(x, axis=1)[:, None].astype(x.dtype),
    "einsum": lambda x: np.einsum("ij->ij", x),
    "leaves": lambda x: x + np.asarray(np.ndarray.cumsum(x.view(np.ndarray), axis=1)),
    "divmod": lambda x: np.divmod(x, 0.7)[1],
    "where": lambda x: np.add(x, 1.0, where=x > 0, out=np.zeros_like(x)),
    "fixed": lambda x: np.full_like(x, x[0, 0]),
}
FOLLOWED = {
    "constant written to": _written,
    "numbers": lambda x: 2 - x / 3 + x**2 + (-x) * 1e-3,
    "compares": lambda x: np.where(x > 0.5, x, 0.25 * x) + np.where(x < 0, 1.0, x),
    "reduces": lambda x: x - x.mean(axis=1, keepdims=True) + np.max(x, axis=0) + np.sum(x),
    "copies": lambda x: np.reshape(x.T, x.shape) + x.copy() + np.concatenate([x[:2], x[2:]], 0),
    "argmax": lambda x: x + np.argmax(x, axis=1)[:, None].astype(x.dtype) + x.argmax(),
    "transposed": lambda x: np.matmul(np.matmul(x, x.T), x) / 100,
}
DEEDS |= FOLLOWED


@pytest.mark.parametrize("what", DEEDS)
def test_what_cannot_be_recorded_is_done_as_it_is_written(what):
    step, make_state = steps_of(Sequential(fc=Dense(12, 5), odd=Odd(what), last=Dense(5, 4)))
    (x, y), groups = samples(), rows_of(10, 6)[:, None, :]
    if what == "noise":  # other numbers each time: of two ways to take a step neither is right
        replayed, state = Replayer(step), make_state()
        for group in groups:
            state = replayed(state, x, y, group)
    else:
        replayed = run_both(step, make_state, x, y, groups)
    assert (replayed.reason == "") == (what in FOLLOWED), replayed.reason


def test_large_networks_are_not_recorded(monkeypatch):
    for what, limit in (("MOST_MADE", 50_000), ("MOST_BYTES", 0)):
        monkeypatch.setattr(replay, what, limit)
        step, make_state = steps_of(mlp(12, 900, 4))
        replayed = run_both(step, make_state, *samples(), rows_of(6, 20)[:, None, :])
        assert "recording" in replayed.reason


def test_a_reason_is_logged_once(caplog):
    step, make_state = steps_of(Sequential(odd=Odd("sorts"), last=Dense(12, 4)))
    with caplog.at_level("INFO", logger="xpnet"):
        run_both(step, make_state, *samples(), rows_of(10, 6)[:, None, :])
    messages = [r.message for r in caplog.records if "replayed" in r.message]
    assert len(messages) == 1
    assert "sort" in messages[0]


def test_an_error_of_a_step_is_not_swallowed():
    @dataclass(frozen=True)
    class Fails(Tanh):
        def forward(self, xp, params, x, ctx):
            if calls:
                calls.pop()
                return super().forward(xp, params, x, ctx)
            raise RuntimeError("broken")

    calls = [None] * (WARM_UPS + 1)
    step, make_state = steps_of(Sequential(fails=Fails(), last=Dense(12, 4)))
    replayed, state, (x, y) = Replayer(step), make_state(), samples()
    groups = rows_of(9, 6)[:, None, :]
    for group in groups[: WARM_UPS + 1]:  # recording fails, the step does not
        state = replayed(state, x, y, group)
    assert "broken" in replayed.reason
    with pytest.raises(RuntimeError, match="broken"):
        replayed(state, x, y, groups[-1])


def test_recorded_arrays_are_as_numpy_has_them():
    """Values, shapes and dtypes while recording, and other ones at the replay."""
    recording, x = Recording(), np.arange(12.0, dtype=np.float32).reshape(3, 4)
    r = recording.input(x)
    assert isinstance(r + 1, Tracer)
    assert isinstance(r.T, Tracer)
    assert isinstance(r + np.ones(4), Tracer)
    found = np.sum(r[1:].T * 2, axis=0) + r[0, 1:3]
    result = found.view(np.ndarray)
    np.testing.assert_array_equal(result, [44 + 1, 76 + 2])
    assert found.dtype == np.float32
    tape = tape_of(recording, [recording.named(result)])
    x *= 10
    tape.play()
    np.testing.assert_array_equal(tape.live[0], [450, 780])


def test_finish_moves_what_was_exchanged():
    a, b = np.asarray([1.0]), np.asarray([2.0])
    recording = Recording()
    recording.input(a), recording.input(b)
    tape_of(recording, [a, b], [(a, b), (b, a)]).play()
    assert (a[0], b[0]) == (2.0, 1.0)


def test_refused_says_what():
    r = Recording().input(np.ones((2, 2)))
    with pytest.raises(Refused, match="argmin"):
        r.argmin()
    with pytest.raises(Refused, match="argmax with out or keepdims"):
        r.argmax(keepdims=True)
    with pytest.raises(Refused, match="view"):
        r[np.asarray([0, 1])]
    with pytest.raises(Refused, match="assignment"):
        r[0] = 1
    with pytest.raises(Refused, match="__float__"):
        float(r[0:1, 0])


# -- rows that are not there --------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_out_of_range_are_what_they_are_to_a_step(weighted):
    """Before steps are recorded, when they are, and when they are compiled: as NumPy counts."""
    step, make_state = steps_of(mlp(12, 9, 4))
    x, y = samples()
    if weighted:
        y = Weighted(y, np.linspace(0.5, 1.5, 30, dtype="float32"))
    replayed, state, expected = Replayer(step), make_state(), make_state()
    for i, group in enumerate(rows_of(36, 6).reshape(12, 3, 6)):
        group[1, 2] = (-1, 29, -30, 3)[i % 4]
        state = replayed(state, x, y, group)
        expected = one_by_one(step)(expected, x, y, group)
        assert_same_bits(state, expected)
        for wrong in (30, -31, 2**40, -(2**40)):
            with pytest.raises(IndexError, match="out of bounds"):
                replayed({k: v.copy() for k, v in state.items()}, x, y, np.asarray([[0, wrong]]))
        replayed._changes = 0  # states of others, which a loop of one's own has not
    assert replayed.reason == ""


def test_rows_that_the_targets_do_not_have_are_an_error():
    step, make_state = steps_of(mlp(12, 9, 4))
    (x, y), state, replayed = samples(), make_state(), Replayer(step)
    y = y[:20]
    for group in rows_of(8, 6, n=20)[:, None, :]:
        state = replayed(state, x, y, group)
    assert replayed._tapes
    with pytest.raises(IndexError, match="out of bounds"):
        replayed(state, x, y, np.full((1, 6), 20))


def test_so_many_sizes_of_batch_are_recorded_and_no_more(monkeypatch):
    monkeypatch.setattr(replay, "MOST_TAPES", 2)
    step, make_state = steps_of(mlp(12, 9, 4))
    groups = [rows_of(1, size) for size in (3, 4, 5, 6) * 4]
    replayed = run_both(step, make_state, *samples(), groups)
    assert set(replayed._tapes) == {(3,), (4,)}
    assert replayed.reason == ""


@needs_compiler
def test_compiled_steps_hold_the_memory_that_they_write_to(monkeypatch):
    """A larger batch takes another block, and C has its arrays by their addresses alone."""
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)

    def step(state, x, y, rows):
        b = x.take(rows, axis=0) * 2.0
        d = np.maximum(np.dot(b, state["w"]), 0.5)
        return {"w": state["w"] - np.dot(b.T, d) * 1e-3}

    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 8)).astype("f"), np.zeros(64, "i")
    run, state = Replayer(step), {"w": random.normal(size=(8, 8)).astype("f")}
    for _ in range(12):
        state = run(state, x, y, random.integers(0, 64, (3, 4)))
    tape = run._tapes[(4,)]
    assert tape.is_compiled
    block = weakref.ref(owner_of(tape._arena._block))
    state = run(state, x, y, random.integers(0, 64, (5, 32)))
    gc.collect()
    assert owner_of(tape._arena._block) is not block()
    assert block() is not None
    assert run._tapes[(4,)] is tape
