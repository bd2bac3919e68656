"""The multi-layer perceptron."""

import itertools

from xpnet.initializers import Initializer, he_normal
from xpnet.layers import BatchNorm, Dense, Dropout, Layer, ReLU, Sequential
from xpnet.layers.container import not_a_layer


def mlp(
    *sizes: int,
    activation: Layer | None = None,
    dropout: float = 0.0,
    init_weight: Initializer = he_normal,
    batch_norm: bool = False,
) -> Sequential:
    """A multi-layer perceptron: dense layers with an activation between them.

    Parameters
    ----------
    sizes
        Numbers of features from the input to the output, at least two.
    activation
        The layer after every dense layer but the last; `ReLU()` if None.
    dropout
        The rate of a `Dropout` layer after every activation; none if 0.
    init_weight
        How the weights are drawn, one of `xpnet.initializers`.
    batch_norm
        Whether a `BatchNorm` layer stands between every dense layer but the last and its
        activation. Such a dense layer has no bias: the mean that is subtracted would take it
        away, and the batch norm has a bias of its own (Ioffe and Szegedy, 2015, section 3.2).

    Returns
    -------
    model
        `Sequential(fc1=Dense(...), act1=..., fc2=Dense(...), ...)`, which gives logits; the
        layers of batch norm are called `bn1`, `bn2`, ..., those of dropout `drop1`, `drop2`, ...

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is not a positive integer.
    TypeError
        If the activation is not a layer, as where a class is given.

    Examples
    --------
    >>> from xpnet import mlp
    >>> print(mlp(784, 128, 10).summary())
    name   layer  output  parameters    bytes    FLOPs  activations
    fc1    Dense     128     100,480  401,920  200,832          512
    act1   ReLU      128           0        0      128          512
    fc2    Dense      10       1,290    5,160    2,570           40
    total                    101,770  407,080  203,530        1,064
    """
    if len(sizes) < 2:
        raise ValueError(f"mlp needs an input and an output size, as in mlp(784, 10); got {sizes}")
    if activation is not None and not isinstance(activation, Layer):
        raise TypeError(f"mlp: activation={not_a_layer(activation)}")
    layers: dict[str, Layer] = {}
    last = len(sizes) - 1
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
        normalized = batch_norm and i < last
        layers[f"fc{i}"] = Dense(n_in, n_out, init_weight, bias=not normalized)
        if normalized:
            layers[f"bn{i}"] = BatchNorm(n_out)
        if i < last:
            layers[f"act{i}"] = activation if activation is not None else ReLU()
        if i < last and dropout:
            layers[f"drop{i}"] = Dropout(dropout)
    return Sequential(**layers)
