"""Steps whose kernels are fused: compiled as C++ against NumPy, and CuPy on a GPU."""

import gc
import logging
import random
import weakref

import numpy as np
import pytest
from array_api_compat import numpy as compat_numpy
from conftest import require
from emulated_cuda import EmulatedCupy

import xpnet
from xpnet import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Reshape,
    Sequential,
    mlp,
    open_backend,
)
from xpnet.augment import (
    Affine,
    Compose,
    CutMix,
    Elastic,
    Flip,
    Mixup,
    Shift,
    Sometimes,
)
from xpnet.backends.base import with_overrides
from xpnet.backends.cupy.deferred import Deferred
from xpnet.backends.cupy.fused_step import FusedStep, Tracing
from xpnet.backends.cupy.fusion import DEEPEST, Fuser
from xpnet.backends.cupy.nodes import Node
from xpnet.backends.cupy.source import LONG_LOOP, write_kernel
from xpnet.backends.numpy import NumpyBackend
from xpnet.conformance import examples
from xpnet.inputs.weighted import Weighted
from xpnet.layers.frozen import freeze_layers
from xpnet.losses import softmax_cross_entropy
from xpnet.operations import subtract_product
from xpnet.optimizers import SGD, Adam, Lion, Momentum
from xpnet.random import keep_mask, threefry2x32
from xpnet.schedules import Cosine
from xpnet.training.rates import SCHEDULE_START
from xpnet.training.step import initial_state, make_step

pytestmark = pytest.mark.compiler


def eager_subtract_product(c, a, b):
    c -= np.matmul(a, b)
    return c


def eager_keep_mask(key, step, x, rate, row_offset):
    return keep_mask(compat_numpy, key, step, np.empty(x.shape), rate, row_offset=row_offset)


EAGER = with_overrides(
    compat_numpy, subtract_product=eager_subtract_product, keep_mask=eager_keep_mask
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def cupy(folder):
    return EmulatedCupy(folder)


@pytest.fixture
def fuser(cupy):
    return Fuser(cupy, EAGER, "cpu", {}, warp=1)


class FusingNumpy(NumpyBackend):
    """NumPy whose arrays are deferred: what is computed goes through kernels."""

    def __init__(self, fuser, tracing):
        super().__init__(None, "float64")
        self.fuser, self.xp = fuser, tracing.namespace(EAGER)

    def asarray(self, x, dtype=None, *, copy=None):
        return self.fuser.defer(np.array(x, dtype=dtype))


def run_fused(fuser, run, *arguments):
    """What a function of a backend gives where all is deferred, and on NumPy."""
    tracing = Tracing()
    backend = FusingNumpy(fuser, tracing)
    with np.errstate(all="ignore"), tracing.to(fuser):
        found = run(backend, *arguments)
        (found,) = fuser.known(found)
    with np.errstate(all="ignore"):
        return found, run(open_backend("numpy", None, "float64"), *arguments)


def assert_equal(found, expected, rtol=1e-12):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-14, err_msg=name)


# -- all of xpnet ---------------------------------------------------------------------------------


@pytest.mark.parametrize("example", examples.LAYER_EXAMPLES, ids=str)
def test_layers(fuser, cupy, example):
    found, expected = run_fused(fuser, examples.run_layer, example)
    assert_equal(found, expected)


@pytest.mark.parametrize("example", examples.LOSS_EXAMPLES, ids=str)
def test_losses(fuser, cupy, example):
    found, expected = run_fused(fuser, examples.run_loss, example)
    assert_equal(found, expected)
    assert cupy.kernels


@pytest.mark.parametrize("name", examples.OPTIMIZER_EXAMPLES)
def test_optimizers(fuser, cupy, name):
    found, expected = run_fused(fuser, examples.run_optimizer, examples.OPTIMIZER_EXAMPLES[name])
    assert_equal(found, expected)
    assert cupy.kernels


def test_edges(fuser):
    found, expected = run_fused(fuser, examples.run_edges)
    assert_equal(found, expected)


# -- whole steps ----------------------------------------------------------------------------------

