"""What a machine with a GPU tells in ten minutes: ``python -m benchmarks.gpu`` (docs/gpu.md)."""
