"""Faults on the Prometheus that watches a run."""
