"""What a network gives for samples, which an estimator takes as they are."""

from typing import Any

from xpnet.backends import Backend
from xpnet.data import Preparation
from xpnet.layers import Sequential
from xpnet.layers.container import wanted_shape
from xpnet.network.prediction import Forward


class Forwards:
    """The forward pass of a model wherever it was asked for, with what the backends made of it."""

    def __init__(self) -> None:
        self._by_place: dict[Any, Forward] = {}

    def on(self, work: Backend, model: Sequential) -> Forward:
        """That on a library and device, and in a dtype: always of the same model."""
        place = work.name, str(work.device), work.dtype_name, work.tf32, work.steps
        found = self._by_place.get(place)
        if found is None:
            as_it_is = Preparation(1.0, work.dtype_name, wanted_shape(model))
            found = self._by_place[place] = Forward(work, model, as_it_is)
        return found
