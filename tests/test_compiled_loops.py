"""Recorded calls compiled as C, against the same functions of NumPy on other values."""

import random

import numpy as np
import pytest
from compiling import needs_compiler

from xpnet.backends.numpy import products
from xpnet.backends.numpy.calls import Call, Kind
from xpnet.backends.numpy.liveness import Account, Arena, Memory, Names
from xpnet.backends.numpy.loops import statement_of
from xpnet.backends.numpy.openblas import find_blas
from xpnet.backends.numpy.program import Program
from xpnet.backends.numpy.recording import Recording

pytestmark = pytest.mark.compiler


def bound(program, names=None, kept=()):
    """Its calls, where each name that is not kept has a place in an arena."""
    memory = Memory(names or Names(), program.touched, Arena(Account(10**8)), kept)
    return [x.bound() if isinstance(x, Call) else x for x in program.compile(lambda: memory)]


def compile_calls(function, inputs, *, live=None):
    """Calls of a function of arrays as C, with the results that they write to.

    `live` are the numbers of the results that are read afterwards; all if not given.
    """
    recording = Recording()
    results = function(*(recording.input(x, in_range=x.dtype.kind == "i") for x in inputs))
    named, names = [recording.named(recording.read(x)) for x in results], recording.names
    read = named if live is None else [named[i] for i in live]
    made = Program(recording.finish([]), read)
    all_kept = {id(x): x for x in map(names.of, named) if x is not None}
    kept = [(name, np.empty(name.nbytes, "uint8")) for name in all_kept.values()]
    memory = Memory(names, [], Arena(Account(0)), kept)
    return made, bound(made, names, kept), [memory.moved(x) for x in named]


def run_again(function, inputs, others, **options):
    """What the compiled function gives for other values in the same memory, and what NumPy does."""
    made, calls, results = compile_calls(function, inputs, **options)
    for x, other in zip(inputs, others, strict=True):
        x[...] = other
    with np.errstate(all="ignore"):
        for call in calls:
            call()
        expected = function(*(x.copy() for x in others))
    return made, calls, results, expected


# -- random programs ----------------------------------------------------------------------------

SHAPES = [(6, 5), (6, 5), (6, 1), (1, 5), (5,), (), (4, 6, 5), (6, 6)]


def random_program(seed):
    """A function of arrays made of random operations, the same for each call."""
    choose = random.Random(seed)
    script = [[choose.random() for _ in range(6)] for _ in range(choose.randint(4, 30))]

    def function(rows, *arrays):
        pool = [as_array(x * 1) for x in arrays]
        for what, first, second, third, detail, number in script:
            x = pool[int(first * len(pool))]
            y = fitting(pool, x, second)
            z = fitting(pool, x, third)
            with np.errstate(all="ignore"):
                operation = OPERATIONS[int(what * len(OPERATIONS))]
                pool.append(as_array(operation(x, y, z, rows, detail, number)))
        return pool

    return function


def as_array(x):
    """NumPy's functions of arrays without axes give scalars."""
    return x if isinstance(x, np.ndarray) else np.asarray(x)


def fitting(pool, x, number):
    """One of those that can be broadcast to x."""

    def fits(y):
        return y.ndim <= x.ndim and all(
            n in (1, m) for n, m in zip(y.shape[::-1], x.shape[::-1], strict=False)
        )

    candidates = [y for y in pool if fits(y)]
    return candidates[int(number * len(candidates))]


def in_place(x, y):
    # A view of another array is changed with it, which is what is to be tried.
    if x.base is not None and any(step == 0 for step in x.strides):
        return x + y
    x += y
    return x


def part_of(x, number):
    """A view: reversed, of every second, transposed, with one more axis."""
    views = [lambda: x.T]
    if x.ndim < 3:
        views += [lambda: x[..., None], lambda: x[None]]
    if x.ndim:
        views += [lambda: x[::-1]]
    if x.ndim > 1:
        views += [lambda: x[:, ::2], lambda: x[-3:]]
    return views[int(number * len(views))]()


def ones(x, axis):
    return np.ones(x.shape[axis], x.dtype)


def number_of(number):
    return round(4 * number - 2, 3) or 0.5


