"""Augmentation: pictures changed at random in each training step, on the device.

An augmentation is a frozen description; `fit(..., augment=[Elastic(), Affine()])` makes it a part
of the training step. To add one, see `xpnet.augment.base.Augmentation` and CONTRIBUTING.md.
"""

from xpnet.descriptions import named_classes

# In the order in which the command line lists them.
# isort: off
from xpnet.augment.warps import Affine as Affine
from xpnet.augment.warps import Elastic as Elastic
from xpnet.augment.moves import Shift as Shift
from xpnet.augment.moves import Flip as Flip
from xpnet.augment.moves import Crop as Crop
from xpnet.augment.pixels import Cutout as Cutout
from xpnet.augment.pixels import Noise as Noise
from xpnet.augment.pixels import Brightness as Brightness
from xpnet.augment.pixels import Contrast as Contrast
from xpnet.augment.mixing import Mixup as Mixup
from xpnet.augment.mixing import CutMix as CutMix

# isort: on
from xpnet.augment.applying import Augmenter as Augmenter
from xpnet.augment.applying import checked_augmentation as checked_augmentation
from xpnet.augment.applying import picture_shape as picture_shape
from xpnet.augment.base import Augmentation as Augmentation
from xpnet.augment.base import Random as Random
from xpnet.augment.composing import Compose as Compose
from xpnet.augment.composing import Sometimes as Sometimes
from xpnet.augment.naming import AUGMENTATIONS as AUGMENTATIONS
from xpnet.augment.naming import augmentations_from as augmentations_from
from xpnet.augment.warps import Warp as Warp

AUGMENTATIONS.update(
    {
        name: kind
        for name, kind in named_classes(globals(), Augmentation).items()
        if kind not in (Compose, Sometimes)  # which a name alone does not say
    }
)
