"""CuPy on a CUDA GPU, and what it is made of: products, graphs of steps, fused kernels."""

from xpnet.backends.cupy.backend import CupyBackend as CupyBackend
