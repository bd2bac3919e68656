"""One epoch: the order of its samples, and the steps on them, for `fit` and for the estimators."""

import numpy as np
import pytest

import xpnet
from xpnet import SGD, open_backend, shuffled_batches
from xpnet.training.epoch import make_epoch, take_steps

MODEL = xpnet.mlp(3, 4, 2)


def test_the_order_is_that_of_shuffled_batches():
    """Which is the public one, for loops of one's own."""
    backend = open_backend("numpy")
    for drop_last, visited in ((False, None), (True, 20)):
        options = {"seed": 5, "epoch": 3, "drop_last": drop_last}
        expected = [rows.tolist() for rows in shuffled_batches(backend, 22, 4, **options)]
        epoch = make_epoch(3, 22, 4, seed=5, visited=visited)
        assert epoch.order.tolist() == [row for rows in expected for row in rows]
        assert epoch.n_steps == len(expected)
        assert epoch.left_out == 0


def test_batches_that_count_for_nothing_are_left_out():
    rows = np.arange(10, 20)
    counts = np.ones(30, dtype=bool)
    counts[[10, 11, 12, 16, 18, 19]] = False
    epoch = make_epoch(1, 10, 3, seed=0, shuffle=False, rows=rows, counts=counts)
    # 10, 11, 12 and the last one, 19, are whole batches of such.
    assert epoch.order.tolist() == [13, 14, 15, 16, 17, 18]
    assert (epoch.n_steps, epoch.left_out) == (2, 2)


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_schedule_counts_the_steps_that_are_left_out(scheduled):
    """And no other count does; who asks for no more steps has none counted."""
    backend = open_backend("numpy")
    counts = np.repeat([True, False, True], 2)
    epoch = make_epoch(1, 6, 2, seed=0, shuffle=False, counts=counts)
    taken = []

    def run(state, x, y, rows):
        taken.append(rows.tolist())
        return {**state, "step": state["step"] + rows.shape[0]}

    state = {"step": 0, **({"schedule": None} if scheduled else {})}
    x = y = np.zeros((6, 3))
    calls = list(take_steps(backend, MODEL, run, state, x, y, epoch, per_call=1))
    assert [count for _, count in calls] == [1, 1]
    state = calls[-1][0]
    assert taken == [[[0, 1]], [[4, 5]]]
    assert state["step"] == (3 if scheduled else 2)
    steps = take_steps(backend, MODEL, run, {**state, "step": 0}, x, y, epoch, per_call=1)
    state, _ = next(steps)
    steps.close()
    assert state["step"] == 1


def test_fit_and_the_estimators_take_the_same_steps():
    """The same samples in the same order, of the same seed."""
    pytest.importorskip("sklearn")
    from xpnet.sklearn import MLPRegressor

    x, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30.0)
    seen = []

    def recording(xp, output, target, *, weight=None, need_grad=True):
        if need_grad:
            seen.append(target[:, 0].tolist())
        return xp.mean((output - target) ** 2), 2 * (output - target) / target.shape[0]

    recording.target_kind = "values"
    weight = np.where(np.arange(30) < 18, 0.0, 1.0)
    options = {"max_iter": 3, "n_iter_no_change": np.inf, "batch_size": 4, "random_state": 0}
    model = MLPRegressor(recording, (4,), optimizer=SGD(1e-4), **options)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(x, y, weight)
    by_estimator, seed = seen.copy(), model._kept.progress.seed
    seen.clear()
    xpnet.fit(
        xpnet.mlp(3, 4, 1), (x, y[:, None]), sample_weight=weight, loss=recording, epochs=3,
        optimizer=SGD(1e-4), batch_size=4, seed=seed, dtype="float64", backend="numpy",
        train_metrics="none",
    )  # fmt: skip
    assert by_estimator == seen
    assert 3 < len(seen) < 3 * 8  # some batches are left out
