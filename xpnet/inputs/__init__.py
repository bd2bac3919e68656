"""What a user brings, checked on its way in: samples, targets, weights, sets of them, batches."""

from xpnet.inputs.batches import shuffled_batches
from xpnet.inputs.weighted import Weighted

__all__ = [
    "Weighted",
    "shuffled_batches",
]
