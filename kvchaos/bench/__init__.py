"""Measurements that take many runs: sweeps over rates, the highest rate for an SLO, comparisons."""
