"""What a file says of a network beside its arrays: JSON values, which `saved.py` reads again."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xpnet.layers import describe_layer
from xpnet.losses import describe_loss

if TYPE_CHECKING:
    from xpnet.training.network import Network


def network_metadata(network: "Network") -> dict[str, Any]:
    """All that is needed to use the network again, and its history."""
    return {
        "model": describe_layer(network.model),
        "dtype": network.backend.dtype_name,
        "sample_shape": network.sample_shape,
        "pixel_maximum": network.pixel_maximum,
        "input_dtype": network.input_dtype,
        "target_kind": network.target_kind,
        **target_metadata(network),
        "loss": None if network.loss is None else describe_loss(network.loss),
        # Without the seconds: the same run shall give the same bytes.
        "history": [
            replace(record, train_seconds=None, eval_seconds=None).to_dict()
            for record in network.history
        ],
    }


def target_metadata(network: "Network") -> dict[str, Any]:
    """What turns the outputs of a network into what `predict` gives, as far as it is known."""
    classes = None if network.classes is None else network.classes.tolist()
    shape = None if network.target_shape is None else list(network.target_shape)
    return {"classes": classes, "target_shape": shape}
