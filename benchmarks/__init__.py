"""Measurements of what the documents claim: `python -m benchmarks`."""
