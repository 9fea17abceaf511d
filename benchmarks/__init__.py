"""Side-by-side benchmarks. `python -m benchmarks` runs all; results are committed in `results/`."""