OPERATIONS = [
    lambda x, y, z, rows, detail, number: x + y,
    lambda x, y, z, rows, detail, number: x - y * z,
    lambda x, y, z, rows, detail, number: y / x,
    lambda x, y, z, rows, detail, number: number_of(number) * x - y,
    lambda x, y, z, rows, detail, number: -x + number_of(number),
    lambda x, y, z, rows, detail, number: np.sqrt(np.abs(x)) + x**2,
    lambda x, y, z, rows, detail, number: np.sign(x) * y,
    lambda x, y, z, rows, detail, number: np.maximum(x, y) - np.minimum(y, z),
    lambda x, y, z, rows, detail, number: np.where(x > y, z, x),
    lambda x, y, z, rows, detail, number: np.where(np.logical_and(x <= y, z != x), 1.0, y),
    lambda x, y, z, rows, detail, number: (x >= y).astype(x.dtype) * z,
    lambda x, y, z, rows, detail, number: np.logical_not(x == y).astype(x.dtype),
    lambda x, y, z, rows, detail, number: np.exp(-np.abs(x)) + y,
    lambda x, y, z, rows, detail, number: x.astype("float64").astype("float32") * y,
    lambda x, y, z, rows, detail, number: in_place(x, y),
    lambda x, y, z, rows, detail, number: in_place(part_of(x, detail), z.sum()),
    lambda x, y, z, rows, detail, number: part_of(x, detail),
    lambda x, y, z, rows, detail, number: part_of(x, detail) * number_of(number),
    lambda x, y, z, rows, detail, number: np.max(x, axis=0, keepdims=True) if x.ndim else x,
    lambda x, y, z, rows, detail, number: np.min(x, axis=-1, keepdims=True) if x.ndim else x,
    lambda x, y, z, rows, detail, number: x.take(rows, axis=0) if x.shape[:1] > (3,) else x + y,
    lambda x, y, z, rows, detail, number: x.copy(),
    lambda x, y, z, rows, detail, number: np.zeros_like(x) + y,
    lambda x, y, z, rows, detail, number: x.sum() + y,
    lambda x, y, z, rows, detail, number: np.dot(x, np.full_like(x, 0.5).T) if x.ndim == 2 else x,
    lambda x, y, z, rows, detail, number: np.dot(x.T, x + 1) if x.ndim == 2 else -x,
    lambda x, y, z, rows, detail, number: np.dot(x, x.T) if x.ndim == 2 else x * x,
    lambda x, y, z, rows, detail, number: np.dot(ones(x, 0), x) if x.ndim == 2 else x,
    lambda x, y, z, rows, detail, number: np.dot(x, ones(x, 1)) if x.ndim == 2 else x,
]


@needs_compiler
@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed):
    function, rng = random_program(seed), np.random.default_rng(seed)

    def values():
        return [rng.integers(0, 4, 6), *(rng.normal(size=s).astype("float32") for s in SHAPES)]

    inputs, others = values(), values()
    count = len(function(*(x.copy() for x in inputs)))
    some = sorted(set(rng.integers(0, count, 3).tolist()))
    # Compiling is what takes the time. Where all is live nothing is left out, as in a step.
    for live in (some, None) if seed % 4 == 0 else (some,):
        _, _, results, expected = run_again(function, inputs, others, live=live)
        for i in range(count) if live is None else live:
            np.testing.assert_array_equal(results[i], expected[i], strict=True, err_msg=str(i))


# -- single operations ----------------------------------------------------------------------------

EXTREME = {
    "int32": [-(2**31), -1, 0, 1, 2**31 - 1, 12345],
    "int64": [-(2**63), -1, 0, 1, 2**63 - 1, 12345],
    "uint8": [0, 1, 127, 128, 200, 255],
    "bool": [False, True, True, False, True, False],
    "float32": [-0.0, 1e-45, np.inf, np.nan, -3.5, 1e38],
    "float64": [-0.0, 5e-324, -np.inf, np.nan, 0.1, 1e308],
}

