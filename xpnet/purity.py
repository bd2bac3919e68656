"""Whether what a network is made of is known to depend on arrays alone, and can be recorded."""

from typing import Any

from xpnet.augment import AUGMENTATIONS, Augmentation, Compose, Sometimes
from xpnet.layers import CONSTRAINTS, LAYERS, Layer
from xpnet.layers.container import trained_layers
from xpnet.layers.frozen import Frozen
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS


def is_pure(model: Layer, *parts: Any) -> bool:
    """Whether a model, and what is beside it, are all of xpnet's classes.

    Beside it are losses, optimizers and augmentations, or None.

    What is of a class of one's own should depend on its arguments alone, but need not: it may count
    its calls, or draw random numbers. So may what is derived from one of xpnet's, which says
    nothing of what it adds.
    """
    layers = trained_layers(model)
    for layer in layers:
        layers += trained_layers(layer.layer) if isinstance(layer, Frozen) else ()
    parts = tuple(one for part in parts for one in _all_of(part))
    own = {*LAYERS.values(), Frozen, *CONSTRAINTS.values(), *LOSSES.values(), *OPTIMIZERS.values()}
    own |= {*AUGMENTATIONS.values(), Compose, Sometimes}
    return all(type(part) in own for part in (*layers, *model.constraints().values(), *parts))


def _all_of(part: Any) -> list[Any]:
    """A part, and those that it is made of."""
    if part is None:
        return []
    inner = part.parts().values() if isinstance(part, Augmentation) else ()
    return [part, *(deeper for one in inner for deeper in _all_of(one))]