PLAIN = mlp(30, 16, 10)
RICH = mlp(30, 8, 10, batch_norm=True, dropout=0.2)
PICTURES = Sequential(
    as_pictures=Reshape((5, 6, 1)), conv1=Conv2D(1, 4, bias=False), bn1=BatchNorm(4), relu1=ReLU(),
    pool1=MaxPool2D(2, padding="same"), conv2=Conv2D(4, 6, 2, stride=2, groups=2),
    pool2=AveragePool2D(2, 1), flatten=Flatten(), fc=Dense(6, 10),
)  # fmt: skip


def take_steps(
    model,
    optimizer,
    *,
    cupy=None,
    n_steps=3,
    batch=12,
    weighted=False,
    n_in=30,
    start=None,
    augment=None,
):
    """The state after some steps, by a `FusedStep` if there is a CuPy; the first may be `start`."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(60, n_in)).astype(np.uint8)
    y = rng.integers(0, 10, size=60)
    # A third of the weights are 0: those samples are not there for a batch norm.
    y = Weighted(y, np.maximum(rng.uniform(-0.5, 1, size=60), 0)) if weighted else y
    backend, tracing, kernels = NumpyBackend(None, "float64"), Tracing(), {}
    backend.xp = tracing.namespace(EAGER) if cupy else EAGER
    step = make_step(
        backend, model, softmax_cross_entropy, optimizer, pixel_maximum=255, seed=1,
        augment=augment, sample_shape=(n_in,),
    )  # fmt: skip
    if cupy:
        step = FusedStep(step, tracing, lambda: Fuser(cupy, EAGER, "cpu", kernels, warp=1))
    state = initial_state(backend, model, optimizer, 0, epochs=2, steps_per_epoch=5)
    if start is not None:
        state["step"] = np.asarray(start, np.int32)
        state[SCHEDULE_START] = np.asarray(start, np.int32)
    for i in range(n_steps):
        state = step(state, x, y, np.arange(batch) + batch * i)
    return state


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        (PLAIN, SGD(0.1)),
        (PLAIN, SGD(0.1, schedule=Cosine())),
        (PLAIN, SGD(0.1, ema=0.9)),
        (RICH, Adam(0.01, clip_norm=1.0, weight_decay=0.1)),
        (RICH, Momentum(0.1, schedule=Cosine(), clip_value=0.01, l2=0.01)),
        (mlp(30, 10), Lion(0.01)),
        (freeze_layers(RICH, ("fc1", "bn1")), Adam(0.01, ema=0.9)),
        (freeze_layers(mlp(30, 9, 8, 10), ("fc2",)), SGD(0.1)),
        (PICTURES, SGD(0.1)),
        (PICTURES, Adam(0.01)),
    ],
)
def test_steps_equal_those_without(cupy, model, optimizer, weighted):
    found = take_steps(model, optimizer, cupy=cupy, weighted=weighted)
    assert cupy.kernels
    assert_equal(found, take_steps(model, optimizer, weighted=weighted))


@pytest.mark.parametrize(
    ("augmentations", "weighted"),
    [
        ((Elastic(), Affine()), False),
        ((Mixup(), Sometimes(Affine(edge="nearest")), Shift(), Flip(), CutMix()), True),
    ],
    ids=["deformed", "mixed"],
)
def test_augmented_steps_equal_those_without(cupy, augmentations, weighted):
    augment = Compose(augmentations, shape=(5, 6))
    options = {"augment": augment, "weighted": weighted, "n_steps": 2}
    found = take_steps(PLAIN, SGD(0.1), cupy=cupy, **options)
    assert cupy.kernels
    assert_equal(found, take_steps(PLAIN, SGD(0.1), **options))


def test_random_words_are_of_few_kernels(fuser, cupy):
    """Their shifts wrap as NumPy's do, in kernels and not one by one."""
    counters = np.arange(-6, 6, dtype=np.int32) * 2**28

    def words(backend, counters):
        x0 = backend.asarray(counters)
        return list(threefry2x32(backend.xp, (7, 9), x0, x0 * 0 + 3, rounds=13))

    found, expected = run_fused(fuser, words, counters)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert 0 < cupy.kernels < 8


