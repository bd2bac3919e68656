"""The number of threads that make products: chosen, settled on a busy machine, and given back."""

import itertools
import json
import logging
import threading

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import require
from threadpoolctl import threadpool_limits

from xpnet import Adam, Callback, fit, mlp, open_backend
from xpnet.backends.numpy import backend as numpy_backend
from xpnet.backends.numpy import threads
from xpnet.backends.numpy.threads import (
    BLAS_THREADS,
    Trials,
    blas_threads,
    product_of,
    slowdown,
)
from xpnet.cli import main
from xpnet.random import stream

pytestmark = pytest.mark.compiler

SAMPLES = np.eye(12), np.arange(12) % 3


@pytest.fixture
def two_threads():
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != 2:
            pytest.skip("this NumPy's BLAS has one thread only")
        yield


@pytest.fixture
def two_for_all():
    """Two threads, which any thread may make other than two; threadpoolctl lets only one do so."""
    before = threads._limits()
    threads._set_limits(2)
    try:
        if blas_threads() != 2:
            pytest.skip("this NumPy's BLAS has one thread only")
        yield
    finally:
        threads._set_limits(before)


@pytest.fixture
def measured(monkeypatch, two_threads):
    """What the trial of threads is pretended to find; it notes what it was asked."""

    def pretend(slower, shared=0):
        asked = []
        monkeypatch.setattr(numpy_backend, "SHARED_PRODUCT", shared)
        monkeypatch.setattr(numpy_backend.Trials, "due", lambda self: True)
        found = iter(slower if isinstance(slower, list) else itertools.repeat(slower))
        monkeypatch.setattr(numpy_backend, "product_of", lambda *sizes: sizes)
        monkeypatch.setattr(
            numpy_backend,
            "slowdown",
            lambda work, count: asked.append((work, count)) or next(found),
        )
        return asked

    return pretend


def threads_in_scope(backend):
    with backend.scope():
        return blas_threads()


def test_the_number_holds_inside_the_scope_only(two_threads):
    backend = open_backend("numpy", threads=1)
    assert threads_in_scope(backend) == 1
    assert blas_threads() == 2
    assert threads_in_scope(open_backend("numpy")) == 2


def overlapping(first, second, read):
    """What `read` gives in, between and after two scopes of two threads; the first ends first."""
    entered, left, seen = threading.Event(), threading.Event(), []

    def run():
        with first:
            seen.append(read())
            entered.set()
            assert ready.wait(10)
        left.set()

    ready, thread = threading.Event(), threading.Thread(target=run)
    thread.start()
    assert entered.wait(10)
    with second:
        ready.set()
        assert left.wait(10)
        seen.append(read())
    thread.join()
    return [*seen, read()]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(1, None, [1, 2, 2]), (1, 1, [1, 1, 2]), (None, 1, [2, 1, 2]), (None, None, [2, 2, 2])],
)
def test_scopes_that_overlap_leave_the_number_as_it_was(two_for_all, first, second, expected):
    scopes = [open_backend("numpy", threads=number).scope() for number in (first, second)]
    assert overlapping(*scopes, blas_threads) == expected


def test_trainings_that_overlap_leave_the_number_as_it_was(two_for_all):
    """One ends in the middle of another, in which a network also predicts."""
    network = fit(mlp(12, 3), SAMPLES, epochs=1, backend=open_backend("numpy", threads=1))

    class Nest(Callback):
        def on_epoch(self, trained, record):
            backend = open_backend("numpy", threads=1)
            thread = threading.Thread(
                target=lambda: fit(mlp(12, 3), SAMPLES, epochs=1, backend=backend)
            )
            thread.start()
            network.predict(SAMPLES[0])
            thread.join()

    for number in (None, 1, 2):
        backend = open_backend("numpy", threads=number)
        fit(mlp(12, 3), SAMPLES, epochs=2, backend=backend, callbacks=[Nest()])
        assert blas_threads() == 2


