"""The hot kernels: pure functions over Arrow string buffers, and the tables they read."""