def test_a_table_may_begin_with_any_step(cupy):
    """With the same rates, and other masks where there are any."""
    optimizer = SGD(0.1, schedule=Cosine(warmup=0.5))
    later = take_steps(PLAIN, optimizer, start=7)
    assert_equal(take_steps(PLAIN, optimizer, cupy=cupy, start=7), later)
    for name, value in take_steps(PLAIN, optimizer).items():
        if name != "step":
            np.testing.assert_array_equal(later[name], value)


def test_a_step_of_plain_descent_takes_five_kernels_beside_its_two_large_products(cupy):
    model = mlp(784, 128, 10)
    found = take_steps(model, SGD(0.1), cupy=cupy, batch=20, n_in=784, n_steps=2)
    assert_equal(found, take_steps(model, SGD(0.1), batch=20, n_in=784, n_steps=2))
    assert cupy.kernels == 2 * 5
    assert len(cupy.sources) == 5, "the second step should have the kernels of the first"


def test_what_a_step_leaves_alone_stays_the_same_array(cupy):
    backend, tracing = open_backend("numpy", None, "float64"), Tracing()
    step = FusedStep(
        lambda state, x, y, rows: {**state, "b": state["b"] + 1},
        tracing,
        lambda: Fuser(cupy, backend.xp, "cpu", {}, warp=1),
    )
    before = {"a": np.ones(3), "b": np.zeros(3)}
    before = step(before, np.ones(2), np.ones(2), np.arange(2))
    after = step(before, np.ones(2), np.ones(2), np.arange(2))
    assert after["a"] is before["a"]
    assert after["b"].tolist() == [2, 2, 2]
    assert before["b"].tolist() == [1, 1, 1]


class NoCompiler(EmulatedCupy):
    def RawKernel(self, source, name, options):  # noqa: N802
        raise RuntimeError("no\ncompiler")


def test_without_a_compiler_steps_are_as_they_are_written(folder, caplog):
    with caplog.at_level(logging.WARNING, "xpnet"):
        found = take_steps(PLAIN, SGD(0.1), cupy=NoCompiler(folder))
    assert_equal(found, take_steps(PLAIN, SGD(0.1)), rtol=0)
    assert [record.getMessage() for record in caplog.records] == [
        "small kernels are not put together, which is slower (RuntimeError: no compiler)"
    ]


def test_an_error_of_the_step_itself_is_nothing_else(cupy, caplog):
    calls = []

    def step(state, x, y, rows):
        calls.append(1)
        raise ValueError("labels are wrong")

    fused = FusedStep(step, Tracing(), lambda: Fuser(cupy, EAGER, "cpu", {}, warp=1))
    with pytest.raises(ValueError, match="labels are wrong"):
        fused({}, np.ones(2), np.ones(2), np.arange(2))
    assert not caplog.records


def test_a_state_may_have_more_in_it_than_arrays(cupy):
    fused = FusedStep(
        lambda state, x, y, rows: {
            "a": state["a"] + 1, "b": 3, "c": (state["a"] * 2, [state["a"]]),
        },
        Tracing(),
        lambda: Fuser(cupy, EAGER, "cpu", {}, warp=1),
    )  # fmt: skip
    state = fused({"a": np.ones(2), "b": 3, "c": ()}, np.ones(2), np.ones(2), np.arange(2))
    assert (state["a"].tolist(), state["b"]) == ([2, 2], 3)
    assert [state["c"][0].tolist(), state["c"][1][0].tolist()] == [[2, 2], [1, 1]]


def test_deep_networks_are_left_alone(cupy, monkeypatch):
    monkeypatch.setattr("xpnet.backends.cupy.fused_step.MOST_ARRAYS", 6)
    take_steps(PLAIN, SGD(0.1), cupy=cupy)
    assert not cupy.kernels