SINGLE = {
    "sums wrap": (("int32", "int64"), lambda x, y: (x + y) * x - y),
    "shifts": (("int32", "int64"), lambda x, y: ((x << 13) | ((x >> 19) & 8191)) ^ y),
    "negative": (("int32", "int64", "float32", "float64"), lambda x, y: -x),
    "numbers": (("int32", "int64"), lambda x, y: x + 614779590 - 7),
    "larger": (("int32", "float32", "float64"), lambda x, y: np.maximum(x, y)),
    "smaller": (("int32", "float32", "float64"), lambda x, y: np.minimum(y, x)),
    "compared": (tuple(EXTREME), lambda x, y: x >= y),
    "different": (tuple(EXTREME), lambda x, y: x != y),
    "both": (("bool",), lambda x, y: np.logical_or(np.logical_not(x), np.logical_and(x, y))),
    "bits": (("bool", "int32"), lambda x, y: (x & y) ^ (x | y)),
    "to float32": (tuple(EXTREME), lambda x, y: x.astype("float32")),
    "to float64": (tuple(EXTREME), lambda x, y: x.astype("float64")),
    "to int32": (("bool", "int32"), lambda x, y: x.astype("int32")),
    "divided": (("float32", "float64"), lambda x, y: x / y),
    "rooted": (("float32", "float64"), lambda x, y: np.sqrt(x)),
    "chosen": (("float32", "float64", "int32"), lambda x, y: np.where(x > y, x, y)),
    "largest": (("float32", "float64"), lambda x, y: np.max(x, axis=1, keepdims=True)),
}


@needs_compiler
@pytest.mark.parametrize(
    ("what", "dtype"), [(what, d) for what, (dtypes, _) in SINGLE.items() for d in dtypes]
)
def test_extreme_values(what, dtype):
    """Also those that overflow, and that C leaves undefined; nothing stays a call of NumPy."""
    column = np.asarray(EXTREME[dtype], dtype)[:, None]
    others = [column + np.zeros_like(column.T), np.zeros_like(column) + column.T]
    inputs = [np.ones((6, 6), dtype), np.ones((6, 6), dtype)]
    function = SINGLE[what][1]
    _, calls, (result,), (expected,) = run_again(lambda *x: [function(*x)], inputs, others)
    np.testing.assert_array_equal(result, expected, strict=True)
    zero = expected == 0
    if what not in ("larger", "smaller", "largest"):
        np.testing.assert_array_equal(np.signbit(result[zero]), np.signbit(expected[zero]))
    assert len(calls) == 1


def called(ufunc, *inputs, out):
    return Call(Kind.ELEMENTWISE, ufunc, inputs, out)


def copied(source, out, **options):
    return Call(Kind.COPY, np.copyto, (source,), out, options)


def not_loops():
    x, small, whole = np.arange(6.0, dtype=np.float32), np.ones(6, "uint8"), np.ones(6, "int32")
    first = {"axis": 0, "mode": "raise"}
    return {
        "exp": called(np.exp, x, out=x.copy()),
        "to an integer": copied(x, np.zeros(6, "int32"), casting="unsafe"),
        "two dtypes": called(np.add, x, x.astype("float64"), out=np.zeros(6)),
        "half precision": called(np.add, x.astype("float16"), x.astype("float16"), out=x.copy()),
        "small integers": called(np.add, small, small, out=small.copy()),
        "sum of truths": called(np.add, x > 1, x > 2, out=x > 3),
        "shift by too much": called(np.left_shift, whole, 40, out=whole.copy()),
        "number too large": called(np.add, whole, 2**40, out=np.ones(6, "int64")),
        "shifted in place": called(np.add, x[1:], 1.0, out=x[:-1]),
        "reversed in place": copied(x[::-1], x),
        "other options": Call(Kind.ELEMENTWISE, np.negative, (x,), x.copy(), {"dtype": "f4"}),
        "several": Call(Kind.CONCATENATE, np.concatenate, (x[:2], x[:4]), x.copy(), {"axis": 0}),
        "a product": Call(Kind.DOT, np.dot, (x, x), np.zeros((), "f4")),
        "one truth for all": Call(Kind.WHERE, np.copyto, (x, np.True_), x.copy()),
        "indices to be checked": Call(Kind.TAKE, np.take, (x, whole), x.copy(), first),
        "sum": Call(Kind.REDUCE, np.add, (x,), np.zeros((), "f4"), {"axis": 0}),
        "unaligned": called(np.negative, x, out=np.zeros(25, "uint8")[1:].view("f4")),
        "nothing": called(np.negative, x[:0], out=x[:0].copy()),
        "other order of bytes": called(np.negative, x.astype(">f4"), out=x.astype(">f4")),
    }  # fmt: skip


