"""Comparison of load clients: ours and others, against the mock server, on one machine."""