def test_a_step_that_fails_after_it_has_written_is_taken_from_where_it_began(folder, caplog):
    """The weight is moved before the last kernel, and would be moved twice."""

    class Late(EmulatedCupy):
        def RawKernel(self, source, name, options):  # noqa: N802
            if len(self.sources) == 4:
                raise RuntimeError("no more")
            return super().RawKernel(source, name, options)

    options = {"batch": 20, "n_in": 784}
    found = take_steps(mlp(784, 128, 10), SGD(0.1), cupy=Late(folder), **options)
    assert_equal(found, take_steps(mlp(784, 128, 10), SGD(0.1), **options), rtol=0)
    assert "no more" in caplog.text


def test_a_kernel_is_given_so_many_arrays_at_most(cupy, monkeypatch):
    model, optimizer = mlp(30, 6, 10), Adam(0.01, clip_norm=1.0)
    take_steps(model, optimizer, cupy=cupy, n_steps=1)
    assert cupy.most_arrays > 15
    monkeypatch.setattr("xpnet.backends.cupy.fusion.MOST_ARGUMENTS", 15)
    cupy.most_arrays = 0
    found = take_steps(model, optimizer, cupy=cupy, n_steps=1)
    assert_equal(found, take_steps(model, optimizer, n_steps=1))
    assert cupy.most_arrays <= 15


# -- what is noted ---------------------------------------------------------------------------------


def random_program(seed):
    """A function of three arrays, made of random operations, for a namespace."""
    choose = random.Random(seed)
    lines = [
        (choose.choice(OPERATIONS), choose.random(), choose.random(), choose.random())
        for _ in range(choose.randint(3, 12))
    ]

    def program(xp, *arrays):
        values = list(arrays)
        for operation, first, second, third in lines:
            a, b = (values[int(len(values) * where)] for where in (first, second))
            value = operation(xp, a, b, third)
            if value is not None:
                values.append(value)
        return values[len(arrays) :]

    return program


def _broadcast(a, b):
    try:
        return np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return None


def _binary(name):
    def operation(xp, a, b, where):
        return None if _broadcast(a, b) is None else getattr(xp, name)(a, b)

    return operation


def _where(xp, a, b, where):
    return None if _broadcast(a, b) is None else xp.where(a < b, a, where)


def _reduce(name):
    def operation(xp, a, b, where):
        axis = None if where < 0.2 else int(a.ndim * where)
        if a.ndim == 0:
            return None
        return getattr(xp, name)(a, axis=axis, keepdims=axis is not None and where > 0.5)

    return operation


def _product(xp, a, b, where):
    if a.ndim != 2 or b.ndim != 2:
        return None
    b = b.T if where < 0.5 else b
    return xp.matmul(a, b) / 10 if a.shape[1] == b.shape[0] else None


def _axes(xp, a, b, where):
    if a.ndim == 1:
        return a[:, None] if where < 0.5 else a[None, :]
    return a.T if a.ndim == 2 else None


OPERATIONS = [
    *map(_binary, ["add", "subtract", "multiply", "maximum", "minimum"]),
    *map(_reduce, ["sum", "max", "mean"]),
    _where,
    _product,
    _axes,
    lambda xp, a, b, where: xp.tanh(a * where),
    lambda xp, a, b, where: xp.astype(a > where, a.dtype),
    lambda xp, a, b, where: 1 / (1 + a * a),
    lambda xp, a, b, where: xp.take(a, ROWS, axis=0) if a.ndim == 2 and len(a) == 4 else None,
]
ROWS = np.asarray([3, 0, 1, 1])


@pytest.mark.parametrize("seed", range(25))
def test_random_programs(fuser, seed):
    program = random_program(seed)
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=shape) for shape in ((4, 3), (3,), (4, 1))]
    tracing = Tracing()
    with tracing.to(fuser):
        found = program(tracing.namespace(EAGER), *map(fuser.defer, arrays))
        assert all(isinstance(value, Deferred) for value in found)
        (found,) = fuser.known(found)
    for value, expected in zip(found, program(compat_numpy, *arrays), strict=True):
        assert value.dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def known(fuser, value):
    return fuser.known(value)[0]


