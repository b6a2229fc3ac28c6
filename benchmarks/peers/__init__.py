"""Memories of others beside ours, in one run: `make bench-memory`. See `benchmarks/peers/__main__.py`."""
