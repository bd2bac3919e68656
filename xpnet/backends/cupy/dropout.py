"""The masks of dropout in one CUDA kernel, instead of about 90 operations on arrays."""

import math
from collections.abc import Callable
from typing import Any

from xpnet.errors import one_line
from xpnet.streams import log_warning
from xpnet.typing import Array

FusedMask = Callable[[tuple[int, int], Any, Array, float, Any], Array | None]

# The arithmetic of `keep_mask` and `threefry2x32` in xpnet/random.py, for one element. It is C++
# as well, and is compiled as such by the tests.
SOURCE = """
__device__ inline bool xpnet_keep(
    unsigned int step, unsigned int row_offset, unsigned int key0, unsigned int key1,
    unsigned int n_columns, unsigned int n_blocks, long long limit, unsigned long long element)
{
    const unsigned int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const unsigned int keys[3] = {key0, key1, key0 ^ key1 ^ 0x1BD11BDAu};
    const unsigned int row = (unsigned int)(element / n_columns) + row_offset;
    const unsigned int column = (unsigned int)(element % n_columns);
    const unsigned int quarter = column / n_blocks;
    unsigned int x0 = row * n_blocks + column % n_blocks + keys[0];
    unsigned int x1 = step + keys[1];
    for (unsigned int i = 0; i < 13; i++) {
        const unsigned int rotation = rotations[i % 8];
        x0 += x1;
        x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0;
        if (i % 4 == 3) {
            const unsigned int j = i / 4 + 1;
            x0 += keys[j % 3];
            x1 += keys[(j + 1) % 3] + j;
        }
    }
    unsigned int word = quarter < 2 ? x0 : x1;
    if (quarter % 2 == 1) word <<= 16;
    return (long long)(int)word >= limit;
}
"""

_PARAMETERS = (
    "raw int32 step, uint32 row_offset, uint32 key0, uint32 key1, uint32 n_columns, "
    "uint32 n_blocks, int64 limit"
)
_CALL = "keep = xpnet_keep(step[0], row_offset, key0, key1, n_columns, n_blocks, limit, i);"


def make_fused_mask(cupy: Any) -> FusedMask:
    """`keep_mask(key, step, x, rate, row_offset)` for CuPy; see `xpnet.random.keep_mask`.

    It answers None, and the general way is taken, where the offset is an array, where there is
    nothing to mask, and from the first time on that the kernel cannot be compiled.
    """
    kernel = cupy.ElementwiseKernel(
        _PARAMETERS, "bool keep", _CALL, "xpnet_keep_mask", preamble=SOURCE
    )
    broken = False

    def keep_mask(
        key: tuple[int, int], step: Any, x: Array, rate: float, row_offset: Any
    ) -> Array | None:
        nonlocal broken
        if broken or not isinstance(row_offset, int) or not x.size:
            return None
        try:
            return kernel(
                *mask_arguments(cupy, key, step, x.shape, rate, row_offset), size=x.size
            ).reshape(x.shape)
        except Exception as error:
            broken = True
            text = one_line(error, 300)
            log_warning(
                "dropout takes many kernels instead of one, which cannot be used (%s)", text
            )
            return None

    return keep_mask


def mask_arguments(
    cupy: Any,
    key: tuple[int, int],
    step: Any,
    shape: tuple[int, ...],
    rate: float,
    row_offset: int,
) -> tuple[Any, ...]:
    """What the kernel is called with; `cupy` may be NumPy."""
    n_columns = math.prod(shape[1:])
    if isinstance(step, int):
        step = cupy.full(1, (step + 2**31) % 2**32 - 2**31, dtype=cupy.int32)
    return (
        step.astype(cupy.int32, copy=False).reshape((1,)),
        *(cupy.uint32(word % 2**32) for word in (row_offset, *key, n_columns, -(-n_columns // 4))),
        cupy.int64(round(rate * 2**16) * 2**16 - 2**31),
    )
