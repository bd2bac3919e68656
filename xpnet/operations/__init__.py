"""Operations that an array library may do in a better way than by the standard's functions.

Each is written here once, in the standard, and is used where the library has none of its own. A
backend that has one puts it into its namespace (`with_overrides`); the tests hold every one against
the version here.
"""

from xpnet.operations.convolution import (
    channel_sums,
    convolution_input_gradient,
    convolution_output,
    convolution_weight_gradient,
)
from xpnet.operations.erf import erf
from xpnet.operations.gathering import gather_rows
from xpnet.operations.pooling import (
    average_pooling,
    average_pooling_gradient,
    global_average_pooling,
    global_average_pooling_gradient,
    max_pooling,
    max_pooling_gradient,
)
from xpnet.operations.products import (
    Unmade,
    bias_gradient,
    subtract_product,
    unit_of_squares,
    weight_gradient,
)

__all__ = [
    "Unmade",
    "average_pooling",
    "average_pooling_gradient",
    "bias_gradient",
    "channel_sums",
    "convolution_input_gradient",
    "convolution_output",
    "convolution_weight_gradient",
    "erf",
    "gather_rows",
    "global_average_pooling",
    "global_average_pooling_gradient",
    "max_pooling",
    "max_pooling_gradient",
    "subtract_product",
    "unit_of_squares",
    "weight_gradient",
]