def test_numbers_have_the_bits_that_numpy_gives_them(fuser):
    x = np.asarray([1.1, -2.7, np.nan, np.inf, 0.0], np.float32)
    numbers = [0.1, -1 / 3, 3, np.inf, -np.inf, np.nan, 1e-42, 1e300]
    a = fuser.defer(x)
    products, differences = fuser.known([a * n for n in numbers], [n - a for n in numbers])
    with np.errstate(all="ignore"):
        for number, product, difference in zip(numbers, products, differences, strict=True):
            assert product.dtype == difference.dtype == np.float32
            np.testing.assert_array_equal(product, x * np.float32(number))
            np.testing.assert_array_equal(difference, np.float32(number) - x)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers_wrap(fuser, cupy, dtype):
    top = np.iinfo(dtype).max
    a = fuser.defer(np.asarray([top, top - 1, 3], dtype))
    assert known(fuser, a + 1).tolist() == [-top - 1, top, 4]
    assert known(fuser, a * 2).tolist() == [-2, -4, 6]
    assert known(fuser, -(a + 1)).tolist() == [-top - 1, -top, -4]
    # Signed integers that wrap are undefined in C++: this compiler happens to do it.
    assert all("(unsigned " in source for source in cupy.sources)


def test_rows_may_be_counted_from_the_end(fuser):
    tracing = Tracing()
    with tracing.to(fuser):
        x, rows = (fuser.defer(np.asarray(v)) for v in ([[1.0, 2], [3, 4], [5, 6]], [0, -1, 4]))
        taken = tracing.namespace(EAGER).take(x, rows, axis=0)
        # Beyond the ends CuPy goes on from the other one.
        assert known(fuser, taken * 2).tolist() == [[2, 4], [10, 12], [6, 8]]


def test_what_reads_an_array_is_computed_before_it_is_written_to(fuser, cupy):
    """A weight that is moved in place, while something made from it has not been computed."""
    tracing, rng = Tracing(), np.random.default_rng(0)
    w, a, b = rng.normal(size=(300, 60)), rng.normal(size=(300, 80)), rng.normal(size=(80, 60))
    before, expected = w.copy(), w - a @ b
    with tracing.to(fuser):
        xp = tracing.namespace(EAGER)
        deferred = fuser.defer(w)
        row = 2 * deferred[0, :]
        total, column = xp.sum(deferred * deferred, axis=0), (3 * fuser.defer(w[:, 0]))[:, None]
        moved = subtract_product(xp, deferred, fuser.defer(a), fuser.defer(b))
        for value, old in (
            (row, 2 * before[0]),
            (total, (before * before).sum(axis=0)),
            (column, 3 * before[:, :1]),
        ):
            np.testing.assert_allclose(known(fuser, value), old, rtol=1e-12)
    assert known(fuser, moved) is w
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_what_is_written_in_place_is_so_for_all_who_have_it(fuser):
    x = fuser.defer(np.asarray([1.0, 2.0]))
    other, doubled = x, x * 2
    other += 1
    other *= fuser.defer(np.asarray([3.0, 4.0]))
    assert known(fuser, x).tolist() == [6, 12]
    assert known(fuser, doubled).tolist() == [2, 4]
    for parameter in [x]:
        parameter -= 1.0
    assert known(fuser, x).tolist() == [5, 11]
    counts = fuser.defer(np.asarray([5, 6]))
    kept = counts
    counts &= 4
    assert known(fuser, kept).tolist() == [4, 4]
    with pytest.raises(ValueError, match="in place"):
        x += fuser.defer(np.ones((2, 2)))


@pytest.mark.parametrize("length", [LONG_LOOP - 1, LONG_LOOP])
def test_the_order_of_a_sum_does_not_depend_on_what_else_there_is(fuser, cupy, length):
    """Only long loops are shared by the lanes of a warp, whatever stands beside them."""
    a, b = (Node("known", (), s, np.dtype(float), value=np.ones(s)) for s in ((3, length), (3, 99)))
    sums = [Node("sum", (x,), (3,), np.dtype(float), 1) for x in (a, b)]
    alone, beside = write_kernel([sums[:1]], 32).source, write_kernel([sums], 32).source
    loop = f"{'lane' if length >= LONG_LOOP else '0'}; k1_0 < {length};"
    assert loop in alone
    assert loop in beside


