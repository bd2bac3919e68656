"""Optimizers against torch's, against the papers as written, and on every backend."""

import itertools
import math
from dataclasses import FrozenInstanceError, dataclass, fields, replace

import numpy as np
import pytest
from conftest import name_of, require

import xpnet
from xpnet import (  # fmt: skip
    SGD,
    Adam,
    AdamW,
    Lion,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    fit,
    initial_state,
    make_step,
    mlp,
    open_backend,
)
from xpnet.conformance.examples import OPTIMIZER_EXAMPLES, run_optimizer
from xpnet.dtype_limits import names_in_dtype
from xpnet.network.state import select, trained_params
from xpnet.operations import subtract_product
from xpnet.optimizers import OPTIMIZERS
from xpnet.random import permutation, stream

pytestmark = pytest.mark.numerics

SHAPES = {"weight": (4, 3), "bias": (3,), "block": (2, 3, 2)}
RATES = [0.1, 0.1, 0.05, 0.2, 0.2, 0.01, 0.1, 0.3, 0.1, 0.02]
ALL = [cls() for cls in OPTIMIZERS.values()]
each = pytest.mark.parametrize("optimizer", ALL, ids=lambda o: type(o).__name__)


def draw(*names):
    return {name: stream(0, *names, name).normal(size=shape) for name, shape in SHAPES.items()}


def gradients():
    """The gradients of ten steps: the same for ours and for theirs."""
    return [draw("gradient", step) for step in range(len(RATES))]


def ours(optimizer, backend, grads=None, dtype=None):
    """The parameters after ten steps, on the host."""
    array = lambda x: backend.asarray(x, dtype=dtype or backend.dtype, copy=True)  # noqa: E731
    with backend.scope():
        params = {name: array(value) for name, value in draw("parameter").items()}
        slots = optimizer.init(backend.xp, params)
        for rate, host in zip(RATES, grads or gradients(), strict=True):
            step_grads = {name: array(value) for name, value in host.items()}
            params, slots = optimizer.update(backend.xp, params, step_grads, slots, array(rate))
        return {name: backend.to_numpy(value) for name, value in params.items()}


