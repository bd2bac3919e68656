"""How C, C++ and CUDA write dtypes, functions and numbers."""

import math

import numpy as np

from xpnet.typing import DType

TYPES: dict[DType, str] = {
    np.dtype(name): text
    for name, text in {
        "float32": "float", "float64": "double", "bool": "bool", "uint8": "unsigned char",
        "int8": "signed char", "uint16": "unsigned short", "int16": "short", "int32": "int",
        "uint32": "unsigned int", "int64": "long long", "uint64": "unsigned long long",
    }.items()
}  # fmt: skip
"""What C calls a dtype."""

LARGER, SMALLER = "({0} != {0} || {0} > {1} ? {0} : {1})", "({0} != {0} || {0} < {1} ? {0} : {1})"

TEMPLATES = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "negative": "-{0}", "abs": "fabs({0})", "maximum": LARGER, "minimum": SMALLER,
    "exp": "exp({0})", "log": "log({0})", "sqrt": "sqrt({0})", "tanh": "tanh({0})",
    "log1p": "log1p({0})", "expm1": "expm1({0})", "erf": "erf({0})",
    "floor": "floor({0})", "cos": "cos({0})", "sin": "sin({0})",
    "sign": "({0} != {0} ? {0} : ({0} > 0) - ({0} < 0))",
    "less": "{0} < {1}", "less_equal": "{0} <= {1}", "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}", "equal": "{0} == {1}", "not_equal": "{0} != {1}",
    "logical_not": "!{0}", "logical_and": "{0} && {1}", "logical_or": "{0} || {1}",
    "bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}",
    "bitwise_left_shift": "{0} << {1}", "bitwise_right_shift": "{0} >> {1}",
    "where": "({0} ? {1} : {2})", "astype": "{0}",
}  # fmt: skip
"""Functions of each element by itself. A NaN in `maximum` and `minimum` stays one, as in NumPy."""

SIGNED = {np.dtype("int32"), np.dtype("int64")}
WRAPPING = {"add", "subtract", "multiply", "negative", "bitwise_left_shift"}
"""What is undefined in C where the result is too large for a signed integer, and wraps in NumPy."""

PREAMBLE = """
#define XPNET_INF (1e308 * 1e308)
"""


def literal(number: float | bool, dtype: DType) -> str:
    """A number as it is written in a dtype, to the last bit."""
    name = TYPES[dtype]
    if name not in ("float", "double"):
        return f"(({name}){int(number)}LL)"
    if math.isnan(number):
        return f"(({name})(XPNET_INF - XPNET_INF))"
    if math.isinf(number):
        return f"(({name}){'-' if number < 0 else ''}XPNET_INF)"
    return f"(({name}){float(number).hex()})"
