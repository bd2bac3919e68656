"""What NumPy on a CPU needs beside the standard: steps recorded and replayed, BLAS, its threads."""