@pytest.mark.parametrize("name", not_loops())
def test_what_stays_a_call_of_numpy(name):
    assert statement_of(not_loops()[name]) is None


def _reversed_then_written(x):
    y = x * 1
    z = y[::-1] * 2
    y += 5
    return [y, z]


def _row_then_written(x):
    y = x * 1
    z = x + y[:1]
    y -= z
    return [y, z]


def _written_then_reversed(x):
    y = x * 1
    y *= 3
    return [y, y[::-1] - x, y.T @ x]


def _passed_by_others(x):
    y, small = x * 2, x[0] * 2
    small += 1
    z = y + small
    small *= 3
    return [y, z, small, z - y]


def _twice_to_one_place(x):
    y = x * 1
    part = y[1:]
    part += x[1:]
    y -= 2
    return [y, y[::-1] * 1]


@needs_compiler
@pytest.mark.parametrize(
    "function",
    [_reversed_then_written, _row_then_written, _written_then_reversed, _passed_by_others,
     _twice_to_one_place],
)  # fmt: skip
def test_the_order_of_what_aliases(function):
    inputs = [np.ones((8, 8))]
    others = [np.random.default_rng(0).normal(size=(8, 8))]
    _, _, results, expected = run_again(function, inputs, others)
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_those_of_numpy(dtype):
    """In every layout that BLAS has; lengths of 1, parts of a matrix, a matrix with itself."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=s).astype(dtype) for s in ((64, 37), (37, 21), (21, 64)))

    def function(a, b, c):
        return [
            np.dot(a, b), np.dot(b.T, a.T), np.dot(c.T, b.T), np.dot(c, a),
            np.dot(np.ones(64, dtype), a), np.dot(a, np.ones(37, dtype)), np.dot(a.T, c[0]),
            np.dot(a[:, :1], b[:1]), np.dot(a[1:9], b), np.dot(a[:, 2:9], b[2:9]), np.dot(a.T, a),
            np.dot(c[0], a[:, 0]),
        ]  # fmt: skip

    others = [rng.normal(size=x.shape).astype(dtype) for x in (a, b, c)]
    _, calls, results, expected = run_again(function, [a, b, c], others)
    for i, (found, wanted) in enumerate(zip(results, expected, strict=True)):
        np.testing.assert_array_equal(found, wanted, strict=True, err_msg=str(i))
    left = sum(getattr(call, "func", None) is np.dot for call in calls)
    # Those that were named last, and vectors by rows of a transposed matrix.
    assert left == (5 if find_blas() else len(expected))


@pytest.mark.parametrize("other", [2.0, np.asarray(2.0), np.ones((4, 4), "float32")])
def test_products_that_stay_calls_of_numpy(other):
    for x in (np.ones(4), np.asarray(3.0)):
        out = np.asarray(np.dot(x, other))
        assert products.product_of(Call(Kind.DOT, np.dot, (x, other), out)) is None


@needs_compiler
def test_without_numpy_s_blas_products_are_calls(monkeypatch):
    monkeypatch.setattr(products, "find_blas", dict)
    x = np.ones((4, 4))
    _, calls, (result,) = compile_calls(lambda x: [np.dot(x, x + 1) + 1], [x])
    assert sum(call.func is np.dot for call in calls) == 1
    for call in calls:
        call()
    assert (result == 9).all()


@needs_compiler
def test_the_same_source_for_other_arrays():
    """A training after another one of the same shapes need not be compiled again."""

    def function(x, rows):
        return [np.maximum(x.take(rows, axis=0) * 2 + x[:3], 0.5)]

    sources = set()
    for _ in range(3):
        inputs = [np.ones((7, 5)), np.arange(3)]
        others = [np.random.default_rng(0).normal(size=(7, 5)), np.asarray([6, 0, 6])]
        made, calls, (result,), (expected,) = run_again(function, inputs, others)
        np.testing.assert_array_equal(result, expected)
        sources.add(made.source)
        assert len(calls) == 1
    assert len(sources) == 1


@needs_compiler
def test_what_is_not_live_is_not_written():
    x = np.ones((4, 3), "float32")
    made, calls, (middle, last) = compile_calls(lambda x: [x + 1, (x + 1) * x], [x], live=[1])
    middle[...] = last[...] = -1
    (call,) = calls
    call()
    assert (middle == -1).all()
    assert (last == 2).all()
    assert made.source.count("] = ") == 1


@needs_compiler
def test_what_the_next_round_reads_is_live():
    """Though nobody but the loop that writes it reads it."""
    total, x, double = np.zeros(5), np.ones(5), np.empty(5)
    recorded = [called(np.add, total, x, out=total), called(np.multiply, total, 2.0, out=double)]
    made = Program(recorded, [double])
    (call,) = bound(made)
    for _ in range(3):
        call()
    assert (double == 6).all()


@needs_compiler
@pytest.mark.parametrize("size", [1, 3, 64])
def test_memory_seen_as_numbers_of_two_dtypes(size):
    """C may take it that a float and an integer lie in two places, unless told otherwise."""

    def function(x, counts):
        y = x + 1
        counts = y.view("int32") + counts
        bits = y.view("int32")
        bits += 5
        return [y, counts, y * counts.astype("float32")]

    inputs = [np.ones(1, "float32"), np.ones(size, "int32")]
    others = [np.full(1, 0.3, "float32"), np.arange(size, dtype="int32")]
    _, _, results, expected = run_again(function, inputs, others)
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


@needs_compiler
@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 2, 2, 15), (3, 2, 1042, 2), (2, 1, 240, 5)])
def test_pictures_of_few_channels(shape):
    """Axes that are collapsed though arrays do not go on in one stride: read by rows, and written.

    Of all pixels, or of some of them, or not, where their number cannot be divided.
    """

    def function(x, bias, rows):
        y = x * 2 + bias
        largest = np.maximum(np.maximum(x[:, :, ::2], y[:, :, 1::2]), x[:, :, 1::2] - bias)
        odd = np.logical_or(largest == y[:, :, 1::2], x[:, :, 1::2] > 0)
        part = y[:, :, ::2]
        part += largest
        part *= bias
        taken = np.where(y.take(rows, axis=0) > bias, bias, -x[:2][:1]) + 1
        return [y, largest, odd, taken * 2, np.where(odd, largest, bias) - part]

    rng = np.random.default_rng(0)
    inputs = [np.ones(shape), np.ones(shape[-1]), np.zeros(1, int)]
    others = [rng.normal(size=shape), rng.normal(size=shape[-1]), np.asarray([shape[0] - 1])]
    made, calls, results, expected = run_again(function, inputs, others)
    assert len(calls) == 1
    assert "k < " in made.source
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


@needs_compiler
def test_truths_of_any_byte():
    """As a view of a mask of 0 and 255 has them."""

    def function(x):
        return [x.astype("float32"), x.astype("int32"), x == np.ones(4, bool), x & x, x | x]

    x = np.ones(4, bool)
    _, calls, results = compile_calls(function, [x])
    x.view("uint8")[...] = [0, 1, 2, 255]
    for call in calls:
        call()
    for found, wanted in zip(results, function(x.copy()), strict=True):
        np.testing.assert_array_equal(found.view("uint8"), wanted.view("uint8"), strict=True)
    assert len(calls) == 1


@needs_compiler
def test_rows_are_clipped_and_never_read_from_elsewhere():
    x, rows = np.arange(12.0).reshape(4, 3), np.asarray([0, 1, 2, 3, 0])
    _, (call,), (result,) = compile_calls(lambda x, rows: [x.take(rows, axis=0) * 1], [x, rows])
    rows[...] = [-5, 10**12, 3, -(10**12), 1]
    call()
    np.testing.assert_array_equal(result, x[[0, 3, 3, 0, 1]])