def theirs(make, *, decay=0.0, l2=0.0, clip_norm=None, clip_value=None):
    """The parameters after ten steps of an optimizer of torch."""
    torch = pytest.importorskip("torch")
    params = {name: torch.tensor(value) for name, value in draw("parameter").items()}
    optimizer = make(torch.optim, list(params.values()))
    for rate, grads in zip(RATES, gradients(), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for name, value in grads.items():
            params[name].grad = torch.tensor(value)
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(params.values(), clip_norm)
        if clip_value is not None:
            torch.nn.utils.clip_grad_value_(params.values(), clip_value)
        for value in params.values():
            value.grad += l2 * value  # at the parameters where the gradient was taken
            value.mul_(1 - rate * decay)
        optimizer.step()
    return {name: value.numpy() for name, value in params.items()}


TORCH = {name: kind for name, kind in OPTIMIZERS.items() if kind().torch() is not None}
"""Those that PyTorch has too."""


def torch_form(optimizer, **options):
    """Makes the optimizer of torch that one of ours says it is, with options of torch's own."""

    def make(optim, params):
        import torch

        made = eval(optimizer.torch(), {"torch": torch, "parameters": params})
        made.param_groups[0].update(options)
        return made

    return make


OPTIONS = {
    "alone": ({}, {}, {}),
    "decay": ({"weight_decay": 0.3}, {}, {"decay": 0.3}),
    "l2": ({"l2": 0.3}, {"weight_decay": 0.3}, {}),
    "norm": ({"clip_norm": 2.0}, {}, {"clip_norm": 2.0}),
    "large norm": ({"clip_norm": 1e3}, {}, {"clip_norm": 1e3}),
    "value": ({"clip_value": 0.4}, {}, {"clip_value": 0.4}),
    "together": (
        {"weight_decay": 0.1, "l2": 0.2, "clip_norm": 2.0},
        {},
        {"decay": 0.1, "l2": 0.2, "clip_norm": 2.0},
    ),
}


def assert_equal(found, expected, rtol=1e-12):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", TORCH)
def test_ten_steps_equal_torch(training_backend, name, options):
    own, of_torch, by_hand = OPTIONS[options]
    optimizer = TORCH[name](**{"weight_decay": 0.0, **own}, decayed="all")
    found = ours(optimizer, training_backend)
    assert_equal(found, theirs(torch_form(optimizer, **of_torch), **by_hand))


def test_what_is_compared_with_torch():
    assert set(OPTIMIZERS) - set(TORCH) == {"lion"}
    assert Adam(epsilon_hat=True).torch() is None
    assert Momentum(rate_inside=True).torch() is Nesterov(rate_inside=True).torch() is None


@pytest.mark.parametrize("cls", [Momentum, Nesterov])
def test_the_rate_inside_of_the_velocity_is_as_in_scikit_learn(training_backend, cls):
    """A module of scikit-learn's own, whose name begins with an underscore."""
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    params = {name: value.copy() for name, value in draw("parameter").items()}
    theirs = module.SGDOptimizer(list(params.values()), momentum=0.8, nesterov=cls is Nesterov)
    for rate, grads in zip(RATES, gradients(), strict=True):
        theirs.learning_rate = rate
        theirs.update_params(list(params.values()), list(grads.values()))
    optimizer = cls(momentum=0.8, rate_inside=True)
    assert_equal(ours(optimizer, training_backend), params)


def test_the_epsilon_of_the_uncorrected_root_is_as_in_scikit_learn(training_backend):
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    params = {name: value.copy() for name, value in draw("parameter").items()}
    theirs = module.AdamOptimizer(list(params.values()), epsilon=0.3)
    for rate, grads in zip(RATES, gradients(), strict=True):
        theirs.learning_rate_init = rate
        theirs.update_params(list(params.values()), list(grads.values()))
    assert_equal(ours(Adam(epsilon=0.3, epsilon_hat=True), training_backend), params)


def test_adamw_equals_torch(training_backend):
    expected = theirs(lambda o, p: o.AdamW(p))
    assert_equal(ours(AdamW(decayed="all"), training_backend), expected)
    expected = theirs(lambda o, p: o.AdamW(p, weight_decay=0.2))
    assert_equal(ours(AdamW(weight_decay=0.2, decayed="all"), training_backend), expected)


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (Momentum(momentum=0.5), lambda o, p: o.SGD(p, momentum=0.5)),
        (Nesterov(momentum=0.5), lambda o, p: o.SGD(p, momentum=0.5, nesterov=True)),
        (RMSprop(decay=0.5, epsilon=0.1), lambda o, p: o.RMSprop(p, alpha=0.5, eps=0.1)),
        (Adam(0.1, 0.5, 0.7, 0.1), lambda o, p: o.Adam(p, betas=(0.5, 0.7), eps=0.1)),
        (Adam(0.1, 0.0, 0.0), lambda o, p: o.Adam(p, betas=(0.0, 0.0))),
    ],
    ids=name_of,
)
def test_hyper_parameters_are_torchs(optimizer, make):
    assert_equal(ours(optimizer, open_backend("numpy", None, "float64")), theirs(make))


def test_defaults_are_torchs():
    torch = pytest.importorskip("torch")
    optim = torch.optim
    for ours, cls in ((Adam(), optim.Adam), (AdamW(), optim.AdamW), (RMSprop(), optim.RMSprop)):
        theirs = cls([torch.zeros(1)]).defaults
        assert ours.learning_rate == theirs["lr"]
        assert ours.epsilon == theirs["eps"]
        assert ours.weight_decay == theirs["weight_decay"]
        if "betas" in theirs:
            assert (ours.beta1, ours.beta2) == theirs["betas"]
        else:
            assert ours.decay == theirs["alpha"]


