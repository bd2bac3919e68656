"""The benchmark of xpnet against other libraries; `scripts/benchmark.py` is its command line."""