def test_what_the_host_program_sets_meanwhile_stays(two_for_all):
    with open_backend("numpy", threads=2).scope(), open_backend("numpy").scope():
        threads._set_limits(1)
    assert blas_threads() == 1


def test_threads_settled_in_a_scope_are_those_of_this_thread_alone(two_for_all):
    entered, ready = threading.Event(), threading.Event()

    def run():
        with BLAS_THREADS.held(None):
            entered.set()
            ready.wait(10)

    thread = threading.Thread(target=run)
    with BLAS_THREADS.held(None):
        thread.start()
        assert entered.wait(10)
        BLAS_THREADS.change(1)
        assert blas_threads() == 1
    assert blas_threads() == 2
    BLAS_THREADS.change(1)  # outside of a scope: nothing
    assert blas_threads() == 2
    ready.set()
    thread.join()


def test_torch_is_left_as_it_was_by_scopes_that_overlap():
    require("torch")
    import torch

    before = torch.get_num_threads()
    chosen = before + 1
    scopes = [open_backend("torch", threads=chosen).scope() for _ in range(2)]
    assert overlapping(*scopes, torch.get_num_threads) == [chosen, chosen, before]
    # A thread that is new has the number of before, as well.
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before]


def test_torch_has_the_number_too():
    require("torch")
    import torch

    before = torch.get_num_threads()
    backend = open_backend("torch", threads=before + 1)
    with backend.scope():
        assert torch.get_num_threads() == before + 1
        assert not torch.is_grad_enabled()
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), backend.scope():
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_a_busy_machine_gets_one_thread(measured, caplog):
    asked, backend = measured(19.7), open_backend("numpy")
    with caplog.at_level(logging.WARNING, "xpnet"):
        fit(mlp(12, 7, 3), SAMPLES, epochs=1, batch_size=4, backend=backend)
    assert asked[0] == ((4, 12, 7), 2)
    assert backend.threads == 1
    (message,) = caplog.messages
    assert "1 thread is used, as 2 take 19.7 times as long (threads=2 insists)" in message
    assert len(message) <= 100
    # And the network goes on as it was trained.
    assert threads_in_scope(backend) == 1


def test_the_trial_is_of_no_more_rows_than_there_are(measured):
    asked = measured(1.0)
    fit(mlp(12, 7, 3), SAMPLES, epochs=1, batch_size=10**9, backend="numpy")
    assert asked[0][0][0] == 12


def test_products_that_one_thread_makes_in_any_case_are_not_tried(measured):
    asked = measured(19.7, shared=threads.SHARED_PRODUCT)
    backend = open_backend("numpy")
    fit(mlp(12, 7, 3), SAMPLES, epochs=1, batch_size=4, backend=backend)
    assert not asked
    assert backend.threads is None
    large = np.ones((300, 40), "float32"), np.arange(300) % 3
    fit(mlp(40, 100, 3), large, epochs=1, batch_size=100, backend=backend)
    assert asked[0] == ((100, 40, 100), 2)


def test_an_idle_machine_keeps_all(measured, caplog):
    measured(1.2)
    backend = open_backend("numpy")
    fit(mlp(12, 7, 3), SAMPLES, epochs=1, batch_size=4, backend=backend)
    assert backend.threads is None
    assert "threads" not in caplog.text


def test_a_chosen_number_is_not_settled_again(measured):
    asked, backend = measured(100.0), open_backend("numpy", threads=2)
    fit(mlp(12, 7, 3), SAMPLES, epochs=1, backend=backend)
    assert not asked
    assert backend.threads == 2


def test_one_thread_is_not_tried(measured):
    asked = measured(100.0)
    with threadpool_limits(1, user_api="blas"):
        fit(mlp(12, 7, 3), SAMPLES, epochs=1, backend="numpy")
    assert not asked