def lion_as_in_the_paper(params, weight_decay, beta1=0.9, beta2=0.99):
    """Algorithm 2 of Chen et al. 2023, line by line; the learning rate is eta."""
    momentum = {name: np.zeros_like(value) for name, value in params.items()}
    for eta, grads in zip(RATES, gradients(), strict=True):
        for name, theta in params.items():
            m, g = momentum[name], grads[name]
            c = beta1 * m + (1 - beta1) * g
            params[name] = theta - eta * (np.sign(c) + weight_decay * theta)
            momentum[name] = beta2 * m + (1 - beta2) * g
    return params


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_lion_is_that_of_the_paper(training_backend, weight_decay):
    expected = lion_as_in_the_paper(draw("parameter"), weight_decay)
    found = ours(Lion(weight_decay=weight_decay, decayed="all"), training_backend)
    assert_equal(found, expected)
    expected = lion_as_in_the_paper(draw("parameter"), weight_decay, 0.5, 0.6)
    found = ours(Lion(0.1, 0.5, 0.6, weight_decay=weight_decay, decayed="all"), training_backend)
    assert_equal(found, expected)


# -- every optimizer, on every backend ------------------------------------------------------------


def test_every_optimizer_has_an_example_and_a_name():
    import xpnet.optimizers as package

    public = {
        value
        for value in vars(package).values()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    assert {type(example) for example in OPTIMIZER_EXAMPLES.values()} == public
    assert set(OPTIMIZERS.values()) == public
    assert {cls.__name__ for cls in public} <= set(xpnet.__all__)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZER_EXAMPLES)
def test_every_backend_equals_numpy(other_backend, name, dtype):
    backend, reference = (
        open_backend(other_backend, None, dtype),
        open_backend("numpy", dtype=dtype),
    )
    with backend.scope():
        found = run_optimizer(backend, OPTIMIZER_EXAMPLES[name])
        found = {key: backend.to_numpy(value) for key, value in found.items()}
    expected = run_optimizer(reference, OPTIMIZER_EXAMPLES[name])
    assert all(value.dtype == dtype for value in found.values())
    assert_equal(found, expected, rtol=1e-5 if dtype == "float32" else 1e-13)


@each
def test_slots_keep_shape_and_dtype(training_backend, optimizer):
    """What a CUDA graph and a loop in JAX need, and that float32 stays so."""
    backend = open_backend(training_backend.name, None, "float32")
    xp, optimizer = backend.xp, replace(optimizer, ema=0.9, weight_decay=0.1, l2=0.1, clip_norm=1.0)
    array = lambda x: backend.asarray(np.asarray(x, dtype="float32"), copy=True)  # noqa: E731
    with backend.scope():
        params, averages = ({n: array(x) for n, x in draw("p").items()} for _ in range(2))
        slots = optimizer.init(xp, params)
        before = {name: (tuple(x.shape), x.dtype) for name, x in slots.items()}
        grads = {n: array(x) for n, x in draw("gradient").items()}
        for _ in range(2):
            params, slots = optimizer.update(xp, params, grads, slots, array(0.1))
            averages, slots = optimizer.average(averages, params, slots)
        assert {name: (tuple(x.shape), x.dtype) for name, x in slots.items()} == before
        for arrays in (params, averages):
            assert {n: (tuple(x.shape), x.dtype) for n, x in arrays.items()} == {
                name: (shape, backend.dtype) for name, shape in SHAPES.items()
            }


@each
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"clip_norm": 1e-3}, {"clip_value": 1e-3}])
def test_gradients_and_rate_are_left_alone(optimizer, options):
    optimizer = replace(optimizer, **options)
    params = draw("parameter")
    slots = optimizer.init(np, params)
    grads, rate = draw("gradient"), np.asarray(0.1)
    for array in (*grads.values(), rate):
        array.flags.writeable = False
    for _ in range(2):
        params, slots = optimizer.update(np, params, grads, slots, rate)


