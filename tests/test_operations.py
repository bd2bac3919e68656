"""Overrides of the backends, against the same operations in the standard's functions."""

import itertools
import math

import numpy as np
import pytest
from array_api_compat import numpy as numpy_namespace
from conftest import require

from xpnet import open_backend, operations
from xpnet.backends.base import with_overrides
from xpnet.backends.numpy import functions as numpy_functions

pytestmark = pytest.mark.numerics

FORMS = {
    "rows": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.T),
    "part": lambda x: np.pad(x, ((1, 2), (2, 1)), constant_values=99.0),
    "every other": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1),
}
"""How a matrix lies in memory: what is stored, for `view` to be taken of it."""


def view(x, form, shape):
    if form == "transposed":
        return x.T
    if form == "part":
        return x[1 : shape[0] + 1, 2 : shape[1] + 2]
    return x[::2, ::2] if form == "every other" else x


def on_backend(backend, host, form, dtype):
    stored = backend.asarray(FORMS[form](host), dtype=getattr(backend.xp, dtype), copy=True)
    return view(stored, form, host.shape)


def standard(backend, *names):
    """The namespace without the overrides of these names."""
    return with_overrides(backend.xp, **dict.fromkeys(names))


class Methods:
    """A namespace that may be the class itself."""

    pi = 3.0

    @classmethod
    def double(cls, x):
        return 2 * x

    @staticmethod
    def half(x):
        return x / 2


class Slots:
    """A namespace that has no dictionary."""

    __slots__ = ()
    pi = 3.0

    def double(self, x):
        return 2 * x

    def half(self, x):
        return x / 2


