"""What layers of pictures share: samples of shape (height, width, channels)."""

from xpnet.typing import Shape

PICTURE_AXES = 3
"""A picture has a height, a width and channels."""


def picture_shape(layer: str, shape: Shape) -> Shape:
    """Check that samples are pictures with channels last: their (H, W, C).

    Raises
    ------
    ValueError
        If they are not.
    """
    if len(shape) != PICTURE_AXES:
        advice = ""
        if len(shape) == PICTURE_AXES - 1 and None not in shape:
            advice = f"; give pictures in grey a channel by Reshape({(*shape, 1)}) in front"
        raise ValueError(
            f"{layer} takes samples of shape (height, width, channels), but is given shape "
            f"{shape}{advice}"
        )
    return shape


TORCH_PADS = '''
def padded(
    x: torch.Tensor, size: tuple[int, int], stride: tuple[int, int],
    padding: str | tuple[int, int], value: float,
) -> torch.Tensor:
    """Pictures (B, C, H, W) with padding around them: "same" is more behind than in front."""
    pads = []
    for axis in (1, 0):
        n = x.shape[2 + axis]
        if padding == "same":
            whole = max((-(-n // stride[axis]) - 1) * stride[axis] + size[axis] - n, 0)
            pads += [whole // 2, whole - whole // 2]
        else:
            pads += [0 if padding == "valid" else padding[axis]] * 2
    return nn.functional.pad(x, pads, value=value) if any(pads) else x
'''
"""The text of a function that pads as xpnet does, for modules of PyTorch."""
