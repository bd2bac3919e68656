"""Where `mlp` was before it had others beside it; see `xpnet.models`."""

from xpnet.models.mlp import mlp as mlp