@pytest.mark.parametrize("namespace", [Methods, Methods(), Slots()], ids=["class", "", "slots"])
def test_any_namespace_may_have_functions_of_its_own_put_into_it(namespace):
    xp = with_overrides(namespace, half=lambda x: x // 2, third=lambda x: x // 3)
    assert (xp.pi, xp.double(4), xp.half(5), xp.third(9)) == (3.0, 8, 2, 3)
    assert namespace.half(5) == 2.5
    assert with_overrides(xp, double=None).half(5) == 2
    with pytest.raises(AttributeError, match="quarter"):
        xp.quarter  # noqa: B018 - it is asked for


SHAPES = [
    (3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1), (150, 7, 90), (0, 4, 5), (3, 0, 5),
    (3, 4, 0), (64, 784, 128),
]  # fmt: skip


def matrices(shape):
    m, k, n = shape
    rng = np.random.default_rng(m + 10 * k + 100 * n)
    return rng.normal(size=(m, n)), rng.normal(size=(m, k)), rng.normal(size=(k, n))


def run_both(backend, hosts, forms, dtype):
    """What the backend's own subtract_product gives, and what the standard's functions do."""
    own = getattr(backend.xp, "subtract_product", None)
    if own is None:
        pytest.skip(f"{backend.name} has no subtract_product of its own")
    results = []
    for xp in (backend.xp, standard(backend, "subtract_product")):
        c, a, b = (
            on_backend(backend, host, form, dtype) for host, form in zip(hosts, forms, strict=True)
        )
        result = operations.subtract_product(xp, c, a, b)
        assert result is c
        assert result.dtype == c.dtype
        results.append(backend.to_numpy(result))
    return results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_subtract_product(training_backend, shape, dtype):
    with training_backend.scope():
        own, expected = run_both(training_backend, matrices(shape), ["rows"] * 3, dtype)
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(own, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subtract_product_of_any_views(training_backend, dtype):
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    with training_backend.scope():
        for forms in itertools.product(FORMS, repeat=3):
            own, expected = run_both(training_backend, matrices((130, 6, 101)), forms, dtype)
            np.testing.assert_allclose(
                own, expected, rtol=tolerance, atol=tolerance, err_msg=str(forms)
            )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_subtract_product_hides_no_nan(training_backend, value, dtype):
    c, a, b = matrices((120, 5, 110))
    c[3, 4], a[7, 1], b[2, 9] = value, value, value
    with training_backend.scope():
        own, expected = run_both(training_backend, (c, a, b), ["rows"] * 3, dtype)
    np.testing.assert_array_equal(np.isnan(own), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(own), np.isinf(expected))
    assert not np.isfinite(own[3, 4])
    assert not np.isfinite(own[7]).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul(training_backend, dtype):
    """Of every backend, with or without a product of its own."""
    backend = training_backend
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    with backend.scope():
        for shape, *forms in itertools.product(SHAPES, FORMS, FORMS):
            _, a, b = matrices(shape)
            product = backend.xp.matmul(
                on_backend(backend, a, forms[0], dtype), on_backend(backend, b, forms[1], dtype)
            )
            assert product.dtype == getattr(backend.xp, dtype)
            np.testing.assert_allclose(
                backend.to_numpy(product), a @ b, rtol=tolerance, atol=tolerance, err_msg=str(forms)
            )


@pytest.mark.parametrize(
    ("a", "b"), [((100, 5), (7, 101)), ((50, 5), (5, 101)), ((100, 5), (5, 50))]
)
def test_subtract_product_refuses_shapes_that_do_not_fit(training_backend, a, b):
    """A BLAS that is called by its address would read and write beyond the arrays."""
    backend = training_backend
    with backend.scope():
        c, a, b = (backend.asarray(np.ones(shape)) for shape in ((100, 101), a, b))
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            operations.subtract_product(backend.xp, c, a, b)


def test_subtract_product_of_another_byte_order():
    xp = open_backend("numpy").xp
    c, a, b = (np.ones(shape, dtype=">f4") for shape in ((100, 101), (100, 5), (5, 101)))
    assert (operations.subtract_product(xp, c, a, b) == -4).all()


ARGUMENTS = np.concatenate(
    [
        np.linspace(-7, 7, 40_001),
        np.logspace(-300, 2, 2_001),
        [0.0, -0.0, 1.0, -1.0, np.nextafter(1, 2), 6.0, -6.0, 1e300, np.inf, -np.inf, np.nan],
    ]
)


def test_erf_is_that_of_the_c_library():
    xp = standard(open_backend("numpy"), "erf")
    with np.errstate(over="ignore", invalid="ignore"):
        found = operations.erf(xp, ARGUMENTS)
    expected = np.array([math.erf(x) for x in ARGUMENTS])
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)
    scipy_special = pytest.importorskip("scipy.special")
    np.testing.assert_allclose(found, scipy_special.erf(ARGUMENTS), rtol=1e-15, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_of_a_backend_is_that_of_the_standard(training_backend, dtype):
    backend = training_backend
    with backend.scope(), np.errstate(over="ignore", invalid="ignore"):
        x = backend.asarray(ARGUMENTS[np.abs(ARGUMENTS) < 1e30].astype(dtype))
        own = operations.erf(backend.xp, x)
        expected = operations.erf(standard(backend, "erf"), x)
        assert own.dtype == expected.dtype == getattr(backend.xp, dtype)
        own, expected = backend.to_numpy(own), backend.to_numpy(expected)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(own, expected, rtol=tolerance, atol=1e-40)


def test_jax_takes_what_the_standard_does():
    require("jax")
    backend = open_backend("jax")
    rows = np.asarray([3, 0, 3])
    with backend.scope():
        taken = backend.xp.take(backend.asarray(np.arange(8.0).reshape(4, 2)), rows, axis=0)
    np.testing.assert_array_equal(backend.to_numpy(taken), np.arange(8.0).reshape(4, 2)[rows])


# -- NumPy's functions in a shorter way -----------------------------------------------------------

NUMPY_CALLS = {
    "take": [{"axis": 0}, {"axis": 1}, {"axis": -1}],
    "astype": [{}, {"copy": False}, {"device": "cpu"}],
    "max": [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"axis": (0, 1)}],
    "sum": [
        {}, {"axis": 0}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": 0, "keepdims": True},
        {"axis": (0, 1)}, {"dtype": np.float64},
    ],
    "maximum": [0.0, 0.5, -1.5, 3, np.nan, "array"],
    "matmul": ["matrix", "vector", "stack"],
}  # fmt: skip


def numpy_inputs(dtype):
    rng = np.random.default_rng(0)
    for shape in [(3, 4), (64, 10), (64, 784), (1, 1), (5000, 3), (3, 5000), (2, 3, 4), (0, 4)]:
        x = (100 * rng.normal(size=shape)).astype(dtype)
        for form in ("rows", "transposed") if len(shape) == 2 else ("rows",):
            yield view(FORMS[form](x), form, shape)
    special = np.asarray([[np.nan, 1.0, np.inf], [0.0, -np.inf, -0.0]])
    if np.dtype(dtype).kind == "f":
        yield special.astype(dtype)


def numpy_arguments(name, option, x):
    """Arguments and options of one call."""
    if name == "take":
        return (np.asarray([0, 2, 0]) % max(1, x.shape[option["axis"]]),), option
    if name == "astype":
        return (np.float64,), option
    if name == "maximum":
        return (np.flip(x) if isinstance(option, str) else option,), {}
    if name == "matmul":
        other = {"matrix": x.mT, "vector": np.ones(x.shape[-1], x.dtype), "stack": x.mT[None]}
        return (other[option],), {}
    return (), option


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", NUMPY_CALLS)
def test_numpy_functions_are_those_of_the_standard(name, dtype):
    own, standard = getattr(open_backend("numpy").xp, name), getattr(numpy_namespace, name)
    assert own is not standard
    for x, option in itertools.product(numpy_inputs(dtype), NUMPY_CALLS[name]):
        arguments, options = numpy_arguments(name, option, x)
        if (x.shape[0] == 0 and name in ("max", "take")) or (x.shape[0] > 99 and name == "matmul"):
            continue
        with np.errstate(invalid="ignore"):
            expected, found = (f(x, *arguments, **options) for f in (standard, own))
        assert found.dtype == expected.dtype
        tolerance = {"float32": 3e-4, "float64": 1e-11}.get(dtype, 0)
        np.testing.assert_allclose(
            found, expected, rtol=tolerance, atol=tolerance, strict=True, err_msg=f"{option}"
        )
        if name not in ("sum", "matmul"):
            np.testing.assert_array_equal(found, expected)


def test_every_numpy_function_is_compared():
    # These are no functions of the standard: tests/test_convolution.py compares those of windows,
    # and tests/test_augment.py the last one.
    of_windows = {"window_columns", "surrounded", "added_windows", "added_columns"}
    assert set(NUMPY_CALLS) | of_windows | {"gather_rows"} == set(numpy_functions.FUNCTIONS)