@pytest.mark.parametrize("shape", [(4, 40), (3, 33)])
def test_lanes_share_a_loop(folder, shape):
    """Warps of 32: sums, means, maxima and products, with ends that no warp fills."""
    cupy = EmulatedCupy(folder, warp=32)
    fuser, tracing = Fuser(cupy, EAGER, "cpu", {}), Tracing()

    def program(xp, a):
        largest = xp.max(a, axis=1, keepdims=True)
        return [
            xp.sum(a * 2, axis=1), largest[:, 0] + 1, xp.mean(a, axis=0), xp.sum(a - largest),
            xp.matmul(a, a.T) + 1,
        ]  # fmt: skip

    a = np.random.default_rng(0).normal(size=shape)
    with tracing.to(fuser):
        found = known(fuser, program(tracing.namespace(EAGER), fuser.defer(a)))
    for value, expected in zip(found, program(compat_numpy, a), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-10)
    assert any("xpnet_lanes_max(s" in source for source in cupy.sources)


def test_kinds_of_numbers_are_not_mixed_silently(fuser):
    """As NumPy mixes them, since it does that itself."""
    whole, real, truth = (fuser.defer(np.asarray(v)) for v in ([1, 2], [0.5, 1.5], [True, False]))
    assert known(fuser, whole + real).tolist() == [1.5, 3.5]
    assert known(fuser, truth * real).tolist() == [0.5, 0]
    assert known(fuser, real > whole).tolist() == [False, False]


@pytest.mark.parametrize("dtype", ["float16", "uint64", "complex64"])
def test_dtypes_that_are_not_noted_are_computed_at_once(fuser, dtype):
    x = fuser.defer(np.asarray([1, 2], dtype))
    assert known(fuser, x + x).dtype == dtype
    tracing = Tracing()
    with tracing.to(fuser):
        xp = tracing.namespace(EAGER)
        assert known(fuser, xp.sum(x, axis=0)).dtype == dtype
        taken = xp.take(x, fuser.defer(np.asarray([1, 0])), axis=0)
        assert known(fuser, taken).tolist() == [2, 1]
        if dtype != "complex64":
            assert known(fuser, xp.astype(x, np.float64) / 2).tolist() == [0.5, 1]


def test_what_came_with_others_is_not_computed_again(fuser, cupy):
    x = fuser.defer(np.ones(4))
    first, third = x + 1, x * 3
    first.node.stored = third.node.stored = True
    second = first * 2
    second.node.stored = True
    assert known(fuser, third + second).tolist() == [7] * 4
    assert not any("o1[e] = a" in source for source in cupy.sources)


def test_long_chains_are_cut(fuser, cupy):
    x = fuser.defer(np.asarray([1.0, 2.0]))
    for _ in range(5 * DEEPEST):
        x = x + 1.0
    assert known(fuser, x).tolist() == [1 + 5 * DEEPEST, 2 + 5 * DEEPEST]
    assert 3 < cupy.kernels < 10


def test_what_nobody_can_ask_for_is_not_kept(fuser):
    x = fuser.defer(np.ones(5))
    y = x * 2
    z = y + 1
    node = weakref.ref(y.node)
    del y
    assert known(fuser, z).tolist() == [3] * 5
    del x
    gc.collect()
    assert node() is None


def test_what_is_still_wanted_comes_from_the_same_kernel(fuser, cupy):
    x = fuser.defer(np.ones((3, 2)))
    a, b, c = x + 1, x * 3, (x + x)[:, :1]
    assert known(fuser, a).tolist() == [[2, 2]] * 3
    started = cupy.kernels
    assert known(fuser, b).tolist() == [[3, 3]] * 3
    assert cupy.kernels == started
    assert known(fuser, c).tolist() == [[2]] * 3


