"""Benchmarks of kvchaos itself, and tools for the stored example. Run by hand, on a quiet machine."""
