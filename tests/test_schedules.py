"""Schedules against torch's, and what a training does with them."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import name_of
from hypothesis import given
from hypothesis import strategies as st

import xpnet
from xpnet import SGD, Adam, ReduceOnPlateau, Schedule, fit, initial_state, make_step, mlp
from xpnet import schedules as s
from xpnet.random import stream
from xpnet.training.rates import last_rate

EPOCHS, STEPS = 6, 4
X = stream(0, "x").normal(size=(32, 5))
Y = stream(0, "y").integers(3, size=32)
MODEL = mlp(5, 3)


def of_torch(make, count=EPOCHS * STEPS, each=1):
    """The factors of `count` steps; the scheduler of torch goes on after every `each` of them."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    factors = []
    for step in range(1, count + 1):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % each == 0 and step < count:
            scheduler.step()
    return factors


N = EPOCHS * STEPS
CASES = [
    (s.Constant(), lambda t, o: t.ConstantLR(o, factor=1.0), 1),
    (s.Step(2), lambda t, o: t.StepLR(o, 2), STEPS),
    (s.Step(1, 0.7), lambda t, o: t.StepLR(o, 1, 0.7), STEPS),
    (s.Exponential(0.8), lambda t, o: t.ExponentialLR(o, 0.8), STEPS),
    (s.Exponential(0.8, smooth=True), lambda t, o: t.ExponentialLR(o, 0.8 ** (1 / STEPS)), 1),
    (s.Polynomial(), lambda t, o: t.PolynomialLR(o, N), 1),
    (s.Polynomial(2.5), lambda t, o: t.PolynomialLR(o, N, 2.5), 1),
    (s.Polynomial(final=0.3), lambda t, o: t.LinearLR(o, 1.0, 0.3, N), 1),
    (s.Cosine(), lambda t, o: t.CosineAnnealingLR(o, N), 1),
    (s.Cosine(final=0.2), lambda t, o: t.CosineAnnealingLR(o, N, 0.2), 1),
    (s.OneCycle(), lambda t, o: t.OneCycleLR(o, 1.0, N, cycle_momentum=False), 1),
    (
        s.OneCycle(0.45, 10, 30),
        lambda t, o: t.OneCycleLR(
            o, 1.0, N, pct_start=0.45, div_factor=10, final_div_factor=30, cycle_momentum=False
        ),
        1,
    ),
    (s.Cosine(cycles=3), lambda t, o: t.CosineAnnealingWarmRestarts(o, N // 3), 1),
    (s.Cosine(0.1, 2), lambda t, o: t.CosineAnnealingWarmRestarts(o, N // 2, 1, 0.1), 1),
]


@pytest.mark.parametrize(("schedule", "make", "each"), CASES, ids=name_of)
def test_factors_equal_torch(schedule, make, each):
    factors = schedule.factors(EPOCHS, STEPS)
    assert factors.dtype == np.float64
    np.testing.assert_allclose(factors, of_torch(make, each=each), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("warmup", [1, 2.5])
@pytest.mark.parametrize(("schedule", "make", "each"), CASES[:10], ids=name_of)
def test_a_warm_up_comes_before(schedule, make, each, warmup):
    """torch's LinearLR first, then the schedule from its beginning over the steps left."""
    n_warm = round(warmup * STEPS)
    warm = of_torch(lambda t, o: t.LinearLR(o, 1 / n_warm, 1.0, n_warm - 1), n_warm)
    options = {k: v for k, v in vars(schedule).items() if k != "warmup"}
    found = type(schedule)(**options, warmup=warmup).factors(EPOCHS, STEPS)
    np.testing.assert_allclose(found[:n_warm], warm, rtol=1e-12)
    assert found[n_warm - 1] == 1.0
    if isinstance(schedule, s.Polynomial | s.Cosine):  # these end with the run
        rest = type(schedule)(**options).factors(1, N - n_warm)
    else:
        rest = type(schedule)(**options).factors(EPOCHS, STEPS)[: N - n_warm]
    np.testing.assert_allclose(found[n_warm:], rest, rtol=1e-12, atol=1e-15)


def test_one_cycle_in_the_shortest_runs():
    assert s.OneCycle().factors(1, 1).shape == (1,)
    for n_steps in range(2, 12):
        factors = s.OneCycle().factors(1, n_steps)
        assert np.isfinite(factors).all()
        assert factors.max() <= 1
        assert factors[-1] == pytest.approx(1 / 25e4)


def test_every_schedule_has_a_name():
    public = {value for value in vars(s).values() if isinstance(value, type)}
    assert set(s.SCHEDULES.values()) == public - {s.Schedule, s.WarmedUp, s.Plateau}
    assert list(s.SCHEDULES) == [
        "constant", "step", "exponential", "polynomial", "cosine", "one-cycle", "plateau",
    ]  # fmt: skip


@pytest.mark.parametrize("schedule", [case[0] for case in CASES], ids=name_of)
@pytest.mark.parametrize("length", [(1, 1), (1, 7), (5, 1), (3, 10)])
def test_every_table_has_its_length(schedule, length):
    factors = schedule.factors(*length)
    assert factors.shape == (math.prod(length),)
    assert (factors >= 0).all()
    assert (factors <= 1).all()
    assert hash(schedule) == hash(type(schedule)(**vars(schedule)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s.Constant(warmup=-1), "Constant: warmup must be at least 0 and finite, got -1"),
        (lambda: s.Cosine(warmup=math.inf), "Cosine: warmup must be"),
        (lambda: s.Cosine(2), "Cosine: final must be at least 0 and at most 1, got 2"),
        (lambda: s.Step(0), "Step: every must be a positive integer, got 0"),
        (lambda: s.Step(1.5), "Step: every must be a positive integer, got 1.5"),
        (lambda: s.Step(1, 0), "Step: factor must be positive and finite, got 0"),
        (lambda: s.Exponential(-1), "Exponential: factor must be positive"),
        (lambda: s.Polynomial(0), "Polynomial: power must be positive and finite, got 0"),
        (lambda: s.Polynomial(1, -1), "Polynomial: final must be"),
        (lambda: s.OneCycle(1), "OneCycle: pct_start must be above 0 and below 1, got 1"),
        (lambda: s.OneCycle(div_factor=0.5), "OneCycle: div_factor must be at least 1"),
        (lambda: s.OneCycle(final_div_factor=0), "OneCycle: final_div_factor must be positive"),
        (lambda: ReduceOnPlateau(factor=1), "factor must be above 0 and below 1, got 1"),
        (lambda: ReduceOnPlateau(patience=-1), "patience, if it is not 0, must be a positive"),
        (lambda: ReduceOnPlateau(cooldown=0.5), "cooldown, if it is not 0, must be a positive"),
        (lambda: ReduceOnPlateau(min_delta=-1), "min_delta must be at least 0"),
        (lambda: ReduceOnPlateau(minimum=-1), "minimum must be at least 0"),
        (lambda: ReduceOnPlateau(""), "monitor must be the name of a field of EpochRecord"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- in a training --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_step_has_its_rate(training_backend, dtype):
    """Plain descent of a constant gradient goes as far as the sum of the rates."""
    schedule, backend = s.OneCycle(), xpnet.open_backend(training_backend.name, None, dtype)

    def constant_slope(xp, output, target, *, need_grad=True):
        return xp.sum(output), xp.ones_like(output) if need_grad else None

    optimizer = SGD(0.5, schedule=schedule)
    with backend.scope():
        state = initial_state(backend, xpnet.Sequential(fc=xpnet.Dense(1, 1)), optimizer, 0,
                              epochs=3, steps_per_epoch=4)  # fmt: skip
        step = make_step(backend, xpnet.Sequential(fc=xpnet.Dense(1, 1)), constant_slope, optimizer)
        x = backend.asarray(np.ones((1, 1), dtype=dtype))
        y, rows = (backend.asarray(np.zeros(1, int), dtype=backend.index_dtype) for _ in range(2))
        rates = []
        for _ in range(15):
            before = float(backend.to_numpy(state["param/fc.bias"])[0])
            state = step(state, x, y, rows)
            rates.append(before - float(backend.to_numpy(state["param/fc.bias"])[0]))
            assert float(last_rate(backend, state)) == pytest.approx(rates[-1], abs=2e-7)
        assert float(backend.to_numpy(state["learning_rate"])) == 0.5
        assert backend.to_numpy(state["schedule"]).dtype == dtype
    factors = schedule.factors(3, 4)
    expected = 0.5 * np.concatenate([factors, [factors[-1]] * 3])  # the last one holds
    np.testing.assert_allclose(rates, expected, atol=2e-7 if dtype == "float32" else 1e-14)


def test_a_factor_that_is_infinite_in_the_dtype_of_the_run():
    """Not a training that diverged: the table cannot be written down."""
    optimizer = SGD(0.1, schedule=s.Exponential(1e30))
    model, data = xpnet.mlp(64, 10), xpnet.load_dataset("digits").limited(50)
    message = (
        r"Exponential.* makes the learning rate 1e\+60 times as large, which is infinite in float32"
    )
    with pytest.raises(ValueError, match=message):
        xpnet.fit(model, data, epochs=3, optimizer=optimizer, backend="numpy")


def test_the_history_has_the_rate_of_the_last_step():
    optimizer = SGD(0.1, schedule=s.Step(1, 0.5))
    network = fit(MODEL, (X, Y), epochs=3, batch_size=8, optimizer=optimizer, backend="numpy")
    assert network.history["learning_rate"] == [0.1, 0.05, 0.025]
    optimizer = SGD(0.1, schedule=s.Cosine(warmup=1))
    network = fit(MODEL, (X, Y), epochs=3, batch_size=8, optimizer=optimizer, backend="numpy")
    np.testing.assert_allclose(
        network.history["learning_rate"], 0.1 * optimizer.schedule.factors(3, 4)[3::4], rtol=1e-6
    )


def test_a_schedule_needs_the_length_of_the_run():
    backend = xpnet.open_backend("numpy")
    message = r"the schedule Cosine needs the length of the run: initial_state\(\.\.\., epochs=20"
    with pytest.raises(ValueError, match=message):
        initial_state(backend, MODEL, SGD(schedule=s.Cosine()), 0)
    with pytest.raises(ValueError, match=r"Cosine: a warm-up of 3 epochs leaves nothing of a run"):
        fit(MODEL, (X, Y), epochs=3, optimizer=SGD(schedule=s.Cosine(warmup=3)), backend="numpy")


@dataclass(frozen=True)
class Own(Schedule):
    """A schedule of a user's own: whatever it was made with."""

    values: tuple

    def factors(self, epochs, steps_per_epoch):
        return list(self.values)


def test_a_schedule_of_ones_own():
    optimizer = SGD(0.1, schedule=Own((1, 0, 2)))
    network = fit(MODEL, (X, Y), epochs=3, batch_size=32, optimizer=optimizer, backend="numpy")
    assert network.history["learning_rate"] == [0.1, 0.0, 0.2]
    losses = network.history["train_loss"]
    assert losses[0] == losses[1] > losses[2]


@pytest.mark.parametrize("values", [(1, 2), (1, -1, 1), (1, math.nan, 1), ((1,), (1,), (1,))])
def test_a_table_is_checked(values):
    with pytest.raises(ValueError, match=r"Own\.factors\(3, 1\) must give an array of shape \(3,"):
        fit(MODEL, (X, Y), epochs=3, batch_size=32, optimizer=SGD(schedule=Own(values)),
            backend="numpy")  # fmt: skip
    with pytest.raises(NotImplementedError, match="Schedule must define factors"):
        Schedule().factors(1, 1)


# -- the plateau ----------------------------------------------------------------------------------


def run_plateau(rule, values, rate=0.8):
    plateau, rates = rule.start(), []
    for value in values:
        rate = plateau.next_rate(rate, value)
        rates.append(rate)
    return rates


def run_torchs(rule, values, rate=0.8):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max" if rule.monitor.endswith("accuracy") else "min", factor=rule.factor,
        patience=rule.patience, threshold=rule.min_delta, threshold_mode="abs",
        cooldown=rule.cooldown, min_lr=rule.minimum, eps=0,
    )  # fmt: skip
    rates = []
    for value in values:
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


rules = st.builds(
    ReduceOnPlateau,
    monitor=st.sampled_from(["train_loss", "train_accuracy"]),
    factor=st.sampled_from([0.1, 0.5, 0.9]),
    patience=st.integers(0, 3),
    min_delta=st.sampled_from([0.0, 0.1, 1.0]),
    cooldown=st.integers(0, 3),
    minimum=st.sampled_from([0.0, 0.01, 0.3]),
)
courses = st.lists(st.one_of(st.floats(-2, 2), st.just(math.nan)), max_size=30)


@given(rules, courses)
def test_plateau_equals_torch(rule, values):
    assert run_plateau(rule, values) == run_torchs(rule, values)


@given(rules, courses, st.integers(0, 30))
def test_a_plateau_goes_on_from_json(rule, values, at):
    whole = run_plateau(rule, values)
    plateau, rate, rates = rule.start(), 0.8, []
    for i, value in enumerate(values):
        if i == at:
            text = json.dumps(plateau.state_dict())
            plateau = rule.start()
            plateau.load_state_dict(json.loads(text))
        rate = plateau.next_rate(rate, value)
        rates.append(rate)
    assert rates == whole


def test_a_rate_below_the_minimum_does_not_rise():
    assert run_plateau(ReduceOnPlateau(patience=0, minimum=0.5), [1.0, 1.0], rate=0.2) == [0.2, 0.2]


def test_a_training_follows_the_plateau(training_backend):
    """The losses of a training that gets nowhere, and the rates that torch would have taken."""
    rule = ReduceOnPlateau(min_delta=10.0, patience=1, factor=0.5, cooldown=1)
    optimizer = Adam(0.08, schedule=rule)
    for _ in range(2):  # nothing is left of a training in the description
        network = fit(
            MODEL, (X, Y), epochs=9, batch_size=8, optimizer=optimizer, backend=training_backend
        )
        after = run_torchs(rule, network.history["train_loss"], rate=0.08)
        found = network.history["learning_rate"]
        np.testing.assert_allclose(found, [0.08, *after[:-1]], rtol=1e-12)
        assert found[-1] < 0.03


def test_what_a_plateau_may_watch():
    options = {"epochs": 1, "backend": "numpy"}
    optimizer = SGD(schedule=ReduceOnPlateau("test_accuracy"))
    fit(MODEL, (X, Y), test=(X, Y), optimizer=optimizer, **options)
    with pytest.raises(ValueError, match=r"monitor may be .*train_loss.*, for there is no .*test"):
        fit(MODEL, (X, Y), optimizer=optimizer, **options)
    with pytest.raises(ValueError, match=r"monitor may be .*test_loss.*; got 'tset_loss'"):
        fit(MODEL, (X, Y), test=(X, Y), optimizer=SGD(schedule=ReduceOnPlateau("tset_loss")),
            **options)  # fmt: skip
