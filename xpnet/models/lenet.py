"""LeNet-5, the network with which convolution began to be used."""

from xpnet.initializers import Initializer, he_normal
from xpnet.layers import Conv2D, Dense, Flatten, Layer, Sequential
from xpnet.models.parts import Pictures, check_activation, dropped, pooling_layer
from xpnet.typing import Shape


def lenet5(
    shape: Shape,
    n_outputs: int,
    *,
    activation: Layer | None = None,
    pooling: str = "max",
    dropout: float = 0.0,
    init_weight: Initializer = he_normal,
) -> Sequential:
    """LeNet-5 as it is used today: two convolutions of 5 x 5, each with pooling, and 120-84 units.

    Six filters of 5 x 5 on pictures that keep their size, pooled by 2; sixteen of 5 x 5 that lose
    four pixels each way, pooled by 2; then dense layers of 120, 84 and `n_outputs`, with an
    activation after all but the last. MNIST's 28 x 28 pixels are so 6 x 14 x 14, 16 x 5 x 5 and 400
    numbers, as in the original, which takes them with an edge of two pixels, 32 x 32.

    That has tanh; pooling by the average, with a weight and a bias for each map; filters of the
    second convolution that look at some maps only; and distances as outputs. `activation=Tanh()`
    and `pooling="average"` are nearest to it; ReLU and maxima, which are the default, train best.

    Parameters
    ----------
    shape
        The shape of one sample: (height, width) in grey, (height, width, channels), or with one or
        three channels (channels, height, width). At least 12 x 12 pixels.
    n_outputs
        The number of classes, or of values.
    activation
        The layer after each convolution and each dense layer but the last; `ReLU()` if None.
    pooling
        `"max"` or `"average"`.
    dropout
        The rate of a `Dropout` layer after the activations of the dense layers; none if 0.
    init_weight
        How the weights are drawn, one of `xpnet.initializers`.

    Returns
    -------
    model
        `Sequential(conv1=..., act1=..., pool1=..., conv2=..., act2=..., pool2=..., flatten=...,
        fc1=..., act3=..., fc2=..., act4=..., fc3=...)`, which gives logits.

    Raises
    ------
    ValueError
        If samples are no pictures, or too small; the message has the arithmetic.
    TypeError
        If the activation is not a layer.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    1998, section II.B, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
    """
    act, pool = check_activation("lenet5", activation), pooling_layer("lenet5", pooling)
    least = "they are halved, lose 4 by a kernel of 5 x 5, and are halved again, 12 -> 6 -> 2 -> 1"
    pictures = Pictures.of("lenet5", shape, 12, least)
    height, width = ((side // 2 - 4) // 2 for side in pictures[:2])
    maps = (height, width, 16)
    return Sequential(
        **pictures.first,
        conv1=Conv2D(pictures.channels, 6, 5, padding="same", init_weight=init_weight),
        act1=act,
        pool1=pool,
        conv2=Conv2D(6, 16, 5, padding="valid", init_weight=init_weight),
        act2=act,
        pool2=pool,
        flatten=Flatten(maps),
        fc1=Dense(height * width * 16, 120, init_weight),
        act3=act,
        **dropped("drop1", dropout),
        fc2=Dense(120, 84, init_weight),
        act4=act,
        **dropped("drop2", dropout),
        fc3=Dense(84, n_outputs, init_weight),
    )
