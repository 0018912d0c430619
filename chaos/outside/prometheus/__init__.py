"""Faults on the Prometheus that scrapes a run."""
