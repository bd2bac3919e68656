"""NumPy on a CPU, and what it needs beside the standard: recorded steps, BLAS, its threads."""

from xpnet.backends.numpy.backend import NumpyBackend as NumpyBackend
