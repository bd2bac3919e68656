"""Whether what a network is made of is known to depend on arrays alone, and can be recorded."""

from typing import Any

from xpnet.layers import CONSTRAINTS, LAYERS, Layer
from xpnet.layers.container import trained_layers
from xpnet.layers.frozen import Frozen
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS


def is_pure(model: Layer, *parts: Any) -> bool:
    """Whether a model, and losses and optimizers beside it, are all of xpnet's classes.

    What is of a class of one's own should depend on its arguments alone, but need not: it may count
    its calls, or draw random numbers. So may what is derived from one of xpnet's, which says
    nothing of what it adds.
    """
    layers = trained_layers(model)
    for layer in layers:
        layers += trained_layers(layer.layer) if isinstance(layer, Frozen) else ()
    own = {*LAYERS.values(), Frozen, *CONSTRAINTS.values(), *LOSSES.values(), *OPTIMIZERS.values()}
    return all(type(part) in own for part in (*layers, *model.constraints().values(), *parts))