@each
def test_it_writes_in_place(optimizer):
    params = draw("parameter")
    slots = optimizer.init(np, params)
    arrays = {**params, **{name: x for name, x in slots.items() if x.ndim}}
    after, after_slots = optimizer.update(np, params, draw("g"), slots, np.asarray(0.1))
    assert all({**after, **after_slots}[name] is array for name, array in arrays.items())


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e20])
@pytest.mark.parametrize("scale", [0.0, 1e-44, 1e-30, 1.0, 1e13, 1e19, 3e38])
def test_a_norm_whose_square_overflows(training_backend, scale, limit):
    """Against the same in float64 with Python's own `math.hypot`, which cannot."""
    xp = training_backend.xp
    values = {"weight": [[1.0, -0.5, 0.25], [1e-3, 0.0, -1.0]], "bias": [0.75, -1e-6]}
    # (Numbers below the smallest normal one are 0 to some libraries.)
    hosts = {name: (np.asarray(x) * scale).astype("float32") for name, x in values.items()}
    norm = math.hypot(*(x for host in hosts.values() for x in host.ravel().tolist()))
    factor = min(limit / (norm + 1e-6), 1.0)
    with training_backend.scope():
        float32 = {"dtype": xp.float32}
        params = {name: training_backend.asarray(0 * x, **float32) for name, x in hosts.items()}
        grads = {name: training_backend.asarray(x, **float32) for name, x in hosts.items()}
        rate = training_backend.asarray(np.float32(1.0), **float32)
        found, _ = SGD(1.0, clip_norm=limit).update(xp, params, grads, {}, rate)
    for name, x in hosts.items():
        expected = -x.astype("float64") * factor
        own = training_backend.to_numpy(found[name])
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=2e-38)


def test_many_gradients_near_the_largest_number():
    """Here the norm itself is beyond float32."""
    grads = {"w": np.full((1000, 1000), 3e38, "float32"), "empty": np.zeros((0, 3), "float32")}
    params = {name: np.zeros_like(x) for name, x in grads.items()}
    found, _ = SGD(1.0, clip_norm=2.0).update(np, params, grads, {}, np.asarray(1, "float32"))
    np.testing.assert_allclose(found["w"], -2e-3, rtol=1e-5)
    only = {"empty": grads["empty"]}
    SGD(1.0, clip_norm=2.0).update(np, dict(only), only, {}, np.asarray(1, "float32"))


def test_where_nothing_overflows_clipping_has_the_bits_of_the_formula():
    for limit in (0.5, 100.0):
        for scale in (1e-3, 1.0, 1e10):
            grads = {n: (scale * x).astype("float32") for n, x in draw("gradient").items()}
            norm = np.sqrt(sum(np.sum(x * x) for x in grads.values()))
            factor = np.minimum(limit / (norm + np.float32(1e-6)), np.float32(1))
            params = {name: np.zeros_like(x) for name, x in grads.items()}
            found, _ = SGD(1.0, clip_norm=limit).update(
                np, params, dict(grads), {}, np.asarray(1, "float32")
            )
            for name, x in grads.items():
                np.testing.assert_array_equal(-found[name], x * factor, strict=True)


@each
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}])
def test_nan_comes_through(training_backend, optimizer, options):
    grads = gradients()
    grads[4]["weight"][1, 2] = np.nan
    found = ours(replace(optimizer, **options), training_backend, grads)
    assert np.isnan(found["weight"][1, 2])


@each
def test_compiled_equals_direct(optimizer):
    require("jax")
    backend = open_backend("jax", None, "float64")
    optimizer = replace(optimizer, l2=0.1, weight_decay=0.1, clip_norm=1.0, ema=0.9)
    xp = backend.xp
    with backend.scope():
        results = []
        run = lambda p, g, s, r: optimizer.update(xp, dict(p), g, dict(s), r)  # noqa: E731
        for function in (run, backend.compile(run)):
            params = {name: backend.asarray(x) for name, x in draw("parameter").items()}
            slots = optimizer.init(xp, params)
            for rate, grads in zip(RATES, gradients(), strict=True):
                grads = {name: backend.asarray(x) for name, x in grads.items()}
                params, slots = function(params, grads, slots, backend.asarray(rate))
            results.append({k: backend.to_numpy(x) for k, x in (params | slots).items()})
    assert_equal(results[1], results[0], rtol=1e-13)


def test_adam_loses_no_digits_in_float32():
    """1 - 0.999**t in float32 has four digits in the first step; sums of weights have all."""
    backend = open_backend("numpy", None, "float32")
    found = ours(Adam(), backend, dtype="float32")
    expected = ours(Adam(), open_backend("numpy", None, "float64"))
    assert_equal(found, expected, rtol=2e-6)


# -- options --------------------------------------------------------------------------------------