def test_threads_are_taken_at_once_and_given_back(measured):
    measured(19.7)
    seen = []

    class Watch(Callback):
        def on_step(self, state, count):
            seen.append(blas_threads())

    backend = open_backend("numpy")
    fit(mlp(12, 7, 3), SAMPLES, epochs=1, batch_size=4, backend=backend, callbacks=[Watch()])
    assert seen == [1, 1, 1]
    assert blas_threads() == 2


def test_trials_are_made_less_and_less_often(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    trials, due = Trials(), []
    while now < 200:
        if trials.due():
            due.append(now - 100)
        now += 0.05
    assert due == pytest.approx([0.2, 1.2, 6.2, 31.2, 61.2, 91.2], abs=0.5)


def test_the_trial_compares_the_numbers_it_says(two_threads, monkeypatch):
    """A product that is slow with two threads and fast with one is found to be."""
    import time

    real = np.matmul
    monkeypatch.setattr(
        np, "matmul", lambda a, b: time.sleep(0.004 * (blas_threads() - 1)) or real(a, b)
    )
    assert slowdown(product_of(64, 128, 64), 2) > 10
    assert blas_threads() == 2


def test_all_threads_are_taken_again_when_the_cores_are_free(measured, caplog):
    """Not by a little: a choice between two that are as fast would be one by chance."""
    found = [1.3, 1.0, 0.95, 0.8, 1.2, 1.26]
    measured(found)
    seen = []

    class Watch(Callback):
        def on_step(self, state, count):
            seen.append(blas_threads())

    backend = open_backend("numpy")
    options = {"epochs": 2, "batch_size": 4, "backend": backend, "callbacks": [Watch()]}
    fit(mlp(12, 7, 3), SAMPLES, **options)
    assert seen == [1, 1, 1, 2, 2, 1]
    assert sum("the cores are free again: 2 threads are used" in m for m in caplog.messages) == 1
    assert blas_threads() == 2


def test_what_is_tried_is_the_whole_step_and_changes_nothing(two_threads, monkeypatch):
    """Of a training of which steps are recorded; its parameters stay those of one that never tries,
    to the bit, also with slots."""
    tried = []

    def trial(work, count):
        for _ in range(3):
            work()
        tried.append(work)
        return 1.0

    model, x = mlp(6, 5, 3), stream(0, "x").random((96, 6)).astype("float32")
    options = {"epochs": 3, "batch_size": 8, "optimizer": Adam()}
    expected = fit(model, (x, np.arange(96) % 3), backend=open_backend("numpy"), **options)
    monkeypatch.setattr(numpy_backend, "SHARED_PRODUCT", 0)
    monkeypatch.setattr(numpy_backend.Trials, "due", lambda self: True)
    monkeypatch.setattr(numpy_backend, "slowdown", trial)
    found = fit(model, (x, np.arange(96) % 3), backend=open_backend("numpy"), **options)
    assert any(getattr(work, "__self__", None).__class__.__name__ == "_Step" for work in tried)
    for name, value in expected.params.items():
        assert found.params[name].tobytes() == value.tobytes()
    assert [r.train_loss for r in found.history] == [r.train_loss for r in expected.history]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_wrong_number_is_refused(threads):
    with pytest.raises((ValueError, TypeError), match="threads"):
        open_backend("numpy", threads=threads)


def test_where_there_is_no_number_to_choose(other_backend):
    if other_backend == "torch":
        pytest.skip("torch has one")
    with pytest.raises(ValueError, match="no number of threads"):
        open_backend(other_backend, threads=1)
    with pytest.raises(ValueError, match="open already"):
        open_backend(open_backend("numpy"), threads=1)


def test_the_command_line(tmp_path):
    run = CliRunner().invoke
    command = ["train", "digits", "--epochs", "1", "--quiet", "--backend", "numpy"]
    result = run(main, [*command, "--threads", "1", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["threads"] == 1
    refused = run(main, [*command, "--threads", "0"])
    assert refused.exit_code == 2
    strict = run(main, ["train", "digits", "--backend", "array_api_strict", "--threads", "1"])
    assert strict.exit_code == 2
    assert "no number of threads" in strict.output
