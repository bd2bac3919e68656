"""For the tests of what is compiled: whether there is a C compiler, and one that knows nothing."""

import tempfile

import pytest

from xpnet.backends.numpy import compiler
from xpnet.backends.numpy.compiler import CannotCompile, compiled
from xpnet.backends.numpy.shared_library import Libraries


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
