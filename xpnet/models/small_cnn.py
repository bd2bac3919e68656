"""A small convolutional network in the manner of VGG."""

from xpnet.initializers import Initializer, he_normal
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, Layer, Sequential
from xpnet.models.parts import Pictures, check_activation, dropped, pooling_layer
from xpnet.typing import Shape

_FILTERS = (32, 64)


def small_cnn(
    shape: Shape,
    n_outputs: int,
    *,
    activation: Layer | None = None,
    pooling: str = "max",
    dropout: float = 0.0,
    init_weight: Initializer = he_normal,
) -> Sequential:
    """Two blocks of two convolutions of 3 x 3 with batch norm, of 32 and 64 filters, each pooled.

    After both blocks the pictures are a quarter as high and as wide, of 64 channels, and one dense
    layer gives the outputs. Small kernels, one after the other, are those of VGG; batch norm in
    front of each activation, and no bias before it, is that of Ioffe and Szegedy.

    Parameters
    ----------
    shape
        The shape of one sample: (height, width) in grey, (height, width, channels), or with one or
        three channels (channels, height, width). At least 4 x 4 pixels.
    n_outputs
        The number of classes, or of values.
    activation
        The layer after each batch norm; `ReLU()` if None.
    pooling
        `"max"` or `"average"`.
    dropout
        The rate of a `Dropout` layer after each block; none if 0.
    init_weight
        How the weights are drawn, one of `xpnet.initializers`.

    Returns
    -------
    model
        `Sequential(conv1=..., bn1=..., act1=..., conv2=..., bn2=..., act2=..., pool1=..., ...,
        flatten=..., fc=...)`, which gives logits.

    Raises
    ------
    ValueError
        If samples are no pictures, or too small; the message has the arithmetic.
    TypeError
        If the activation is not a layer.

    References
    ----------
    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition",
    2014, https://arxiv.org/abs/1409.1556; Ioffe and Szegedy, "Batch normalization", 2015,
    https://arxiv.org/abs/1502.03167
    """
    act, pool = check_activation("small_cnn", activation), pooling_layer("small_cnn", pooling)
    pictures = Pictures.of("small_cnn", shape, 4, "they are halved twice, 4 -> 2 -> 1")
    layers, n_in = dict(pictures.first), pictures.channels
    for block, n_filters in enumerate(_FILTERS, start=1):
        for i in (2 * block - 1, 2 * block):
            layers[f"conv{i}"] = Conv2D(n_in, n_filters, 3, bias=False, init_weight=init_weight)
            layers[f"bn{i}"] = BatchNorm(n_filters)
            layers[f"act{i}"] = act
            n_in = n_filters
        layers |= {f"pool{block}": pool, **dropped(f"drop{block}", dropout)}
    height, width = (side // 4 for side in pictures[:2])
    return Sequential(
        **layers,
        flatten=Flatten((height, width, n_in)),
        fc=Dense(height * width * n_in, n_outputs, init_weight),
    )
