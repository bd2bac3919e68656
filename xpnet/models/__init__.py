"""The usual networks, made of layers; and by their names, for samples of a shape."""

from xpnet.models.lenet import lenet5 as lenet5
from xpnet.models.mlp import mlp as mlp
from xpnet.models.named import MODELS as MODELS
from xpnet.models.named import build_model as build_model
from xpnet.models.named import model_options as model_options
from xpnet.models.named import training_options as training_options
from xpnet.models.parts import POOLINGS as POOLINGS
from xpnet.models.resnet import resnet8 as resnet8
from xpnet.models.small_cnn import small_cnn as small_cnn
