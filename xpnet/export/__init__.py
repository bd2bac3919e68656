"""Networks for others: ONNX, NumPy's .npz, PyTorch. Imported on demand: `import xpnet.export`.

Layers of one's own are exported by a function that is given as `layers={MyLayer: function}`; see
`OnnxPlace` and `TorchPlace` for what it is given.
"""

from xpnet.export.layers import Place
from xpnet.export.npz import to_npz
from xpnet.export.onnx import DEFAULT_OPSET, INPUT_DTYPES, OLDEST_OPSET, build_onnx, to_onnx
from xpnet.export.onnx_graph import OnnxPlace
from xpnet.export.onnx_layers import ONNX_LAYERS
from xpnet.export.torch import save_torch, to_torch_state_dict, torch_code
from xpnet.export.torch_layers import TORCH_LAYERS, TorchPlace

__all__ = [
    "DEFAULT_OPSET",
    "INPUT_DTYPES",
    "OLDEST_OPSET",
    "ONNX_LAYERS",
    "TORCH_LAYERS",
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
