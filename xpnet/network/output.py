"""Whether a loss and the output of a model go together, and the loss made ready for it."""

from typing import Any

import numpy as np

from xpnet.backends import Backend
from xpnet.dtype_limits import check_numbers
from xpnet.layers import Layer
from xpnet.losses import Loss, LossFunction
from xpnet.losses.base import name_of_loss, said_by
from xpnet.network.state import load_array
from xpnet.typing import Array, Shape


def loaded_loss(backend: Backend, model: Layer, loss: LossFunction) -> LossFunction:
    """The loss with what is constant in it on the device; a plain function as it is.

    Raises
    ------
    ValueError
        If the loss does not fit the outputs of the model, or a number of it is 0 or infinite in the
        dtype of the backend.
    """
    if not isinstance(loss, Loss):
        return loss
    check_numbers(backend.dtype_name, loss)

    def asarray(values: Any) -> Array:
        return load_array(backend, np.asarray(values))

    return loss.loaded(asarray, n_outputs(model))


def check_loss_fits(model: Layer, loss: LossFunction) -> None:
    """What `loaded_loss` would find, before there are arrays: a loss that the model does not fit.

    Raises
    ------
    ValueError
        If the loss does not fit the outputs of the model.
    """
    if isinstance(loss, Loss):
        loss.loaded(np.asarray, n_outputs(model))


def check_output(model: Layer, loss: LossFunction) -> None:
    """Check that a loss is not given probabilities where it makes them itself, of logits.

    Raises
    ------
    ValueError
        If it would be: a softmax of a softmax is nearly constant, and little is learnt.
    """
    last, applies = model.last(), said_by(loss, "applies")
    if applies is not None and last.gives_probabilities:
        raise ValueError(
            f"the model ends in {last!r}, but {name_of_loss(loss)} applies {applies} to its "
            f"output itself: leave that layer out (predict_proba of the network gives "
            f"probabilities), or take a loss that takes the output as it is, such as "
            f"mean_squared_error"
        )


def n_outputs(model: Layer, sample: Shape | None = None) -> int | None:
    """The number of outputs of a network; None where it is not known before it has samples, and
    does not follow from the shape of one either."""
    shape = model.output_shape(model.input_shape()) or model.output_shape(sample)
    return shape[-1] if shape else None
