"""The kit beside its peers, in one run: `python -m benchmarks.NAME`."""
