"""How the figures lie in samples on any backend, where these are pictures."""

from xpnet.backends import Backend
from xpnet.data.framing import Framing, looked_at, measure_framing
from xpnet.data.picture_shape import without_one_colour
from xpnet.inputs.validation import Rows
from xpnet.typing import Array


def framing_of(backend: Backend, x: Array, maximum: float) -> Framing | None:
    """`measure_framing` of samples that are on a device, in a file or sparse: of a few of them.

    Parameters
    ----------
    backend
        Where the samples are.
    x
        The samples, shape (N, ...).
    maximum
        What integers are divided by.
    """
    if len(without_one_colour(tuple(x.shape[1:]))) != 2:
        return None
    some = Rows(backend, x, looked_at(tuple(x.shape)))[:]
    return measure_framing(backend.to_numpy(some), maximum)
