"""Whether there is a C compiler, for the tests of what is compiled."""

import pytest

from xpnet.backends.cpu.compiler import CannotCompile, find_compiler


def _has_compiler():
    try:
        find_compiler()
    except CannotCompile:
        return False
    return True


HAS_COMPILER = _has_compiler()

needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="there is no C compiler")
