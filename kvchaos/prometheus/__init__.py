"""Prometheus during a run: an independent second record of the server's metrics.

It scrapes the server and the suite's own metrics once a second. After the load, its samples of the server are
written into the run directory; the oracle `metrics-crosscheck` compares them with the suite's own scrapes.
"""
