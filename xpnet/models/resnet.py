"""A residual network for small pictures."""

from xpnet.initializers import Initializer, he_normal
from xpnet.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    Layer,
    Residual,
    Sequential,
)
from xpnet.models.parts import Pictures, check_activation
from xpnet.typing import Shape

_FILTERS = (16, 32, 64)


def resnet8(
    shape: Shape,
    n_outputs: int,
    *,
    activation: Layer | None = None,
    init_weight: Initializer = he_normal,
) -> Sequential:
    """A residual network of eight layers with weights: the CIFAR-10 form of 6 n + 2 with n = 1.

    One convolution of 3 x 3 with 16 filters; three residual blocks of two convolutions of 3 x 3
    with 16, 32 and 64 filters, of which the latter two halve the pictures by a stride of 2; the
    mean of each channel over the picture; and one dense layer. Batch norm follows each convolution,
    which has no bias then. Where a block changes the shape, the way around it is a convolution of
    1 x 1 with batch norm (the paper's option B); else it is the identity. The number of parameters
    does not depend on the size of the pictures.

    Parameters
    ----------
    shape
        The shape of one sample: (height, width) in grey, (height, width, channels), or with one or
        three channels (channels, height, width). Of any size.
    n_outputs
        The number of classes, or of values.
    activation
        The layer after each batch norm, that of the end of a block after the sum; `ReLU()` if None.
    init_weight
        How the weights are drawn, one of `xpnet.initializers`.

    Returns
    -------
    model
        `Sequential(conv=..., bn=..., act=..., block1=Residual(...), act1=..., ..., pool=...,
        fc=...)`, which gives logits.

    Raises
    ------
    ValueError
        If samples are no pictures.
    TypeError
        If the activation is not a layer.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015, section 4.2,
    https://arxiv.org/abs/1512.03385
    """
    act = check_activation("resnet8", activation)
    pictures = Pictures.of("resnet8", shape, 1, "a picture has one pixel or more")
    layers = {
        **pictures.first,
        "conv": Conv2D(pictures.channels, _FILTERS[0], 3, bias=False, init_weight=init_weight),
        "bn": BatchNorm(_FILTERS[0]),
        "act": act,
    }
    n_in = _FILTERS[0]
    for i, n_out in enumerate(_FILTERS, start=1):
        layers[f"block{i}"] = _block(n_in, n_out, act, init_weight)
        layers[f"act{i}"] = act
        n_in = n_out
    return Sequential(**layers, pool=GlobalAveragePool2D(), fc=Dense(n_in, n_outputs, init_weight))


def _block(n_in: int, n_out: int, act: Layer, draw: Initializer) -> Residual:
    """Two convolutions; of more filters than before the first takes every second pixel."""
    stride = 1 if n_in == n_out else 2
    block = Sequential(
        conv1=Conv2D(n_in, n_out, 3, stride=stride, bias=False, init_weight=draw),
        bn1=BatchNorm(n_out),
        act=act,
        conv2=Conv2D(n_out, n_out, 3, bias=False, init_weight=draw),
        bn2=BatchNorm(n_out),
    )
    if n_in == n_out:
        return Residual(block)
    around = Conv2D(n_in, n_out, 1, stride=stride, bias=False, init_weight=draw)
    return Residual(block, Sequential(conv=around, bn=BatchNorm(n_out)))