def test_deferred_arrays_are_read_as_others_are(fuser):
    x = fuser.defer(np.arange(6.0).reshape(2, 3))
    y = x + 1
    assert (y.shape, y.ndim, y.size, len(y), y.device) == ((2, 3), 2, 6, 2, "cpu")
    assert known(fuser, y[0, 1:]).tolist() == [2, 3]
    assert known(fuser, y**2).tolist() == [[1, 4, 9], [16, 25, 36]]
    assert known(fuser, (y[:, 0] + 0) ** 3).tolist() == [1, 64]
    assert known(fuser, abs(-y)).tolist() == known(fuser, y).tolist()
    total = y[1, 2] * 1
    assert float(total) == 6
    assert bool(total > 5)
    counts = fuser.defer(np.asarray([5, 6])) + 1
    assert known(fuser, counts // 2 % 2).tolist() == [1, 1]
    assert known(fuser, (counts & 3) | 8).tolist() == [10, 11]
    assert known(fuser, y @ y.T).tolist() == [[14, 32], [32, 77]]
    assert known(fuser, 2.0 ** (+y)[0, :]).tolist() == [2, 4, 8]
    assert known(fuser, y.mT[2, :]).tolist() == [3, 6]
    assert known(fuser, y[fuser.defer(np.asarray([1, 0])), 0]).tolist() == [4, 1]
    with pytest.raises(TypeError, match="does not become"):
        np.asarray(y)


def test_tracing_is_of_its_thread():
    import threading

    tracing, seen = Tracing(), []
    with tracing.to("a fuser"):
        thread = threading.Thread(target=lambda: seen.append(tracing.fuser))
        thread.start()
        thread.join()
        assert tracing.fuser == "a fuser"
    assert seen == [None]
    assert tracing.fuser is None


# -- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [7, 64, 512])
@pytest.mark.parametrize(
    ("sizes", "optimizer"),
    [
        ((64, 10), SGD(0.1)),
        ((64, 32, 10), SGD(0.1)),
        ((64, 32, 10), Adam(0.01, clip_norm=1.0)),
        ((64, 300, 200, 10), Momentum(0.1, schedule=Cosine(), weight_decay=0.1)),
    ],
)
def test_steps_on_a_gpu_equal_those_of_numpy(sizes, optimizer, batch):
    require("cupy")
    model = mlp(*sizes, batch_norm=len(sizes) > 3, dropout=0.2 if len(sizes) > 2 else 0.0)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, size=(2 * batch, sizes[0])).astype(np.uint8)
    y = rng.integers(0, 10, size=2 * batch)
    found = {}
    for name in ("numpy", "cupy"):
        backend = open_backend(name, None, "float64")
        with backend.scope():
            step = make_step(
                backend, model, softmax_cross_entropy, optimizer, pixel_maximum=16, seed=1
            )
            state = initial_state(backend, model, optimizer, 0, epochs=2, steps_per_epoch=8)
            groups = backend.asarray(
                np.stack([rng_rows(i, batch) for i in range(8)]), dtype=backend.index_dtype
            )
            images = backend.asarray(x)
            labels = backend.asarray(y, dtype=backend.index_dtype)
            run = backend.repeat(step)
            for _ in range(4):
                state = run(state, images, labels, groups)
            found[name] = {key: backend.to_numpy(value) for key, value in state.items()}
            if name == "cupy":
                assert backend.graphs.launches == 2, backend.graphs
    for key, value in found["numpy"].items():
        np.testing.assert_allclose(found["cupy"][key], value, rtol=1e-9, atol=1e-11, err_msg=key)


def rng_rows(number, batch):
    return np.random.default_rng(number).permutation(2 * batch)[:batch]


@pytest.mark.gpu
def test_fused_training_is_that_without_in_float64():
    require("cupy")
    losses = []
    for fuse in (True, False):
        backend = open_backend("cupy", None, "float64")
        backend.fuse = fuse
        network = xpnet.fit(
            mlp(64, 32, 10, dropout=0.2), xpnet.load_dataset("digits"), epochs=3, backend=backend
        )
        losses.append([record.train_loss for record in network.history])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
