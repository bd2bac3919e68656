"""Whether there is a C compiler that works, for the tests of what is compiled."""

import pytest

from xpnet.backends.cpu.compiler import CannotCompile, compiled


def _has_compiler():
    try:
        compiled("#include <tgmath.h>\ndouble root(double x) { return sqrt(x); }", ["root"])
    except CannotCompile:
        return False
    return True


HAS_COMPILER = _has_compiler()

needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler that works")