def test_what_decays():
    before, rate = draw("parameter"), np.asarray(0.1)
    zero = {name: np.zeros_like(value) for name, value in before.items()}
    cases = {
        "weights": {"weight", "block"}, "all": set(SHAPES), ("bias",): {"bias"},
        ("weight", "bias"): {"weight", "bias"}, (): set(),
    }  # fmt: skip
    for decayed, expected in cases.items():
        for options in ({"weight_decay": 0.5}, {"l2": 0.5}):
            optimizer = SGD(0.1, decayed=decayed, **options)
            params = draw("parameter")
            params, _ = optimizer.update(np, params, zero, optimizer.init(np, params), rate)
            for name, value in before.items():
                scale = 0.95 if name in expected else 1.0
                np.testing.assert_allclose(params[name], scale * value, rtol=1e-15)


def test_a_parameter_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"decayed has fc9\.weight, but the parameters are weight"):
        SGD(decayed=["fc9.weight"], l2=0.1).init(np, draw("parameter"))


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be positive and finite, got 0"),
        ({"learning_rate": True}, "learning_rate must be positive and finite, got True"),
        ({"learning_rate": "1"}, "learning_rate must be positive and finite, got '1'"),
        ({"weight_decay": -1}, "weight_decay must be at least 0 and finite, got -1"),
        ({"l2": math.nan}, "l2 must be at least 0 and finite, got nan"),
        ({"clip_norm": 0}, "clip_norm must be positive and finite, got 0"),
        ({"clip_value": math.inf}, "clip_value must be positive and finite, got inf"),
        ({"clip_norm": 1, "clip_value": 1}, "give clip_norm or clip_value, not both"),
        ({"ema": 1}, "ema must be at least 0 and below 1, got 1"),
        ({"decayed": "biases"}, "decayed must be 'weights', 'all' or a tuple"),
    ],
)
def test_options_are_checked(optimizer, options, message):
    with pytest.raises(ValueError, match=f"^{type(optimizer).__name__}: .*{message}"):
        type(optimizer)(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Momentum(momentum=2),
            "Momentum: momentum must be at least 0 and at most 1, got 2",
        ),
        (lambda: Nesterov(momentum=-1), "Nesterov: momentum must be"),
        (lambda: RMSprop(decay=1), "RMSprop: decay must be at least 0 and below 1, got 1"),
        (lambda: RMSprop(epsilon=0), "RMSprop: epsilon must be positive and finite, got 0"),
        (lambda: Adam(beta1=1.0), "Adam: beta1 must be at least 0 and below 1"),
        (lambda: Adam(beta2=-0.1), "Adam: beta2 must be"),
        (lambda: AdamW(epsilon=-1), "AdamW: epsilon must be positive and finite"),
        (lambda: Lion(beta2=2), "Lion: beta2 must be at least 0 and below 1, got 2"),
    ],
)
def test_hyper_parameters_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_schedule_must_be_one():
    with pytest.raises(TypeError, match=r"Adam: schedule must be one such as .*got 'cosine'"):
        Adam(schedule="cosine")


@each
def test_it_is_a_value(optimizer):
    same = type(optimizer)(**{f.name: getattr(optimizer, f.name) for f in fields(optimizer)})
    assert same == optimizer
    assert hash(same) == hash(optimizer)
    assert replace(optimizer, learning_rate=0.7) != optimizer
    changed = replace(optimizer, ema=0.5, decayed=("a",))
    assert eval(repr(changed), vars(xpnet.optimizers)) == changed
    with pytest.raises(FrozenInstanceError):
        optimizer.learning_rate = 1.0
    assert type(type(optimizer)(np.float32(0.5)).learning_rate) is float


def test_numbers_of_the_options_are_short_in_print():
    assert repr(SGD()) == "SGD(0.1)"
    assert repr(AdamW(weight_decay=0.1, clip_norm=1)) == (
        "AdamW(0.001, weight_decay=0.1, clip_norm=1.0)"
    )


# -- averaging ------------------------------------------------------------------------------------


