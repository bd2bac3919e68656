"""For the tests of what is compiled: whether there is a C compiler, and one that knows nothing;
whether steps have the same bits as those that are taken one by one."""

import tempfile

import pytest

from xpnet.backends import open_backend
from xpnet.backends.base import one_by_one
from xpnet.backends.numpy import compiler
from xpnet.backends.numpy import tape as tape_module
from xpnet.backends.numpy.compiler import CannotCompile, compiled
from xpnet.backends.numpy.replay import Replayer
from xpnet.backends.numpy.shared_library import Libraries
from xpnet.losses import softmax_cross_entropy
from xpnet.optimizers import SGD
from xpnet.random import stream
from xpnet.training.step import initial_state, make_step


def _has_compiler():
    try:
        compiled("#include <tgmath.h>\ndouble root(double x) { return sqrt(x); }", ["root"])
    except CannotCompile:
        return False
    return True


HAS_COMPILER = _has_compiler()

needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler that works")


def forget_all(monkeypatch, tmp_path):
    """A folder for temporary files, and nothing known of what has been compiled or has failed."""
    path = tmp_path / "temporary files"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.setattr(compiler, "LIBRARIES", Libraries())
    monkeypatch.setattr(compiler, "FAILURES", {})
    monkeypatch.setattr(compiler, "IN_A_ROW", {})
    return path


def check_compiled_steps(monkeypatch, model, x, labels, dtype):
    """That recorded and compiled steps give the bits of those that are taken one by one."""
    monkeypatch.setattr(tape_module, "COMPILING_PAYS", 0.0)
    backend = open_backend("numpy", None, dtype)
    step = make_step(backend, model, softmax_cross_entropy, SGD(0.1), pixel_maximum=255.0, seed=1)
    replayed, state = Replayer(step), initial_state(backend, model, SGD(0.1), 1)
    expected = initial_state(backend, model, SGD(0.1), 1)
    for rows in stream(0, "rows").integers(0, len(x), (12, 1, 6)):
        state = replayed(state, x, labels, rows)
        expected = one_by_one(step)(expected, x, labels, rows)
        for name, value in expected.items():
            assert state[name].tobytes() == value.tobytes(), name
    assert replayed.reason == ""
    assert all(tape.is_compiled for tape in replayed._tapes.values() if tape.is_tried)
