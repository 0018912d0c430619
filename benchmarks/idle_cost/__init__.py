"""Measures what the chaos module costs a server: `make bench-idle`."""