def run_averaged(backend, decay):
    """The parameters after each of ten steps, and the averages."""
    optimizer = Adam(ema=decay)
    array = lambda x: backend.asarray(x, copy=True)  # noqa: E731
    with backend.scope():
        params = {name: array(x) for name, x in draw("parameter").items()}
        averages = {name: array(x) for name, x in draw("parameter").items()}
        slots = optimizer.init(backend.xp, params)
        course = []
        for grads in gradients():
            grads = {name: array(x) for name, x in grads.items()}
            params, slots = optimizer.update(backend.xp, params, grads, slots, array(0.1))
            averages, slots = optimizer.average(averages, params, slots)
            course.append(
                tuple(
                    {n: np.array(backend.to_numpy(x)) for n, x in arrays.items()}
                    for arrays in (params, averages)
                )
            )
    return course


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_the_average_is_the_weighted_mean(training_backend, decay):
    course = run_averaged(training_backend, decay)
    for t in range(len(course)):
        weights = [decay ** (t - i) for i in range(t + 1)]
        for name in SHAPES:
            total = sum(w * course[i][0][name] for i, w in enumerate(weights))
            np.testing.assert_allclose(course[t][1][name], total / sum(weights), rtol=1e-12)


def test_the_average_beside_torchs():
    """torch begins with all weight on the first parameters: the difference is known exactly."""
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    decay = 0.9
    course = run_averaged(open_backend("numpy", None, "float64"), decay)
    module = torch.nn.ParameterDict({n: torch.tensor(x) for n, x in draw("parameter").items()})
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for t, (params, averages) in enumerate(course, start=1):
        for name, value in params.items():
            module[name].data = torch.tensor(value)
        averaged.update_parameters(module)
        for name in SHAPES:
            left = decay**t
            expected = (1 - left) * averages[name] + left * course[0][0][name]
            found = averaged.module[name].detach().numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-12)


# -- in a training --------------------------------------------------------------------------------

X = stream(0, "x").normal(size=(50, 6))
Y = stream(0, "y").integers(3, size=50)
MODEL = mlp(6, 8, 3)


def test_fit_returns_the_averages(training_backend):
    """They are the weighted mean of what a training without them goes through."""
    options = {"epochs": 3, "batch_size": 20, "seed": 1, "backend": training_backend}
    course = []

    class Watch(xpnet.Callback):
        def on_step(self, state, count):
            params = select(state, "param/")
            course.append({n: np.array(training_backend.to_numpy(x)) for n, x in params.items()})

    fit(MODEL, (X, Y), optimizer=Adam(0.05), callbacks=[Watch()], **options)
    network = fit(MODEL, (X, Y), optimizer=Adam(0.05, ema=0.8), **options)
    weights = [0.8**k for k in reversed(range(9))]
    for name, value in network.params.items():
        mean = sum(w * params[name] for w, params in zip(weights, course, strict=True))
        found = training_backend.to_numpy(value)
        np.testing.assert_allclose(found, mean / sum(weights), rtol=1e-9, atol=1e-12)
    with training_backend.scope():
        evaluated = network.evaluate(X, Y)
    assert evaluated.loss == pytest.approx(network.history[-1].train_loss, rel=1e-12)


