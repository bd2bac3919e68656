"""Networks for others: ONNX, NumPy's .npz, PyTorch. Imported on demand: `import xpnet.export`.

How a layer is written, its class says: `Layer.onnx` and `Layer.torch`. Where a class cannot be
changed, a function is given for it, `layers={MyLayer: function}`. See `OnnxPlace` and `TorchPlace`
for what both are called with.
"""

from xpnet.export.npz import to_npz
from xpnet.export.onnx import DEFAULT_OPSET, INPUT_DTYPES, OLDEST_OPSET, build_onnx, to_onnx
from xpnet.export.torch import save_torch, to_torch_state_dict, torch_code
from xpnet.layers.places import OnnxPlace, TorchPlace
from xpnet.network.places import Place

__all__ = [
    "DEFAULT_OPSET",
    "INPUT_DTYPES",
    "OLDEST_OPSET",
    "OnnxPlace",
    "Place",
    "TorchPlace",
    "build_onnx",
    "save_torch",
    "to_npz",
    "to_onnx",
    "to_torch_state_dict",
    "torch_code",
]
