"""The suite's own metrics while a run goes on: what Prometheus scrapes of it.

They are made of what the run writes down anyway, its events, its fault journals and what its load workers
say; nothing is judged by them.
"""