@each
def test_every_optimizer_learns(optimizer):
    data = xpnet.load_dataset("digits")
    known = {SGD: 0.2, Momentum: 0.05, Nesterov: 0.05, Lion: 0.002}
    known |= dict.fromkeys((RMSprop, Adam, AdamW), 0.003)
    rates = [known[type(optimizer)]] if type(optimizer) in known else [0.003, 0.03, 0.3]
    networks = [
        fit(
            mlp(64, 32, 10), data, epochs=8, backend="numpy",
            optimizer=replace(optimizer, learning_rate=rate),
        )
        for rate in rates
    ]  # fmt: skip
    assert max(network.history[-1].test_accuracy for network in networks) > 0.9


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *itertools.product(["torch", "array_api_strict"], ALL),
        ("jax", SGD()),  # it compiles for seconds
        ("jax", Adam()),
    ],
    ids=str,
)
def test_a_training_is_the_same_on_every_backend(optimizer, name):
    require(name)
    optimizer = replace(optimizer, ema=0.9, weight_decay=0.01, clip_norm=1.0)
    optimizer = replace(optimizer, schedule=xpnet.schedules.OneCycle())
    losses = [
        fit(
            mlp(6, 8, 3, dropout=0.2), (X, Y), epochs=3, batch_size=20, optimizer=optimizer,
            backend=backend, dtype="float64",
        ).history["train_loss"]
        for backend in ("numpy", name)
    ]  # fmt: skip
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_a_training_equals_torchs():
    """AdamW, decaying weights only, clipped, in one cycle: as one would write it in torch."""
    torch = pytest.importorskip("torch")
    backend = open_backend("numpy", None, "float64")
    optimizer = AdamW(0.02, weight_decay=0.1, clip_norm=0.5, schedule=xpnet.schedules.OneCycle())
    found = fit(
        MODEL, (X, Y), epochs=4, batch_size=20, optimizer=optimizer, backend=backend, seed=3
    )
    start = select(initial_state(backend, MODEL, SGD(), 3), "param/")
    p = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    decaying = [p["fc1.weight"], p["fc2.weight"]]
    groups = [
        {"params": decaying, "weight_decay": 0.1},
        {"params": [p["fc1.bias"], p["fc2.bias"]], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adam, max_lr=0.02, total_steps=12, cycle_momentum=False
    )
    x, y, rates = torch.tensor(X), torch.tensor(Y), []
    for epoch in range(1, 5):
        order = permutation(3, epoch, 50)
        for first in range(0, 50, 20):
            rows = torch.tensor(order[first : first + 20])
            adam.zero_grad()
            hidden = torch.relu(x[rows] @ p["fc1.weight"] + p["fc1.bias"])
            output = hidden @ p["fc2.weight"] + p["fc2.bias"]
            torch.nn.functional.cross_entropy(output, y[rows]).backward()
            torch.nn.utils.clip_grad_norm_(p.values(), 0.5)
            adam.step()
            rates.append(adam.param_groups[0]["lr"])
            if len(rates) < 12:
                cycle.step()
    assert_equal(found.params, {n: v.detach().numpy() for n, v in p.items()}, rtol=1e-10)
    np.testing.assert_allclose(found.history["learning_rate"], rates[2::3], rtol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "plain"),
    [
        (SGD(), True),
        (SGD(schedule=xpnet.schedules.Cosine()), True),
        (SGD(schedule=xpnet.ReduceOnPlateau()), True),
        (SGD(ema=0.9), True),
        (SGD(l2=0.1), False),
        (SGD(weight_decay=0.1), False),
        (SGD(clip_norm=1), False),
        (SGD(clip_value=1), False),
        (Momentum(), False),
    ],
    ids=repr,
)
def test_plain_descent_makes_no_gradients(training_backend, monkeypatch, optimizer, plain):
    """It subtracts them while they are made, which gives what it would with them."""
    backend, made = training_backend, []

    def counted(xp, c, a, b):
        made.append(c.shape)
        return subtract_product(xp, c, a, b)

    monkeypatch.setattr("xpnet.optimizers.sgd.subtract_product", counted)

    class OnesOwn(type(optimizer)):
        def update(self, *arguments):
            return super().update(*arguments)

    def one_step(optimizer):
        made.clear()
        with backend.scope():
            state = initial_state(backend, MODEL, optimizer, 0, epochs=1, steps_per_epoch=1)
            step = make_step(backend, MODEL, xpnet.softmax_cross_entropy, optimizer)
            arrays = (backend.asarray(x, copy=True) for x in (X, Y, np.arange(50)))
            state = step(state, *arrays)
            found = {n: backend.to_numpy(v) for n, v in select(state, "param/").items()}
        return found, len(made)

    options = {f.name: getattr(optimizer, f.name) for f in fields(optimizer)}
    found, count = one_step(optimizer)
    assert (count > 0) == plain
    expected, count = one_step(OnesOwn(**options))
    assert count == 0
    assert_equal(found, expected)


def test_the_state_has_what_the_documentation_says():
    backend = open_backend("numpy")
    optimizer = Adam(ema=0.9, schedule=xpnet.schedules.Cosine())
    state = initial_state(backend, mlp(4, 3), optimizer, 0, epochs=2, steps_per_epoch=5)
    keys = [f"{kind}/fc1.{name}" for kind in ("param", "ema", "opt/gradient_sum", "opt/square_sum")
            for name in ("weight", "bias")]  # fmt: skip
    numbers = ["opt/gradient_weights", "opt/square_weights", "opt/ema_weights"]
    assert set(state) == {*keys, *numbers, "schedule", "learning_rate", "step", "loss"}
    assert state["schedule"].shape == (10,)
    assert trained_params(state)["fc1.weight"] is state["ema/fc1.weight"]
    before = {key: (np.shape(x), x.dtype) for key, x in state.items()}
    step = make_step(backend, mlp(4, 3), xpnet.softmax_cross_entropy, optimizer)
    x, y = np.eye(4, dtype="float32"), np.arange(4) % 3
    state = step(state, x, y, np.arange(4))
    assert {key: (np.shape(x), x.dtype) for key, x in state.items()} == before


