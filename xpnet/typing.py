"""Names for the types that travel through xpnet.

The Python array-API standard has no class that every library's array inherits from, so an array
and its namespace are `Any` to the type checker; the names say which is which to the reader.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""An array of any library: `numpy.ndarray`, `cupy.ndarray`, `torch.Tensor`, `jax.Array`, ..."""

# As text: numpy.random is loaded when it is used, and not by `import xpnet`.
SeedSequence: TypeAlias = "np.random.SeedSequence"
"""A seed that other seeds are derived from."""

Generator: TypeAlias = "np.random.Generator"
"""A stream of random numbers on the host."""

HostArray: TypeAlias = np.ndarray
"""A NumPy array in main memory: initial weights, data as read from files."""

DType: TypeAlias = Any
"""A data type object of an array library, such as `xp.float32`."""

Namespace: TypeAlias = Any
"""A module that offers the functions of the array-API standard, called `xp` throughout."""

Params: TypeAlias = Mapping[str, Array]
"""Trainable arrays by name: `{"weight": ..., "bias": ...}` for a layer,
`{"fc1.weight": ..., ...}` for a model."""

Grads: TypeAlias = dict[str, Array]
"""Gradients of the loss by parameter, with exactly the trainable keys."""

Cache: TypeAlias = tuple[Any, ...]
"""What `forward` keeps for `backward`: arrays, or for a container the caches of its layers."""

State: TypeAlias = dict[str, Array]
"""Everything that a training step changes, flat: `param/fc1.weight`, `opt/...`, `step`, ..."""

Shape: TypeAlias = tuple[int, ...]
