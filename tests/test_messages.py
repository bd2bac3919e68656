"""Warnings while a progress bar is drawn: above it, whole, and only where nobody else has them."""

import io
import logging
import sys

import pytest

from xpnet import Callback, ProgressBar, fit, load_dataset, mlp

LOGGER = logging.getLogger("xpnet")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Warns(Callback):
    """Warns in the middle of each epoch, as a busy machine is told of."""

    every_step = False

    def on_step(self, state, count):
        LOGGER.warning("careful")


def train(*callbacks, epochs=2, root=(), own=()):
    """Train in a program that has set up no logging but these handlers; pytest's would count."""
    data = load_dataset("digits").limited(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", list(root))
        patch.setattr(LOGGER, "handlers", list(own))
        try:
            fit(
                mlp(64, 10),
                data,
                epochs=epochs,
                batch_size=100,
                callbacks=callbacks,
                backend="numpy",
            )
        finally:
            assert LOGGER.handlers == list(own)


def test_a_warning_stands_on_a_line_of_its_own(capsys):
    terminal = Terminal()
    train(ProgressBar(terminal), Warns())
    lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert lines.count("careful") == 2
    # The bar was wiped away before.
    before = terminal.getvalue().split("careful")[0].split("\r")
    assert before[-2].isspace()
    assert capsys.readouterr().err == ""


def test_two_bars_at_once_say_it_once():
    first, second = Terminal(), Terminal()
    train(ProgressBar(first), ProgressBar(second), Warns(), epochs=1)
    assert (first.getvalue() + second.getvalue()).count("careful") == 1


@pytest.mark.parametrize("place", ["root", "own"])
def test_logging_that_is_set_up_is_left_alone(place):
    handler = logging.StreamHandler(io.StringIO())
    terminal = Terminal()
    train(ProgressBar(terminal), Warns(), epochs=1, **{place: [handler]})
    assert handler.stream.getvalue() == "careful\n"
    assert "careful" not in terminal.getvalue()


def test_without_a_terminal_python_writes_it(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    train(ProgressBar(io.StringIO()), Warns(), epochs=1)
    assert err.getvalue() == "careful\n"


def test_the_logging_is_as_before_where_a_training_fails():
    class Fails(Callback):
        def on_epoch(self, network, record):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(ProgressBar(Terminal()), Fails())