def test_a_step_of_any_optimizer_reads_nothing():
    from test_host_reads import take_steps

    for optimizer in ALL:
        optimizer = replace(optimizer, ema=0.9, l2=0.1, weight_decay=0.1, clip_norm=1.0)
        optimizer = replace(optimizer, schedule=xpnet.schedules.Cosine())
        assert int(take_steps(optimizer=optimizer)["step"].value) == 2


def test_a_model_without_parameters():
    for optimizer in (Adam(ema=0.9, clip_norm=1.0), SGD()):
        network = fit(xpnet.Sequential(act=xpnet.Tanh()), (np.eye(3), np.arange(3)), epochs=1,
                      optimizer=optimizer, backend="numpy")  # fmt: skip
        assert network.params == {}


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """An optimizer of a user's own."""

    epsilon: float = 1e-10

    def slots(self):
        return {"square_sum": 0.0}

    def update_one(self, xp, parameter, gradient, slots, rate):
        # Not in place: that is allowed too.
        total = slots["square_sum"] + gradient * gradient
        return parameter - rate * gradient / (xp.sqrt(total) + self.epsilon), {"square_sum": total}


def test_an_optimizer_of_ones_own(training_backend):
    expected = theirs(lambda o, p: o.Adagrad(p), clip_norm=2.0)
    assert_equal(ours(Adagrad(clip_norm=2.0), training_backend), expected)
    with training_backend.scope():
        network = fit(MODEL, (X, Y), epochs=2, optimizer=Adagrad(0.1), backend=training_backend)
    assert network.history[-1].train_loss < 1.2


def test_an_optimizer_without_an_update():
    with pytest.raises(NotImplementedError, match="Optimizer must define update_one"):
        fit(MODEL, (X, Y), optimizer=Optimizer(), backend="numpy")


# -- numbers that vanish --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["learning_rate", "epsilon", "clip_norm", "clip_value"])
@each
def test_numbers_that_are_0_in_the_dtype_are_refused(optimizer, name, training_backend):
    """By some libraries the numbers from 1e-45 to 1e-38 are taken for 0 in float32 as well."""
    if not hasattr(optimizer, name):
        return
    backend = type(training_backend)(None, "float32")
    for value in (1e-50, 1e-40):
        tiny = replace(optimizer, **{name: value})
        message = (
            f"{type(optimizer).__name__}: {name} must be 1.18e-38 or more in float32, where some "
            f"libraries take {value} for 0, or give dtype='float64'"
        )
        with backend.scope(), pytest.raises(ValueError, match=message):
            initial_state(backend, mlp(4, 3), tiny, 0)
        with training_backend.scope():
            initial_state(training_backend, mlp(4, 3), tiny, 0)


@pytest.mark.parametrize("kind", [Adam, AdamW, RMSprop])
def test_the_least_epsilon_is_one_on_every_backend(kind, training_backend):
    """An input that is always 0 has gradients of 0, and 0/0 would be no number."""
    backend = type(training_backend)(None, "float32")
    x = np.array([[0.0, 1.0], [0.0, -1.0]])
    for epsilon in (1.2e-38, 1e-8):
        optimizer = kind(epsilon=epsilon)
        network = fit(mlp(2, 2), (x, [0, 1]), epochs=3, optimizer=optimizer, backend=backend)
        assert np.isfinite(backend.to_numpy(network.params["fc1.weight"])).all()


def test_an_optimizer_that_divides_says_what_by():
    """Whoever has an epsilon names it among what must not become 0."""
    for cls in OPTIMIZERS.values():
        has = any(f.name == "epsilon" for f in fields(cls))
        assert ("epsilon" in names_in_dtype(cls)) == has
