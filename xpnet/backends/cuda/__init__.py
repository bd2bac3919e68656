"""What the CuPy backend is made of: products, graphs of steps, fused kernels."""
